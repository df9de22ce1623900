"""The mapping's choice for many designs at once: the engine's prediction, at most 64 tilings each.

Tilings of a shape are counted once for all designs whose arrays are alike (`tiling.count`); what a
design adds are its buffers, which strike some out, and its memory and vector unit, which price the
rest (`tiling.predict`).  Of those that fit, 64 are priced: those with the fewest DRAM bytes and
those with the fewest cycles of the array, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .array_work import array_work, drain_cycles, side_by_side, whole_units
from .attention_mapping import Heads
from .cost_tiles import Blocks, Pieces, parts, tile_kinds
from .designs import Designs
from .gemm import Gemm
from .tiling import SLACK, Candidates, Counted, count, ladder, needs, predict, tilings
from .vector_work import Rows

__all__ = ["TILINGS", "choose_blocks", "choose_pieces", "choose_tiles"]

TILINGS = 32
"""Tilings of a shape that are priced on a design."""

_ROWS = 512  # rows whose tilings are compared at a time: as many as stay in the caches
_LIKELY = 128  # tilings among which there are enough that fit, more often than not

# Memories and lanes on which tilings are ranked before a design is known; assumed, from fast to slow.
_PER_BYTE, _SETUP, _LATENCY, _LANES = (0.005, 0.04, 0.16, 0.64), 16, 100, 32

Int = NDArray[np.int64]


class _Table(NamedTuple):
    """Tilings of one shape on one array, the most promising first."""

    needs: NDArray[np.int64]  # (4, candidates)
    columns: NDArray[np.float64]  # (fields of `Counted` that differ, candidates)
    tilings: NDArray[np.int64]  # (5, candidates)


_FIELDS = (
    "array", "left", "right", "stored", "vectored", "both", "input_only", "weight_only", "neither",
    "added", "rounds", "drain", "first", "last", "last_vectored", "first_weights", "dram_bytes",
)  # fmt: skip


@lru_cache(maxsize=2048)
def _table(gemm: Gemm, array: Any, cap: Any, rate: Fraction, whole_folds: bool) -> _Table:
    machine = SimpleNamespace(array=array, buffers=SimpleNamespace(im2col_bytes_per_cycle=cap))
    every = tilings(gemm.shape, whole_units(array) if whole_folds else (1, 1, 1))
    counted = count(gemm, machine, rate, every)  # type: ignore[arg-type]
    need = np.array([np.broadcast_to(n, every.m.shape) for n in needs(gemm, every)])
    lane = float(gemm.vector_cost) / _LANES
    ranks = [
        np.argsort(
            np.argsort(predict(counted, per_byte=c, setup=_SETUP, latency=_LATENCY, lane=lane)[0])
        )
        for c in _PER_BYTE
    ]
    order = np.argsort(np.min(ranks, axis=0), kind="stable")
    columns = [np.broadcast_to(getattr(counted, f), every.m.shape) for f in _FIELDS]
    return _Table(
        need[:, order], np.array(columns, dtype=float)[:, order], np.array(every)[:, order]
    )


def _stacked(tables: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Tables of several shapes side by side, the shorter ones filled with what never fits."""
    most = max(table.needs.shape[1] for table in tables)

    def filled(part: Any, value: Any) -> Any:
        return np.pad(part, ((0, 0), (0, most - part.shape[1])), constant_values=value)

    return (
        np.stack([filled(t.needs, np.iinfo(np.int64).max) for t in tables]),
        np.stack([filled(t.columns, 1) for t in tables], axis=1),
        np.stack([filled(t.tilings, 1) for t in tables], axis=1),
    )


def _pairs(need: Any, kind: Any, room: Sequence[Any]) -> tuple[Any, Any]:
    """Rows and the candidates that are priced on them: of those that fit, the first few."""
    found = []
    for start in range(0, len(kind), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(kind)))
        pairs, few = _first(need[:, :, :_LIKELY], kind, room, rows)
        if len(few) and need.shape[2] > _LIKELY:
            pairs = [part[~np.isin(pairs[0], few)] for part in pairs]
            more, _ = _first(need, kind, room, few)
            pairs = [np.concatenate(both) for both in zip(pairs, more, strict=True)]
            order = np.argsort(pairs[0], kind="stable")
            pairs = [part[order] for part in pairs]
        found.append(pairs)
    rows, which = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, which


