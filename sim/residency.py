"""Which activations stay on chip: those that fit beside each other for as long as they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..arch.formats import bits
from ..workloads.graph import Workload
from .fusion import Kernel

__all__ = ["Residency", "residency"]

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """Where activations live.

    Attributes:
        resident: Names of the operators whose output stays in the input buffer.
        live_bytes: For each kernel, the bytes of resident activations while it runs.
    """

    resident: frozenset[str]
    live_bytes: tuple[int, ...]


def residency(
    kernels: Sequence[Kernel], workload: Workload, format: str, capacity_bytes: int
) -> Residency:
    """Decide in program order: an output stays if it fits from its making to its last reading.

    Resident activations may take `capacity_bytes`, the half of the input buffer that is not needed
    for tiles on their way.  Outputs of the graph always go to DRAM; inputs come from it.
    """
    width = bits(format)
    made_by = {kernel.tail.name: index for index, kernel in enumerate(kernels)}
    last_read: dict[int, int] = {}
    for index, kernel in enumerate(kernels):
        for source in kernel.sources:
            if source in made_by:
                last_read[made_by[source]] = index
    live = np.zeros(len(kernels), dtype=np.int64)
    resident: set[str] = set()
    for index, kernel in enumerate(kernels):
        name = kernel.tail.name
        if name in workload.outputs or index not in last_read:
            continue
        size = -(-int(kernel.tail.elements) * width // 8)  # type: ignore[arg-type]
        span = slice(index, last_read[index] + 1)
        if size + int(live[span].max()) <= capacity_bytes:
            live[span] += size
            resident.add(name)
    return Residency(resident=frozenset(resident), live_bytes=tuple(live.tolist()))


def producers(kernels: Sequence[Kernel]) -> tuple[tuple[int, ...], ...]:
    """For each kernel, the positions of the kernels whose output it reads."""
    made_by: Mapping[str, int] = {kernel.tail.name: i for i, kernel in enumerate(kernels)}
    return tuple(
        tuple(sorted({made_by[source] for source in kernel.sources if source in made_by}))
        for kernel in kernels
    )
