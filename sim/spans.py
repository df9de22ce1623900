"""What the engine records: which unit worked for which kernel, from which cycle to which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .steady import Repeat, multiplicity

__all__ = ["UNITS", "Row", "Span", "Spans"]

UNITS = ("weights", "inputs", "array", "vector", "store", "host")
"""Loads of weights and of activations, the arrays, the vector unit, stores, the host."""


class Span(NamedTuple):
    """One stretch of work.

    `start` and `end` bound the time for which the unit is taken; the result is there at
    `end + tail`: after the DRAM's latency, or when the last sum has left the array.
    """

    unit: str
    kernel: int
    start: int
    end: int
    tail: int


class Row(NamedTuple):
    """A span as it is recorded: `unit` is a position in `UNITS`, `offset` what was skipped."""

    unit: int
    kernel: int
    start: int
    end: int
    tail: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Spans in columns, in the order in which they were recorded.

    Times are executed cycles.  A span that is executed once may stand for many (`repeats`), and
    what came after a jump happened `offset` cycles later than it was executed.

    Attributes:
        unit: Position in `UNITS`, `(spans,)`.
        kernel: Position of the kernel in the program, `(spans,)`.
        start, end, tail: Cycles, `(spans,)`.
        offset: Cycles that were skipped before, `(spans,)`.
        repeats: Which spans happen again, inner repeats before those around them.
        executed: How many spans were executed; the others are known to happen as they did.
    """

    unit: NDArray[np.int64]
    kernel: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    tail: NDArray[np.int64]
    offset: NDArray[np.int64]
    repeats: tuple[Repeat, ...] = ()
    executed: int = 0

    @classmethod
    def of(
        cls,
        rows: Sequence[Row] | NDArray[np.int64],
        repeats: Sequence[Repeat] = (),
        executed: int | None = None,
    ) -> Spans:
        """The columns of `rows`, or of an array `(spans, 6)` of such; all executed if None."""
        table = np.array(rows, dtype=np.int64).reshape(-1, len(Row._fields))
        unit, kernel, start, end, tail, offset = (np.ascontiguousarray(c) for c in table.T)
        executed = len(table) if executed is None else executed
        return cls(unit, kernel, start, end, tail, offset, tuple(repeats), executed)

    def and_rows(self, rows: Sequence[Row]) -> Spans:
        """With further rows, each of which happens once."""
        more = Spans.of(rows)
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in Row._fields
        }
        return replace(self, **columns)

    def __len__(self) -> int:
        return len(self.unit)

    def __iter__(self) -> Iterator[Span]:
        """Every span as often as it happens, in no particular order."""
        all_of_them = self.expanded()
        columns = zip(*(getattr(all_of_them, name) for name in Span._fields), strict=True)
        for unit, kernel, start, end, tail in columns:
            yield Span(UNITS[int(unit)], int(kernel), int(start), int(end), int(tail))

    @property
    def cycles(self) -> int:
        """When the last result is there."""
        return int((self.end + self.tail + self.offset).max(initial=0))

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each span happens, `(spans,)`."""
        return multiplicity(len(self), self.repeats)

    def is_of(self, *units: str) -> NDArray[np.bool_]:
        """Which spans are of these units, `(spans,)`."""
        return np.isin(self.unit, [UNITS.index(unit) for unit in units])

    def busy_cycles(self, *units: str) -> int:
        """Cycles for which these units are taken, summed over their spans."""
        taken = (self.end - self.start) * self.counts
        return int(taken[self.is_of(*units)].sum())

    def expanded(self) -> Spans:
        """Every span written out as often as it happens, in true time."""
        row = np.arange(len(self))
        shift = self.offset
        for repeat in self.repeats:
            again = (row >= repeat.first_row) & (row < repeat.last_row)
            shifts = repeat.period * np.arange(1, repeat.times + 1)
            shift = np.concatenate([shift, (shift[again][:, None] + shifts).ravel()])
            row = np.concatenate([row, np.repeat(row[again], repeat.times)])
        return Spans(
            self.unit[row],
            self.kernel[row],
            self.start[row] + shift,
            self.end[row] + shift,
            self.tail[row],
            np.zeros(len(row), dtype=np.int64),
            executed=len(row),
        )
