"""Many machines that differ in numbers: one machine's fields as columns, a row for each design.

The closed forms read a machine's fields and do arithmetic on them, so that they take a whole column
of designs as they take one machine.  What is no number (a dataflow, a kind of DRAM) is the same for
all designs of a `Designs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch import Accelerator

__all__ = ["Column", "Designs", "alike", "some"]

Column = NDArray[Any]
"""A number for each design, `(designs,)`."""

Int = NDArray[np.int64]

_WHOLE = 1e-6  # by how much a count of cycles may be off before it is rounded up


class _Part:
    """A part of a machine, some of its fields columns; its properties follow from them."""

    def __init__(self, prototype: Any, columns: Mapping[str, Column]) -> None:
        self._prototype = prototype
        self._columns = columns

    def __getattr__(self, name: str) -> Any:
        column = self._columns.get(name)
        if column is not None:
            return column
        prototype: Any = self._prototype
        kind: Any = prototype.__class__
        derived = getattr(kind, name, None)
        if isinstance(derived, property) and derived.fget is not None:
            return derived.fget(self)
        return getattr(prototype, name)


class Designs:
    """Machines side by side, read like an `Accelerator` whose numbers are columns.

    Args:
        machine: What all designs have in common.
        columns: By dotted field, as `array.rows`: a number for each design.
    """

    def __init__(self, machine: Accelerator, columns: Mapping[str, Column]) -> None:
        self.machine = machine
        self.columns = dict(columns)

        def part(name: str) -> Any:
            own = {
                key.removeprefix(f"{name}."): column
                for key, column in columns.items()
                if key.startswith(f"{name}.")
            }
            prototype = getattr(machine, name)
            return _Part(prototype, own) if own else prototype

        self.array = part("array")
        self.buffers = part("buffers")
        self.dram = part("dram")
        self.vector = part("vector")
        self.host = part("host")
        self.energy = machine.energy
        self.clock_hz: Any = columns.get("clock_hz", machine.clock_hz)
        self.static_w: Any = columns.get("static_w", machine.static_w)

    def at(self, which: Any) -> Designs:
        """The designs that an index array or mask picks."""
        return Designs(self.machine, {name: column[which] for name, column in self.columns.items()})

    def of(self, part: str) -> list[Column]:
        """The columns of a part of the machine, as `array`."""
        return [column for name, column in self.columns.items() if name.startswith(f"{part}.")]

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


def alike(columns: Sequence[Any], count: int) -> tuple[Int, Int]:
    """Rows that agree in all columns: one of each kind, and the kind of each row.

    Args:
        columns: Numbers, which all rows agree in, and columns `(count,)`.
        count: How many rows there are.
    """
    key, size = np.zeros(count, dtype=np.int64), 1
    for column in columns:
        if np.ndim(column) == 0:
            continue
        whole = np.issubdtype(column.dtype, np.integer)
        code = column - column.min() if whole else np.unique(column, return_inverse=True)[1]
        span = int(code.max()) + 1
        if size * span >= 1 << 62:
            key = np.unique(key, return_inverse=True)[1]
            size = int(key.max()) + 1
        key, size = key * span + code, size * span
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)


def some(value: Any, which: Any) -> Any:
    """Of a column some rows, of one row a plain number; a number is the same for all rows."""
    if np.ndim(value) == 0:
        return value
    return value[which].item() if isinstance(which, int) else value[which]
