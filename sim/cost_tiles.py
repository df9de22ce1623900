"""Tiles of many kernels as steps: loop nests cut to the iterations that differ, and their totals.

The sizes, bytes and cycles of a tile are those that `gemm.py`, `attention.py` and `vector_work.py`
give it.  A nest of loops has few tiles that differ: in each loop the last iteration may be ragged,
and those in its middle are alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .array_work import array_work
from .attention_mapping import Heads
from .designs import Designs
from .gemm import Gemm
from .lockstep import NEVER, Jump, Steps
from .tiling import Candidates
from .traffic import UNDER_WAY
from .vector_work import Rows

__all__ = [
    "Blocks", "Pieces", "Tiled", "attention_steps", "attention_tiles", "parts", "product_steps",
    "product_tiles", "tile_kinds", "vector_steps", "vector_tiles",
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

    def jumps(self, with_bus: Sequence[Any], summed: int | None = None) -> Iterator[Jump]:
        """Where iterations are left out.

        Args:
            with_bus: For each loop, whether the bus takes part.
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
                with_bus=np.broadcast_to(with_bus[loop], count.shape),
                with_vector=loop != summed,
            )

    def room(self, span: Any, depth: Any) -> Int:
        """The step that makes room for a step's load, if `depth` of a span of steps each fit."""
        span = np.asarray(span, dtype=np.int32)
        behind = self.step // span - np.asarray(depth, dtype=np.int32)
        return np.where(behind >= 0, behind * span + span - 1, NEVER)


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
    """The code of `tile_kinds` for steps of which it is known in which dimensions they are the last."""
    code = 0
    for is_last in lasts:
        code = 2 * code + is_last
    return code


_COLUMNS = "weights", "inputs", "work", "latency", "vector", "store"


def _picked(tables: Mapping[str, Mapping[int, Any]], codes: Int) -> dict[str, Any]:
    """For each step what the tables of its code have for its row."""
    rows = codes.shape[1]
    known = sorted(next(iter(tables.values())))
    place = np.zeros(known[-1] + 1, dtype=np.int64)
    place[known] = np.arange(len(known)) * rows
    flat = place.take(codes, mode="clip") + np.arange(rows)
    return {
        name: np.array([np.broadcast_to(table[code], (rows,)) for code in known], dtype=float)
        .reshape(-1)
        .take(flat)
        for name, table in tables.items()
    }


def _product_tile(
    gemm: Gemm, designs: Designs, rate: Fraction, demand: Any, dimensions: Any, code: int
) -> tuple[Any, ...]:
    """A tile of a product, `_COLUMNS` in order; its code says where it stands in the nest."""
    *lasts, opens_k, loads_left, loads_right = (bool(code >> bit & 1) for bit in range(6, -1, -1))
    g, m, k, n = (
        last if is_last else size
        for is_last, (_, size, last) in zip(lasts, dimensions, strict=True)
    )
    ends_k = lasts[2]
    work = array_work(
        designs.array, g, m, k, n, bits=gemm.bits, rate=rate, demand=demand, ends=ends_k
    )
    outputs = g * m * n * ends_k
    left = gemm.input_bytes(g, m, k) * loads_left
    right = gemm.weight_bytes(g, k + gemm.bias * opens_k, n) * loads_right
    input_loads = (left > 0) + len(gemm.extra) * ends_k
    return (
        designs.transfer_cycles(right, 1),
        designs.transfer_cycles(left + gemm.extra_bytes(outputs), input_loads),
        work.cycles,
        work.latency,
        designs.lane_cycles(outputs, gemm.vector_cost),
        designs.transfer_cycles(gemm.leaving_bytes(outputs) * gemm.stores, 1),
    )


