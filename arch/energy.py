"""An energy table: picojoules per action at one technology node, each number cited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator

from .formats import Choices, PerProduct
from .value import Count, Positive, Rate, Value


class PerDram(Choices, frozen=True):
    """A number for each kind of DRAM, e.g. picojoules per bit."""

    ddr3: Rate | None = None
    ddr4: Rate | None = None
    lpddr4: Rate | None = None
    lpddr5: Rate | None = None
    gddr6: Rate | None = None
    gddr6x: Rate | None = None
    gddr7: Rate | None = None
    hbm2: Rate | None = None
    hbm2e: Rate | None = None
    hbm3: Rate | None = None
    hbm3e: Rate | None = None


class SramPoint(Value, frozen=True):
    """One cited SRAM: its capacity in bytes, and the energy of a byte read and written, in pJ.

    Where a source gives one number for an access, `read_pj_per_byte` stands for both.
    """

    capacity_bytes: Count
    read_pj_per_byte: Positive
    write_pj_per_byte: Positive | None = None

    @property
    def written_pj_per_byte(self) -> float:
        """The energy of a byte written, in pJ."""
        return self.write_pj_per_byte or self.read_pj_per_byte


class EnergyTable(Value, frozen=True):
    """What one action costs, in picojoules.

    `mac_pj` is one multiply-accumulate into 32 bits, by operand format; `vector_op_pj` one
    element in one lane for one cycle; `register_pj_per_byte` a PE-local register; `sram` cited
    points by rising capacity; `dram_pj_per_bit` by kind of DRAM, interface included.
    """

    name: str
    description: str = ""
    node_nm: Positive
    mac_pj: PerProduct
    vector_op_pj: Positive
    register_pj_per_byte: Positive
    sram: Annotated[tuple[SramPoint, ...], Field(min_length=2)]
    dram_pj_per_bit: PerDram

    @field_validator("sram")
    @classmethod
    def _rising(cls, points: tuple[SramPoint, ...]) -> tuple[SramPoint, ...]:
        if any(a.capacity_bytes >= b.capacity_bytes for a, b in pairwise(points)):
            got = ", ".join(str(point.capacity_bytes) for point in points)
            raise ValueError(f"wanted points by rising capacity_bytes, got {got}")
        return points

    def mac_j(self, weights: str, activations: str) -> float:
        """Return the energy of one multiply-accumulate of these formats, in joules.

        Raises:
            FormatError: if the table has no pair of formats that holds them.
        """
        return float(self.mac_pj.least(weights, activations)) * 1e-12

    @property
    def vector_op_j(self) -> float:
        """The energy of one element in one lane for one cycle, in joules."""
        return self.vector_op_pj * 1e-12

    @property
    def register_j_per_byte(self) -> float:
        """The energy of a byte read from, or written to, a PE's register, in joules."""
        return self.register_pj_per_byte * 1e-12

    def sram_read_j_per_byte(self, capacity_bytes: int) -> float:
        """Return the energy of a byte read from an SRAM of this size, in joules.

        A straight line in log capacity and log energy through the two cited points around it;
        beyond the first and the last point the nearest line goes on.

        Raises:
            ValueError: if `capacity_bytes` is not positive.
        """
        points = ((p.capacity_bytes, p.read_pj_per_byte) for p in self.sram)
        return _between(tuple(points), capacity_bytes) * 1e-12

    def sram_write_j_per_byte(self, capacity_bytes: int) -> float:
        """Return the energy of a byte written to it; as `sram_read_j_per_byte`."""
        points = ((p.capacity_bytes, p.written_pj_per_byte) for p in self.sram)
        return _between(tuple(points), capacity_bytes) * 1e-12

    def dram_j_per_byte(self, kind: str) -> float:
        """Return the energy of one byte moved from or to DRAM, in joules.

        Raises:
            FormatError: if the table does not know this `kind` of DRAM.
        """
        return float(self.dram_pj_per_bit.get(kind)) * 8e-12


def _between(points: Sequence[tuple[int, float]], capacity_bytes: int) -> float:
    """The energy at a capacity, given pairs of both, the capacities rising."""
    if capacity_bytes <= 0:
        raise ValueError(f"capacity_bytes: wanted more than 0, got {capacity_bytes}")
    if capacity_bytes in dict(points):
        return dict(points)[capacity_bytes]
    inner = sum(size < capacity_bytes for size, _ in points[1:-1])
    (size, energy), (larger, more) = points[inner], points[inner + 1]
    slope = math.log(more / energy) / math.log(larger / size)
    return float(energy * (capacity_bytes / size) ** slope)
