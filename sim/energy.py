"""Joules of a kernel: counted actions times the energy of each, by component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arch import Accelerator
from ..arch.formats import bits
from .formats import Formats
from .program import KernelProgram, Totals, total

__all__ = ["Actions", "actions", "actions_of", "energy_of", "kernel_energy"]

_SUM_BYTES = 4  # sums are 32 bits wide in PEs and accumulators


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What a kernel does that takes energy.

    Attributes:
        macs: Multiply-accumulates.
        register_bytes: An operand and a sum that each MAC hands to its neighbour's registers.
        input_writes, weight_writes, sum_writes, output_writes: Bytes into a buffer: fills from
            DRAM, partial sums, results.
        input_reads, weight_reads, sum_reads, output_reads: Bytes out of it: to the arrays, to the
            vector unit, to DRAM.
        vector_lane_cycles: Cycles of the vector unit times its lanes.
        dram_reads, dram_writes: Bytes.
        host_cycles: For which the host takes part.
    """

    macs: Any
    register_bytes: Any
    input_writes: Any
    input_reads: Any
    weight_writes: Any
    weight_reads: Any
    sum_writes: Any
    sum_reads: Any
    output_writes: Any
    output_reads: Any
    vector_lane_cycles: Any
    dram_reads: Any
    dram_writes: Any
    host_cycles: Any


def actions(kernel: KernelProgram, machine: Accelerator) -> Actions:
    """Count what a kernel does."""
    return actions_of(total(kernel.nodes), kernel.formats, machine)


def actions_of(sums: Totals, formats: Formats, machine: Accelerator) -> Actions:
    """Count what a kernel does, given the sums over its tiles; ints, or a column for each.

    A result that stays on chip is written where its reader looks for it, in the input buffer;
    another passes through the output buffer.
    """
    weight, activation, output = (bits(name) / 8 for name in formats)
    results = sums.outputs * output
    stays = sums.store_bytes == 0
    return Actions(
        macs=sums.macs,
        register_bytes=sums.macs * (activation + _SUM_BYTES),
        input_writes=sums.input_bytes + results * stays,
        input_reads=sums.input_reads * activation,
        weight_writes=sums.weight_bytes,
        weight_reads=sums.weight_reads * weight,
        sum_writes=sums.sum_writes * _SUM_BYTES,
        sum_reads=sums.sum_reads * _SUM_BYTES,
        output_writes=results * (1 - stays),
        output_reads=sums.store_bytes,
        vector_lane_cycles=sums.vector_cycles * machine.vector.lanes,
        dram_reads=sums.weight_bytes + sums.input_bytes,
        dram_writes=sums.store_bytes,
        host_cycles=sums.host_cycles,
    )


def kernel_energy(
    kernel: KernelProgram, machine: Accelerator, window_cycles: int
) -> dict[str, float]:
    """Joules of a kernel by component; see `energy_of`."""
    return energy_of(total(kernel.nodes), kernel.formats, machine, window_cycles)


def energy_of(
    sums: Totals, formats: Formats, machine: Accelerator, window_cycles: Any
) -> dict[str, Any]:
    """Joules by component; none is negative.

    Args:
        sums: Over the kernel's tiles; ints, or a column for each.
        formats: Of what it multiplies and makes.
        machine: Whose energy table prices it.
        window_cycles: From the end of all earlier kernels to its own end, for which static power
            is drawn, so that the windows' sum is the run's.
    """
    did = actions_of(sums, formats, machine)
    table, buffers = machine.energy, machine.buffers
    # What multiplies nothing may be in a format that the table has no price for.
    mac_j = table.mac_j(formats.weights, formats.activations) if np.any(did.macs) else 0.0

    def sram(capacity_bytes: Any, reads: Any, writes: Any) -> Any:
        read = _by_capacity(table.sram_read_j_per_byte, capacity_bytes)
        write = _by_capacity(table.sram_write_j_per_byte, capacity_bytes)
        return reads * read + writes * write

    moved_bytes = did.dram_reads + did.dram_writes
    return {
        "mac": did.macs * mac_j,
        "registers": did.register_bytes * table.register_j_per_byte,
        "input_buffer": sram(buffers.input_bytes, did.input_reads, did.input_writes),
        "weight_buffer": sram(buffers.weight_bytes, did.weight_reads, did.weight_writes),
        "accumulators": sram(buffers.accumulator_bytes, did.sum_reads, did.sum_writes),
        "output_buffer": sram(buffers.output_bytes, did.output_reads, did.output_writes),
        "vector": did.vector_lane_cycles * table.vector_op_j,
        "dram": moved_bytes * table.dram_j_per_byte(machine.dram.kind),
        "host": machine.host.active_w * did.host_cycles / machine.clock_hz,
        "static": machine.static_w * window_cycles / machine.clock_hz,
    }


def _by_capacity(price: Callable[[int], float], capacity_bytes: Any) -> Any:
    """What a byte takes in an SRAM, or in each of a column of them."""
    if np.ndim(capacity_bytes) == 0:
        return price(int(capacity_bytes))
    sizes, kind = np.unique(capacity_bytes, return_inverse=True)
    return np.array([price(int(size)) for size in sizes])[kind.reshape(-1)]
