"""The mapping's choice for many designs at once: the engine's prediction, and its choice.

Tilings of a shape are counted once for all designs whose arrays are alike (`tiling.count`); what a
design adds are its buffers, which strike some out, and its memory and vector unit, which price the
rest (`tiling.predict`).  Few are priced: not those that need more and take longer than another on
every design, nor those that a bound shows to be slower than one that has been priced.
"""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..array_work import array_work, drain_cycles, side_by_side, whole_units
from ..attention_mapping import Heads
from ..gemm import Gemm
from ..tiling import SLACK, Candidates, Counted, count, ladder, needs, predict, tilings
from ..vector_work import Rows
from .designs import Designs, alike, some
from .tiles import Blocks, Pieces, heads_of, parts, rows_of, tile_kinds

__all__ = ["choose_blocks", "choose_pieces", "choose_tiles"]

_ROWS = 512  # rows whose tilings are compared at a time: as many as stay in the caches

Int = NDArray[np.int64]
Float = NDArray[np.float64]


class _Table(NamedTuple):
    """Tilings of one shape on one array, without those that are no better than another anywhere.

    Attributes:
        needs: Of each buffer, `(4, tilings)`.
        least: What none takes less than, of each unit; see `_floor`, `(7, tilings)`.
        columns: Fields of `Counted` that differ, `(fields, tilings)`.
        tilings: Sizes and order, `(5, tilings)`.
    """

    needs: Int
    least: Float
    columns: Float
    tilings: Int


_FIELDS = (
    "array", "left", "right", "stored", "vectored", "both", "input_only", "weight_only", "neither",
    "added", "rounds", "drain", "first", "last", "last_vectored", "first_weights", "dram_bytes",
)  # fmt: skip


@lru_cache(maxsize=2048)
def _table(gemm: Gemm, array: Any, cap: Any, rate: Fraction, whole_folds: bool) -> _Table:
    machine = SimpleNamespace(array=array, buffers=SimpleNamespace(im2col_bytes_per_cycle=cap))
    every = tilings(gemm.shape, whole_units(array) if whole_folds else (1, 1, 1))
    counted = count(gemm, machine, rate, every)  # type: ignore[arg-type]
    need, least, columns = (
        np.array([np.broadcast_to(value, every.m.shape) for value in values])
        for values in (
            needs(gemm, every), _least(counted), [getattr(counted, field) for field in _FIELDS]
        )
    )  # fmt: skip
    kept = _unbeaten(np.concatenate([need, least]))
    return _Table(
        need[:, kept], least[:, kept], columns[:, kept].astype(float), np.array(every)[:, kept]
    )


def _unbeaten(columns: Any) -> Any:
    """Which candidates have less of something than any other that is no worse in the rest.

    Of those that are alike in all, the first.
    """
    worse = np.ones((columns.shape[1],) * 2, dtype=bool)  # than the one of the row, or alike
    for column in columns:
        worse &= column[:, None] <= column
    alike = worse & worse.T
    return np.flatnonzero(~(worse & (~alike | np.tri(len(worse), k=-1, dtype=bool).T)).any(axis=0))


def _least(counted: Counted) -> tuple[Any, ...]:
    """What tilings take at least, whatever the memory and the vector unit.

    Cycles of the array; bytes and descriptors on the bus; elements of the vector unit; cycles of
    array and drain for each two tiles that use the same sums; bytes and elements at both ends.
    """
    c = counted
    steps = c.both + c.input_only + c.weight_only + c.neither
    lefts, rights = c.both + c.input_only + c.added, c.both + c.weight_only + c.added
    return (
        c.array * c.tiles,
        c.rounds * (lefts * c.left + rights * c.right + steps * c.stored),
        c.rounds
        * (lefts * (c.left > 0) + rights * (c.right > 0) + steps * c.descriptors * (c.stored > 0)),
        c.rounds * steps * c.vectored,
        c.rounds * (steps * (c.array + c.drain) / 2 + c.added * c.array),
        c.first + c.last,
        c.last_vectored,
    )


