"""The choice of attention's blocks: the fewest predicted cycles among those that fit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..arch import Accelerator
from .array_work import array_work, drain_cycles, side_by_side
from .errors import MappingError
from .gemm import lane_cycles
from .loops import runs
from .tiling import SLACK, ladder

__all__ = ["AttentionMapping", "Heads", "choose", "fits", "stays"]


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
        """Bytes of `keys` keys, of all heads together, and of their values, if they are loaded."""
        return (
            self.bytes(keys * self.head_dim) * self.loads_key,
            self.bytes(keys * self.value_dim) * self.loads_value,
        )

    def head_bytes(self, heads: int) -> int:
        """Keys and values of some heads, if they must be loaded."""
        return sum(self.loaded_bytes(heads * self.keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMapping:
    """A block: `queries` rows against `keys` keys, of `heads` heads side by side."""

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
            heads=min(self.heads, heads.copies),
        )


def stays(heads: Heads, mapping: AttentionMapping, machine: Accelerator) -> bool:
    """Whether a block's keys and values can stay in the weight buffer, beside the next heads'."""
    return 2 * heads.head_bytes(mapping.heads) <= machine.buffers.weight_bytes


def fits(heads: Heads, mapping: AttentionMapping, machine: Accelerator) -> bool:
    """Whether two blocks of scores, their sums and the operands' tiles have room."""
    buffers = machine.buffers
    rows, keys = mapping.heads * mapping.queries, mapping.keys  # of all heads together
    results = rows * heads.value_dim
    online = keys < heads.keys
    if 4 * (2 * rows * keys + (2 + online) * results) > buffers.accumulator_bytes:
        return False
    left = heads.bytes(rows * heads.head_dim) if heads.loads_input else 0
    left += heads.bytes(rows * keys) * heads.loads_mask + heads.bytes(heads.once)
    if 2 * (left + heads.extra * heads.bytes(results)) > heads.input_room:
        return False
    streamed = sum(heads.loaded_bytes(mapping.heads * keys))
    if not stays(heads, mapping, machine) and 2 * streamed > buffers.weight_bytes:
        return False
    return not heads.stores or 2 * heads.bytes(results) <= buffers.output_bytes


@lru_cache(maxsize=65536)
def choose(heads: Heads, machine: Accelerator, rate: Fraction) -> AttentionMapping:
    """The mapping with the fewest predicted cycles, then the fewest DRAM bytes.

    Raises:
        MappingError: Not even one query against one key fits.
    """
    candidates = [
        AttentionMapping(queries=rows, keys=keys, heads=together)
        for together in ladder(min(side_by_side(machine.array), heads.copies), 1)
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
    streams = not stays(heads, mapping, machine)
    online = mapping.keys < heads.keys
    copies, bits = mapping.heads, heads.bits
    for row_count, (rows, *_) in runs(heads.queries, mapping.queries):
        results = copies * rows * heads.value_dim
        for key_count, (keys, *_) in runs(heads.keys, mapping.keys):
            count, made = row_count * key_count, copies * rows * keys
            for k, n in ((heads.head_dim, keys), (keys, heads.value_dim)):
                work = array_work(machine.array, copies, rows, k, n, bits=bits, rate=rate)
                array += count * work.cycles
            vector += count * lane_cycles(made, heads.softmax_cost, machine)
            vector += count * lane_cycles(results, heads.merge_cost, machine) * online
            blocks += count
            moved += count * heads.bytes(made) * heads.loads_mask
            descriptors += count * heads.loads_mask
            if streams:
                moved += count * sum(heads.loaded_bytes(copies * keys))
                descriptors += 2 * count
        vector += row_count * lane_cycles(results, heads.vector_cost, machine)
        moved += row_count * heads.bytes(results) * (int(heads.stores) + heads.extra)
        moved += row_count * heads.bytes(copies * rows * heads.head_dim) * int(heads.loads_input)
        descriptors += row_count * (int(heads.stores) + int(heads.loads_input) + heads.extra)
    if not streams:
        moved += heads.head_bytes(copies)
        descriptors += 2
    dma = moved / float(machine.dram_bytes_per_cycle) + descriptors * machine.dram.setup_cycles
    # A block's sums wait for its softmax, which hides behind the next block's scores only.
    drain = drain_cycles(machine.array, mapping.queries, bits)
    chain = 2 * drain + (array + vector) / blocks
    busy = max(array, vector, dma, chain * blocks / 2)
    # Some heads side by side, and as many times as that takes; the last may be fewer.
    times = -(-heads.copies // copies)
    # The first block's softmax and the last block's results have nothing to hide behind.
    return busy * times + vector / blocks, moved * times, 2 * blocks * times
