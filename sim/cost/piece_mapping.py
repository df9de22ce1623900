"""How works of the vector unit are cut into pieces: the choice of `vector_work.py`, in columns."""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..tiling import SLACK
from ..vector_work import Rows
from .designs import Designs, lacking

__all__ = ["Pieces", "choose_pieces", "lacking_pieces"]

Int = NDArray[np.int64]


class Pieces(NamedTuple):
    """Work of the vector unit, `(rows,)` each: as `VectorMapping`."""

    units: Int
    size: Int
    passes: Int


def choose_pieces(rows: Rows, designs: Designs, count: int) -> Pieces:
    """How each row's work of the vector unit is cut; 0 units in a piece where nothing fits."""

    def column(value: Any) -> Any:
        return np.broadcast_to(np.asarray(value), (count,))

    units, passes = column(rows.rows), np.ones(count, dtype=np.int64)
    largest = _largest_piece(rows, units, designs)
    cut = largest == 0
    units = np.where(cut, rows.elements, units)
    passes = np.where(cut & rows.whole_row & (column(rows.input_bits) > 0), 2, passes)
    largest = _largest_piece(rows, units, designs)
    inputs, outputs = -(-column(rows.input_bits) // 8), -(-column(rows.output_bits) // 8)
    vector = column(rows.lane_cycles).astype(float) / designs.vector.lanes
    moved = (inputs * passes + outputs) * designs.cycles_per_byte
    descriptors = rows.operands * passes + (outputs > 0)
    steps = np.arange(12)[:, None]
    sizes = np.concatenate([largest[None], -(-units >> steps)])
    sizes = np.where((sizes > 0) & (sizes <= largest), sizes, np.maximum(largest, 1))
    pieces = -(-units // sizes)
    setups = designs.dram.setup_cycles * pieces * descriptors
    predicted = np.maximum(moved + setups, vector) + np.minimum(moved, vector) / pieces
    near = predicted.min(axis=0) * SLACK
    size = np.where(predicted <= near, sizes, 0).max(axis=0)
    return Pieces(units, np.where(largest > 0, size, 0), passes)


def _largest_piece(rows: Rows, units: Any, designs: Designs) -> Any:
    size = units
    for size_bits, room_bytes in (
        (rows.input_bits, rows.input_room // 2),
        (rows.output_bits, designs.buffers.output_tile_bytes),
    ):
        each = -(-size_bits // units)
        size = np.where(each > 0, np.minimum(size, room_bytes * 8 // np.maximum(each, 1)), size)
    return size


def lacking_pieces(rows: Rows, designs: Designs, room: Any, count: int) -> NDArray[np.object_]:
    """The buffers that do not hold an element, `(rows,)`; as `lacking_tiles`."""
    one = np.ones(count, dtype=np.int64)
    inputs, outputs = (
        -(-size // (4 * rows.elements)) for size in (rows.input_bits, rows.output_bits)
    )
    return lacking(
        count,
        input_bytes=(inputs * one, room),
        output_bytes=(outputs * one, designs.buffers.output_bytes),
    )
