"""Many machines that differ in numbers: one machine's fields as columns, a row for each design.

The closed forms read a machine's fields and do arithmetic on them, so that they take a whole column
of designs as they take one machine.  Arrays may differ in their dataflow and overlap too; what else
is no number (a kind of DRAM) is the same for all designs of a `Designs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch import Accelerator, ComputeArray

__all__ = ["Column", "Designs", "alike", "lacking", "some"]

Column = NDArray[Any]
"""A number for each design, `(designs,)`."""

Int = NDArray[np.int64]

_WHOLE = 1e-6  # by how much a count of cycles may be off before it is rounded up


class _Part:
    """A part of a machine, some of its fields columns; its properties follow from them."""

    def __init__(self, prototype: Any, columns: Mapping[str, Column]) -> None:
        self._prototype = prototype
        self._columns = columns
        self.__dict__.update(columns)

    def __getattr__(self, name: str) -> Any:
        """What is no column."""
        prototype: Any = self._prototype
        kind: Any = prototype.__class__
        derived = getattr(kind, name, None)
        if isinstance(derived, property) and derived.fget is not None:
            return derived.fget(self)
        return getattr(prototype, name)


class _Arrays(_Part):
    """Arrays of several kinds: closed forms take each by itself (`for_each_kind`).

    Args:
        prototypes: An array of each kind.
        kind: Of each row.
        columns: Fields that are columns.
    """

    def __init__(
        self, prototypes: Sequence[ComputeArray], kind: Int, columns: Mapping[str, Column]
    ) -> None:
        super().__init__(prototypes[0], columns)
        self._prototypes, self._kind = prototypes, kind
        self.count_of_rows = len(kind)

    @cached_property
    def kinds(self) -> list[tuple[Any, _Part]]:
        """Rows, and what they have."""
        kind = self._kind.reshape(-1)
        there = np.flatnonzero(np.bincount(kind)).tolist()
        if len(there) == 1:
            return [(slice(None), _Part(self._prototypes[there[0]], self._columns))]
        every = [(np.flatnonzero(kind == number), self._prototypes[number]) for number in there]
        return [
            (rows, _Part(prototype, {name: c[rows] for name, c in self._columns.items()}))
            for rows, prototype in every
        ]


class Designs:
    """Machines side by side, read like an `Accelerator` whose numbers are columns.

    Args:
        machine: What all designs have in common.
        columns: By dotted field, as `array.rows`: a number for each design.  `array.kind` is a
            number in `arrays`.
        arrays: What differs in more than numbers: a dataflow, an overlap.
    """

    def __init__(
        self,
        machine: Accelerator,
        columns: Mapping[str, Column],
        arrays: Sequence[ComputeArray] = (),
    ) -> None:
        self.machine = machine
        self.columns = dict(columns)
        self.arrays = arrays

        def part(name: str) -> Any:
            own = {
                key.removeprefix(f"{name}."): column
                for key, column in columns.items()
                if key.startswith(f"{name}.")
            }
            prototype = getattr(machine, name)
            return _Part(prototype, own) if own else prototype

        self.array: Any = part("array")
        if "array.kind" in columns:
            own = {
                name.removeprefix("array."): c for name, c in columns.items() if "array." in name
            }
            self.array = _Arrays(arrays, own.pop("kind"), own)
        self.buffers = part("buffers")
        self.dram = part("dram")
        self.vector = part("vector")
        self.host = part("host")
        self.energy = machine.energy
        self.clock_hz: Any = columns.get("clock_hz", machine.clock_hz)
        self.static_w: Any = columns.get("static_w", machine.static_w)

    def at(self, which: Any) -> Designs:
        """The designs that an index array or mask picks."""
        columns = {name: column[which] for name, column in self.columns.items()}
        return Designs(self.machine, columns, self.arrays)

    def reshaped(self, *shape: int) -> Designs:
        """The same designs along an axis of something larger."""
        columns = {name: column.reshape(shape) for name, column in self.columns.items()}
        return Designs(self.machine, columns, self.arrays)

    def of(self, part: str) -> list[Column]:
        """The columns of a part of the machine, as `array`."""
        return [column for name, column in self.columns.items() if name.split(".")[0] == part]

    @property
    def cycles_per_byte(self) -> Any:
        """Cycles for which a byte holds the DRAM bus."""
        return self.clock_hz / self.dram.bytes_per_s

    @property
    def dram_latency_cycles(self) -> Any:
        """DRAM latency in whole cycles, rounded up."""
        return np.ceil(self.dram.latency_s * self.clock_hz - _WHOLE)

    @property
    def host_cycles(self) -> Any:
        """The host's round trip in whole cycles, rounded up."""
        return np.ceil(self.host.round_trip_s * self.clock_hz - _WHOLE)

    def transfer_cycles(self, size_bytes: Any, descriptors: Any) -> Any:
        """Cycles for which a transfer holds the bus, 0 if there is none."""
        held = np.ceil(size_bytes * self.cycles_per_byte - _WHOLE)
        return np.where(size_bytes > 0, descriptors * self.dram.setup_cycles + held, 0)

    def lane_cycles(self, elements: Any, cost: Any) -> Any:
        """Cycles of the vector unit for elements at so many lane-cycles each."""
        return -(-elements * cost.numerator // (cost.denominator * self.vector.lanes))

    def whole_lane_cycles(self, cost: Any) -> Any:
        """Cycles of the vector unit for so many lane-cycles."""
        return np.ceil(cost / self.vector.lanes - 1e-9)


def alike(columns: Sequence[Any], count: int) -> tuple[Int, Int]:
    """Rows that agree in all columns: one of each kind, and the kind of each row.

    Args:
        columns: Numbers, which all rows agree in, and columns `(count,)`.
        count: How many rows there are.
    """
    key, size = np.zeros(count, dtype=np.int64), 1
    few = 4 * count + 1024  # numbers that need no sorting to be told apart
    for column in columns:
        if np.ndim(column) == 0:
            continue
        whole = np.issubdtype(column.dtype, np.integer)
        code = column - column.min() if whole else np.unique(column, return_inverse=True)[1]
        span = int(code.max()) + 1
        if size * span > few:
            key, size = _dense(key, size) if size <= few else _sorted(key)
            if span > few:
                code, span = _sorted(code)
        key, size = key * span + code, size * span
    kind, size = _dense(key, size) if size <= few else _sorted(key)
    first = np.empty(size, dtype=np.int64)
    first[kind[::-1]] = np.arange(count)[::-1]
    return first, kind


def _dense(key: Int, size: int) -> tuple[Int, int]:
    """Numbers below `size` as those of the different ones, in their order, and how many."""
    there = np.zeros(size, dtype=np.int64)
    there[key] = 1
    number = np.cumsum(there)
    return number[key] - 1, int(number[-1])


def _sorted(key: Int) -> tuple[Int, int]:
    """As `_dense`, of any numbers."""
    different, number = np.unique(key, return_inverse=True)
    return number.reshape(-1), len(different)


def some(value: Any, which: Any) -> Any:
    """Of a column some rows, of one row a plain number; a number is the same for all rows."""
    if np.ndim(value) == 0:
        return value
    return value[which].item() if isinstance(which, int) else value[which]


def lacking(count: int, **needed: tuple[Any, Any]) -> NDArray[np.object_]:
    """The buffers that are too small, `(rows,)`; all, if none lacks room alone.

    Args:
        count: How many rows there are.
        **needed: By field of the buffers, what is needed and what there is.
    """
    found = np.full(count, "", dtype=object)
    for name, (need, room) in needed.items():
        short = np.broadcast_to(need > room, (count,))
        found[short] += f", buffers.{name}"
    every = ", ".join(f"buffers.{name}" for name in needed)
    return np.array([text.removeprefix(", ") or every for text in found], dtype=object)
