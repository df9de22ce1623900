"""The DRAM bus: how long a transfer holds it, in whole cycles of the machine's clock."""

from __future__ import annotations

from ..arch import Accelerator

__all__ = ["Bus"]


class Bus:
    """Set-up, rate, latency and order of one machine's DRAM."""

    def __init__(self, machine: Accelerator) -> None:
        self.order = machine.dram.order
        self.latency_cycles = machine.dram_latency_cycles
        self._setup_cycles = machine.dram.setup_cycles
        rate = machine.dram_bytes_per_cycle
        self._bytes, self._cycles = rate.numerator, rate.denominator

    def transfer_cycles(self, size_bytes: int, descriptors: int) -> int:
        """Cycles for which a transfer holds the DMA queue and the bus."""
        return descriptors * self._setup_cycles - (-size_bytes * self._cycles // self._bytes)
