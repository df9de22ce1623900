"""Designs of a space by shares: where on each axis a design is, as a number from 0 to 1.

A search moves in shares, `(designs, axes)`.  On an axis of k values each value has a k-th of the
way, so that shares drawn alike are values drawn alike.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import SpaceError
from ..spaces.axes import Axis
from ..spaces.sampling import Columns, Sample
from ..spaces.space import Space, document_of, located
from ..spaces.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Shares",
    "broken",
    "columns_of",
    "frame_of",
    "shares_of_steps",
    "snapped",
    "study_of",
]

_DRAWN: Final = Sample(method="random", points=1)

Shares: TypeAlias = NDArray[np.float64]
"""`(designs, axes)`, each at least 0 and below 1."""


def study_of(space: Space | Study | str | Path) -> Study:
    """A space with what it names, whatever its sample: a range needs no steps.

    Raises:
        SpaceError: The space names what is not there.
    """
    if isinstance(space, Study):
        return space
    if isinstance(space, Space):
        listed = bool(space.sample.listed)
        return Study.of(space if listed else replace(space, sample=_DRAWN))
    read = Space.read(space)
    try:
        return study_of(read)
    except SpaceError as error:
        raise located(error, document_of(space)) from None


def columns_of(study: Study, shares: Shares) -> Columns:
    """The values of every axis, `(designs,)` each."""
    return {one.name: one.spread(shares[:, at]) for at, one in enumerate(study.axes)}


def snapped(study: Study, shares: Shares) -> Shares:
    """Shares in the middle of their values, so that the same design has the same shares."""
    found = np.clip(shares, 0.0, np.nextafter(1.0, 0.0))
    for at, one in enumerate(study.axes):
        if one.values:
            found[:, at] = shares_of_steps(one, (found[:, at] * len(one.values)).astype(np.int64))
    return found


def shares_of_steps(axis: Axis, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The shares of the values of those numbers, counted from 0."""
    return (steps + 0.5) / len(axis.values)


def broken(study: Study, columns: Columns) -> NDArray[np.int64]:
    """How many of the space's constraints each design breaks, `(designs,)`."""
    found = np.zeros(len(columns["workload"]), dtype=np.int64)
    for text in study.space.constraints:
        found += ~study.satisfies(text, columns)
    return found


def frame_of(study: Study, columns: Columns) -> pd.DataFrame:
    """Designs as `evaluate` takes them: a column for each axis, symbols empty that are lacking."""
    import pandas as pd

    found: dict[str, Any] = {}
    for one in study.axes:
        column = columns[one.name]
        if one.name in study.lacking:
            empty = np.isin(columns["workload"], list(study.lacking[one.name]))
            found[one.name] = pd.array(np.where(empty, 0, column), dtype="Int64")
            found[one.name][empty] = pd.NA
        else:
            found[one.name] = column
    return pd.DataFrame(found)