def _floor(least: Float, pace: _Pace) -> Any:
    """What `predict` does not fall below, `(rows, tilings)`."""
    array, moved, descriptors, vectored, chain, end_bytes, end_elements = least
    per_byte, setup, lane = (
        np.reshape(value, (-1, 1)) for value in (pace.per_byte, pace.setup, pace.lane)
    )
    vector = vectored * lane
    floor = np.maximum(moved * per_byte + descriptors * setup, array)
    np.maximum(floor, vector, out=floor)
    vector *= 0.5
    vector += chain
    np.maximum(floor, vector, out=floor)
    floor += end_bytes * per_byte
    floor += end_elements * lane
    return floor


class _Pace(NamedTuple):
    """What `predict` takes of a machine: a number each, or a column."""

    per_byte: Any
    setup: Any
    latency: Any
    lane: Any

    def at(self, rows: Any) -> _Pace:
        """Of some rows."""
        return _Pace(*(some(value, rows) for value in self))


def _fitting(need: Int, room: Sequence[Any]) -> Any:
    """Which candidates the buffers hold, `(rows, candidates)`."""
    fits = need[0] <= room[0][:, None]
    for each, has in zip(need[1:], room[1:], strict=True):
        fits &= each <= has[:, None]
    return fits


def _best(rows: Int, columns: Sequence[Any]) -> Int:
    """Of each row's pairs the best: among those that are about as fast, what the next columns say.

    Args:
        rows: Of each pair, rising.
        columns: Predicted cycles, then what decides, the first first.

    Returns:
        A pair of each row that has one.
    """
    pairs, slack = np.arange(len(rows)), SLACK
    for column in columns:
        values, begins = column[pairs], _begins(rows[pairs])
        least = np.minimum.reduceat(values, begins) * slack
        pairs = pairs[values <= np.repeat(least, np.diff(begins, append=len(pairs)))]
        slack = 1.0
    return pairs[_begins(rows[pairs])]


def _begins(rows: Int) -> Int:
    """Where a new one begins."""
    return np.flatnonzero(np.diff(rows, prepend=-1))


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
    kinds, kind = alike([*sizes, *designs.of("array"), *([] if cap is None else [cap])], count)
    tables = []
    for row in kinds.tolist():
        at = some(cap, row)
        tables.append(_table(rows_of(gemm, row), _array_at(designs, row), at, rate, whole_folds))
    room = (
        gemm.input_room // 2, buffers.weight_tile_bytes, buffers.accumulator_tile_words,
        buffers.output_tile_bytes,
    )  # fmt: skip
    choice = _Choice(
        tables,
        [np.broadcast_to(has, (count,)) for has in room],
        _Pace(
            designs.cycles_per_byte,
            designs.dram.setup_cycles,
            designs.dram_latency_cycles,
            float(gemm.vector_cost) / designs.vector.lanes,
        ),
        descriptors=int(gemm.stores) + len(gemm.extra),
    )
    chosen = np.zeros((5, count), dtype=np.int64)
    order = np.argsort(kind, kind="stable")
    for start in range(0, count, _ROWS):
        rows = order[start : start + _ROWS]
        fitting, tiling = choice.of(rows, kind[rows])
        chosen[:, rows[fitting]] = choice.tilings[:, tiling]
    return Candidates(*chosen)