def _first(need: Any, kind: Any, room: Sequence[Any], rows: Any) -> tuple[list[Any], Any]:
    """Some rows with the first candidates that fit them, and the rows with fewer than wanted."""
    of = kind[rows]
    fits: Any = True
    for index, has in enumerate(room):
        fits = fits & (need[of, index] <= has[rows][:, None])
    rank, which = np.nonzero(fits)
    begins = np.searchsorted(rank, np.arange(len(rows) + 1))
    early = np.arange(len(rank)) - begins[rank] < TILINGS
    return [rows[rank[early]], which[early]], rows[np.diff(begins) < TILINGS]


def _best(rows: Any, cycles: Any, then: Sequence[Any], count: int) -> Any:
    """For each row the best of its pairs, -1 where there is none.

    Args:
        rows: Of each pair, rising.
        cycles: Predicted.
        then: What decides among those that are as fast, the first first.
        count: How many rows there are.
    """
    best = np.full(count, -1)
    if not len(rows):
        return best
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    least = np.minimum.reduceat(cycles, begins)
    sizes = np.diff(np.append(begins, len(rows)))
    near = np.flatnonzero(cycles <= np.repeat(least, sizes) * SLACK)
    near = near[np.lexsort((*(column[near] for column in reversed(then)), rows[near]))]
    best[rows[near[::-1]]] = near[::-1]  # the first of a row is written last
    return best


def _alike(columns: Sequence[Any], count: int) -> tuple[Any, Any]:
    """Rows that agree in all columns: one of each kind, and the kind of each row."""
    key = np.stack([np.broadcast_to(np.asarray(c, dtype=float), (count,)) for c in columns], axis=1)
    _, first, kind = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)


def _array_at(designs: Designs, row: int) -> Any:
    """The array of one design."""
    own = {
        name.removeprefix("array."): int(column[row])
        for name, column in designs.columns.items()
        if name.startswith("array.")
    }
    return _array(designs.machine.array, tuple(own.items()))


@lru_cache(maxsize=65536)
def _array(prototype: Any, changes: tuple[tuple[str, int], ...]) -> Any:
    return prototype.replace(**dict(changes)) if changes else prototype


def _column_at(value: Any, row: int) -> Any:
    return value if np.ndim(value) == 0 else value[row].item()


def choose_tiles(gemm: Gemm, designs: Designs, rate: Fraction, count: int) -> Candidates:
    """The tiling of each row's product, `(rows,)` each; 0 rows of m where nothing fits."""
    chosen = _choose_tiles(gemm, designs, rate, count, whole_folds=True)
    lost = np.flatnonzero(chosen.m == 0)
    if len(lost):  # no whole fold: folds that fill only part of the array
        again = _choose_tiles(
            rows_of(gemm, lost), designs.at(lost), rate, len(lost), whole_folds=False
        )
        for ours, theirs in zip(chosen, again, strict=True):
            ours[lost] = theirs
    return chosen


