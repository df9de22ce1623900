"""Attention as one kernel: blocks of query rows pipeline Q K^T, softmax and A V.

Scores never leave the chip.  A block is a number of query rows against a number of keys; while the
vector unit takes the softmax of one block, the array computes the scores of the next, so that tiles
run in the order

    QK(0), QK(1), AV(0), QK(2), AV(1), ..., AV(last)

across the heads of the batch, with the scores of two blocks in the accumulators.  An array that
multiplies several heads side by side takes such a block of each of them at once.  If a whole row of
scores fits there, a block has all keys.  If not, softmax is taken online (Milakov and Gimelshein,
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
from .array_work import ArrayWork, array_work
from .attention_mapping import AttentionMapping, Heads, choose, fits, stays
from .gemm import lane_cycles
from .loops import Part, joined, parts
from .program import Node, Tile

__all__ = ["AttentionMapping", "Heads", "choose", "fits", "nodes"]


@lru_cache(maxsize=65536)
def nodes(
    heads: Heads, mapping: AttentionMapping, machine: Accelerator, rate: Fraction
) -> tuple[Node, ...]:
    """The loop nest: for each block, the scores of the one after it, then its own sums."""
    maker = _Tiles(heads=heads, mapping=mapping, machine=machine, rate=rate)
    chunks = parts(heads.keys, mapping.keys)
    rows = parts(heads.queries, mapping.queries)
    together = parts(heads.copies, mapping.heads)

    def opening_block(copies: int) -> _Block:
        return _Block(copies, rows=rows[0], keys=chunks[0], opens_head=True, closes_head=False)

    @cache
    def row(
        copies: int, part: Part, following: Part | None, first_head: bool, next_copies: int
    ) -> tuple[Node, ...]:
        blocks = [
            _Block(
                copies,
                rows=part,
                keys=chunk,
                opens_head=part.first and chunk.first,
                closes_head=part.last and chunk.last,
            )
            for chunk in chunks
        ]
        if following is not None:
            blocks.append(
                _Block(copies, rows=following, keys=chunks[0], opens_head=False, closes_head=False)
            )
        elif next_copies:
            blocks.append(opening_block(next_copies))
        pairs: list[tuple[int, tuple[Node, ...]]] = []
        for index, block in enumerate(blocks[: len(chunks)]):
            ahead = blocks[index + 1] if index + 1 < len(blocks) else None
            behind = not (first_head and block.opens_head)  # the sums of the block before
            sums = maker.sums(block, back=1 + (ahead is not None) + behind)
            pairs.append((1, (sums,) if ahead is None else (maker.scores(ahead), sums)))
        return joined(pairs)

    @cache
    def head(copies: int, first: bool, next_copies: int) -> tuple[Node, ...]:
        followers = [*rows[1:], None]
        return joined(
            (1, row(copies, part, following, first and part.first, next_copies))
            for part, following in zip(rows, followers, strict=True)
        )

    following = [*(part.size for part in together[1:]), 0]
    heads_nodes = joined(
        (1, head(part.size, part.first, after))
        for part, after in zip(together, following, strict=True)
    )
    first = maker.scores(opening_block(together[0].size))
    once = heads.bytes(heads.once)
    opening = replace(
        first,
        input_bytes=first.input_bytes + once,
        input_loads=first.input_loads + (once > 0),
        inputs_freed=first.inputs_freed + once,
    )
    return (opening, *heads_nodes)


class _Block(NamedTuple):
    """A block of scores of some heads, and whether it is the first and the last of these."""

    copies: int
    rows: Part
    keys: Part
    opens_head: bool
    closes_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """The two tiles of a block."""

    heads: Heads
    mapping: AttentionMapping
    machine: Accelerator
    rate: Fraction

    def _loads(self, block: _Block, which: int) -> tuple[int, int]:
        """Bytes of keys (0) or values (1) that the block loads, and that it frees."""
        heads = self.heads
        if stays(heads, self.mapping, self.machine):
            return heads.loaded_bytes(block.copies * heads.keys)[which] * block.opens_head, 0
        streamed = heads.loaded_bytes(block.copies * block.keys.size)[which]
        return streamed, streamed

    def _work(self, block: _Block, k: int, n: int) -> ArrayWork:
        array, bits = self.machine.array, self.heads.bits
        return array_work(array, block.copies, block.rows.size, k, n, bits=bits, rate=self.rate)

    def scores(self, block: _Block) -> Tile:
        """Q K^T of a block, then its softmax."""
        heads, rows = self.heads, block.copies * block.rows.size
        scores = rows * block.keys.size
        left = heads.bytes(rows * heads.head_dim) if heads.loads_input else 0
        right, freed = self._loads(block, 0)
        mask = heads.bytes(scores) * heads.loads_mask
        return Tile(
            work=self._work(block, heads.head_dim, block.keys.size),
            weight_bytes=right,
            weight_loads=int(right > 0),
            weights_freed=freed,
            input_bytes=left * block.keys.first + mask,
            input_loads=(block.keys.first and left > 0) + (mask > 0),
            inputs_freed=left if block.keys.last else 0,
            accumulator_bytes=4 * scores,
            vector_cycles=lane_cycles(scores, heads.softmax_cost, self.machine),
            vector_frees=mask,
            sum_reads=2 * scores,  # each score is read, and its probability written over it
        )

    def sums(self, block: _Block, back: int) -> Tile:
        """A V of a block, once the softmax `back` tiles ago is done."""
        heads, rows = self.heads, block.copies * block.rows.size
        results = rows * heads.value_dim
        extra = heads.extra * heads.bytes(results) if block.keys.last else 0
        right, freed = self._loads(block, 1)
        if block.closes_head and stays(heads, self.mapping, self.machine):
            freed = heads.head_bytes(block.copies)
        online = self.mapping.keys < heads.keys
        cost = heads.merge_cost * online + heads.vector_cost * block.keys.last
        running = 4 * results * online  # the row's result so far, until its last block
        return Tile(
            work=self._work(block, block.keys.size, heads.value_dim),
            weight_bytes=right,
            weight_loads=int(right > 0),
            weights_freed=freed,
            input_bytes=extra,
            input_loads=heads.extra if block.keys.last else 0,
            accumulator_bytes=4 * results + (running if block.keys.first else 0),
            scores_freed=4 * rows * block.keys.size,
            vector_cycles=lane_cycles(results, cost, self.machine),
            accumulators_freed=4 * results + (running if block.keys.last else 0),
            vector_frees=extra,
            vector_reads=heads.epilogue_operands * results if block.keys.last else 0,
            sum_reads=results * (1 + 2 * online),
            outputs=results if block.keys.last else 0,
            store_bytes=heads.bytes(results) if block.keys.last and heads.stores else 0,
            after=back,
        )
