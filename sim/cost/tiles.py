"""Tiles of many kernels as steps: loop nests cut to the iterations that differ, and their totals.

The sizes, bytes and cycles of a tile are those that `gemm.py`, `attention.py` and `vector_work.py`
give it.  A nest of loops has few tiles that differ: in each loop the last iteration may be ragged,
and those in its middle are alike.
"""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..array_work import array_work
from ..attention_mapping import Heads
from ..gemm import Gemm
from ..tiling import Candidates
from ..traffic import UNDER_WAY
from ..vector_work import Rows
from .designs import Designs, alike, some
from .lockstep import NEVER, Jump, Room, Steps

__all__ = [
    "Blocks", "Pieces", "Tiled", "attention_steps", "attention_tiles", "heads_of", "parts",
    "product_steps", "product_tiles", "rows_of", "tile_kinds", "vector_steps", "vector_tiles",
]  # fmt: skip

Int = NDArray[np.int64]


class Tiled(NamedTuple):
    """Kernels as tiles.

    Attributes:
        steps: What `lockstep.run` takes.
        count: How many tiles there are, `(rows,)`.
        totals: Their sums, by name as in `Totals`.
    """

    steps: Steps
    count: Any
    totals: Mapping[str, Any]


class Blocks(NamedTuple):
    """Blocks of attention, `(rows,)` each: query rows, keys, and heads side by side."""

    queries: Int
    keys: Int
    heads: Int


class Pieces(NamedTuple):
    """Work of the vector unit, `(rows,)` each: as `VectorMapping`."""

    units: Int
    size: Int
    passes: Int


class _Nest:
    """Loops, outermost first, cut to the iterations that are run; `tiles` steps in the innermost.

    Attributes:
        step: Numbers of the steps, `(steps, 1)`.
        valid: Whether a row has a step, `(steps, rows)`.
        index: The iteration of each loop, of those that are run, `(steps, rows)` each.
        last: Whether it is the last.
        spans: Steps of an iteration of each loop, `(rows,)`, and of one tile.
    """

    def __init__(self, counts: Sequence[Int], limits: Sequence[int], tiles: int = 1) -> None:
        self.counts = counts
        self.runs = [np.minimum(n, most) for n, most in zip(counts, limits, strict=True)]
        self._paces = [min(2, most - 3) for most in limits]
        spans = [np.full_like(counts[0], tiles)]
        for run in reversed(self.runs):
            spans.insert(0, spans[0] * run)
        self.steps, *self.spans = spans
        self.step = np.arange(int(self.steps.max()), dtype=np.int32)[:, None]
        self.valid = self.step < self.steps
        self.index = [
            self.step // s.astype(np.int32) % r.astype(np.int32) if r.max() > 1 else 0 * self.step
            for s, r in zip(self.spans, self.runs, strict=True)
        ]
        self.last = [i == r - 1 for i, r in zip(self.index, self.runs, strict=True)]

    def jumps(self, of: Int, with_bus: Sequence[Any], summed: int | None = None) -> Iterator[Jump]:
        """Where iterations are left out.

        Args:
            of: Which nest is each row's.
            with_bus: For each loop, whether the bus takes part, for each row.
            summed: The loop whose tiles are added up, so that the vector unit takes no part.
        """
        for loop, (count, run, span) in enumerate(
            zip(self.counts, self.runs, self.spans, strict=True)
        ):
            if (count == run).all():
                continue
            here = (self.index[loop] == run - 2) & (self.step % span == 0) & self.valid
            pace = self._paces[loop]
            yield Jump(
                skipped=np.where(here, count - run, 0).astype(np.float64),
                since=self.step - pace * span,
                iterations=pace,
                with_bus=np.broadcast_to(with_bus[loop], of.shape),
                with_vector=loop != summed,
            )

    def room(self, of: Int, span: Any, depth: Any) -> Room:
        """What makes room for a step's load, if so many spans of steps each have room at once.

        Args:
            of: Which nest is each row's.
            span: Of each nest.
            depth: Of each row.
        """
        span = np.broadcast_to(span, self.counts[0].shape)
        return Room((self.step - self.step % span).astype(np.int64), (depth - 1) * span[of])


