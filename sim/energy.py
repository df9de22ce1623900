"""Joules of a kernel: counted actions times the energy of each, by component."""

from __future__ import annotations

from dataclasses import dataclass

from ..arch import Accelerator
from ..arch.formats import bits
from .program import KernelProgram, total

__all__ = ["Actions", "actions", "kernel_energy"]

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

    macs: int
    register_bytes: float
    input_writes: float
    input_reads: float
    weight_writes: float
    weight_reads: float
    sum_writes: float
    sum_reads: float
    output_writes: float
    output_reads: float
    vector_lane_cycles: int
    dram_reads: int
    dram_writes: int
    host_cycles: int


def actions(kernel: KernelProgram, machine: Accelerator) -> Actions:
    """Count what a kernel does.

    A result that stays on chip is written where its reader looks for it, in the input buffer;
    another passes through the output buffer.
    """
    sums = total(kernel.nodes)
    weight, activation, output = (bits(name) / 8 for name in kernel.formats)
    results = sums.outputs * output
    stays = not sums.store_bytes
    return Actions(
        macs=sums.macs,
        register_bytes=sums.macs * (activation + _SUM_BYTES),
        input_writes=sums.input_bytes + results * stays,
        input_reads=sums.input_reads * activation,
        weight_writes=sums.weight_bytes,
        weight_reads=sums.weight_reads * weight,
        sum_writes=sums.sum_writes * _SUM_BYTES,
        sum_reads=sums.sum_reads * _SUM_BYTES,
        output_writes=results * (not stays),
        output_reads=sums.store_bytes,
        vector_lane_cycles=sums.vector_cycles * machine.vector.lanes,
        dram_reads=sums.weight_bytes + sums.input_bytes,
        dram_writes=sums.store_bytes,
        host_cycles=sums.host_cycles,
    )


def kernel_energy(
    kernel: KernelProgram, machine: Accelerator, window_cycles: int
) -> dict[str, float]:
    """Joules by component; none is negative.

    Args:
        kernel: What ran.
        machine: Whose energy table prices it.
        window_cycles: From the end of all earlier kernels to its own end, for which static power
            is drawn, so that the windows' sum is the run's.
    """
    did = actions(kernel, machine)
    table, buffers, formats = machine.energy, machine.buffers, kernel.formats

    def sram(capacity_bytes: int, reads: float, writes: float) -> float:
        read, write = table.sram_read_j_per_byte, table.sram_write_j_per_byte
        return reads * read(capacity_bytes) + writes * write(capacity_bytes)

    moved_bytes = did.dram_reads + did.dram_writes
    return {
        "mac": did.macs * table.mac_j(formats.weights, formats.activations),
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
