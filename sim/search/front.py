"""What no other point beats: the front of many points, its knee, and its hypervolume.

Every objective is minimised here; who wants the most of something gives it with its sign turned.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Values", "box", "hypervolume", "knee", "nondominated"]

Values: TypeAlias = NDArray[np.float64]
"""`(points, objectives)`, less being better; a point with a NaN has no value."""


def nondominated(values: Values) -> NDArray[np.bool_]:
    """Which points no other point dominates, `(points,)`.

    One point dominates another if it is as good in every objective and better in one.  Of points
    that are alike in all, each is on the front.

    >>> nondominated(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 3.0], [np.nan, 0.0]]))
    array([ True,  True, False, False])
    """
    found = np.zeros(len(values), dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    # In lexical order nothing that comes later dominates what came before.
    order = known[np.lexsort(values[known].T[::-1])]
    front = np.empty((0, values.shape[1]))
    for at in order:
        one = values[at]
        worse = (front <= one).all(axis=1) & (front < one).any(axis=1)
        if not worse.any():
            found[at] = True
            front = np.vstack((front, one))
    return found


def knee(front: Values) -> int:
    """The place of the knee: the point farthest below the plane through the ends of a front.

    With every objective scaled from 0 at its best to 1 at its worst on the front, as by I. Das,
    "On characterizing the 'knee' of the Pareto curve based on Normal-Boundary Intersection",
    Structural Optimization 18, 1999.

    >>> knee(np.array([[0.0, 10.0], [1.0, 2.0], [10.0, 0.0]]))
    1

    Raises:
        ValueError: The front has no points.
    """
    if not len(front):
        raise ValueError("knee: wanted at least one point, got none")
    low, span = box(front)
    return int(np.argmin(((front - low) / span).sum(axis=1)))


def box(front: Values) -> tuple[Values, Values]:
    """The best of every objective on a front, and how far it is to the worst, each `(objectives,)`.

    The distance is 1 where all points are alike.
    """
    low, high = front.min(axis=0), front.max(axis=0)
    return low, np.where(high > low, high - low, 1.0)


def hypervolume(values: Values, reference: Values) -> float:
    """The volume that points dominate, up to a reference point (E. Zitzler and L. Thiele, 1998).

    Args:
        values: Points; those beyond the reference add nothing.
        reference: `(objectives,)`.

    Raises:
        ModuleNotFoundError: pymoo, of the extra `search`, is not installed.
    """
    inside = values[(values < reference).all(axis=1)]  # NaN is never below
    if not len(inside):
        return 0.0
    indicator: Any = import_module("pymoo.indicators.hv").HV(ref_point=reference)
    return float(indicator(inside[nondominated(inside)]))