class _Choice:
    """The choice among the tilings of several shapes and arrays.

    What bounds a prediction from below takes little to compute, and few tilings are left that may
    yet be the best when one has been priced.
    """

    def __init__(
        self, tables: Sequence[_Table], room: Sequence[Any], pace: _Pace, descriptors: int
    ) -> None:
        self._tables, self._room, self._pace, self._descriptors = tables, room, pace, descriptors
        self._offsets = np.cumsum([0, *(table.needs.shape[1] for table in tables)])
        self._columns = np.concatenate([table.columns for table in tables], axis=1)
        self.tilings = np.concatenate([table.tilings for table in tables], axis=1)

    def of(self, rows: Int, kind: Int) -> tuple[Int, Int]:
        """Places in `rows` where something fits, and what is best there, as columns of `tilings`.

        Args:
            rows: Some rows.
            kind: Which table is theirs, rising.
        """
        begins = _begins(kind)
        ends = np.append(begins[1:], len(kind))
        floors = []
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            table, own = self._tables[int(kind[begin])], rows[begin:end]
            floor = _floor(table.least, self._pace.at(own))
            fits = _fitting(table.needs, [has[own] for has in self._room])
            floors.append(np.where(fits, floor, np.inf))
        offsets = self._offsets[kind]
        promising = np.concatenate([floor.argmin(axis=1) for floor in floors]) + offsets
        # Nothing is as fast as where nothing fits.
        bound = np.concatenate([floor.min(axis=1) for floor in floors])
        enough = np.where(bound < np.inf, self._priced(rows, promising)[0] * SLACK, 0)
        found = [
            np.nonzero(floor <= enough[begin : begin + len(floor), None])
            for begin, floor in zip(begins.tolist(), floors, strict=True)
        ]
        places = np.concatenate([b + rank for b, (rank, _) in zip(begins, found, strict=True)])
        which = np.concatenate([which for _, which in found]) + offsets[places]
        if not len(places):
            return places, which
        best = _best(places, self._priced(rows[places], which))
        return places[best], which[best]

    def _priced(self, rows: Int, which: Int) -> tuple[Any, ...]:
        """Cycles, and what decides among tilings as fast."""
        counted = Counted(
            **{field: c.take(which) for field, c in zip(_FIELDS, self._columns, strict=True)},
            descriptors=self._descriptors,
        )
        cycles, alone = predict(counted, **self._pace.at(rows)._asdict())
        return cycles, counted.dram_bytes, alone, counted.tiles


class _BlockTable(NamedTuple):
    """Blocks of one attention on one array.

    Attributes:
        needs: Of each buffer, but for what is loaded once, `(4, blocks)`.
        head_bytes: Keys and values of the heads side by side, `(blocks,)`.
        array, lanes: Cycles of the array, and lane-cycles of the vector unit.
        drain: Cycles for which blocks wait for the array to drain.
        moved, descriptors: On the bus, if keys and values stay and if they do not, `(2, blocks)`.
        number: How many blocks there are.
        tilings: Queries, keys and heads, `(3, blocks)`.
    """

    needs: Int
    head_bytes: Any
    array: Any
    lanes: Any
    drain: Any
    moved: Any
    descriptors: Any
    number: Any
    tilings: Int


@lru_cache(maxsize=2048)
def _block_table(heads: Heads, array: Any, rate: Fraction) -> _BlockTable:
    copies, all_keys = heads.copies, heads.keys
    sizes = (min(side_by_side(array), copies), heads.queries, all_keys)
    grid = np.meshgrid(*(ladder(size, 1) for size in sizes), indexing="ij")
    together, queries, keys = (axis.ravel().astype(np.int64) for axis in grid)
    of_heads, of_rows, of_keys = (
        parts(np.full_like(keys, size), tile)
        for size, tile in ((copies, together), (heads.queries, queries), (all_keys, keys))
    )
    cycles: Any = 0
    for number, (h, q, k), _ in tile_kinds(of_heads, of_rows, of_keys):
        for shape in ((h, q, heads.head_dim, k), (h, q, k, heads.value_dim)):
            work = array_work(array, *shape, bits=heads.bits, rate=rate)
            cycles = cycles + number * work.cycles
    rows, scores = together * queries, together * queries * keys
    results, online = rows * heads.value_dim, keys < all_keys
    row_blocks = of_heads[0] * of_rows[0]
    blocks = row_blocks * of_keys[0]
    needs_of = (
        4 * (2 * scores + (2 + online) * results),
        heads.query_bytes(rows) + heads.mask_bytes(scores) + heads.extra_bytes(results),
        sum(heads.loaded_bytes(together * keys)),
        heads.stored_bytes(results),
    )
    all_scores = copies * heads.queries * all_keys
    all_results = copies * heads.queries * heads.value_dim
    merged = online * of_keys[0] * float(heads.merge_cost)
    once = (
        heads.mask_bytes(all_scores)
        + heads.stored_bytes(all_results)
        + heads.extra_bytes(all_results)
        + heads.query_bytes(copies * heads.queries)
    )
    own = sum(heads.loaded_bytes(copies * all_keys))
    passing = int(heads.stores) + int(heads.loads_input) + len(heads.extra)
    descriptors = blocks * heads.loads_mask + row_blocks * passing
    return _BlockTable(
        needs=np.array([np.broadcast_to(need, keys.shape) for need in needs_of]),
        head_bytes=np.broadcast_to(sum(heads.loaded_bytes(together * all_keys)), keys.shape),
        array=cycles,
        lanes=all_scores * float(heads.softmax_cost)
        + all_results * (merged + float(heads.vector_cost)),
        drain=drain_cycles(array, queries, heads.bits) * blocks,
        moved=np.array([np.full(keys.shape, once + own), once + own * (row_blocks / copies)]),
        descriptors=np.array([descriptors + 2 * copies, descriptors + 2 * blocks]),
        number=blocks,
        tilings=np.array([queries, keys, together]),
    )