class _Kinds:
    """The kinds of a nest's steps: nothing, those with a code, and the first step.

    Attributes:
        known: The codes.
        of_steps: The kind of each step, `(steps, nests)`.
    """

    def __init__(self, codes: Int, valid: Any) -> None:
        self.known: list[int] = np.flatnonzero(np.bincount(codes[valid])).tolist()
        place = np.zeros(self.known[-1] + 1, dtype=np.int64)
        place[self.known] = np.arange(len(self.known)) + 1
        self.of_steps = np.where(valid, place.take(codes, mode="clip"), 0)
        self._first = self.of_steps[0].copy()
        self.of_steps[0] = len(self.known) + 1

    def tables(self, tiles: Sequence[Sequence[Any]], nest: Any = slice(None)) -> list[Any]:
        """From the columns of each code's tile a table for each column, `(kinds, columns)`.

        Args:
            tiles: In the order of `known`.
            nest: Which nest is each column's, if not its own.
        """
        first = self._first[nest]
        tables = []
        for columns in zip(*tiles, strict=True):
            kind = np.result_type(*columns)
            kind = np.dtype(float) if kind.hasobject else kind  # fractions
            table = np.zeros((len(self.known) + 2, len(first)), dtype=kind)
            for row, column in zip(table[1:], columns, strict=False):
                row[:] = column
            table[-1] = table[first, np.arange(len(first))]
            tables.append(table)
        return tables


