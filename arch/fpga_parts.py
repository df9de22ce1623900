"""What stands around the array on an FPGA: every figure here but the sequencers' is assumed.

None of these parts has Verilog in the project.  Each is a line of its own in a breakdown, so that
it can be struck out or replaced; no figure was tuned towards a published one.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

from .accelerator import Accelerator
from .array import SystolicArray
from .block_ram import bram18s
from .component import Component
from .formats import bits
from .fpga_array import runs
from .fpga_buffers import SUM_BITS, input_word_bits, output_word_bits

__all__ = [
    "SELECTORS",
    "Selector",
    "dma",
    "head_adders",
    "host",
    "selector",
    "sequencers",
    "vector",
]

Selector = Literal["shared", "dedicated"]
SELECTORS: Final[tuple[Selector, ...]] = get_args(Selector)

# A vector lane does one fp32 multiply-add a cycle, as the machines' descriptions have it.
_LANE_DSP: Final = 4  # assumed: AMD PG060 lists fused multiply-add near that, as recalled
_LANE_LUT: Final = 700  # assumed: aligning and normalising shifts, and the choice of function
_LANE_FF: Final = 900  # assumed: a pipeline of eight stages
_LANE_BRAM18: Final = 1  # assumed: one table of 1024 x 18 for exp, reciprocal and the like

# A port to memory: a data mover and its queue.
_PORT_BITS: Final = 128  # AMD DS891: AXI ports from the fabric are up to 128 bits wide
_PORT_LUT: Final = 1500  # assumed: an AXI data mover of that width
_PORT_FF: Final = 2500  # assumed
_QUEUE_WORDS: Final = 512  # assumed: the words of a block RAM at its widest

_HOST_LUT: Final = 500  # assumed: an AXI-Lite slave with some 30 registers, and an interrupt
_HOST_FF: Final = 1200  # assumed: 30 registers of 32 bits, and handshakes

# A token selector in the manner of HeatViT; the products themselves run on the array.
_SELECTOR_TOKENS: Final = 1024  # assumed: the words of its two memories, of scores and of indices
_SELECTOR_LUT: Final = 1000  # assumed: counters, threshold, addresses
_SELECTOR_FF: Final = 1500  # assumed
_NONLINEAR_DSP: Final = 5  # GELU x L(x / sqrt 2) takes 3 products, exp 2: Kim et al., I-BERT, 2021
_UNIT_LUT: Final = 40  # assumed: beside each DSP slice of a polynomial or the packager
_UNIT_FF: Final = 60  # assumed


def vector(machine: Accelerator) -> Component:
    """Return the vector unit: so much for each lane."""
    lanes = machine.vector.lanes
    return Component(
        name="vector unit", dsp=lanes * _LANE_DSP, lut=lanes * _LANE_LUT, ff=lanes * _LANE_FF,
        bram18=lanes * _LANE_BRAM18, basis="assumed",
        note=f"{lanes} lanes of {_LANE_DSP} DSP slices, {_LANE_LUT} LUTs, {_LANE_FF} FFs, a table",
    )  # fmt: skip


def dma(machine: Accelerator) -> Component:
    """Return the ports to DRAM: those of an unrolled array, or what the DRAM's rate needs."""
    array = machine.array
    if isinstance(array, SystolicArray):
        width = _PORT_BITS
        ports = math.ceil(machine.dram_bytes_per_cycle * 8 / width)
    else:
        width = array.word_bits
        ports = array.input_ports + array.weight_ports + array.output_ports
    wide = math.ceil(width / _PORT_BITS)
    return Component(
        name="DMA and AXI", lut=ports * wide * _PORT_LUT, ff=ports * wide * _PORT_FF,
        bram18=ports * bram18s(width, _QUEUE_WORDS), basis="assumed",
        note=f"{ports} ports of {width} bits, each with a queue of {_QUEUE_WORDS} words",
    )  # fmt: skip


def host() -> Component:
    """Return the registers that the host writes."""
    note = "AXI-Lite registers and an interrupt"
    return Component(name="host interface", lut=_HOST_LUT, ff=_HOST_FF, basis="assumed", note=note)


def sequencers(machine: Accelerator) -> Component:
    """Return the counters that address operands: `sequencer.v`, one for each side of an array.

    An unrolled one has another for its outputs.
    """
    (run,) = (run for run in runs() if run.design.kind == "sequencer")
    array = machine.array
    number = 2 * array.count if isinstance(array, SystolicArray) else 3
    return Component(
        name="sequencers", lut=number * run.lut, ff=number * run.ff, basis="synthesised",
        note=f"{number} of {run.lut} LUTs and {run.ff} FFs",
    )  # fmt: skip


def head_adders(machine: Accelerator) -> tuple[Component, ...]:
    """Return the adders that join the groups of an unrolled array where a product has no heads."""
    array = machine.array
    if isinstance(array, SystolicArray) or array.th == 1:
        return ()
    adders = array.tm * (array.th - 1)
    return (
        Component(
            name="adders across heads", lut=adders * SUM_BITS, ff=adders * SUM_BITS,
            basis="assumed", note=f"{adders} of {SUM_BITS} bits, a LUT and a register for each bit",
        ),
    )  # fmt: skip


def selector(machine: Accelerator, format: str, kind: Selector) -> Component:
    """Return what a token selector adds; its products run on the array, as HeatViT's do.

    `shared`: its non-linear functions and the package token's mean run on the vector unit; two
    memories and control are new. `dedicated`: functions as polynomials, for each operand that the
    output buffer takes in a cycle, and a multiply-add for each one that the input buffer gives.
    """
    width = bits(format)
    dsp = 0
    if kind == "dedicated":
        functions = output_word_bits(machine, format) // width
        dsp = _NONLINEAR_DSP * functions + input_word_bits(machine, format) // width
    return Component(
        name=f"token selector, {kind}", dsp=dsp, lut=_SELECTOR_LUT + dsp * _UNIT_LUT,
        ff=_SELECTOR_FF + dsp * _UNIT_FF, bram18=4 * bram18s(16, _SELECTOR_TOKENS),
        basis="assumed", note="scores and indices in memory, control"
        + (f", {dsp} multipliers of its own" if dsp else "; functions on the vector unit"),
    )  # fmt: skip
