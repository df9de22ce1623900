"""Which activations stay on chip: those that fit beside each other for as long as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.formats import bits
from ..workloads.extent import known
from .formats import format_of
from .fusion import Kernel

__all__ = ["Residency", "places", "producers", "residency"]


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
    kernels: Sequence[Kernel], outputs: tuple[str, ...], capacity_bytes: int
) -> Residency:
    """Decide in program order: an output stays if it fits from its making to its last reading.

    The parts of a concatenation lie side by side, so they stay together or go together.

    Args:
        kernels: In program order, bound.
        outputs: Names that always go to DRAM, as the graph's outputs do; its inputs come from it.
        capacity_bytes: What resident activations may take: the half of the input buffer that tiles
            on their way leave free.
    """
    resident, live = places(kernels, outputs, np.int64(capacity_bytes))
    return Residency(
        resident=frozenset(name for name, stays in resident.items() if stays),
        live_bytes=tuple(live.tolist()),
    )


def places(
    kernels: Sequence[Kernel], outputs: tuple[str, ...], capacity_bytes: Any
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The same for many capacities or sizes at once, `(designs,)`.

    Returns:
        Which outputs stay where, `(designs,)` by name, and the bytes of all while each kernel runs,
        `(kernels, designs)`.
    """
    made_by = _makers(kernels)
    last_read: dict[str, int] = {}
    for index, kernel in enumerate(kernels):
        last_read |= dict.fromkeys(kernel.sources, index)
    live = np.zeros((len(kernels), *np.shape(capacity_bytes)), dtype=np.int64)
    resident: dict[str, Any] = {}
    for group in _side_by_side(kernels):
        if any(name not in made_by or name in outputs or name not in last_read for name in group):
            continue
        first = min(made_by[name][0] for name in group)
        last = max(last_read[name] for name in group)
        wanted = live[first : last + 1].copy()
        for name in group:
            tails = [kernels[maker].tail for maker in made_by[name]]
            size_bits = sum(known(tail.elements) * bits(format_of(tail)) for tail in tails)
            own = slice(made_by[name][0] - first, last_read[name] + 1 - first)
            wanted[own] += -(-size_bits // 8)
        fits = wanted.max(axis=0) <= capacity_bytes
        live[first : last + 1] = np.where(fits, wanted, live[first : last + 1])
        resident |= dict.fromkeys(group, fits)
    return resident, live


def _side_by_side(kernels: Sequence[Kernel]) -> Iterator[frozenset[str]]:
    """Outputs that some operand reads as one, in the order in which the first of them is made."""
    group_of = {kernel.tail.name: frozenset({kernel.tail.name}) for kernel in kernels}
    for kernel in kernels:
        for operand in (*kernel.lead.operands, *kernel.extra):
            if len(operand.sources) > 1:
                union = frozenset(operand.sources).union(
                    *(group_of.get(source, frozenset()) for source in operand.sources)
                )
                group_of |= dict.fromkeys(union, union)
    seen: set[str] = set()
    for kernel in kernels:
        if kernel.tail.name not in seen:
            seen |= group_of[kernel.tail.name]
            yield group_of[kernel.tail.name]


def producers(kernels: Sequence[Kernel]) -> tuple[tuple[int, ...], ...]:
    """For each kernel, the positions of the kernels whose output it reads."""
    made_by = _makers(kernels)
    return tuple(
        tuple(sorted({maker for source in kernel.sources for maker in made_by.get(source, ())}))
        for kernel in kernels
    )


def _makers(kernels: Sequence[Kernel]) -> dict[str, list[int]]:
    """Who makes each output: one kernel, or one for each width of its rows."""
    made_by: dict[str, list[int]] = {}
    for index, kernel in enumerate(kernels):
        made_by.setdefault(kernel.tail.name, []).append(index)
    return made_by
