"""Attention as one kernel: blocks of query rows pipeline Q K^T, softmax and A V.

Scores never leave the chip.  A block is a number of query rows against a number of keys; while the
vector unit takes the softmax of one block, the array computes the scores of the next, so that tiles
run in the order

    QK(0), QK(1), AV(0), QK(2), AV(1), ..., AV(last)

across the heads of the batch, with the scores of two blocks in the accumulators.  An array that
multiplies several heads side by side takes such a block of each of them at once; so do several
arrays to which heads or images are dealt, of sizes that may differ: a block then has the same range
of rows and keys of every array's head, as long as there are any.  If a whole row of scores fits
there, a block has all keys.  If not, softmax is taken online (Milakov and Gimelshein,
arXiv:1805.02867, 2018; Dao et al., FlashAttention, NeurIPS 2022): each block's sums are merged into
the row's running result by the vector unit, at a scale and an addition for each element.

Keys and values of a head stay in the weight buffer if they fit, else they stream past every block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

from ..arch import Accelerator
from .array_work import ArrayWork
from .attention_mapping import AttentionMapping, Heads, choose, fits, stays
from .gemm import lane_cycles
from .lanes import Lanes, block_work, cut, keys_of, rows_of, scores_of
from .loops import Part, joined, parts
from .program import Node, Tile

__all__ = ["AttentionMapping", "Heads", "choose", "fits", "nodes"]


@lru_cache(maxsize=65536)
def nodes(
    heads: Heads, mapping: AttentionMapping, machine: Accelerator, rate: Fraction
) -> tuple[Node, ...]:
    """The loop nest: for each block, the scores of the one after it, then its own sums."""
    keeps = stays(heads, mapping, machine)
    maker = _Tiles(heads=heads, mapping=mapping, machine=machine, rate=rate, keeps=keeps)
    together = [lanes for times, lanes in heads.taken(mapping.heads) for _ in range(times)]

    @cache
    def rows_of_scores(lanes: Lanes) -> list[Part]:
        return parts([lane.queries for lane in lanes], mapping.queries)

    @cache
    def chunks_of_keys(lanes: Lanes) -> list[Part]:
        return parts([lane.keys for lane in lanes], mapping.keys)

    def opening_block(lanes: Lanes) -> _Block:
        rows, keys = rows_of_scores(lanes)[0], chunks_of_keys(lanes)[0]
        return _Block(lanes, rows=rows, keys=keys, opens_head=True, closes_head=False)

    @cache
    def row(
        lanes: Lanes, part: Part, following: Part | None, first_head: bool, next_lanes: Lanes
    ) -> tuple[Node, ...]:
        chunks = chunks_of_keys(lanes)
        blocks = [
            _Block(
                lanes,
                rows=part,
                keys=chunk,
                opens_head=part.first and chunk.first,
                closes_head=part.last and chunk.last,
            )
            for chunk in chunks
        ]
        if following is not None:
            blocks.append(
                _Block(lanes, rows=following, keys=chunks[0], opens_head=False, closes_head=False)
            )
        elif next_lanes:
            blocks.append(opening_block(next_lanes))
        pairs: list[tuple[int, tuple[Node, ...]]] = []
        for index, block in enumerate(blocks[: len(chunks)]):
            ahead = blocks[index + 1] if index + 1 < len(blocks) else None
            behind = not (first_head and block.opens_head)  # the sums of the block before
            sums = maker.sums(block, back=1 + (ahead is not None) + behind)
            pairs.append((1, (sums,) if ahead is None else (maker.scores(ahead), sums)))
        return joined(pairs)

    @cache
    def head(lanes: Lanes, first: bool, next_lanes: Lanes) -> tuple[Node, ...]:
        rows = rows_of_scores(lanes)
        return joined(
            (1, row(lanes, part, following, first and part.first, next_lanes))
            for part, following in zip(rows, [*rows[1:], None], strict=True)
        )

    heads_nodes = joined(
        (1, head(lanes, number == 0, after))
        for number, (lanes, after) in enumerate(zip(together, [*together[1:], ()], strict=True))
    )
    first = maker.scores(opening_block(together[0]))
    once = heads.once_bytes
    opening = replace(
        first,
        input_bytes=first.input_bytes + once,
        input_loads=first.input_loads + (once > 0),
        inputs_freed=first.inputs_freed + once,
    )
    return (opening, *heads_nodes)


class _Block(NamedTuple):
    """A block of scores of some heads, and whether it is the first and the last of these."""

    lanes: Lanes
    rows: Part
    keys: Part
    opens_head: bool
    closes_head: bool

    @property
    def cut(self) -> Lanes:
        """What of its heads is in it."""
        return cut(self.lanes, self.rows, self.keys)

    @property
    def row_count(self) -> int:
        """Its rows, also of heads that have no more keys."""
        pairs = zip(self.lanes, self.rows.shares, strict=True)
        return sum(lane.copies * rows for lane, rows in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """The two tiles of a block; `keeps` if keys and values stay while all its rows pass."""

    heads: Heads
    mapping: AttentionMapping
    machine: Accelerator
    rate: Fraction
    keeps: bool

    def _loads(self, block: _Block, which: int) -> tuple[int, int]:
        """Bytes of keys (0) or values (1) that the block loads, and that it frees."""
        heads = self.heads
        if self.keeps:
            return heads.loaded_bytes(keys_of(block.lanes))[which] * block.opens_head, 0
        streamed = heads.loaded_bytes(keys_of(block.cut))[which]
        return streamed, streamed

    def _work(self, block: _Block, width: int, *, sums: bool) -> ArrayWork:
        heads = self.heads
        work = block_work(
            self.machine.array, apart=bool(heads.dealt), bits=heads.bits, rate=self.rate
        )
        return work(block.cut, width, sums)

    def scores(self, block: _Block) -> Tile:
        """Q K^T of a block, then its softmax."""
        heads = self.heads
        scores = scores_of(block.cut)
        left = heads.query_bytes(block.row_count)
        right, freed = self._loads(block, 0)
        mask = heads.mask_bytes(scores)
        return Tile(
            work=self._work(block, heads.head_dim, sums=False),
            weight_bytes=right,
            weight_loads=int(right > 0),
            weights_freed=freed,
            input_bytes=left * block.keys.first + mask,
            input_loads=(block.keys.first and left > 0) + (mask > 0),
            inputs_freed=left if block.keys.last else 0,
            accumulator_bytes=4 * scores,
            vector_cycles=lane_cycles(scores, heads.softmax_cost, self.machine),
            vector_frees=mask,
            vector_reads=scores * heads.loads_mask,
            sum_reads=scores,
            sum_writes=scores,  # each probability over its score
        )

    def sums(self, block: _Block, back: int) -> Tile:
        """A V of a block, once the softmax `back` tiles ago is done."""
        heads = self.heads
        made = rows_of(block.cut) * heads.value_dim
        results = block.row_count * heads.value_dim  # that leave, or wait until all keys were there
        leaving = results * block.keys.last
        extra = heads.extra_bytes(leaving)
        right, freed = self._loads(block, 1)
        if block.closes_head and self.keeps:
            freed = heads.head_bytes(block.lanes)
        online = self.mapping.online(block.lanes)
        merged = made * online
        running = 4 * results * online  # the row's result so far, until its last block
        lane_work = merged * heads.merge_cost + leaving * heads.vector_cost
        work = self._work(block, heads.value_dim, sums=True)
        probabilities = work.input_reads  # which lie where their scores did
        return Tile(
            work=replace(work, input_reads=0, sum_reads=work.sum_reads + probabilities),
            weight_bytes=right,
            weight_loads=int(right > 0),
            weights_freed=freed,
            input_bytes=extra,
            input_loads=len(heads.extra) if block.keys.last else 0,
            accumulator_bytes=4 * made + (running if block.keys.first else 0),
            scores_freed=4 * scores_of(block.cut),
            vector_cycles=lane_cycles(1, lane_work, self.machine),
            accumulators_freed=4 * made + (running if block.keys.last else 0),
            vector_frees=extra,
            vector_reads=heads.epilogue_operands * leaving,
            sum_reads=made + merged * (not block.keys.first) + (results - made) * block.keys.last,
            sum_writes=merged * (not block.keys.last),
            outputs=leaving,
            store_bytes=heads.stored_bytes(leaving),
            after=back,
        )