def _choose_tiles(
    gemm: Gemm, designs: Designs, rate: Fraction, count: int, *, whole_folds: bool
) -> Candidates:
    shape, buffers = gemm.shape, designs.buffers
    cap = buffers.im2col_bytes_per_cycle if shape.window is not None else None
    sizes = (shape.groups, shape.repeats, shape.m, shape.k, shape.n)
    arrays = [c for name, c in designs.columns.items() if name.startswith("array.")]
    kinds, kind = _alike([*sizes, *arrays, *([] if cap is None else [cap])], count)
    tables = []
    for row in kinds:
        one = rows_of(gemm, int(row))
        at = _column_at(cap, int(row))
        tables.append(_table(one, _array_at(designs, int(row)), at, rate, whole_folds))
    need, columns, tiles = _stacked(tables)
    room = (
        gemm.input_room // 2, buffers.weight_tile_bytes, buffers.accumulator_tile_words,
        buffers.output_tile_bytes,
    )  # fmt: skip
    rows, which = _pairs(need, kind, [np.broadcast_to(has, (count,)) for has in room])
    flat = kind[rows] * need.shape[2] + which
    counted = Counted(
        **{f: columns[i].reshape(-1).take(flat) for i, f in enumerate(_FIELDS)},
        descriptors=int(gemm.stores) + len(gemm.extra),
    )

    def of(value: Any) -> Any:
        return value if np.ndim(value) == 0 else value[rows]

    cycles, alone = predict(
        counted,
        per_byte=of(designs.cycles_per_byte),
        setup=of(designs.dram.setup_cycles),
        latency=of(designs.dram_latency_cycles),
        lane=float(gemm.vector_cost) / of(designs.vector.lanes),
    )
    then = (counted.dram_bytes, alone, counted.tiles)
    best = _best(rows, cycles, then, count)
    picked = tiles.reshape(5, -1)[:, flat[np.maximum(best, 0)]] if len(flat) else 0
    return Candidates(
        *(np.where(best >= 0, part, 0) for part in np.broadcast_to(picked, (5, count)))
    )


def rows_of(gemm: Gemm, which: Any) -> Gemm:
    """Some rows of a product's columns; of one row as plain numbers, without what designs differ in."""

    def of(value: Any) -> Any:
        return _column_at(value, which) if isinstance(which, int) else _some(value, which)

    shape = gemm.shape
    return replace(
        gemm,
        shape=replace(
            shape,
            groups=of(shape.groups),
            repeats=of(shape.repeats),
            m=of(shape.m),
            k=of(shape.k),
            n=of(shape.n),
        ),
        input_room=0 if isinstance(which, int) else of(gemm.input_room),
        once_bytes=of(gemm.once_bytes),
        once_trained_bytes=of(gemm.once_trained_bytes),
    )


def _some(value: Any, which: Any) -> Any:
    return value if np.ndim(value) == 0 else value[which]


class _BlockTable(NamedTuple):
    """Blocks of one attention on one array, `(candidates,)` in each column."""

    needs: Any  # (0, candidates)
    columns: Any
    tilings: Any


_BLOCK_FIELDS = ("array", "blocks", "rows", "drain", "online")


@lru_cache(maxsize=2048)
def _block_table(heads: Heads, array: Any, rate: Fraction) -> _BlockTable:
    grid = np.meshgrid(
        ladder(min(side_by_side(array), heads.copies), 1),
        ladder(heads.queries, 1),
        ladder(heads.keys, 1),
        indexing="ij",
    )
    together, rows, keys = (axis.ravel().astype(np.int64) for axis in grid)
    of_heads, of_rows, of_keys = (
        parts(np.full_like(rows, size), tile)
        for size, tile in ((heads.copies, together), (heads.queries, rows), (heads.keys, keys))
    )
    cycles: Any = 0
    for number, (h, q, k), _ in tile_kinds(of_heads, of_rows, of_keys):
        for shape in ((h, q, heads.head_dim, k), (h, q, k, heads.value_dim)):
            work = array_work(array, *shape, bits=heads.bits, rate=rate)
            cycles = cycles + number * work.cycles
    row_blocks = of_heads[0] * of_rows[0]
    columns = (
        cycles,
        row_blocks * of_keys[0],
        row_blocks,
        np.broadcast_to(drain_cycles(array, rows, heads.bits), rows.shape),
        of_keys[0] > 1,
    )
    order = np.lexsort((columns[1],))
    return _BlockTable(
        np.zeros((1, len(rows)), dtype=np.int64),
        np.array(columns, dtype=float)[:, order],
        np.array([rows, keys, together])[:, order],
    )


def heads_of(heads: Heads, which: Any) -> Heads:
    """Some rows of an attention's columns; of one row as plain numbers."""

    def of(value: Any) -> Any:
        return _column_at(value, which) if isinstance(which, int) else _some(value, which)

    return replace(
        heads,
        copies=of(heads.copies),
        queries=of(heads.queries),
        keys=of(heads.keys),
        input_room=0 if isinstance(which, int) else of(heads.input_room),
        once_bytes=of(heads.once_bytes),
    )


