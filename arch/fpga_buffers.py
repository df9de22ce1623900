"""The buffers of an accelerator as memories of an FPGA: as wide as what they must deliver a cycle.

| buffer | systolic, R rows x C columns | unrolled, Tm x Tn x Th |
|---|---|---|
| input | `ws`, `os` R operands; `is` C | its ports' words |
| weight | `ws`, `os` C operands; `is` R | its ports' words |
| output | an operand of each vector lane | its ports' words |
| accumulator | C sums | Th Tm sums |

One word of one memory a cycle is enough, without a bank for each row: the array staggers the
operands itself (`skew.v`).  A word is read and another one written in the same cycle, so that every
memory has one port for each.  What streams through PEs that do several MACs a cycle is wider by so
much, and so are the sums; what stays in the PEs is not.  An unrolled array also keeps the tile of
inputs that it works on, Th Tn operands for each token; the tile of weights is in registers, the
tile of outputs is the accumulator buffer.
"""

from __future__ import annotations

import math
from typing import Final

from .accelerator import Accelerator
from .array import SystolicArray
from .component import Component, memory

__all__ = ["SUM_BITS", "buffers", "input_word_bits", "output_word_bits"]

SUM_BITS: Final = 32
"""Of a partial sum, as in `Buffers`."""

_TILE_TOKENS: Final = 512
"""Of an unrolled array's input tile: the words of a block RAM at its widest; assumed."""


def buffers(machine: Accelerator, format: str, uram: int = 0) -> tuple[Component, ...]:
    """Return the buffers of a machine built for operands of `format`, with `uram` blocks to use."""
    array, sizes = machine.array, machine.buffers
    bits, streams = _operand(machine, format)
    if isinstance(array, SystolicArray):
        rows, cols = array.rows * array.count, array.cols * array.count
        weight = rows * streams if array.dataflow == "is" else cols
        weight *= bits
        sums = cols * streams * SUM_BITS
    else:
        weight = array.weight_ports * array.word_bits
        sums = array.th * array.tm * streams * SUM_BITS
    wanted = [
        ("input buffer", input_word_bits(machine, format), sizes.input_tile_bytes),
        ("weight buffer", weight, sizes.weight_tile_bytes),
        ("output buffer", output_word_bits(machine, format), sizes.output_tile_bytes),
        ("accumulators", sums, sizes.accumulator_bytes // 2),
    ]
    parts: dict[str, Component] = {}
    # The largest first, since UltraRAM is scarce.
    for name, width, half_bytes in sorted(wanted, key=lambda each: -each[2]):
        parts[name] = memory(name, width, 8 * max(1, half_bytes), uram=uram)
        uram -= parts[name].uram
    found = [parts[name] for name, *_ in wanted]
    if not isinstance(array, SystolicArray):
        width = array.th * array.tn * bits * streams
        note = f"depth assumed: {_TILE_TOKENS} tokens"
        found.append(memory("input tile", width, width * _TILE_TOKENS, note=note))
    return tuple(found)


def input_word_bits(machine: Accelerator, format: str) -> int:
    """Return the width of the input buffer, in bits."""
    array = machine.array
    bits, streams = _operand(machine, format)
    if not isinstance(array, SystolicArray):
        return array.input_ports * array.word_bits
    return array.count * bits * (array.cols if array.dataflow == "is" else array.rows * streams)


def output_word_bits(machine: Accelerator, format: str) -> int:
    """Return the width of the output buffer, in bits."""
    array = machine.array
    if not isinstance(array, SystolicArray):
        return array.output_ports * array.word_bits
    return machine.vector.lanes * _operand(machine, format)[0]


def _operand(machine: Accelerator, format: str) -> tuple[int, int]:
    """Bits of an operand, and how many stream through a PE in a cycle."""
    from .formats import bits

    return bits(format), max(1, math.ceil(machine.array.macs_per_pe_cycle.get(format)))
