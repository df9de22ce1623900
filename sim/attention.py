"""Attention as one kernel: blocks of query rows pipeline Q K^T, softmax and A V.

Scores never leave the chip.  A block is a number of query rows against a number of keys; while the
vector unit takes the softmax of one block, the array computes the scores of the next, so that tiles
run in the order

    QK(0), QK(1), AV(0), QK(2), AV(1), ..., AV(last)

across the heads of the batch, with the scores of two blocks in the accumulators.  If a whole row of
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
from .array_work import array_work
from .errors import MappingError
from .gemm import lane_cycles
from .loops import Part, joined, parts, runs, walk
from .program import Node, Tile
from .systolic import fold_latency
from .tiling import SLACK, ladder

__all__ = ["AttentionMapping", "Heads", "choose", "fits", "nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What a mapping must know of an attention operator.

    Attributes:
        copies: Heads of the whole batch; each loads keys and values of its own, for those that
            share them meet other heads' queries in between.
        queries, keys, head_dim, value_dim: Of one head.
        bits: Of an operand.
        loads_input, loads_key, loads_value, stores: False where queries, keys, values or the
            result stay on chip.
        loads_mask: True if there is a mask that must be loaded with the scores it masks.
        input_room: Bytes of the input buffer that are not taken by resident activations.
        extra: Operands that the epilogue loads, each as many elements as the output.
        once: Elements of the epilogue's broadcast operands and its trained numbers, loaded with
            the first tile.
        epilogue_operands: All that it reads, loaded or on chip.
        softmax_cost, vector_cost, merge_cost: Cycles of one lane for a score, for an output
            element, and to merge an element of a block's sums into the running result.
    """

    copies: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int
    bits: int
    loads_input: bool = True
    loads_key: bool = True
    loads_value: bool = True
    stores: bool = True
    loads_mask: bool = False
    input_room: int
    extra: int = 0
    once: int = 0
    epilogue_operands: int = 0
    softmax_cost: Fraction
    vector_cost: Fraction

    merge_cost: Fraction

    def bytes(self, elements: int) -> int:
        """Bytes of operands."""
        return -(-elements * self.bits // 8)

    def loaded_bytes(self, keys: int) -> tuple[int, int]:
        """Bytes of `keys` keys and of their values, if they must be loaded."""
        return (
            self.bytes(keys * self.head_dim) * self.loads_key,
            self.bytes(keys * self.value_dim) * self.loads_value,
        )

    @property
    def head_bytes(self) -> int:
        """Keys and values of one head, if they must be loaded."""
        return sum(self.loaded_bytes(self.keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMapping:
    """A block: `queries` rows against `keys` keys."""

    queries: int
    keys: int

    def __str__(self) -> str:
        return f"{self.queries} queries x {self.keys} keys"

    def within(self, heads: Heads) -> AttentionMapping:
        """The same block, cut to what there is."""
        return AttentionMapping(
            queries=min(self.queries, heads.queries), keys=min(self.keys, heads.keys)
        )


def stays(heads: Heads, machine: Accelerator) -> bool:
    """Whether a head's keys and values can stay in the weight buffer, beside the next head's."""
    return 2 * heads.head_bytes <= machine.buffers.weight_bytes


def fits(heads: Heads, mapping: AttentionMapping, machine: Accelerator) -> bool:
    """Whether two blocks of scores, their sums and the operands' tiles have room."""
    buffers = machine.buffers
    rows, keys = mapping.queries, mapping.keys
    results = rows * heads.value_dim
    online = keys < heads.keys
    if 4 * (2 * rows * keys + (2 + online) * results) > buffers.accumulator_bytes:
        return False
    left = heads.bytes(rows * heads.head_dim) if heads.loads_input else 0
    left += heads.bytes(rows * keys) * heads.loads_mask + heads.bytes(heads.once)
    if 2 * (left + heads.extra * heads.bytes(results)) > heads.input_room:
        return False
    if not stays(heads, machine) and 2 * sum(heads.loaded_bytes(keys)) > buffers.weight_bytes:
        return False
    return not heads.stores or 2 * heads.bytes(results) <= buffers.output_bytes


@lru_cache(maxsize=65536)
def choose(heads: Heads, machine: Accelerator, rate: Fraction) -> AttentionMapping:
    """The mapping with the fewest predicted cycles, then the fewest DRAM bytes.

    Raises:
        MappingError: Not even one query against one key fits.
    """
    candidates = [
        AttentionMapping(queries=rows, keys=keys)
        for rows in ladder(heads.queries, 1)
        for keys in ladder(heads.keys, 1)
    ]
    predicted = [
        (*_estimate(heads, mapping, machine, rate), mapping)
        for mapping in candidates
        if fits(heads, mapping, machine)
    ]
    if not predicted:
        raise MappingError(
            f"{machine.name} is too small for attention of one query: two of its scores and its "
            f"sums need {4 * (2 + 3 * heads.value_dim)} bytes of accumulators "
            f"(buffers.accumulator_bytes gives {machine.buffers.accumulator_bytes}) and its "
            "operands a place in the other buffers"
        )
    slack = min(cycles for cycles, _, _, _ in predicted) * SLACK
    near = [row for row in predicted if row[0] <= slack]
    return min(near, key=lambda row: (row[1], row[2], row[0]))[3]


def _estimate(
    heads: Heads, mapping: AttentionMapping, machine: Accelerator, rate: Fraction
) -> tuple[float, int, int]:
    """Predicted cycles, DRAM bytes and tiles."""
    array = vector = moved = descriptors = blocks = 0
    streams = not stays(heads, machine)
    online = mapping.keys < heads.keys
    for row_count, (rows, *_) in runs(heads.queries, mapping.queries):
        results = rows * heads.value_dim
        for key_count, (keys, *_) in runs(heads.keys, mapping.keys):
            count = row_count * key_count
            scores = array_work(machine.array, 1, rows, heads.head_dim, keys, rate=rate)
            sums = array_work(machine.array, 1, rows, keys, heads.value_dim, rate=rate)
            array += count * (scores.cycles + sums.cycles)
            vector += count * lane_cycles(rows * keys, heads.softmax_cost, machine)
            vector += count * lane_cycles(results, heads.merge_cost, machine) * online
            blocks += count
            moved += count * heads.bytes(rows * keys) * heads.loads_mask
            descriptors += count * heads.loads_mask
            if streams:
                moved += count * sum(heads.loaded_bytes(keys))
                descriptors += 2 * count
        vector += row_count * lane_cycles(results, heads.vector_cost, machine)
        moved += row_count * heads.bytes(results) * (int(heads.stores) + heads.extra)
        moved += row_count * heads.bytes(rows * heads.head_dim) * int(heads.loads_input)
        descriptors += row_count * (int(heads.stores) + int(heads.loads_input) + heads.extra)
    if not streams:
        moved += heads.head_bytes
        descriptors += 2
    dma = moved / float(machine.dram_bytes_per_cycle) + descriptors * machine.dram.setup_cycles
    # A block's sums wait for its softmax, which hides behind the next block's scores only.
    chain = 2 * fold_latency(machine.array, 0, machine.array.cols) + (array + vector) / blocks
    busy = max(array, vector, dma, chain * blocks / 2)
    # The first block's softmax and the last block's results have nothing to hide behind.
    return busy * heads.copies + vector / blocks, moved * heads.copies, 2 * blocks * heads.copies


@lru_cache(maxsize=65536)
def nodes(
    heads: Heads, mapping: AttentionMapping, machine: Accelerator, rate: Fraction
) -> tuple[Node, ...]:
    """The loop nest: for each block, the scores of the one after it, then its own sums."""
    maker = _Tiles(heads=heads, mapping=mapping, machine=machine, rate=rate)
    chunks = parts(heads.keys, mapping.keys)
    rows = parts(heads.queries, mapping.queries)
    new_head = _Block(rows=rows[0], keys=chunks[0], opens_head=True, closes_head=False)

    @cache
    def row(
        part: Part, following: Part | None, first_head: bool, last_head: bool
    ) -> tuple[Node, ...]:
        blocks = [
            _Block(
                rows=part,
                keys=chunk,
                opens_head=part.first and chunk.first,
                closes_head=part.last and chunk.last,
            )
            for chunk in chunks
        ]
        if following is not None:
            blocks.append(
                _Block(rows=following, keys=chunks[0], opens_head=False, closes_head=False)
            )
        elif not last_head:
            blocks.append(new_head)
        pairs: list[tuple[int, tuple[Node, ...]]] = []
        for index, block in enumerate(blocks[: len(chunks)]):
            ahead = blocks[index + 1] if index + 1 < len(blocks) else None
            behind = not (first_head and block.opens_head)  # the sums of the block before
            sums = maker.sums(block, back=1 + (ahead is not None) + behind)
            pairs.append((1, (sums,) if ahead is None else (maker.scores(ahead), sums)))
        return joined(pairs)

    def head(which: Part) -> tuple[Node, ...]:
        followers = [*rows[1:], None]
        return joined(
            (1, row(part, following, which.first and part.first, which.last))
            for part, following in zip(rows, followers, strict=True)
        )

    first = maker.scores(new_head)
    once = heads.bytes(heads.once)
    opening = replace(
        first,
        input_bytes=first.input_bytes + once,
        input_loads=first.input_loads + (once > 0),
        inputs_freed=first.inputs_freed + once,
    )
    return (opening, *walk(heads.copies, 1, head))


class _Block(NamedTuple):
    """A block of scores, and whether it is the first and the last of its head."""

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
        if stays(heads, self.machine):
            return heads.loaded_bytes(heads.keys)[which] * block.opens_head, 0
        streamed = heads.loaded_bytes(block.keys.size)[which]
        return streamed, streamed

    def scores(self, block: _Block) -> Tile:
        """Q K^T of a block, then its softmax."""
        heads, (rows, keys) = self.heads, (block.rows.size, block.keys.size)
        left = heads.bytes(rows * heads.head_dim) if heads.loads_input else 0
        right, freed = self._loads(block, 0)
        mask = heads.bytes(rows * keys) * heads.loads_mask
        return Tile(
            work=array_work(self.machine.array, 1, rows, heads.head_dim, keys, rate=self.rate),
            weight_bytes=right,
            weight_loads=int(right > 0),
            weights_freed=freed,
            input_bytes=left * block.keys.first + mask,
            input_loads=(block.keys.first and left > 0) + (mask > 0),
            inputs_freed=left if block.keys.last else 0,
            accumulator_bytes=4 * rows * keys,
            vector_cycles=lane_cycles(rows * keys, heads.softmax_cost, self.machine),
            vector_frees=mask,
            sum_reads=2 * rows * keys,  # each score is read, and its probability written over it
        )

    def sums(self, block: _Block, back: int) -> Tile:
        """A V of a block, once the softmax `back` tiles ago is done."""
        heads, (rows, keys) = self.heads, (block.rows.size, block.keys.size)
        results = rows * heads.value_dim
        extra = heads.extra * heads.bytes(results) if block.keys.last else 0
        right, freed = self._loads(block, 1)
        if block.closes_head and stays(heads, self.machine):
            freed = heads.head_bytes
        online = self.mapping.keys < heads.keys
        cost = heads.merge_cost * online + heads.vector_cost * block.keys.last
        running = 4 * results * online  # the row's result so far, until its last block
        return Tile(
            work=array_work(self.machine.array, 1, rows, keys, heads.value_dim, rate=self.rate),
            weight_bytes=right,
            weight_loads=int(right > 0),
            weights_freed=freed,
            input_bytes=extra,
            input_loads=heads.extra if block.keys.last else 0,
            accumulator_bytes=4 * results + (running if block.keys.first else 0),
            scores_freed=4 * rows * keys,
            vector_cycles=lane_cycles(results, cost, self.machine),
            accumulators_freed=4 * results + (running if block.keys.last else 0),
            vector_frees=extra,
            vector_reads=heads.epilogue_operands * results if block.keys.last else 0,
            sum_reads=results * (1 + 2 * online),
            outputs=results if block.keys.last else 0,
            store_bytes=heads.bytes(results) if block.keys.last and heads.stores else 0,
            after=back,
        )
