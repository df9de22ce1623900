"""Kernels without a matrix product: rows pass from DRAM or buffer through the vector unit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..arch import Accelerator
from .errors import MappingError
from .gemm import lane_cycles
from .loops import Part, walk
from .program import Node, Tile
from .tiling import SLACK

__all__ = ["Rows", "VectorMapping", "choose", "nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a mapping must know of a kernel on the vector unit.

    Attributes:
        rows: Pieces that the work may be cut into; a row of softmax or of a norm is never cut.
        elements: Pieces that rows may be cut into where a row is too large for a tile.
        input_bits, output_bits: Of all rows, loaded and stored; 0 if they stay on chip.
        parameter_bytes: Trained numbers, loaded once and ahead.
        whole_row: True if nothing of a row can leave before all of it was seen.
        reads, outputs: Elements that the unit reads and makes, on chip or not.
        lane_cycles: Cycles of one lane for all rows.
        input_room: Bytes of the input buffer that are not taken by resident activations.
        operands: How many operands are loaded.
        host_cycles: Until the host has set the bounds of what follows.
    """

    rows: int
    elements: int
    input_bits: int
    output_bits: int
    parameter_bytes: int
    whole_row: bool
    reads: int
    outputs: int
    lane_cycles: Fraction
    input_room: int
    operands: int
    host_cycles: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorMapping:
    """The work cut into `units` pieces, `size` of them in a tile, and passed over `passes` times.

    A row that must be seen whole but is larger than a tile is passed over twice: once to gather its
    statistics and once to apply them.
    """

    units: int
    size: int
    passes: int = 1

    def __str__(self) -> str:
        count = -(-self.units // self.size)
        tiles = "1 tile" if count == 1 else f"{count} tiles"
        return f"{tiles}, twice" if self.passes == 2 else tiles


def choose(rows: Rows, machine: Accelerator) -> VectorMapping:
    """The largest tiles among those with the fewest predicted cycles.

    Raises:
        MappingError: A buffer does not hold two elements.
    """
    units, passes = rows.rows, 1
    largest = _largest(rows, units, machine)
    if not largest:  # not even one row: cut rows into their elements
        units = rows.elements
        passes = 2 if rows.whole_row and rows.input_bits else 1
        largest = _largest(rows, units, machine)
    if not largest:
        raise MappingError(
            f"{machine.name} is too small for one element: buffers.input_bytes gives "
            f"{rows.input_room}, buffers.output_bytes {machine.buffers.output_bytes}"
        )
    inputs, outputs = -(-rows.input_bits // 8), -(-rows.output_bits // 8)
    per_byte = 1 / float(machine.dram_bytes_per_cycle)
    vector = float(rows.lane_cycles) / machine.vector.lanes
    moved = (inputs * passes + outputs) * per_byte
    descriptors = rows.operands * passes + (outputs > 0)

    def predicted(size: int) -> float:
        count = -(-units // size)
        setups = machine.dram.setup_cycles * count * descriptors
        return max(moved + setups, vector) + min(moved, vector) / count

    sizes = {largest} | {size for step in range(12) if 0 < (size := -(-units >> step)) <= largest}
    near = min(predicted(size) for size in sizes) * SLACK
    size = max(size for size in sizes if predicted(size) <= near)
    return VectorMapping(units=units, size=size, passes=passes)


def _largest(rows: Rows, units: int, machine: Accelerator) -> int:
    """The largest tile that fits, in units of which there are `units`; 0 if none does."""
    size = units
    for size_bits, room_bytes in (
        (rows.input_bits, rows.input_room // 2),
        (rows.output_bits, machine.buffers.output_tile_bytes),
    ):
        each = -(-size_bits // units)
        if each:
            size = min(size, room_bytes * 8 // each)
    return size


@lru_cache(maxsize=65536)
def nodes(rows: Rows, mapping: VectorMapping, machine: Accelerator) -> tuple[Node, ...]:
    """The kernel's tiles."""
    units, passes = mapping.units, mapping.passes

    def tile(part: Part, which: Part) -> tuple[Node, ...]:
        loads = -(-rows.input_bits * part.size // (8 * units))
        results = -(-rows.output_bits * part.size // (8 * units))
        trained = rows.parameter_bytes if part.first and which.first else 0
        return (
            Tile(
                weight_bytes=trained,
                weight_loads=int(trained > 0),
                weights_freed=trained,
                input_bytes=loads,
                input_loads=rows.operands if loads else 0,
                vector_cycles=lane_cycles(part.size, rows.lane_cycles / (units * passes), machine),
                vector_frees=loads,
                vector_reads=-(-rows.reads * part.size // units),
                outputs=-(-rows.outputs * part.size // units) * which.last,
                store_bytes=results * which.last,
                host_cycles=rows.host_cycles * (which.last and part.last),
            ),
        )

    return walk(passes, 1, lambda which: walk(units, mapping.size, lambda part: tile(part, which)))
