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

_K = 3  # its axis in a grid, whose first is that of the kinds

_PREDICTED = [field.name for field in fields(Counted) if field.name != "dram_bytes"]

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
        counted = [count(gemm, designs, rate, grid) for grid in grids]  # type: ignore[arg-type]
        self._shapes = [np.broadcast_shapes(*(axis.shape[1:] for axis in grid)) for grid in grids]
        # Of one group at a time those of the whole k are predicted apart: no other has an operand
        # that stays, and the prediction leaves out what no tiling does.
        some_k = [slice(0, -1), slice(-1, None)] if self._shapes[0][_K - 1] > 1 else [slice(None)]
        self._parts = [(0, k, _along_k(counted[0], k)) for k in some_k]
        self._parts += [(1, slice(None), of) for of in counted[1:]]
        need = [needs(gemm, grid) for grid in grids]
        self.needs = [self._flat(columns)[..., 0] for columns in zip(*need, strict=True)]
        self.tilings = np.array([self._flat(axis) for axis in zip(*grids, strict=True)])
        self.dram_bytes, self.tiles = (
            self._flat([getattr(of, name) for of in counted]) for name in ("dram_bytes", "tiles")
        )

    def _flat(self, columns: Sequence[Any]) -> Any:
        """A column for each grid as one of all cells, `(kinds, cells, 2)`."""
        each = [
            np.broadcast_to(column, (self._kinds, *shape)).reshape(self._kinds, -1, 2)
            for column, shape in zip(columns, self._shapes, strict=True)
        ]
        return np.concatenate(each, axis=1) if len(each) > 1 else each[0]

    def predicted(self, kind: Int, pace: Pace) -> list[Float]:
        """Cycles of all tilings, with their first weights there and without.

        Args:
            kind: Of each row.
            pace: Of each row.

        Returns:
            Two of `(rows, cells, 2)`.
        """
        upright = Pace(*(np.reshape(value, (-1, *(1,) * AXES)) for value in pace))
        found = [[np.empty((len(kind), *shape)) for shape in self._shapes] for _ in range(2)]
        for grid, k, counted in self._parts:
            both = predict(_taken(counted, kind), **upright._asdict())
            for grids, cycles in zip(found, both, strict=True):
                grids[grid][:, :, :, k] = cycles
        flat = [[grid.reshape(len(kind), -1, 2) for grid in grids] for grids in found]
        return [np.concatenate(each, axis=1) if len(each) > 1 else each[0] for each in flat]


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
    # The whole k comes last, and only there.
    falling = padded([each[::-1] for each in ladders[1]])[:, ::-1]
    ladders[1] = falling.tolist()
    m, k, n = (along(axis, padded(each)) for axis, each in enumerate(ladders, start=2))
    yield Candidates(along(1, np.ones((1, 1), dtype=np.int64)), m, k, n, order)
    if max(map(len, groups)) > 1:
        several = along(1, padded([each[1:] or each for each in groups]))
        m, k, n = (axis.max((2, 3, 4), keepdims=True) for axis in (m, k, n))
        yield Candidates(several, m, k, n, order)


def _along_k(counted: Counted, which: slice) -> Counted:
    """Of some sizes of k."""

    def some(name: str) -> Any:
        column = getattr(counted, name)
        return column[:, :, :, which] if np.ndim(column) and column.shape[_K] > 1 else column

    return replace(counted, **{name: some(name) for name in _PREDICTED})


def _taken(counted: Counted, kind: Int) -> Counted:
    """Of some kinds, which rise."""
    same = len(kind) > 1 and kind[0] == kind[-1]
    which: Any = slice(kind[0], kind[0] + 1) if same else kind

    def some(name: str) -> Any:
        column = getattr(counted, name)
        return column[which] if np.ndim(column) and len(column) > 1 else column

    return replace(counted, **{name: some(name) for name in _PREDICTED})
