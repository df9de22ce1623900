"""The blocks of many attentions: the engine's prediction and choice, for all of them at once."""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..array_work import drain_cycles, port_cycles, side_by_side
from ..attention_mapping import Heads
from ..tiling import ladder
from .designs import Designs, alike, lacking, some
from .fastest import Fastest, Held, begins, best
from .nest import parts, tile_kinds
from .product_table import padded

__all__ = ["Blocks", "choose_blocks", "heads_of", "lacking_blocks"]

_CELLS = 1 << 16  # blocks x rows at a time: as many as stay in the caches

Int = NDArray[np.int64]


class Blocks(NamedTuple):
    """Blocks of attention, `(rows,)` each: query rows, keys, and heads side by side."""

    queries: Int
    keys: Int
    heads: Int


class _Table(NamedTuple):
    """Blocks of several kinds of attention, each on an array; `(kinds, blocks)` each.

    Attributes:
        sums, inputs, streamed, outputs: Bytes that a block needs of each buffer, but for what is
            loaded once; `streamed` where keys and values do not stay.
        head_bytes: Keys and values of the heads side by side.
        array, lanes: Cycles of the array, and lane-cycles of the vector unit.
        drain: Cycles for which blocks wait for the array to drain.
        moved_kept, moved_streamed: Bytes on the bus, if keys and values stay and if they do not.
        loads_kept, loads_streamed: Descriptors then.
        number: How many blocks there are.
        queries, keys, heads: Of a block.
    """

    sums: Any
    inputs: Any
    streamed: Any
    outputs: Any
    head_bytes: Any
    array: Any
    lanes: Any
    drain: Any
    moved_kept: Any
    moved_streamed: Any
    loads_kept: Any
    loads_streamed: Any
    number: Any
    queries: Any
    keys: Any
    heads: Any


def heads_of(heads: Heads, which: Any) -> Heads:
    """Some rows of an attention's columns, of one row as plain numbers and without room."""
    sizes = {
        name: some(getattr(heads, name), which)
        for name in ("copies", "queries", "keys", "once_bytes")
    }
    room = 0 if isinstance(which, int) else some(heads.input_room, which)
    return replace(heads, input_room=room, **sizes)


def _table(heads: Heads, designs: Designs, rate: Fraction, kinds: int) -> _Table:
    """All blocks of attentions, a row of `heads` for each kind."""

    def upright(value: Any) -> Any:
        return np.broadcast_to(value, (kinds,)).reshape(-1, 1, 1, 1)

    def sizes(most: Any, axis: int) -> Any:
        each = [ladder(size, 1) for size in np.broadcast_to(most, (kinds,)).tolist()]
        shape = [kinds, 1, 1, 1]
        shape[axis] = -1
        return padded(each).reshape(shape)

    copies, rows, all_keys = (upright(n) for n in (heads.copies, heads.queries, heads.keys))
    array = designs.reshaped(-1, 1, 1, 1).array
    together = sizes(np.minimum(side_by_side(array), heads.copies), 1)
    queries, keys = sizes(heads.queries, 2), sizes(heads.keys, 3)
    dimensions = parts(copies, together), parts(rows, queries), parts(all_keys, keys)
    (head_blocks, *_), (row_blocks, *_), (key_blocks, *_) = dimensions
    cycles: Any = 0
    for number, (h, q, k), _ in tile_kinds(*dimensions):
        for shape in ((h, q, heads.head_dim, k), (h, q, k, heads.value_dim)):
            held = port_cycles(array, *shape, bits=heads.bits, rate=rate, demand=Fraction(1))
            cycles = cycles + number * held
    of_rows = head_blocks * row_blocks
    blocks = of_rows * key_blocks
    scores, results = together * queries * keys, together * queries * heads.value_dim
    online = keys < all_keys
    all_results = copies * rows * heads.value_dim
    all_scores = copies * rows * all_keys
    once = (
        heads.mask_bytes(all_scores)
        + heads.stored_bytes(all_results)
        + heads.extra_bytes(all_results)
        + heads.query_bytes(copies * rows)
    )
    own = sum(heads.loaded_bytes(copies * all_keys))
    passing = int(heads.stores) + int(heads.loads_input) + len(heads.extra)
    loads = blocks * heads.loads_mask + of_rows * passing
    merged = online * key_blocks * float(heads.merge_cost)
    columns = _Table(
        sums=4 * (2 * scores + (2 + online) * results),
        inputs=heads.query_bytes(together * queries)
        + heads.mask_bytes(scores)
        + heads.extra_bytes(results),
        streamed=sum(heads.loaded_bytes(together * keys)),
        outputs=heads.stored_bytes(results),
        head_bytes=sum(heads.loaded_bytes(together * all_keys)),
        array=cycles,
        lanes=all_scores * float(heads.softmax_cost)
        + all_results * (merged + float(heads.vector_cost)),
        drain=drain_cycles(array, queries, heads.bits) * blocks,
        moved_kept=once + own,
        moved_streamed=once + own * (of_rows / copies),
        loads_kept=loads + 2 * copies,
        loads_streamed=loads + 2 * blocks,
        number=blocks,
        queries=queries,
        keys=keys,
        heads=together,
    )
    grid = np.broadcast_shapes(together.shape, queries.shape, keys.shape)
    return _Table(*(np.broadcast_to(column, grid).reshape(kinds, -1) for column in columns))


