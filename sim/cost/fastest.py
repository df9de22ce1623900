"""The fastest of many candidates that have room, then the best of those about as fast.

Predictions do not depend on what the buffers hold: candidates are put in order once for all rows
with the same prediction, and of a row the first that its buffers hold is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tiling import SLACK
from .designs import alike

__all__ = ["Fastest", "Held", "begins", "best"]

Int = NDArray[np.int64]


class Held:
    """Which cells a buffer does not hold, for each different room of a kind.

    Args:
        need: What a cell needs, `(kinds, cells)`.
        kind: Of each row.
        room: What each row has.
        spare: A cell is for those that have less than this, `(kinds, cells)`.

    Attributes:
        lacks: The largest number where it does not, 0 where it does, `(levels, cells)`.
        level: Of each row.
    """

    def __init__(self, need: Int, kind: Int, room: Int, spare: Int | None = None) -> None:
        first, self.level = alike([kind, room], len(room))
        kinds, rooms = kind[first], room[first, None]
        lacks = need[kinds] > rooms
        if spare is not None:
            lacks |= spare[kinds] <= rooms
        small = np.min_scalar_type(need.shape[1])  # which has one number more than cells
        self.lacks = lacks.astype(small) * np.array(np.iinfo(small).max, dtype=small)


class Fastest:
    """Candidates by their prediction.

    Args:
        cycles: Of a cell's variants, which need the same room, `(predictions, cells, variants)`.
    """

    def __init__(self, cycles: Any) -> None:
        least = np.minimum.reduce([cycles[..., one] for one in range(cycles.shape[2])])
        cells = least.shape[1]
        self._cycles = cycles.reshape(len(cycles), -1)
        self._variants: int = cycles.shape[2]
        self._cells = np.argsort(least, axis=1)
        self._least = np.take_along_axis(least, self._cells, axis=1)
        self._rank = np.empty(least.shape, dtype=np.min_scalar_type(cells))
        ranks = np.broadcast_to(np.arange(cells, dtype=self._rank.dtype), least.shape)
        np.put_along_axis(self._rank, self._cells, ranks, axis=1)

    def fitting(self, held: Sequence[Held], rows: Int, price: Int) -> tuple[Int, Int]:
        """The candidates about as fast as the fastest that the buffers hold.

        Args:
            held: What each buffer holds.
            rows: Rows in `held`.
            price: The prediction of each.

        Returns:
            Which of the rows, rising, and a candidate that it has, as a number in `(cells,
            variants)`: pairs.
        """
        rank = self._rank[price]
        for each in held:
            rank |= each.lacks[each.level[rows]]
        first = rank.min(axis=1).astype(np.int64)
        fits = np.flatnonzero(first < rank.shape[1])
        first, price = first[fits], price[fits]
        near = self._least[price, first] * SLACK
        number = self._until(price, first, near) - first
        row = np.repeat(np.arange(len(fits)), number)
        place = np.arange(len(row)) + np.repeat(first - (np.cumsum(number) - number), number)
        cell: Int = self._cells[price[row], place]
        there = rank[fits[row], cell] == place
        row = np.repeat(row[there], self._variants)
        which: Int = np.add.outer(cell[there] * self._variants, np.arange(self._variants)).ravel()
        kept = self._cycles[price[row], which] <= near[row]
        return fits[row[kept]], which[kept]

    def _until(self, price: Int, first: Int, near: Any) -> Int:
        """Where each row's candidates about as fast end, in their order."""
        cells = self._least.shape[1]
        low, high = first, np.full(len(first), cells)
        while (low < high).any():
            middle = (low + high) // 2
            within = self._least[price, np.minimum(middle, cells - 1)] <= near
            low = np.where(within, np.minimum(middle + 1, high), low)
            high = np.where(within, high, middle)
        return low


def best(rows: Int, *columns: tuple[Any, Int]) -> Int:
    """Of each row's pairs the one that has least of the first column, then of the next.

    Args:
        rows: Of each pair, rising.
        *columns: Numbers, and which of them is each pair's.

    Returns:
        A pair of each row.
    """
    pairs = np.arange(len(rows))
    for values, which in columns:
        first = begins(rows[pairs])
        if len(first) == len(pairs):
            return pairs
        own = np.take(values, which[pairs])
        least = np.minimum.reduceat(own, first)
        pairs = pairs[own == np.repeat(least, np.diff(first, append=len(pairs)))]
    return pairs[begins(rows[pairs])]


def begins(rows: Int) -> Int:
    """Where a new one begins."""
    new = np.ones(len(rows), dtype=bool)
    np.not_equal(rows[1:], rows[:-1], out=new[1:])
    return np.flatnonzero(new)
