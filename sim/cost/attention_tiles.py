"""Attention as tiles in loops: sizes, bytes and cycles are those of `attention.py`."""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attention_mapping import Heads
from .block_mapping import Blocks, heads_of
from .designs import Designs, alike, some
from .nest import Kinds, Nest, Tiled, code_of, depth_of, flags_of, parts, steps_of, tile_kinds
from .steps import NEVER, Room, Steps
from .works import works_of

__all__ = ["attention_depths", "attention_steps", "attention_tiles"]

Int = NDArray[np.int64]

_LIMITS = 5, 7, 6
_SUMS = 1 << 5  # of a code, beside its flags


def attention_steps(heads: Heads, blocks: Blocks) -> Int:
    """Steps that are run of each attention, `(rows,)`."""
    sizes = (heads.copies, blocks.heads), (heads.queries, blocks.queries), (heads.keys, blocks.keys)
    return 2 * steps_of([-(-size // tile) for size, tile in sizes], _LIMITS)


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
        nest = self.nest = Nest([count for count, *_ in self.dimensions], _LIMITS)
        self.count = self.dimensions[0][0] * self.dimensions[1][0] * self.dimensions[2][0]
        self._online = self.dimensions[2][0] > 1
        opens = nest.step % nest.spans[0] == 0, nest.index[2] == 0
        scores = code_of(*nest.last, *opens)
        self.kinds = Kinds(self.paired(scores, scores + _SUMS), self.paired(nest.valid, nest.valid))
        numbers, blocks_of, codes = zip(*tile_kinds(*self.dimensions), strict=True)
        scored, summed = (
            works_of(designs, tiles, len(keeps), bits=heads.bits, rate=rate)
            for tiles in (
                [(h, q, heads.head_dim, keys) for h, q, keys in blocks_of],
                [(h, q, keys, heads.value_dim) for h, q, keys in blocks_of],
            )
        )
        self.works = dict(zip(codes, zip(numbers, scored, summed, strict=True), strict=True))

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
        is_sums, *lasts, opens_head, opens_keys = flags_of(code, 6)
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


def attention_depths(heads: Heads, designs: Designs, blocks: Blocks) -> tuple[Any, ...]:
    """Whether keys and values stay; how many tiles of them, and of queries, there is room for."""
    buffers, (queries, keys, together) = designs.buffers, blocks
    whole_head = sum(heads.loaded_bytes(together * heads.keys))
    keeps = 2 * whole_head <= buffers.weight_bytes
    return (
        keeps,
        np.where(
            keeps,
            depth_of(buffers.weight_bytes, whole_head),
            depth_of(buffers.weight_bytes, sum(heads.loaded_bytes(together * keys))),
        ),
        depth_of(heads.input_room, heads.query_bytes(together * queries)),
    )


def attention_tiles(heads: Heads, designs: Designs, rate: Fraction, blocks: Blocks) -> Tiled:
    """Attention in blocks; the sizes in `heads` are columns."""
    sizes = (heads.copies, heads.queries, heads.keys, heads.once_bytes)
    keeps, for_weights, for_queries = attention_depths(heads, designs, blocks)
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
    of_head, of_row, _ = nest.spans
    of_weights = nest.room(own, np.where(plans.keeps, of_head, 1), for_weights)
    of_query = nest.room(own, of_row, for_queries)
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
        vector=designs.lane_cycles(scores, heads.softmax_cost) + designs.whole_lane_cycles(cost),
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
        vector = vector + some(number, own) * (cycles + designs.whole_lane_cycles(cost))
    totals = {name: some(total, own) for name, total in plans.totals().items()}
    return Tiled(steps, 2 * plans.count[own], {**totals, "vector_cycles": vector})
