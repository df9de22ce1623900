"""Joules of a kernel: counted actions times the energy of each, by component."""

from __future__ import annotations

from ..arch import Accelerator
from ..arch.formats import bits
from .program import KernelProgram, total

__all__ = ["kernel_energy"]


def kernel_energy(
    kernel: KernelProgram, machine: Accelerator, window_cycles: int
) -> dict[str, float]:
    """Joules by component.

    Each MAC hands an operand and a 32-bit sum to its neighbour's registers.  A buffer costs what
    its size costs for each byte read or written, fills and drains included.  Static power runs for
    the kernel's window, so that the windows' sum is the run's.

    Args:
        kernel: What ran.
        machine: Whose energy table prices it.
        window_cycles: From the end of all earlier kernels to its own end.
    """
    sums = total(kernel.nodes)
    table, buffers = machine.energy, machine.buffers
    formats = kernel.formats
    weight, activation, output = (bits(name) / 8 for name in formats)

    def sram(capacity_bytes: int, moved_bytes: float) -> float:
        return moved_bytes * table.sram_j_per_byte(capacity_bytes)

    register_bytes = sums.macs * (activation + 4)
    return {
        "mac": sums.macs * table.mac_j(formats.weights, formats.activations),
        "registers": register_bytes * table.register_j_per_byte,
        "input_buffer": sram(buffers.input_bytes, sums.input_reads * activation + sums.input_bytes),
        "weight_buffer": sram(buffers.weight_bytes, sums.weight_reads * weight + sums.weight_bytes),
        "accumulators": sram(buffers.accumulator_bytes, sums.sum_accesses * 4),
        "output_buffer": sram(buffers.output_bytes, sums.outputs * output + sums.store_bytes),
        "vector": sums.vector_cycles * machine.vector.lanes * table.vector_op_j,
        "dram": sums.dram_bytes * table.dram_j_per_byte(machine.dram.kind),
        "static": machine.static_w * window_cycles / machine.clock_hz,
    }
