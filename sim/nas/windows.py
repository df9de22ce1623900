"""Windows: a run cut into its kernels' own parts of the makespan, which add up to it exactly.

A kernel's window reaches from the end of all earlier kernels to its own end.  What it prefetches
while others compute costs no time of its own, so that windows hold what a kernel costs where it
stands: the marginal cost that a look-up table wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum
from typing import NamedTuple

from ..result import Result

__all__ = ["Cost", "Window", "windows"]


class Cost(NamedTuple):
    """Seconds and joules."""

    latency_s: float
    energy_j: float

    def plus(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(self.latency_s + other.latency_s, self.energy_j + other.energy_j)

    @classmethod
    def mean(cls, costs: Sequence[Cost]) -> Cost:
        """The mean of one cost or more."""
        latency, energy = zip(*costs, strict=True)
        return cls(fsum(latency) / len(costs), fsum(energy) / len(costs))


class Window(NamedTuple):
    """A kernel's own part of a run.

    Attributes:
        name: Of the kernel's lead operator.
        cost: Its seconds, and the joules of its work and of what the machine draws meanwhile.
    """

    name: str
    cost: Cost


def windows(result: Result) -> Iterator[Window]:
    """The windows of a run, in order; their seconds add up to its latency, joules to its energy."""
    done = 0
    for kernel in result.operators:
        end = max(done, kernel.end_cycle)
        yield Window(kernel.name, Cost((end - done) / result.clock_hz, kernel.total_j))
        done = end
