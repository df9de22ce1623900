"""What the engine records: which unit worked for which kernel, from which cycle to which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNITS", "Span", "Spans"]

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


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Spans in columns, in the order in which they were recorded.

    Attributes:
        unit: Position in `UNITS`, `(spans,)`.
        kernel: Position of the kernel in the program, `(spans,)`.
        start, end, tail: Cycles, `(spans,)`.
    """

    unit: NDArray[np.int64]
    kernel: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    tail: NDArray[np.int64]

    @classmethod
    def of(cls, rows: list[tuple[int, int, int, int, int]]) -> Spans:
        """The columns of `rows`."""
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        return cls(*(np.ascontiguousarray(table[:, column]) for column in range(5)))

    def __len__(self) -> int:
        return len(self.unit)

    def __iter__(self) -> Iterator[Span]:
        columns = zip(self.unit, self.kernel, self.start, self.end, self.tail, strict=True)
        for unit, kernel, start, end, tail in columns:
            yield Span(UNITS[int(unit)], int(kernel), int(start), int(end), int(tail))

    @property
    def cycles(self) -> int:
        """When the last result is there."""
        return int((self.end + self.tail).max(initial=0))

    def of_unit(self, *units: str) -> Spans:
        """Only the spans of these units."""
        keep = np.isin(self.unit, [UNITS.index(unit) for unit in units])
        return self.where(keep)

    def where(self, keep: NDArray[np.bool_]) -> Spans:
        """Only the spans that a mask of shape `(spans,)` keeps."""
        return Spans(
            self.unit[keep], self.kernel[keep], self.start[keep], self.end[keep], self.tail[keep]
        )
