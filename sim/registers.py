"""What surrounds the PEs of a systolic array: operand ports, skew registers, output collectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIELDS", "FIRST", "LAST", "VALID", "VALUE", "Collector", "Ints", "Port", "Skew"]

Ints = NDArray[np.int64]

# A word on its way: its flags ride with it and steer the PEs that it meets.
VALUE, VALID, FIRST, LAST, FIELDS = range(5)


class Port:
    """One side of the array: the words of every fold and the edges that take them.

    Fold f begins `f * interval + delay` edges late.  A fold that begins before the last one's
    words are all in cuts it short, as a sequencer that restarts would.
    """

    def __init__(
        self, tiles: Ints, interval: int, *, order: Ints | None = None, delay: int = 0
    ) -> None:
        """Take tiles `(tiles, length, lanes)` and which of them each fold uses (`order`)."""
        count, length, self.lanes = tiles.shape
        self._interval, self._delay = interval, delay
        self._order: Ints = np.arange(count) if order is None else order
        self._words = np.zeros((count, length, FIELDS, self.lanes), dtype=np.int64)
        self._words[:, :, VALUE] = tiles
        self._words[:, :, VALID] = 1
        self._words[:, 0, FIRST] = 1
        self._words[:, -1, LAST] = 1
        self._idle = np.zeros((FIELDS, self.lanes), dtype=np.int64)

    def at(self, edge: int) -> Ints:
        """Return the `(FIELDS, lanes)` that wait for clock edge `edge`."""
        since = edge - 1 - self._delay
        fold = min(since // self._interval, len(self._order) - 1)
        word = since - fold * self._interval
        if since < 0 or word >= self._words.shape[1]:
            return self._idle
        port: Ints = self._words[self._order[fold], word]
        return port


class Skew:
    """A triangle of registers: lane i is delayed by i edges, so that operands meet in the array."""

    def __init__(self, lanes: int) -> None:
        self._lane = np.arange(lanes)
        # Column 0 is the wire in front of the registers; lane i's output is its column i.
        self._words = np.zeros((FIELDS, lanes, lanes), dtype=np.int64)

    def edge(self, port: Ints) -> Ints:
        """Return the words that wait at the array, `(FIELDS, lanes)`, and take the edge."""
        self._words[:, :, 0] = port
        waiting = self._words[:, self._lane, self._lane]
        self._words[:, :, 1:] = self._words[:, :, :-1]
        return waiting


class Collector:
    """Counts what leaves each column, adds up folds where they are partial sums, keeps the rest.

    Attributes:
        product: `(m, n)`; zero where nothing has left.
        edges: `(m, n)`: the clock edge that put the output on the array's edge, or zero.
    """

    def __init__(self, m: int, n: int, columns: int, steps: int) -> None:
        """Collect `(m, n)` outputs from `columns` columns, `steps` folds to a column block."""
        self.product = np.zeros((m, n), dtype=np.int64)
        self.edges = np.zeros((m, n), dtype=np.int64)
        self._steps = steps
        self._columns = np.arange(columns)
        self._fold = np.full(columns, -1)
        self._word = np.zeros(columns, dtype=np.int64)
        self._bank = np.zeros((m, columns), dtype=np.int64)

    def sums(self, edge: int, valid: Ints, first: Ints, values: Ints) -> None:
        """Take partial sums, word after word of each fold; the last fold of a block completes."""
        if not valid.any():
            return
        column, step, block, word = self._counted(valid, first)
        total = values[column] + np.where(step == 0, 0, self._bank[word, column])
        self._bank[word, column] = total
        whole = step == self._steps - 1
        self._keep(edge, word[whole], (block * len(valid) + column)[whole], total[whole])

    def rows(self, edge: int, valid: Ints, first: Ints, values: Ints, rows: int) -> None:
        """Take whole outputs, of each fold the bottom row first."""
        if not valid.any():
            return
        column, step, block, word = self._counted(valid, first)
        at = step * rows + rows - 1 - word
        self._keep(edge, at, block * len(valid) + column, values[column])

    def _counted(self, valid: Ints, first: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        column = self._columns[valid != 0]
        self._fold[column] += first[column]
        self._word[column] = np.where(first[column], 0, self._word[column] + 1)
        block, step = np.divmod(self._fold[column], self._steps)
        return column, step, block, self._word[column]

    def _keep(self, edge: int, m: Ints, n: Ints, values: Ints) -> None:
        """Keep what lies in the product; the rest are rows and columns that a ragged fold idles."""
        useful = (m < self.product.shape[0]) & (n < self.product.shape[1])
        self.product[m[useful], n[useful]] = values[useful]
        self.edges[m[useful], n[useful]] = edge
