"""Work of the vector unit in pieces: sizes and cycles are those of `vector_work.py`."""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..vector_work import Rows
from .designs import Designs, alike
from .nest import Kinds, Nest, Tiled, code_of, depth_of, flags_of, steps_of
from .piece_mapping import Pieces
from .steps import Steps

__all__ = ["vector_depths", "vector_steps", "vector_tiles"]

Int = NDArray[np.int64]

_LIMITS = 5, 10


def vector_steps(pieces: Pieces) -> Int:
    """Steps that are run of each work of the vector unit, `(rows,)`."""
    return steps_of((pieces.passes, -(-pieces.units // pieces.size)), _LIMITS)


def vector_depths(rows: Rows, designs: Designs, pieces: Pieces) -> tuple[Any, ...]:
    """How many pieces of inputs and of outputs each row's buffers have room for."""
    units, size, _ = pieces
    each = (-(-bits * size // (8 * units)) for bits in (rows.input_bits, rows.output_bits))
    rooms = rows.input_room, designs.buffers.output_bytes
    return tuple(depth_of(room, taken) for room, taken in zip(rooms, each, strict=True))


def vector_tiles(rows: Rows, designs: Designs, pieces: Pieces) -> Tiled:
    """Work of the vector unit in pieces; the sizes in `rows` are columns."""
    units, size, passes = pieces
    count = -(-units // size)
    last = units - (count - 1) * size
    first, own = alike((passes, count), len(units))
    nest = Nest((passes[first], count[first]), _LIMITS)
    kinds = Kinds(code_of(*nest.last), nest.valid)
    for_inputs, for_outputs = vector_depths(rows, designs, pieces)
    each = float(1) * rows.lane_cycles / (units * passes)

    def loaded(part: Any) -> Any:
        return -(-rows.input_bits * part // (8 * units))

    def stored(part: Any) -> Any:
        return -(-rows.output_bits * part // (8 * units))

    def cycles(part: Any) -> Any:
        return designs.whole_lane_cycles(part * each)

    def tile(code: int) -> tuple[Any, ...]:
        ends, is_last = flags_of(code, 2)
        part = last if is_last else size
        return loaded(part), cycles(part), stored(part) * ends, True

    inputs, vector, leaving, closes = kinds.tables([tile(code) for code in kinds.known], own)
    nothing = np.zeros(vector.shape)
    weights = nothing.copy()
    weights[-1] = designs.transfer_cycles(rows.parameter_bytes, 1)
    steps = Steps(
        kinds=kinds.of_steps,
        nest=own,
        weights=weights,
        inputs=designs.transfer_cycles(inputs, rows.operands),
        work=nothing,
        latency=nothing,
        vector=vector,
        closes=closes,
        store=designs.transfer_cycles(leaving, 1),
        input_room=nest.room(own, 1, for_inputs),
        output_room=nest.room(own, 1, for_outputs),
        by_vector=True,
        jumps=tuple(nest.jumps(own, (True, True))),
    )

    def over(value: Any) -> Any:
        """The sum over pieces of what so many units come to."""
        return (count - 1) * value(size) + value(last)

    totals = {
        "macs": 0,
        "input_bytes": passes * over(loaded),
        "weight_bytes": rows.parameter_bytes,
        "store_bytes": over(stored),
        "vector_cycles": passes * over(cycles),
        "input_reads": passes * over(lambda part: -(-rows.reads * part // units)),
        "outputs": over(lambda part: -(-rows.outputs * part // units)),
        "weight_reads": 0,
        "sum_reads": 0,
        "sum_writes": 0,
    }
    return Tiled(steps, passes * count, totals)