def choose_blocks(heads: Heads, designs: Designs, rate: Fraction, count: int) -> Blocks:
    """The block of each row's attention, `(rows,)` each; 0 queries where nothing fits."""
    sizes = (heads.copies, heads.queries, heads.keys)
    kinds, kind = alike([*sizes, *designs.of("array")], count)
    buffers = designs.buffers
    room = (
        buffers.accumulator_bytes, heads.input_room // 2 - heads.once_bytes,
        buffers.weight_bytes // 2, buffers.output_bytes // 2,
    )  # fmt: skip
    pace = (designs.cycles_per_byte, designs.dram.setup_cycles, designs.vector.lanes)
    columns = [np.broadcast_to(column, (count,)) for column in (*room, *pace)]
    chosen = np.zeros((3, count), dtype=np.int64)
    order = np.argsort(kind, kind="stable")
    for row, rows in zip(kinds.tolist(), np.split(order, _begins(kind[order])[1:]), strict=True):
        table = _block_table(heads_of(heads, row), _array_at(designs, row), rate)
        for start in range(0, len(rows), _ROWS):
            here = rows[start : start + _ROWS]
            fitting, block = _best_blocks(table, *(column[here] for column in columns))
            chosen[:, here[fitting]] = table.tilings[:, block]
    return Blocks(*chosen)


def _best_blocks(
    table: _BlockTable, sums: Int, inputs: Int, weights: Int, outputs: Int, *pace: Any
) -> tuple[Int, Int]:
    """Places of the rows where something fits, and the block that is best there.

    Args:
        table: Blocks of all rows' attention.
        sums: Bytes of accumulators.
        inputs: Bytes for a block's inputs.
        weights: Bytes for its keys and values.
        outputs: Bytes for its results.
        *pace: Cycles of a byte and of a descriptor, and lanes of the vector unit.
    """
    per_byte, setup, lanes = (np.reshape(value, (-1, 1)) for value in pace)
    fits = _fitting(table.needs, (sums, inputs, weights, outputs))
    streams = table.head_bytes > weights[:, None]
    moved = np.where(streams, table.moved[1], table.moved[0])
    bus = moved * per_byte + np.where(streams, *table.descriptors[::-1]) * setup
    vector = table.lanes / lanes
    chain = table.drain + (table.array + vector) / 2
    cycles = np.maximum(np.maximum(table.array, vector), np.maximum(bus, chain))
    cycles = np.where(fits, cycles + vector / table.number, np.inf)
    near = np.minimum(cycles.min(axis=1) * SLACK, np.finfo(float).max)
    rows, which = np.nonzero(cycles <= near[:, None])
    if not len(rows):
        return rows, which
    fast, moved = cycles[rows, which], moved[rows, which]
    best = _best(rows, (fast, moved, table.number[which], fast))
    return rows[best], which[best]


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