def choose_blocks(heads: Heads, designs: Designs, rate: Fraction, count: int) -> Blocks:
    """The block of each row's attention, `(rows,)` each; 0 queries where nothing fits."""
    sizes = (heads.copies, heads.queries, heads.keys)
    first, kind = alike([*sizes, *designs.of("array")], count)
    buffers = designs.buffers
    of_row = designs.cycles_per_byte, designs.dram.setup_cycles, designs.vector.lanes
    paces, priced = alike(of_row, count)
    pace = [np.broadcast_to(some(each, paces), paces.shape)[:, None] for each in of_row]
    order = np.lexsort((priced, kind))
    room = [
        np.broadcast_to(column, (count,))[order]
        for column in (
            buffers.accumulator_bytes, heads.input_room // 2 - heads.once_bytes,
            buffers.weight_bytes // 2, buffers.output_bytes // 2,
        )
    ]  # fmt: skip
    chosen = np.zeros((3, count), dtype=np.int64)
    some_kinds = 256
    for low in range(0, len(first), some_kinds):
        of_kinds = first[low : low + some_kinds]
        table = _table(heads_of(heads, of_kinds), designs.at(of_kinds), rate, len(of_kinds))
        own = slice(*np.searchsorted(kind[order], (low, low + some_kinds)))
        rows = order[own]
        places, blocks = _best(
            table, kind[rows] - low, priced[rows], pace, [column[own] for column in room]
        )
        rows = rows[places]
        for axis, of_table in zip(chosen, (table.queries, table.keys, table.heads), strict=True):
            axis[rows] = of_table[kind[rows] - low, blocks]
    return Blocks(*chosen)


def _best(
    table: _Table, kind: Int, priced: Int, pace: Sequence[Any], room: Sequence[Int]
) -> tuple[Int, Int]:
    """Places of the rows where something fits, and the block that is best there.

    Blocks come twice, with keys and values that stay and without: the buffer of weights says which.

    Args:
        table: Blocks of all kinds.
        kind: Of each row, rising.
        priced: A number of its pace, rising among those of a kind.
        pace: Cycles of a byte and of a descriptor, and lanes of the vector unit, of each number.
        room: Bytes for a block's sums, inputs, keys and values, and results, of each row.
    """
    kinds, blocks = table.number.shape
    twice = np.arange(2 * blocks) % blocks
    streamed, stays = table.streamed, table.head_bytes
    always = np.full((kinds, blocks), np.iinfo(np.int64).max)
    held = [
        Held(table.sums[:, twice], kind, room[0]),
        Held(table.inputs[:, twice], kind, room[1]),
        Held(
            np.concatenate([np.maximum(streamed, stays), streamed], axis=1),
            kind,
            room[2],
            spare=np.concatenate([always, stays], axis=1),
        ),
        Held(table.outputs[:, twice], kind, room[3]),
    ]
    moved = np.concatenate([table.moved_kept, table.moved_streamed], axis=1)
    number = table.number[:, twice]
    of_price = begins(kind * (int(priced.max()) + 1) + priced)
    ends = np.append(of_price[1:], len(kind))
    at_once = max(_CELLS // (2 * blocks), 1)
    found: list[tuple[Int, Int]] = []
    for at in range(0, len(of_price), at_once):
        these = of_price[at : at + at_once]
        cycles = _predicted(table, kind[these], *(each[priced[these]] for each in pace))
        fastest, last = Fastest(cycles[..., None]), int(ends[at + len(these) - 1])
        for start in range(int(these[0]), last, 4 * at_once):
            rows = np.arange(start, min(start + 4 * at_once, last))
            price = np.searchsorted(these, rows, side="right") - 1
            row, block = fastest.fitting(held, rows, price)
            which = kind[rows[row]] * (2 * blocks) + block
            fast = cycles, price[row] * (2 * blocks) + block
            winner = best(row, (moved, which), (number, which), fast, (twice, block))
            found.append((rows[row[winner]], twice[block[winner]]))
    places, chosen = zip(*found, strict=True)
    return np.concatenate(places), np.concatenate(chosen)


def _predicted(table: _Table, kind: Int, per_byte: Any, setup: Any, lanes: Any) -> Any:
    """Cycles of the blocks of some kinds, where keys and values stay, then where they do not."""
    array, vector = table.array[kind], table.lanes[kind] / lanes
    chain = table.drain[kind] + (array + vector) / 2
    least, apart = np.maximum(np.maximum(array, vector), chain), vector / table.number[kind]
    cycles = [
        np.maximum(least, moved[kind] * per_byte + loads[kind] * setup) + apart
        for moved, loads in (
            (table.moved_kept, table.loads_kept),
            (table.moved_streamed, table.loads_streamed),
        )
    ]
    return np.concatenate(cycles, axis=1)


def lacking_blocks(heads: Heads, designs: Designs, room: Any, count: int) -> NDArray[np.object_]:
    """The buffers that do not hold one query and one key, `(rows,)`; as `lacking_tiles`."""
    one, buffers = np.ones(count, dtype=np.int64), designs.buffers
    inputs = heads.query_bytes(1) + heads.mask_bytes(1) + heads.once_bytes
    inputs = inputs + heads.extra_bytes(heads.value_dim)
    return lacking(
        count,
        input_bytes=(2 * inputs * one, room),
        weight_bytes=(2 * sum(heads.loaded_bytes(1)) * one, buffers.weight_bytes),
        accumulator_bytes=(4 * (2 + 3 * heads.value_dim) * one, buffers.accumulator_bytes),
        output_bytes=(2 * heads.stored_bytes(heads.value_dim), buffers.output_bytes),
    )
