"""What a run records, and what is taken over from an earlier part of it."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np

from .spans import Row, Spans
from .steady import Repeat

__all__ = ["Record", "Stretch"]


class Stretch(NamedTuple):
    """A stretch of what was executed, and how much later it happens again.

    Attributes:
        first_row, last_row: The rows `first_row <= row < last_row`.
        first_repeat, last_repeat: The repeats among them.
        kernels, executed, offset: To be added to the rows' kernels, executed cycles and offsets.
    """

    first_row: int
    last_row: int
    first_repeat: int
    last_repeat: int
    kernels: int = 0
    executed: int = 0
    offset: int = 0


class Record:
    """Rows as units execute them, and the stretches of which the whole run is made."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.repeats: list[Repeat] = []
        self._stretches: list[Stretch] = []

    def since(self, mark: tuple[int, int]) -> Stretch:
        """What was executed since `mark`."""
        return Stretch(mark[0], len(self.rows), mark[1], len(self.repeats))

    @property
    def mark(self) -> tuple[int, int]:
        """Where the record stands."""
        return len(self.rows), len(self.repeats)

    def append(self, stretch: Stretch) -> None:
        """Let `stretch` be what happens next."""
        self._stretches.append(stretch)

    def spans(self) -> Spans:
        """The whole run."""
        numbers = chain.from_iterable(self.rows)  # twice as fast as an array of tuples
        table = np.fromiter(numbers, dtype=np.int64).reshape(-1, len(Row._fields))
        pieces = [table[:0]]
        repeats: list[Repeat] = []
        row = 0
        for part in self._stretches:
            shift = Row(0, part.kernels, part.executed, part.executed, 0, part.offset)
            pieces.append(table[part.first_row : part.last_row] + np.array(shift))
            for repeat in self.repeats[part.first_repeat : part.last_repeat]:
                repeats.append(
                    repeat._replace(
                        first_row=repeat.first_row - part.first_row + row,
                        last_row=repeat.last_row - part.first_row + row,
                        start=repeat.start + part.executed,
                        end=repeat.end + part.executed,
                    )
                )
            row += part.last_row - part.first_row
        return Spans.of(np.concatenate(pieces), repeats, executed=len(self.rows))