def _depth(room: Any, each: Any) -> Any:
    """How many of something are there at once: two, or as many as have room."""
    return np.clip(room // np.maximum(each, 1), 2, UNDER_WAY)


def parts(size: Any, tile: Any) -> tuple[Any, Any, Any]:
    """A dimension in tiles: how many, of what size, and the size of the last."""
    count = -(-size // tile)
    return count, tile, size - (count - 1) * tile


_PRODUCT_LIMITS = 5, 6, 7, 6
_ATTENTION_LIMITS = 5, 7, 6
_VECTOR_LIMITS = 5, 10


def _loops(gemm: Gemm, mapping: Candidates) -> tuple[Any, ...]:
    """Iterations of a product's loops: groups, the outer one, the inner one, and k."""
    shape, (groups, m, k, n, order) = gemm.shape, mapping
    rounds, m_tiles, k_tiles, n_tiles = (
        -(-size // tile)
        for size, tile in ((shape.groups, groups), (shape.m, m), (shape.k, k), (shape.n, n))
    )
    m_steps, rows_first = m_tiles * shape.repeats, order == 0
    outer, inner = np.where(rows_first, (m_steps, n_tiles), (n_tiles, m_steps))
    return rounds, outer, inner, k_tiles


def product_steps(gemm: Gemm, mapping: Candidates) -> Int:
    """Steps that are run of each product, `(rows,)`."""
    return _steps(_loops(gemm, mapping), _PRODUCT_LIMITS)


def attention_steps(heads: Heads, blocks: Blocks) -> Int:
    """Steps that are run of each attention, `(rows,)`."""
    sizes = (heads.copies, blocks.heads), (heads.queries, blocks.queries), (heads.keys, blocks.keys)
    return 2 * _steps([-(-size // tile) for size, tile in sizes], _ATTENTION_LIMITS)


def vector_steps(pieces: Pieces) -> Int:
    """Steps that are run of each work of the vector unit, `(rows,)`."""
    return _steps((pieces.passes, -(-pieces.units // pieces.size)), _VECTOR_LIMITS)


def _steps(counts: Sequence[Any], limits: Sequence[int]) -> Int:
    steps: Any = 1
    for count, most in zip(counts, limits, strict=True):
        steps = steps * np.minimum(count, most)
    return np.asarray(steps)


def tile_kinds(*dimensions: tuple[Any, Any, Any]) -> Iterator[tuple[Any, tuple[Any, ...], int]]:
    """Kinds of tiles: how many there are, their sizes, and a code with a bit for each last one.

    Args:
        *dimensions: How many tiles in each dimension, of what size, and the size of the last.
    """
    for code, lasts in enumerate(product((False, True), repeat=len(dimensions))):
        number, sizes = 1, []
        for is_last, (count, size, last) in zip(lasts, dimensions, strict=True):
            number = number * (1 if is_last else count - 1)
            sizes.append(last if is_last else size)
        if np.any(number > 0):
            yield number, tuple(sizes), code


def _code(*lasts: Any) -> Any:
    """The code of `tile_kinds` for steps, from what is true of them."""
    code = 0
    for is_last in lasts:
        code = 2 * code + is_last
    return code


def _flags(code: int, count: int) -> list[bool]:
    """What makes up a code, the first first."""
    return [bool(code >> bit & 1) for bit in reversed(range(count))]


def rows_of(gemm: Gemm, which: Any) -> Gemm:
    """Some rows of a product's columns; of one row as plain numbers, and no room."""
    sizes = {
        name: some(getattr(gemm.shape, name), which)
        for name in ("groups", "repeats", "m", "k", "n")
    }
    return replace(
        gemm,
        shape=replace(gemm.shape, **sizes),
        input_room=0 if isinstance(which, int) else some(gemm.input_room, which),
        once_bytes=some(gemm.once_bytes, which),
        once_trained_bytes=some(gemm.once_trained_bytes, which),
    )


def heads_of(heads: Heads, which: Any) -> Heads:
    """Some rows of an attention's columns; of one row as plain numbers, as `rows_of`."""
    sizes = {
        name: some(getattr(heads, name), which)
        for name in ("copies", "queries", "keys", "once_bytes")
    }
    room = 0 if isinstance(which, int) else some(heads.input_room, which)
    return replace(heads, input_room=room, **sizes)


class _Products:
    """The tiles of products, each under a mapping, whatever the memory and the vector unit."""

    def __init__(self, gemm: Gemm, designs: Designs, rate: Fraction, mapping: Candidates) -> None:
        self.gemm, self.mapping = gemm, mapping
        shape, (groups, m, k, n, order) = gemm.shape, mapping
        self.dimensions = of_groups, of_m, of_k, of_n = tuple(
            parts(size, tile)
            for size, tile in ((shape.groups, groups), (shape.m, m), (shape.k, k), (shape.n, n))
        )
        m_tiles, k_tiles, n_tiles = of_m[0], of_k[0], of_n[0]
        self.count = of_groups[0] * m_tiles * shape.repeats * n_tiles * k_tiles
        rows_first = order == 0  # mn
        loops = _loops(gemm, mapping)
        nest = self.nest = _Nest(loops, _PRODUCT_LIMITS)

        whole_k = k_tiles == 1
        self.input_stays = whole_k & (rows_first | (m_tiles * shape.repeats == 1))
        self.weight_stays = whole_k & (~rows_first | (n_tiles == 1))
        of_round, of_outer, _, of_tile = nest.spans
        # In how many steps an operand's tile passes.
        self.input_span = np.where(
            self.input_stays, np.where(rows_first, of_outer, of_round), of_tile
        )
        self.weight_span = np.where(
            self.weight_stays, np.where(rows_first, of_round, of_outer), of_tile
        )
        # A step's place in each dimension, counted over all that there are.
        places = [
            nest.index[loop] + (loops[loop] - run) * (nest.index[loop] >= run - 2)
            for loop, run in ((1, nest.runs[1]), (2, nest.runs[2]))
        ]
        at_m, at_n = np.where(rows_first, places, places[::-1])
        ends_g, ends_k = nest.last[0], nest.last[3]
        ends_m, ends_n = at_m % m_tiles == m_tiles - 1, at_n == n_tiles - 1
        opens_k = nest.index[3] == 0
        loads_left, loads_right = (at_n == 0) | ~self.input_stays, (at_m == 0) | ~self.weight_stays
        codes = _code(ends_g, ends_m, ends_k, ends_n, opens_k, loads_left, loads_right)
        self.kinds = _Kinds(codes, nest.valid)
        demand = gemm.read_demand(designs, rate)
        self.works = {
            code: (
                number * shape.repeats,
                array_work(
                    designs.array, *tile, bits=gemm.bits, rate=rate, demand=demand,
                    ends=bool(code & 2),
                ),
            )
            for number, tile, code in tile_kinds(*self.dimensions)
        }  # fmt: skip

    def tables(self) -> list[Any]:
        """What `_tile` says of each kind of steps, `(kinds, products)` each."""
        return self.kinds.tables([self._tile(code) for code in self.kinds.known])

    def _tile(self, code: int) -> tuple[Any, ...]:
        """A tile; its code says where it stands in the nest.

        Returns:
            Bytes of weights and of inputs, loads of inputs, cycles and latency of the array,
            outputs, bytes stored, and whether its sums leave.
        """
        gemm = self.gemm
        *lasts, opens_k, loads_left, loads_right = _flags(code, 7)
        g, m, k, n = (
            last if is_last else size
            for is_last, (_, size, last) in zip(lasts, self.dimensions, strict=True)
        )
        ends_k, (_, work) = lasts[2], self.works[code >> 3]
        outputs = g * m * n * ends_k
        left = gemm.input_bytes(g, m, k) * loads_left
        return (
            gemm.weight_bytes(g, k + gemm.bias * opens_k, n) * loads_right,
            left + gemm.extra_bytes(outputs),
            (left > 0) + len(gemm.extra) * ends_k,
            work.cycles,
            work.latency,
            outputs,
            gemm.leaving_bytes(outputs) * gemm.stores,
            ends_k,
        )

    def totals(self) -> dict[str, Any]:
        """All but the cycles of the vector unit."""
        gemm, shape = self.gemm, self.gemm.shape
        reads = {
            name: sum(number * getattr(work, name) for number, work in self.works.values())
            for name in ("input_reads", "weight_reads", "sum_reads", "sum_writes")
        }
        whole = shape.groups * shape.repeats * shape.m * shape.n  # sums that leave
        k_tiles = self.dimensions[2][0]
        return {
            "macs": whole * shape.k,
            "input_reads": reads["input_reads"] + gemm.epilogue_operands * whole,
            "weight_reads": reads["weight_reads"],
            "sum_reads": reads["sum_reads"] + whole * (k_tiles - 1) + whole,
            "sum_writes": reads["sum_writes"],
            "outputs": whole * gemm.leaving.numerator // gemm.leaving.denominator,
            **_moved(gemm, self.dimensions, self.input_stays, self.weight_stays),
        }


def product_tiles(gemm: Gemm, designs: Designs, rate: Fraction, mapping: Candidates) -> Tiled:
    """Products under a mapping each; the sizes in `gemm` are columns."""
    shape, buffers = gemm.shape, designs.buffers
    sizes = (shape.groups, shape.repeats, shape.m, shape.k, shape.n)
    once, cap = (gemm.once_bytes, gemm.once_trained_bytes), buffers.im2col_bytes_per_cycle
    first, own = alike([*designs.of("array"), cap, *sizes, *once, *mapping], len(mapping.m))
    # Rows differ in more than these, but few of these are many rows'.
    plans = _Products(rows_of(gemm, first), designs.at(first), rate, mapping.at(first))
    nest = plans.nest
    right, left, loads, work, latency, outputs, stored, closes = (
        table[:, own] for table in plans.tables()
    )
    weights, inputs = designs.transfer_cycles(right, 1), designs.transfer_cycles(left, loads)
    weights[-1] += designs.transfer_cycles(gemm.once_trained_bytes, 1)
    inputs[-1] += designs.transfer_cycles(gemm.once_bytes, 1)

    groups, m, k, n, _ = mapping
    largest = groups * m * n
    runs_k, tile = nest.runs[3], nest.spans[3]
    streams = (gemm.loads_input & (plans.input_span == tile)) | (
        gemm.loads_weight & (plans.weight_span == tile)
    )
    moves = streams | bool(gemm.stores or gemm.extra)
    steps = Steps(
        kinds=plans.kinds.of_steps,
        nest=own,
        weights=weights,
        inputs=inputs,
        work=work,
        latency=latency,
        vector=designs.lane_cycles(outputs, gemm.vector_cost),
        closes=closes,
        store=designs.transfer_cycles(stored, 1),
        weight_room=nest.room(
            own,
            plans.weight_span,
            _depth(buffers.weight_bytes, gemm.weight_bytes(groups, k + gemm.bias, n)),
        ),
        input_room=nest.room(
            own,
            plans.input_span,
            _depth(gemm.input_room, gemm.input_bytes(groups, m, k) + gemm.extra_bytes(largest)),
        ),
        sum_room=nest.room(own, runs_k, _depth(buffers.accumulator_bytes, 4 * largest)),
        output_room=nest.room(
            own, runs_k, _depth(buffers.output_bytes, gemm.leaving_bytes(largest))
        )
        if gemm.stores
        else None,
        by_vector=bool(gemm.extra) and not gemm.loads_input,
        jumps=tuple(
            nest.jumps(own, (True, (moves | (nest.spans[2] == 1))[own], moves[own], True), summed=3)
        ),
    )
    vector: Any = 0
    of_groups, of_m, _, of_n = plans.dimensions
    for number, (g_, m_, n_), _ in tile_kinds(of_groups, of_m, of_n):
        tiles, elements = some(number * plans.gemm.shape.repeats, own), (g_ * m_ * n_)[own]
        vector = vector + tiles * designs.lane_cycles(elements, gemm.vector_cost)
    totals = {name: some(total, own) for name, total in plans.totals().items()}
    return Tiled(steps, plans.count[own], {**totals, "vector_cycles": vector})


def _moved(gemm: Gemm, dimensions: Any, input_stays: Any, weight_stays: Any) -> dict[str, Any]:
    """Bytes to and from DRAM."""
    repeats, (of_groups, of_m, of_k, of_n) = gemm.shape.repeats, dimensions
    inputs, weights = gemm.once_bytes, gemm.once_trained_bytes
    stored = 0
    for number, sizes, _ in tile_kinds(of_groups, of_m, of_k):
        again = repeats * np.where(input_stays, 1, of_n[0])
        inputs = inputs + number * again * gemm.input_bytes(*sizes)
    for number, (g, k, n), _ in tile_kinds(of_groups, of_k, of_n):
        again = np.where(weight_stays, 1, of_m[0] * repeats)
        weights = weights + number * again * gemm.weight_bytes(g, k, n)
    if gemm.bias:
        again = np.where(weight_stays, 1, of_m[0] * repeats)
        for number, (g, n), _ in tile_kinds(of_groups, of_n):
            with_bias = gemm.weight_bytes(g, of_k[1] + 1, n) - gemm.weight_bytes(g, of_k[1], n)
            weights = weights + number * again * with_bias
    for number, sizes, _ in tile_kinds(of_groups, of_m, of_n):
        made = sizes[0] * sizes[1] * sizes[2]
        inputs = inputs + number * repeats * gemm.extra_bytes(made)
        stored = stored + number * repeats * gemm.leaving_bytes(made) * gemm.stores
    return {"input_bytes": inputs, "weight_bytes": weights, "store_bytes": stored}


class _Attentions:
    """The blocks of attentions, whatever the memory and the vector unit.

    Steps come in pairs: the scores of a block, then the sums of the block before it.
    """

    def __init__(
        self, heads: Heads, designs: Designs, rate: Fraction, blocks: Blocks, keeps: Any
    ) -> None:
        self.heads, self.keeps = heads, keeps
        self.dimensions = tuple(
            parts(size, tile)
            for size, tile in (
                (heads.copies, blocks.heads), (heads.queries, blocks.queries),
                (heads.keys, blocks.keys),
            )
        )  # fmt: skip
        nest = self.nest = _Nest([count for count, *_ in self.dimensions], _ATTENTION_LIMITS)
        self.count = self.dimensions[0][0] * self.dimensions[1][0] * self.dimensions[2][0]
        self._online = self.dimensions[2][0] > 1
        opens = nest.step % nest.spans[0] == 0, nest.index[2] == 0
        scores = _code(*nest.last, *opens)
        self.kinds = _Kinds(
            self.paired(scores, scores + _SUMS), self.paired(nest.valid, nest.valid)
        )
        self.works = {}
        for number, (h, q, keys), code in tile_kinds(*self.dimensions):
            self.works[code] = (
                number,
                *(
                    array_work(designs.array, h, q, *shape, bits=heads.bits, rate=rate)
                    for shape in ((heads.head_dim, keys), (keys, heads.value_dim))
                ),
            )

    def paired(self, scores: Any, sums: Any) -> Any:
        """Steps in order: the scores of block b, the sums of block b - 1."""
        count, nests = self.nest.valid.shape
        both = np.zeros((count + 1, 2, nests), dtype=np.asarray(scores).dtype)
        both[:-1, 0], both[1:, 1] = scores, sums
        return both.reshape(2 * count + 2, nests)

    def tables(self) -> list[Any]:
        """What `_tile` says of each kind of steps, `(kinds, attentions)` each."""
        return self.kinds.tables([self._tile(code) for code in self.kinds.known])

    def _tile(self, code: int) -> tuple[Any, ...]:
        """A block's scores or sums; its code says where it stands in the nest.

        Returns:
            Bytes of keys or values, bytes of inputs and their loads, cycles and latency of the
            array, scores, lane-cycles of sums, bytes stored, and True.
        """
        heads = self.heads
        is_sums, *lasts, opens_head, opens_keys = _flags(code, 6)
        h, q, keys = (
            last if is_last else size
            for is_last, (_, size, last) in zip(lasts, self.dimensions, strict=True)
        )
        ends, work = lasts[2], self.works[code >> 2 & 7][1 + is_sums]
        scores, results = h * q * keys, h * q * heads.value_dim
        loaded = np.where(
            self.keeps,
            heads.loaded_bytes(h * heads.keys)[is_sums] * opens_head,
            heads.loaded_bytes(h * keys)[is_sums],
        )
        if not is_sums:
            query, mask = heads.query_bytes(h * q) * opens_keys, heads.mask_bytes(scores)
            loads = (query > 0) + (mask > 0) * 1
            return loaded, query + mask, loads, work.cycles, work.latency, scores, 0.0, 0, True
        leaving = results * ends
        inputs, cost = heads.extra_bytes(leaving), self.sums_cost(results, leaving)
        stored, loads = heads.stored_bytes(leaving), len(heads.extra) * ends
        return loaded, inputs, loads, work.cycles, work.latency, 0, cost, stored, True

    def sums_cost(self, results: Any, leaving: Any) -> Any:
        """Lane-cycles to merge results with those of the blocks before, and for what leaves."""
        heads = self.heads
        return results * self._online * float(heads.merge_cost) + leaving * float(heads.vector_cost)

    def totals(self) -> dict[str, Any]:
        """All but the cycles of the vector unit."""
        heads = self.heads
        pairs = heads.copies * heads.queries
        results = pairs * heads.value_dim
        totals: dict[str, Any] = dict.fromkeys(
            ("input_reads", "weight_reads", "sum_reads", "sum_writes", "input_bytes",
             "store_bytes", "weight_bytes"), 0
        )  # fmt: skip
        for (number, (h, q, keys), code), (_, qk, av) in zip(
            tile_kinds(*self.dimensions), self.works.values(), strict=True
        ):
            ends = bool(code & 1)
            scores, made = h * q * keys, h * q * heads.value_dim
            merged, leaving = made * self._online, made * ends
            for name, each in (
                ("input_reads", qk.input_reads + scores * heads.loads_mask
                 + heads.epilogue_operands * leaving),
                ("weight_reads", qk.weight_reads + av.weight_reads),
                ("sum_reads",
                 qk.sum_reads + scores + av.sum_reads + av.input_reads + made + merged),
                ("sum_writes", qk.sum_writes + scores + av.sum_writes + merged * (not ends)),
                ("input_bytes", heads.mask_bytes(scores) + heads.extra_bytes(leaving)
                 + heads.query_bytes(h * q) * ends),
                ("store_bytes", heads.stored_bytes(leaving)),
                ("weight_bytes", sum(heads.loaded_bytes(h * keys))),
            ):  # fmt: skip
                totals[name] = totals[name] + number * each
        # The first block of a row has no running result to read.
        totals["sum_reads"] = totals["sum_reads"] - results * self._online
        totals["input_bytes"] = totals["input_bytes"] + heads.once_bytes
        whole = sum(
            number * sum(heads.loaded_bytes(h * heads.keys))
            for number, (h,), _ in tile_kinds(self.dimensions[0])
        )
        return {
            **totals,
            "macs": pairs * heads.keys * (heads.head_dim + heads.value_dim),
            "outputs": results,
            "weight_bytes": np.where(self.keeps, whole, totals["weight_bytes"]),
        }


_SUMS = 1 << 5  # of a code, beside its flags


def attention_tiles(heads: Heads, designs: Designs, rate: Fraction, blocks: Blocks) -> Tiled:
    """Attention in blocks; the sizes in `heads` are columns."""
    buffers = designs.buffers
    sizes = (heads.copies, heads.queries, heads.keys, heads.once_bytes)
    whole_head = sum(heads.loaded_bytes(blocks.heads * heads.keys))
    keeps = 2 * whole_head <= buffers.weight_bytes
    first, own = alike([*designs.of("array"), *sizes, *blocks, keeps], len(blocks.queries))
    plans = _Attentions(
        heads_of(heads, first),
        designs.at(first),
        rate,
        Blocks(*(column[first] for column in blocks)),
        some(keeps, first),
    )
    nest = plans.nest
    weights, inputs, loads, work, latency, scores, cost, stored, closes = (
        table[:, own] for table in plans.tables()
    )
    depth = np.where(
        keeps,
        _depth(buffers.weight_bytes, whole_head),
        _depth(buffers.weight_bytes, sum(heads.loaded_bytes(blocks.heads * blocks.keys))),
    )
    of_head, of_row, _ = nest.spans
    of_weights = nest.room(own, np.where(plans.keeps, of_head, 1), depth)
    of_query = nest.room(
        own, of_row, _depth(heads.input_room, heads.query_bytes(blocks.heads * blocks.queries))
    )
    begins, count = 2 * of_weights.begins, len(plans.kinds.of_steps)
    sums_of = np.arange(count) - 3  # the scores of the same block
    passing = bool(heads.loads_input or heads.stores or heads.extra)
    with_bus = True, passing | ~keeps, heads.loads_mask | ~keeps
    steps = Steps(
        kinds=plans.kinds.of_steps,
        nest=own,
        weights=designs.transfer_cycles(weights, 1),
        inputs=designs.transfer_cycles(inputs, loads),
        work=work,
        latency=latency,
        vector=designs.lane_cycles(scores, heads.softmax_cost) + _whole_cycles(cost, designs),
        closes=closes,
        store=designs.transfer_cycles(stored, 1),
        # Keys and values are freed with the last sums that need them, queries with the scores.
        weight_room=Room(plans.paired(begins, begins), 2 * of_weights.behind, later=2),
        input_room=Room(plans.paired(2 * of_query.begins, 0), 2 * of_query.behind, later=-1),
        after=np.where((sums_of >= 0) & (sums_of % 2 == 0), sums_of, NEVER),
        jumps=tuple(
            jump._replace(
                skipped=plans.paired(jump.skipped, 0), since=plans.paired(2 * jump.since, 0)
            )
            for jump in nest.jumps(own, with_bus)
        ),
    )
    vector: Any = 0
    for number, (h, q, keys), code in tile_kinds(*plans.dimensions):
        results = h * q * heads.value_dim
        cost = plans.sums_cost(results, results * (code & 1))[own]
        cycles = designs.lane_cycles((h * q * keys)[own], heads.softmax_cost)
        vector = vector + some(number, own) * (cycles + _whole_cycles(cost, designs))
    totals = {name: some(total, own) for name, total in plans.totals().items()}
    return Tiled(steps, 2 * plans.count[own], {**totals, "vector_cycles": vector})


def _whole_cycles(cost: Any, designs: Designs) -> Any:
    """Cycles of the vector unit for so many lane-cycles."""
    return np.ceil(cost / designs.vector.lanes - 1e-9)


def vector_tiles(rows: Rows, designs: Designs, pieces: Pieces) -> Tiled:
    """Work of the vector unit in pieces; the sizes in `rows` are columns."""
    units, size, passes = pieces
    count = -(-units // size)
    last = units - (count - 1) * size
    first, own = alike((passes, count), len(units))
    nest = _Nest((passes[first], count[first]), _VECTOR_LIMITS)
    kinds = _Kinds(_code(*nest.last), nest.valid)
    each = float(1) * rows.lane_cycles / (units * passes)

    def loaded(part: Any) -> Any:
        return -(-rows.input_bits * part // (8 * units))

    def stored(part: Any) -> Any:
        return -(-rows.output_bits * part // (8 * units))

    def cycles(part: Any) -> Any:
        return _whole_cycles(part * each, designs)

    def tile(code: int) -> tuple[Any, ...]:
        ends, is_last = _flags(code, 2)
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
        input_room=nest.room(own, 1, _depth(rows.input_room, loaded(size))),
        output_room=nest.room(own, 1, _depth(designs.buffers.output_bytes, stored(size))),
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