def choose_blocks(heads: Heads, designs: Designs, rate: Fraction, count: int) -> Blocks:
    """The block of each row's attention, `(rows,)` each; 0 queries where nothing fits."""
    parts_of = [np.arange(count)[start : start + _ROWS] for start in range(0, count, _ROWS)]
    chosen = [
        _choose_blocks(heads_of(heads, which), designs.at(which), rate, len(which))
        for which in parts_of
    ]
    return Blocks(*(np.concatenate(columns) for columns in zip(*chosen, strict=True)))


def _choose_blocks(heads: Heads, designs: Designs, rate: Fraction, count: int) -> Blocks:
    sizes = (heads.copies, heads.queries, heads.keys)
    arrays = [c for name, c in designs.columns.items() if name.startswith("array.")]
    kinds, kind = _alike([*sizes, *arrays], count)
    tables = [
        _block_table(heads_of(heads, int(row)), _array_at(designs, int(row)), rate) for row in kinds
    ]
    never, columns, tiles = _stacked(tables)
    queries, keys, together = (part[kind] for part in tiles)
    buffers = designs.buffers

    def wide(value: Any) -> Any:
        return np.reshape(value, (-1, 1)) if np.ndim(value) else value

    whole_keys = wide(heads.keys)
    rows, scores = together * queries, together * queries * keys
    results, online = rows * heads.value_dim, keys < whole_keys
    head_bytes = sum(heads.loaded_bytes(together * whole_keys))
    streams = 2 * head_bytes > wide(buffers.weight_bytes)
    block_bytes = sum(heads.loaded_bytes(together * keys))
    left = heads.query_bytes(rows) + heads.mask_bytes(scores) + wide(heads.once_bytes)
    fitting = (
        (never[:, 0][kind] == 0)
        & (4 * (2 * scores + (2 + online) * results) <= wide(buffers.accumulator_bytes))
        & (2 * (left + heads.extra_bytes(results)) <= wide(heads.input_room))
        & (~streams | (2 * block_bytes <= wide(buffers.weight_bytes)))
        & (2 * heads.stored_bytes(results) <= wide(buffers.output_bytes))
    )
    rank, which = np.nonzero(fitting)  # ladders of one attention are short
    flat = kind[rank] * columns.shape[2] + which
    array, blocks, row_blocks, drain, online = (c.reshape(-1).take(flat) for c in columns)
    streams = streams[rank, which]

    def of(value: Any) -> Any:
        return value if np.ndim(value) == 0 else value[rank]

    copies, all_keys, lanes = of(heads.copies), of(heads.keys), of(designs.vector.lanes)
    all_scores = copies * of(heads.queries) * all_keys
    all_results = copies * of(heads.queries) * heads.value_dim
    key_blocks = blocks / row_blocks
    vector = (
        all_scores * float(heads.softmax_cost)
        + all_results * (online * key_blocks * float(heads.merge_cost) + float(heads.vector_cost))
    ) / lanes
    own = sum(heads.loaded_bytes(copies * all_keys))
    moved = (
        heads.mask_bytes(all_scores)
        + heads.stored_bytes(all_results)
        + heads.extra_bytes(all_results)
        + heads.query_bytes(copies * of(heads.queries))
        + own * np.where(streams, row_blocks / copies, 1)
    )
    descriptors = blocks * (heads.loads_mask + 2 * streams) + 2 * copies * ~streams
    descriptors = descriptors + row_blocks * (
        int(heads.stores) + int(heads.loads_input) + len(heads.extra)
    )
    dma = moved * of(designs.cycles_per_byte) + descriptors * of(designs.dram.setup_cycles)
    chain = drain * blocks + (array + vector) / 2
    cycles = np.maximum(np.maximum(array, vector), np.maximum(dma, chain)) + vector / blocks
    best = _best(rank, cycles, (moved, blocks, cycles), count)
    at = flat[np.maximum(best, 0)] if len(flat) else np.zeros(count, dtype=int)
    picked = tiles.reshape(3, -1)[:, at]
    return Blocks(*(np.where(best >= 0, part, 0) for part in picked))


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
