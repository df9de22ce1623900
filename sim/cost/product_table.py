"""The tilings of many kinds of products on open grids: what depends on one size has one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..gemm import Gemm
from ..tiling import Candidates, Counted, count, needs, predict
from .designs import Designs, some

__all__ = ["AXES", "Pace", "Table", "padded", "rows_of"]

AXES = 5
"""Of a tiling: groups, m, k, n and the order."""

Int = NDArray[np.int64]
Float = NDArray[np.float64]


def rows_of(gemm: Gemm, which: Any) -> Gemm:
    """Some rows of a product's columns; of one row as plain numbers, and no room."""
    sizes = {
        name: some(getattr(gemm.shape, name), which)
        for name in ("groups", "repeats", "m", "k", "n")
    }
    return replace(
        gemm,
        shape=replace(gemm.shape, **sizes),
        input_room=0 if isinstance(which, int) else some(gemm.input_room, which),
        once_bytes=some(gemm.once_bytes, which),
        once_trained_bytes=some(gemm.once_trained_bytes, which),
    )


def padded(ladders: Sequence[Sequence[int]]) -> Int:
    """Ladders side by side, `(ladders, sizes)`: the short ones go on with their last size."""
    longest = max(map(len, ladders))
    return np.array([[*each, *each[-1:] * (longest - len(each))] for each in map(list, ladders)])


class Pace(NamedTuple):
    """What `predict` takes of a machine, `(rows,)` each."""

    per_byte: Any
    setup: Any
    latency: Any
    lane: Any


class Table:
    """The tilings of several kinds of products, each on an array.

    Args:
        gemm: The products, a row for each kind.
        designs: Their machines.
        rate: MACs per PE and cycle.
        sizes: Of each kind the tile sizes of groups, m, k and n.

    Attributes:
        tilings: `(5, kinds, cells, 2)`: a cell has both orders.
        needs: Of each buffer, `(kinds, cells)`.
        dram_bytes, tiles: `(kinds, cells, 2)`.
    """

    def __init__(
        self, gemm: Gemm, designs: Designs, rate: Fraction, sizes: Sequence[tuple[list[int], ...]]
    ) -> None:
        self._kinds = len(sizes)
        gemm, designs = _upright(gemm), designs.reshaped(-1, *(1,) * AXES)
        grids = list(_grids(sizes))
        self._counted = [count(gemm, designs, rate, grid) for grid in grids]  # type: ignore[arg-type]
        self._shapes = [np.broadcast_shapes(*(axis.shape for axis in grid)) for grid in grids]
        need = [needs(gemm, grid) for grid in grids]
        self.needs = [self._flat(columns)[..., 0] for columns in zip(*need, strict=True)]
        self.tilings = np.array([self._flat(axis) for axis in zip(*grids, strict=True)])
        self.dram_bytes, self.tiles = (
            self._flat([getattr(counted, name) for counted in self._counted])
            for name in ("dram_bytes", "tiles")
        )

    def _flat(self, columns: Sequence[Any], rows: int | None = None) -> Any:
        """A column for each grid as one of all cells, `(rows, cells, 2)`."""
        rows = rows or self._kinds
        return np.concatenate(
            [
                np.broadcast_to(column, (rows, *shape[1:])).reshape(rows, -1, 2)
                for column, shape in zip(columns, self._shapes, strict=True)
            ],
            axis=1,
        )

    def predicted(self, kind: Int, pace: Pace) -> list[Float]:
        """Cycles of all tilings, with their first weights there and without.

        Args:
            kind: Of each row.
            pace: Of each row.

        Returns:
            Two of `(rows, cells, 2)`.
        """
        upright = Pace(*(np.reshape(value, (-1, *(1,) * AXES)) for value in pace))
        both = [predict(_taken(each, kind), **upright._asdict()) for each in self._counted]
        return [self._flat(columns, len(kind)) for columns in zip(*both, strict=True)]


def _upright(gemm: Gemm) -> Gemm:
    """Products along the first axis of a grid.

    Without what they load once, which needs room of its own and is the same for all tilings.
    """
    shape = gemm.shape

    def upright(size: Any) -> Any:
        return np.reshape(size, (-1, *(1,) * AXES)) if np.ndim(size) else size

    sizes: dict[str, Any] = {
        name: upright(getattr(shape, name)) for name in ("groups", "repeats", "m", "k", "n")
    }
    return replace(gemm, shape=replace(shape, **sizes), once_bytes=0, once_trained_bytes=0)


def _grids(sizes: Sequence[tuple[list[int], ...]]) -> Iterator[Candidates]:
    """The tilings of one group at a time, then those of several: open grids of six axes."""
    groups, *ladders = zip(*sizes, strict=True)

    def along(axis: int, values: Int) -> Int:
        shape = [len(values), *(1,) * AXES]
        shape[axis] = -1
        return values.reshape(shape)

    order = along(AXES, np.arange(2)[None])
    m, k, n = (along(axis, padded(each)) for axis, each in enumerate(ladders, start=2))
    yield Candidates(along(1, np.ones((1, 1), dtype=np.int64)), m, k, n, order)
    if max(map(len, groups)) > 1:
        several = along(1, padded([each[1:] or each for each in groups]))
        m, k, n = (axis.max((2, 3, 4), keepdims=True) for axis in (m, k, n))
        yield Candidates(several, m, k, n, order)


def _taken(counted: Counted, kind: Int) -> Counted:
    """Of some kinds."""
    columns = {field.name: getattr(counted, field.name) for field in fields(Counted)}
    return Counted(
        **{name: c[kind] if np.ndim(c) and len(c) > 1 else c for name, c in columns.items()}
    )
