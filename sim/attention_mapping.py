"""The choice of attention's blocks: the fewest predicted cycles among those that fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from ..arch import Accelerator
from .array_work import drain_cycles, side_by_side
from .errors import MappingError
from .formats import Widths
from .gemm import in_bytes, lane_cycles
from .lanes import Lane, Lanes, block_work, cut, in_order, keys_of, rows_of, scores_of
from .loops import runs
from .tiling import SLACK, ladder

__all__ = ["AttentionMapping", "Heads", "choose", "fits", "stays"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What a mapping must know of an attention operator.

    Attributes:
        copies: Heads of the whole batch; each loads keys and values of its own, for those that
            share them meet other heads' queries in between.
        queries, keys: Of one head, or of any at most.
        head_dim, value_dim: Of every head.
        dealt: What stays together on one array: single heads, or all heads of an image, those with
            the most queries and the most keys first.  Empty if all arrays work on each head.
        bits: Of an element of the queries, of the keys and values, and of the output.
        mask_bits: Of an element of the mask.
        loads_input, loads_key, loads_value, stores: False where queries, keys, values or the
            result stay on chip.
        loads_mask: True if there is a mask that must be loaded with the scores it masks.
        input_room: Bytes of the input buffer that are not taken by resident activations.
        extra: Operands that the epilogue loads, each as many elements as the output: the bits of
            an element of each.
        once_bytes: The epilogue's broadcast operands and its trained numbers, loaded with the first
            tile.
        epilogue_operands: All that it reads, loaded or on chip.
        softmax_cost, vector_cost, merge_cost: Cycles of one lane for a score, for an output
            element, and to merge an element of a block's sums into the running result.
    """

    copies: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int
    dealt: Lanes = ()
    bits: Widths
    mask_bits: int = 8
    loads_input: bool = True
    loads_key: bool = True
    loads_value: bool = True
    stores: bool = True
    loads_mask: bool = False
    input_room: int
    extra: tuple[int, ...] = ()
    once_bytes: int = 0
    epilogue_operands: int = 0
    softmax_cost: Fraction
    vector_cost: Fraction

    merge_cost: Fraction

    def query_bytes(self, rows: Any) -> Any:
        """Bytes of so many queries, if they must be loaded."""
        return in_bytes(rows * self.head_dim, self.bits.left) * self.loads_input

    def mask_bytes(self, scores: Any) -> Any:
        """Bytes of the mask for so many scores, if it must be loaded."""
        return in_bytes(scores, self.mask_bits) * self.loads_mask

    def stored_bytes(self, results: Any) -> Any:
        """Bytes of so many elements of the output, if they leave."""
        return in_bytes(results, self.bits.out) * self.stores

    def extra_bytes(self, results: Any) -> Any:
        """Bytes that the epilogue loads beside so many elements of the output."""
        return sum(in_bytes(results, each) for each in self.extra)

    def loaded_bytes(self, keys: Any) -> tuple[Any, Any]:
        """Bytes of `keys` keys, of all heads together, and of their values, if they are loaded."""
        return (
            in_bytes(keys * self.head_dim, self.bits.right) * self.loads_key,
            in_bytes(keys * self.value_dim, self.bits.right) * self.loads_value,
        )

    def head_bytes(self, lanes: Lanes) -> int:
        """Keys and values of some heads, if they must be loaded."""
        return sum(self.loaded_bytes(keys_of(lanes)))

    @property
    def together(self) -> int:
        """Heads that could be side by side, if the arrays were enough."""
        return len(self.dealt) or self.copies

    def taken(self, together: int) -> Iterator[tuple[int, Lanes]]:
        """The heads in order, so many side by side: how often, and which."""
        if self.dealt:
            yield from in_order(self.dealt, together)
            return
        for times, part in runs(self.copies, together):
            yield times, (Lane(part.size, self.queries, self.keys),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMapping:
    """A block: `queries` rows against `keys` keys, of `heads` heads side by side.

    Of what is dealt to arrays, so many arrays have one head each at a time.
    """

    queries: int
    keys: int
    heads: int = 1

    def __str__(self) -> str:
        several = f"{self.heads} heads x " if self.heads > 1 else ""
        return f"{several}{self.queries} queries x {self.keys} keys"

    def within(self, heads: Heads) -> AttentionMapping:
        """The same block, cut to what there is."""
        return AttentionMapping(
            queries=min(self.queries, heads.queries),
            keys=min(self.keys, heads.keys),
            heads=min(self.heads, heads.together),
        )

    def online(self, lanes: Lanes) -> bool:
        """Whether rows of scores are taken in several blocks, whose sums are merged."""
        return self.keys < max(lane.keys for lane in lanes)


def stays(heads: Heads, mapping: AttentionMapping, machine: Accelerator) -> bool:
    """Whether a block's keys and values can stay in the weight buffer, beside the next heads'."""
    _, largest = next(heads.taken(mapping.heads))
    return 2 * heads.head_bytes(largest) <= machine.buffers.weight_bytes


def fits(heads: Heads, mapping: AttentionMapping, machine: Accelerator) -> bool:
    """Whether two blocks of scores, their sums and the operands' tiles have room."""
    buffers = machine.buffers
    _, lanes = next(heads.taken(mapping.heads))  # the largest
    _, row_part = next(runs([lane.queries for lane in lanes], mapping.queries))
    _, key_part = next(runs([lane.keys for lane in lanes], mapping.keys))
    block = cut(lanes, row_part, key_part)
    rows, scores = rows_of(block), scores_of(block)
    results = rows * heads.value_dim
    if 4 * (2 * scores + (2 + mapping.online(lanes)) * results) > buffers.accumulator_bytes:
        return False
    left = heads.query_bytes(rows) + heads.mask_bytes(scores) + heads.once_bytes
    if 2 * (left + heads.extra_bytes(results)) > heads.input_room:
        return False
    streamed = heads.head_bytes(block)
    if not stays(heads, mapping, machine) and 2 * streamed > buffers.weight_bytes:
        return False
    return bool(2 * heads.stored_bytes(results) <= buffers.output_bytes)


@lru_cache(maxsize=65536)
def choose(heads: Heads, machine: Accelerator, rate: Fraction) -> AttentionMapping:
    """The mapping with the fewest predicted cycles, then the fewest DRAM bytes.

    Raises:
        MappingError: Not even one query against one key fits.
    """
    candidates = [
        AttentionMapping(queries=rows, keys=keys, heads=together)
        for together in ladder(min(side_by_side(machine.array), heads.together), 1)
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
    streams = not stays(heads, mapping, machine)
    cycles, moved, blocks, ends = 0.0, 0, 0, None
    for times, lanes in heads.taken(mapping.heads):
        one = _lanes_estimate(heads, lanes, mapping, machine, rate, streams)
        cycles += one.busy * times
        moved += one.moved * times
        blocks += one.blocks * times
        # The first block's softmax and the last block's results have nothing to hide behind.
        ends = ends or one.vector / one.blocks
    return cycles + (ends or 0), moved, 2 * blocks


class _Cost(NamedTuple):
    """Of heads side by side: cycles, those of the vector unit, DRAM bytes, blocks."""

    busy: float
    vector: int
    moved: int
    blocks: int


def _lanes_estimate(
    heads: Heads,
    lanes: Lanes,
    mapping: AttentionMapping,
    machine: Accelerator,
    rate: Fraction,
    streams: bool,
) -> _Cost:
    array = vector = moved = descriptors = blocks = 0
    online, bits = mapping.online(lanes), heads.bits
    work = block_work(machine.array, apart=bool(heads.dealt), bits=bits, rate=rate)
    for row_count, rows in runs([lane.queries for lane in lanes], mapping.queries):
        for key_count, keys in runs([lane.keys for lane in lanes], mapping.keys):
            count, block = row_count * key_count, cut(lanes, rows, keys)
            made, results = scores_of(block), rows_of(block) * heads.value_dim
            for width, sums in ((heads.head_dim, False), (heads.value_dim, True)):
                array += count * work(block, width, sums).cycles
            vector += count * lane_cycles(made, heads.softmax_cost, machine)
            vector += count * lane_cycles(results, heads.merge_cost, machine) * online
            blocks += count
            moved += count * heads.mask_bytes(made)
            descriptors += count * heads.loads_mask
            if streams:
                moved += count * heads.head_bytes(block)
                descriptors += 2 * count
        whole = sum(lane.copies * part for lane, part in zip(lanes, rows.shares, strict=True))
        results = whole * heads.value_dim
        vector += row_count * lane_cycles(results, heads.vector_cost, machine)
        moved += row_count * (heads.stored_bytes(results) + heads.extra_bytes(results))
        moved += row_count * heads.query_bytes(whole)
        descriptors += row_count * (int(heads.stores) + int(heads.loads_input) + len(heads.extra))
    if not streams:
        moved += heads.head_bytes(lanes)
        descriptors += 2
    dma = moved / float(machine.dram_bytes_per_cycle) + descriptors * machine.dram.setup_cycles
    # A block's sums wait for its softmax, which hides behind the next block's scores only.
    drain = drain_cycles(machine.array, mapping.queries, bits)
    chain = 2 * drain + (array + vector) / blocks
    return _Cost(max(array, vector, dma, chain * blocks / 2), vector, moved, blocks)
