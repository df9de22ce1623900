"""DRAM orders without the program's: loads of weights, loads of inputs and stores contend.

Each of the three runs as far ahead as its buffers allow and asks for the bus when it is ready.
This is how a machine behaves whose DMA engines know nothing of each other, and it is no max-plus
linear system: who asks first may win what others need more, so that a deeper buffer, a faster bus
or less work can make a run slower (counterexamples in `tests/test_dram_orders.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import simpy

from .dma_queue import Action
from .flight import Flight, Load
from .moment import Process
from .spans import UNITS
from .units import Units

__all__ = ["ContendingUnits"]

_RANKED = (Action.INPUTS, Action.WEIGHTS, Action.STORE)
_RANK = {UNITS.index(name): rank for rank, name in enumerate(("inputs", "weights", "store"))}


class ContendingUnits(Units):
    """A machine whose DRAM serves who is ready: of those who wait, one is chosen by its order.

    `fifo` chooses who asked first, and of those who asked in the same cycle as `priority` does;
    `priority` inputs before weights before stores.
    """

    def _memory(self) -> Iterator[Process]:
        self._turns = simpy.PriorityResource(self.env)
        for action in _RANKED:
            yield self._dma(zip(repeat(action), self.traffic.queue(), strict=False))

    def _transfer(self, unit: int, flight: Flight, load: Load | None, cycles: int) -> Process:
        yield self.env.timeout(0)  # let those ask, too, who are ready in the same cycle
        rank = _RANK[unit]
        if self.bus.order == "fifo":
            rank += len(_RANK) * self.now
        turn = self._turns.request(priority=rank)
        yield turn
        yield from super()._transfer(unit, flight, load, cycles)
        self._turns.release(turn)
