"""Which combinations of the axes' values are points: point number -> values, in any order.

Point i is the same whichever points are asked for beside it, so that chunks, shards and workers
may cut a space as they like, and no list of points is ever held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ...arch.explain import got, nearest
from ..errors import SpaceError
from .axes import Axis, Column

__all__ = ["BLOCK", "METHODS", "Allowed", "Columns", "Sample", "points_of", "sample"]

Columns: TypeAlias = dict[str, Column]
Allowed: TypeAlias = Callable[[Columns], NDArray[np.bool_]]
"""Which points satisfy every constraint, `(points,)`."""
Points: TypeAlias = NDArray[np.int64]

Method: TypeAlias = Literal["grid", "random", "lhs", "points"]
METHODS: tuple[Method, ...] = ("grid", "random", "lhs", "points")

BLOCK = 1024
"""Points that are drawn together: one stream of random numbers, one Latin hypercube."""

ROUNDS = 1000
"""How often a random point is drawn again until it satisfies every constraint."""

_MOST = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How points are chosen.

    Attributes:
        method: `grid` (every combination), `random` (independent draws, repeated until they satisfy
            the constraints), `lhs` (Latin hypercubes of `BLOCK` points, of which those that do not
            are left out), or `points` (as listed).
        points: How many are drawn.
        seed: Of the random numbers.
        listed: Values by axis, of each point that is listed.
    """

    method: Method = "grid"
    points: int = 0
    seed: int = 0
    listed: tuple[Mapping[str, Any], ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether random numbers decide."""
        return self.method in ("random", "lhs")

    def as_value(self) -> Any:
        """As it is written in a file."""
        if self.method == "points":
            return [dict(one) for one in self.listed]
        if self.method == "grid":
            return "grid"
        return {"method": self.method, "points": self.points, "seed": self.seed}

    def size(self, axes: Sequence[Axis]) -> int:
        """How many points there are before constraints.

        Raises:
            SpaceError: They are too many to be numbered.
        """
        if self.method == "grid":
            total = math.prod(len(axis.values) for axis in axes)
            if total > _MOST:
                raise SpaceError(("axes",), f"wanted at most 2^62 combinations, got {total:.1e}")
            return total
        return len(self.listed) if self.method == "points" else self.points


def sample(given: object) -> Sample:
    """Read how points are chosen.

    >>> sample({"method": "lhs", "points": 500, "seed": 1})
    Sample(method='lhs', points=500, seed=1, listed=())

    Args:
        given: `grid`; a mapping with `method`, `points` and perhaps `seed`; or a list of points,
            each a mapping from axes to values.

    Raises:
        SpaceError: It is none of these.
    """
    if isinstance(given, Sample):
        return given
    if isinstance(given, list | tuple):
        return Sample(method="points", listed=_listed(cast("Sequence[object]", given)))
    if isinstance(given, str):
        given = {"method": given}
    if not isinstance(given, Mapping):
        raise SpaceError(
            ("sample",), f"wanted grid, a method or a list of points, got {got(given)}"
        )
    fields = cast("Mapping[str, Any]", given)
    known = ("method", "points", "seed")
    for key in fields:
        if key not in known:
            raise SpaceError(
                ("sample", key), f"unknown key{nearest(key, known)}; wanted {', '.join(known)}"
            )
    method = fields.get("method", "grid")
    if method not in METHODS[:3]:
        wanted = ", ".join(METHODS[:3])
        raise SpaceError(("sample",), f"method: wanted {wanted}, got {got(method, METHODS)}")
    points, seed = fields.get("points"), fields.get("seed", 0)
    if method == "grid":
        if len(fields) > ("method" in fields):
            raise SpaceError(("sample",), "a grid has every combination: leave points and seed out")
        return Sample()
    if type(points) is not int or not 1 <= points <= _MOST:
        raise SpaceError(
            ("sample",), f"points: {method} wants how many to draw, at least 1, got {got(points)}"
        )
    if type(seed) is not int or seed < 0:
        raise SpaceError(("sample",), f"seed: wanted a whole number from 0 on, got {got(seed)}")
    return Sample(method=method, points=points, seed=seed)


def points_of(
    way: Sample, axes: Sequence[Axis], numbers: Points, allowed: Allowed
) -> tuple[Columns, Points]:
    """The points of those numbers that satisfy the constraints.

    Args:
        way: How points are chosen.
        axes: The axes.
        numbers: Which points, `(points,)`, each at least 0 and below `way.size(axes)`.
        allowed: The constraints.

    Returns:
        A column for each axis, and the numbers of the points that are left, in the same order.
    """
    if way.method == "random":
        return _by_block(numbers, axes, lambda block: _drawn(way.seed, block, axes, allowed))
    if way.method == "lhs":
        columns, numbers = _by_block(numbers, axes, lambda block: _hypercube(way, block, axes))
    elif way.method == "grid":
        columns = _combined(axes, numbers)
    else:
        columns = {axis.name: _given(axis, way, numbers) for axis in axes}
    mask = allowed(columns)
    return {name: column[mask] for name, column in columns.items()}, numbers[mask]


def _combined(axes: Sequence[Axis], numbers: Points) -> Columns:
    """Combinations by number in mixed radix: the last axis changes first."""
    left = numbers
    steps: dict[str, Points] = {}
    for axis in reversed(axes):
        steps[axis.name] = left % len(axis.values)
        left = left // len(axis.values)
    return {axis.name: axis.at(steps[axis.name]) for axis in axes}


def _given(axis: Axis, way: Sample, numbers: Points) -> Column:
    """The values of listed points; what is no axis of theirs has one value."""
    found = [way.listed[int(i)].get(axis.name, axis.values[0]) for i in numbers]
    return np.array(found, dtype=axis.dtype)


def _by_block(
    numbers: Points, axes: Sequence[Axis], draw: Callable[[int], tuple[Columns, NDArray[np.bool_]]]
) -> tuple[Columns, Points]:
    parts: dict[str, list[Column]] = {axis.name: [] for axis in axes}
    kept: list[Points] = []
    for block, members in _blocks(numbers):
        columns, found = draw(block)
        rows = members - block * BLOCK
        rows = rows[found[rows]]
        kept.append(rows + block * BLOCK)
        for name, column in columns.items():
            parts[name].append(column[rows])
    if not kept:
        return {axis.name: np.empty(0, dtype=axis.dtype) for axis in axes}, numbers[:0]
    return {name: np.concatenate(each) for name, each in parts.items()}, np.concatenate(kept)


def _blocks(numbers: Points) -> Iterator[tuple[int, Points]]:
    """Runs of numbers that lie in the same block."""
    if not numbers.size:
        return
    block = numbers // BLOCK
    for part in np.split(numbers, np.flatnonzero(np.diff(block)) + 1):
        yield int(part[0]) // BLOCK, part


def _drawn(
    seed: int, block: int, axes: Sequence[Axis], allowed: Allowed
) -> tuple[Columns, NDArray[np.bool_]]:
    """A block of random points, each the first draw of its place that is allowed."""
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, block])))
    columns = {axis.name: np.empty(BLOCK, dtype=axis.dtype) for axis in axes}
    pending = np.arange(BLOCK)
    for _ in range(ROUNDS):
        # Every round draws for every place, so that no place depends on the luck of another.
        shares = random.random((BLOCK, len(axes)))[pending]
        tried = {axis.name: axis.spread(shares[:, i]) for i, axis in enumerate(axes)}
        mask = allowed(tried)
        for name, column in tried.items():
            columns[name][pending[mask]] = column[mask]
        pending = pending[~mask]
        if not pending.size:
            break
    found = np.ones(BLOCK, dtype=np.bool_)
    found[pending] = False
    return columns, found


def _hypercube(way: Sample, block: int, axes: Sequence[Axis]) -> tuple[Columns, NDArray[np.bool_]]:
    """A block of a Latin hypercube: each axis cut into as many strata as points, one in each."""
    from scipy.stats import qmc  # takes long to import

    size = min(BLOCK, way.points - block * BLOCK)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([way.seed, block])))
    shares = qmc.LatinHypercube(len(axes), rng=random).random(size)
    shares = np.minimum(shares, np.nextafter(1, 0))
    columns = {axis.name: axis.spread(shares[:, i]) for i, axis in enumerate(axes)}
    return columns, np.ones(size, dtype=np.bool_)


def _listed(given: Sequence[object]) -> tuple[Mapping[str, Any], ...]:
    points: list[Mapping[str, Any]] = []
    for at, one in enumerate(given):
        if not isinstance(one, Mapping):
            raise SpaceError(("sample", at), f"wanted axes and their values, got {got(one)}")
        points.append(dict(cast("Mapping[str, Any]", one)))
        if set(points[at]) != set(points[0]):
            odd = sorted(set(points[at]) ^ set(points[0]))
            raise SpaceError(
                ("sample", at), f"{odd[0]}: every point gives the same axes as the first"
            )
    if not points:
        raise SpaceError(("sample",), "wanted at least one point, got an empty list")
    return tuple(points)
