"""Kernels without a matrix product: rows pass from DRAM or buffer through the vector unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..arch import Accelerator
from .gemm import lane_cycles
from .loops import Part, walk
from .program import Node, Tile
from .tiling import SLACK

__all__ = ["Rows", "choose", "nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a mapping must know of a kernel on the vector unit.

    Attributes:
        rows: Pieces that the work may be cut into; a row of softmax or of a norm is never cut.
        input_elements, output_elements: Of all rows, loaded and stored; 0 if they stay on chip.
        parameters: Trained numbers, loaded once and ahead.
        whole_row: True if nothing of a row can leave before all of it was seen.
        reads, outputs: Elements that the unit reads and makes, on chip or not.
        lane_cycles: Cycles of one lane for all rows.
        bits: Of an element.
        input_room: Bytes of the input buffer that are not taken by resident activations.
        operands: How many operands are loaded.
        host_cycles: Until the host has set the bounds of what follows.
    """

    rows: int
    input_elements: int
    output_elements: int
    parameters: int
    whole_row: bool
    reads: int
    outputs: int
    lane_cycles: Fraction
    bits: int
    input_room: int
    operands: int
    host_cycles: int = 0

    def bytes(self, elements: int) -> int:
        """Bytes of activations."""
        return -(-elements * self.bits // 8)


def choose(rows: Rows, machine: Accelerator) -> int:
    """Tiles: the power of two, among those that fit, with the fewest predicted cycles."""
    inputs, outputs = rows.bytes(rows.input_elements), rows.bytes(rows.output_elements)
    room = rows.input_room // 2
    least = max(
        -(-inputs // max(room, 1)), -(-outputs // max(machine.buffers.output_tile_bytes, 1)), 1
    )
    per_byte = 1 / float(machine.dram_bytes_per_cycle)
    vector = float(rows.lane_cycles) / machine.vector.lanes

    def predicted(count: int) -> float:
        setups = machine.dram.setup_cycles * count * (rows.operands + (outputs > 0))
        moved = (inputs + outputs) * per_byte
        return max(moved + setups, vector) + min(moved, vector) / count

    counts = {count for step in range(12) if least <= (count := 1 << step) <= rows.rows}
    best = min(predicted(count) for count in counts | {least}) * SLACK
    return min(count for count in counts | {least} if predicted(count) <= best)


@lru_cache(maxsize=65536)
def nodes(rows: Rows, count: int, machine: Accelerator) -> tuple[Node, ...]:
    """The kernel as `count` tiles whose sizes differ by one element at most.

    A row that must be seen whole but is larger than a tile is loaded twice: once to gather its
    statistics and once to apply them.
    """
    if not rows.rows:
        return ()
    cut = count > rows.rows  # single rows are cut into pieces
    unit = max(rows.output_elements, rows.input_elements, count) if cut else rows.rows
    passes = 2 if cut and rows.whole_row else 1

    def tile(opens: bool, stores: bool) -> Callable[[Part], tuple[Node, ...]]:
        def body(part: Part) -> tuple[Node, ...]:
            trained = rows.bytes(rows.parameters) if part.first and opens else 0
            loads = rows.bytes(-(-rows.input_elements * part.size // unit))
            results = rows.bytes(-(-rows.output_elements * part.size // unit))
            return (
                Tile(
                    weight_bytes=trained,
                    weight_loads=int(trained > 0),
                    weights_freed=trained,
                    input_bytes=loads,
                    input_loads=rows.operands if loads else 0,
                    vector_cycles=lane_cycles(
                        part.size, rows.lane_cycles / (unit * passes), machine
                    ),
                    vector_frees=loads,
                    vector_reads=-(-rows.reads * part.size // unit),
                    outputs=-(-rows.outputs * part.size // unit) if stores else 0,
                    store_bytes=results if stores else 0,
                    host_cycles=rows.host_cycles if stores and part.last else 0,
                ),
            )

        return body

    size = -(-unit // count)
    statistics = walk(unit, size, tile(True, False)) if passes == 2 else ()
    return (*statistics, *walk(unit, size, tile(passes == 1, True)))