def product_tiles(gemm: Gemm, designs: Designs, rate: Fraction, mapping: Candidates) -> Tiled:
    """Products under a mapping each; the sizes in `gemm` are columns."""
    shape, buffers, array = gemm.shape, designs.buffers, designs.array
    groups, m, k, n, order = mapping
    repeats = shape.repeats
    of_groups, of_m, of_k, of_n = (
        (-(-size // tile), tile, size - (-(-size // tile) - 1) * tile)
        for size, tile in ((shape.groups, groups), (shape.m, m), (shape.k, k), (shape.n, n))
    )
    (rounds, *_), (m_tiles, *_), (k_tiles, *_), (n_tiles, *_) = of_groups, of_m, of_k, of_n
    m_steps = m_tiles * repeats
    rows_first = order == 0  # mn
    loops = _loops(gemm, mapping)
    _, outer, inner, _ = loops
    nest = _Nest(loops, _PRODUCT_LIMITS)

    whole_k = k_tiles == 1
    input_stays = whole_k & (rows_first | (m_steps == 1))
    weight_stays = whole_k & (~rows_first | (n_tiles == 1))
    of_round, of_outer, of_inner, of_tile = nest.spans
    # In how many steps an operand's tile passes.
    input_span = np.where(input_stays, np.where(rows_first, of_outer, of_round), of_tile)
    weight_span = np.where(weight_stays, np.where(rows_first, of_round, of_outer), of_tile)
    # A step's place in each dimension, counted over all that there are.
    places = [
        nest.index[loop] + (count - run) * (nest.index[loop] >= run - 2)
        for loop, count, run in ((1, outer, nest.runs[1]), (2, inner, nest.runs[2]))
    ]
    at_m, at_n = np.where(rows_first, places, places[::-1])
    ends_g, ends_k = nest.last[0], nest.last[3]
    ends_m, ends_n = at_m % m_tiles == m_tiles - 1, at_n == n_tiles - 1
    opens_k = nest.index[3] == 0
    loads_left, loads_right = (at_n == 0) | ~input_stays, (at_m == 0) | ~weight_stays
    codes = _code(ends_g, ends_m, ends_k, ends_n, opens_k, loads_left, loads_right)
    dimensions = of_groups, of_m, of_k, of_n
    demand = gemm.read_demand(designs, rate)  # type: ignore[arg-type]
    tables: dict[str, dict[int, Any]] = {name: {} for name in _COLUMNS}
    for code in np.flatnonzero(np.bincount(codes[nest.valid], minlength=128)).tolist():
        of_kind = _product_tile(gemm, designs, rate, demand, dimensions, code)
        for name, column in zip(_COLUMNS, of_kind, strict=True):
            tables[name][code] = column
    columns = _picked(tables, codes)
    valid = nest.valid
    for name in ("weights", "inputs", "work", "latency", "store"):
        columns[name] *= valid
    once, trained = gemm.once_bytes, gemm.once_trained_bytes
    columns["inputs"][0] += designs.transfer_cycles(once, 1)
    columns["weights"][0] += designs.transfer_cycles(trained, 1)

    input_reads = weight_reads = sum_reads = sum_writes = vector = 0
    for number, (g_, m_, k_, n_), _ in tile_kinds(*dimensions):
        work = array_work(array, g_, m_, k_, n_, bits=gemm.bits, rate=rate, demand=demand)
        number = number * repeats
        input_reads = input_reads + number * work.input_reads
        weight_reads = weight_reads + number * work.weight_reads
        sum_reads = sum_reads + number * work.sum_reads
        sum_writes = sum_writes + number * work.sum_writes
    whole = shape.groups * repeats * shape.m * shape.n  # sums that leave
    for number, (g_, m_, n_), _ in tile_kinds(of_groups, of_m, of_n):
        vector = vector + number * repeats * designs.lane_cycles(g_ * m_ * n_, gemm.vector_cost)

    largest = groups * m * n
    streams = (gemm.loads_input & (input_span == of_tile)) | (
        gemm.loads_weight & (weight_span == of_tile)
    )
    moves = bool(gemm.stores or gemm.extra)
    valid = nest.valid
    steps = Steps(
        **columns,
        closes=ends_k & valid,
        weight_room=nest.room(
            weight_span, _depth(buffers.weight_bytes, gemm.weight_bytes(groups, k + gemm.bias, n))
        ),
        input_room=nest.room(
            input_span,
            _depth(gemm.input_room, gemm.input_bytes(groups, m, k) + gemm.extra_bytes(largest)),
        ),
        sum_room=nest.room(nest.runs[3], _depth(buffers.accumulator_bytes, 4 * largest)),
        output_room=nest.room(
            nest.runs[3], _depth(buffers.output_bytes, gemm.leaving_bytes(largest))
        )
        if gemm.stores
        else None,
        by_vector=bool(gemm.extra) and not gemm.loads_input,
        jumps=tuple(
            nest.jumps((True, streams | moves | (of_inner == 1), streams | moves, True), summed=3)
        ),
    )
    totals = {
        "macs": shape.groups * repeats * shape.m * shape.k * shape.n,
        "vector_cycles": vector,
        "input_reads": input_reads + gemm.epilogue_operands * whole,
        "weight_reads": weight_reads,
        "sum_reads": sum_reads + whole * (k_tiles - 1) + whole,
        "sum_writes": sum_writes,
        "outputs": whole * gemm.leaving.numerator // gemm.leaving.denominator,
        **_moved(gemm, of_groups, of_m, of_k, of_n, repeats, input_stays, weight_stays),
    }
    return Tiled(steps, rounds * m_steps * n_tiles * k_tiles, totals)


def _moved(
    gemm: Gemm,
    of_groups: Any,
    of_m: Any,
    of_k: Any,
    of_n: Any,
    repeats: Any,
    input_stays: Any,
    weight_stays: Any,
) -> dict[str, Any]:
    """Bytes to and from DRAM."""
    inputs, weights = gemm.once_bytes, gemm.once_trained_bytes
    stored = 0
    for number, sizes, _ in tile_kinds(of_groups, of_m, of_k):
        again = repeats * np.where(input_stays, 1, of_n[0])
        inputs = inputs + number * again * gemm.input_bytes(*sizes)
    for number, (g, k, n), code in tile_kinds(of_groups, of_k, of_n):
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


def attention_tiles(heads: Heads, designs: Designs, rate: Fraction, blocks: Blocks) -> Tiled:
    """Attention in blocks; the sizes in `heads` are columns.

    Steps come in pairs: the scores of a block, then the sums of the block before it.
    """
    buffers, array = designs.buffers, designs.array
    together = blocks.heads
    of_heads, of_rows, of_keys = (
        (-(-size // tile), tile, size - (-(-size // tile) - 1) * tile)
        for size, tile in (
            (heads.copies, together), (heads.queries, blocks.queries), (heads.keys, blocks.keys)
        )
    )  # fmt: skip
    nest = _Nest((of_heads[0], of_rows[0], of_keys[0]), _ATTENTION_LIMITS)
    online = of_keys[0] > 1
    widths = heads.head_dim, heads.value_dim
    whole_head = sum(heads.loaded_bytes(together * heads.keys))
    keeps = 2 * whole_head <= buffers.weight_bytes

    def per_block(side: int) -> dict[str, Any]:
        """Each block's tile: cycles, latency, vector cycles, bytes loaded and stored."""
        of_head, of_row, of_block = nest.spans
        opens_head, opens_keys = nest.step % of_head == 0, nest.index[2] == 0
        ends_keys = nest.last[2]
        codes = _code(*nest.last)
        tables: dict[str, dict[int, Any]] = {"work": {}, "latency": {}}
        for _, (h, q, keys), code in tile_kinds(of_heads, of_rows, of_keys):
            shape = (h, q, widths[0], keys) if side == 0 else (h, q, keys, widths[1])
            work = array_work(array, *shape, bits=heads.bits, rate=rate)
            tables["work"][code], tables["latency"][code] = work.cycles, work.latency
        h, q, keys = (
            np.where(last, ragged, size)
            for last, (_, size, ragged) in zip(nest.last, (of_heads, of_rows, of_keys), strict=True)
        )
        scores, results = h * q * keys, h * q * heads.value_dim
        loaded = np.where(
            keeps,
            heads.loaded_bytes(h * heads.keys)[side] * opens_head,
            heads.loaded_bytes(h * keys)[side],
        )
        found = _picked(tables, codes)
        if side == 0:
            query = heads.query_bytes(h * q) * opens_keys
            mask = heads.mask_bytes(scores)
            found["inputs"] = query + mask
            found["input_loads"] = (query > 0) + (mask > 0) * 1
            found["vector"] = designs.lane_cycles(scores, heads.softmax_cost)
            found["store"] = 0 * scores
        else:
            leaving = results * ends_keys
            cost = results * online * heads.merge_cost.numerator / heads.merge_cost.denominator
            cost = cost + leaving * float(heads.vector_cost)
            found["inputs"] = heads.extra_bytes(leaving) + 0 * scores
            found["input_loads"] = len(heads.extra) * ends_keys
            found["vector"] = np.ceil(cost / designs.vector.lanes - 1e-9)
            found["store"] = heads.stored_bytes(leaving)
        found["weights"] = loaded
        return {
            "work": found["work"],
            "latency": found["latency"],
            "vector": found["vector"],
            "weights": designs.transfer_cycles(loaded, 1),
            "inputs": designs.transfer_cycles(found["inputs"], found["input_loads"]),
            "store": designs.transfer_cycles(found["store"], 1),
        }

    scores, sums = per_block(0), per_block(1)
    count, rows = nest.valid.shape

    def paired(ours: Any, theirs: Any) -> Any:
        """Steps in order: the scores of block b, the sums of block b - 1."""
        both = np.zeros((count + 1, 2, rows), dtype=np.asarray(ours).dtype)
        both[:-1, 0] = np.where(nest.valid, ours, 0)
        both[1:, 1] = np.where(nest.valid, theirs, 0)
        return both.reshape(2 * count + 2, rows)

    block = nest.step + 0 * nest.steps
    of_head = nest.spans[0]
    depth = np.where(
        keeps,
        _depth(buffers.weight_bytes, whole_head),
        _depth(buffers.weight_bytes, sum(heads.loaded_bytes(together * blocks.keys))),
    )
    # Keys and values are freed with the last sums that need them.
    freed = nest.room(np.where(keeps, of_head, 1), depth)
    sums_of = np.where(freed >= 0, 2 * freed + 3, NEVER)
    query_room = nest.room(
        nest.spans[1], _depth(heads.input_room, heads.query_bytes(together * blocks.queries))
    )
    jumps = tuple(
        Jump(
            skipped=paired(jump.skipped, 0),
            since=paired(2 * jump.since, 0),
            iterations=jump.iterations,
            with_bus=jump.with_bus,
            with_vector=True,
        )
        for jump in nest.jumps(
            (
                True,
                bool(heads.loads_input or heads.stores or heads.extra) | ~keeps,
                heads.loads_mask | ~keeps,
            )
        )
    )
    steps = Steps(
        weights=paired(scores["weights"], sums["weights"]),
        inputs=paired(scores["inputs"], sums["inputs"]),
        work=paired(scores["work"], sums["work"]),
        latency=paired(scores["latency"], sums["latency"]),
        vector=paired(scores["vector"], sums["vector"]),
        closes=paired(nest.valid, nest.valid),
        store=paired(scores["store"], sums["store"]),
        weight_room=paired(sums_of + 1, sums_of + 1) - 1,
        input_room=paired(np.where(query_room >= 0, 2 * query_room, NEVER) + 1, 0) - 1,
        sum_room=paired(0, np.where(block >= 2, 2 * block - 1, NEVER) + 1) - 1,
        after=paired(0, 2 * block + 1) - 1,
        jumps=jumps,
    )
    tiles = 2 * of_heads[0] * of_rows[0] * of_keys[0]
    totals = _attention_totals(heads, designs, rate, of_heads, of_rows, of_keys, keeps)
    return Tiled(steps, tiles, totals)


def _attention_totals(
    heads: Heads,
    designs: Designs,
    rate: Fraction,
    of_heads: Any,
    of_rows: Any,
    of_keys: Any,
    keeps: Any,
) -> dict[str, Any]:
    array, online = designs.array, of_keys[0] > 1
    macs = heads.copies * heads.queries * heads.keys * (heads.head_dim + heads.value_dim)
    results = heads.copies * heads.queries * heads.value_dim
    totals: dict[str, Any] = dict.fromkeys(
        ("input_reads", "weight_reads", "sum_reads", "sum_writes", "vector_cycles", "input_bytes",
         "store_bytes"), 0
    )  # fmt: skip
    streamed = 0
    for number, (h, q, keys), code in tile_kinds(of_heads, of_rows, of_keys):
        ends = bool(code & 1)
        scores, made = h * q * keys, h * q * heads.value_dim
        qk = array_work(array, h, q, heads.head_dim, keys, bits=heads.bits, rate=rate)
        av = array_work(array, h, q, keys, heads.value_dim, bits=heads.bits, rate=rate)
        merged = made * online
        leaving = made * ends
        cost = merged * float(heads.merge_cost) + leaving * float(heads.vector_cost)
        sums_cycles = np.ceil(cost / designs.vector.lanes - 1e-9)
        for name, each in (
            ("input_reads", qk.input_reads + scores * heads.loads_mask
             + heads.epilogue_operands * leaving),
            ("weight_reads", qk.weight_reads + av.weight_reads),
            ("sum_reads", qk.sum_reads + scores + av.sum_reads + av.input_reads + made + merged),
            ("sum_writes", qk.sum_writes + scores + av.sum_writes + merged * (not ends)),
            ("vector_cycles", designs.lane_cycles(scores, heads.softmax_cost) + sums_cycles),
            ("input_bytes", heads.mask_bytes(scores) + heads.extra_bytes(leaving)
             + heads.query_bytes(h * q) * ends),
            ("store_bytes", heads.stored_bytes(leaving)),
        ):  # fmt: skip
            totals[name] = totals[name] + number * each
        streamed = streamed + number * sum(heads.loaded_bytes(h * keys))
    # The first block of a row has no running result to read.
    totals["sum_reads"] = totals["sum_reads"] - results * online
    whole = 0
    for number, (h,), _ in tile_kinds(of_heads):
        whole = whole + number * sum(heads.loaded_bytes(h * heads.keys))
    return {
        "macs": macs,
        "outputs": results,
        "weight_bytes": np.where(keeps, whole, streamed),
        **totals,
        "input_bytes": totals["input_bytes"] + heads.once_bytes,
    }


def vector_tiles(rows: Rows, designs: Designs, pieces: Pieces) -> Tiled:
    """Work of the vector unit in pieces; the sizes in `rows` are columns."""
    units, size, passes = pieces
    count = -(-units // size)
    nest = _Nest((passes, count), _VECTOR_LIMITS)
    part = np.where(nest.last[1], units - (count - 1) * size, size)
    ends = nest.last[0]
    loads = -(-rows.input_bits * part // (8 * units))
    results = -(-rows.output_bits * part // (8 * units)) * ends
    trained = rows.parameter_bytes * (nest.step == 0)
    each = float(1) * rows.lane_cycles / (units * passes)
    cycles = np.ceil(part * each / designs.vector.lanes - 1e-9)
    valid = nest.valid
    full = -(-rows.input_bits * size // (8 * units))
    steps = Steps(
        weights=designs.transfer_cycles(trained, 1) * valid,
        inputs=designs.transfer_cycles(loads, rows.operands) * valid,
        work=np.zeros(valid.shape),
        latency=np.zeros(valid.shape),
        vector=cycles * valid,
        closes=valid,
        store=designs.transfer_cycles(results, 1) * valid,
        input_room=nest.room(1, _depth(rows.input_room, full)),
        output_room=nest.room(
            1, _depth(designs.buffers.output_bytes, -(-rows.output_bits * size // (8 * units)))
        ),
        by_vector=True,
        jumps=tuple(nest.jumps((True, True))),
    )
    whole, last = count - 1, units - (count - 1) * size

    def over(value: Any) -> Any:
        """The sum over pieces of what so many units come to."""
        return whole * value(size) + value(last)

    totals = {
        "macs": 0,
        "input_bytes": passes * over(lambda part: -(-rows.input_bits * part // (8 * units))),
        "weight_bytes": rows.parameter_bytes,
        "store_bytes": over(lambda part: -(-rows.output_bits * part // (8 * units))),
        "vector_cycles": passes
        * over(lambda part: np.ceil(part * each / designs.vector.lanes - 1e-9)),
        "input_reads": passes * over(lambda part: -(-rows.reads * part // units)),
        "outputs": over(lambda part: -(-rows.outputs * part // units)),
        "weight_reads": 0,
        "sum_reads": 0,
        "sum_writes": 0,
    }
    return Tiled(steps, passes * count, totals)
