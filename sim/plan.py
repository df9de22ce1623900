"""What the mapping decided for one shape, kept for others: one program for many sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .attention_mapping import AttentionMapping
from .fusion import Kernel
from .gemm import GemmMapping
from .residency import Residency

__all__ = ["Plan", "Tiling", "layer"]

Tiling: TypeAlias = GemmMapping | AttentionMapping
"""How a product, or an attention, is cut into tiles."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was decided for one binding of a workload, to be kept for others.

    Attributes:
        mappings: How each product and each attention was tiled, by the kernel's name.
        resident: Names of the operators whose output stays in the input buffer.
        live_bytes: What such outputs take while a kernel runs, by its name.
    """

    mappings: Mapping[str, Tiling]
    resident: frozenset[str]
    live_bytes: Mapping[str, int]

    def places(self, kernels: Sequence[Kernel]) -> Residency:
        """The same decisions for kernels that may be parts (`name#1`, `name#2`) of those."""
        names = [kernel.tail.name for kernel in kernels]
        return Residency(
            resident=self.resident.union(n for n in names if layer(n) in self.resident),
            live_bytes=tuple(self.live_bytes[layer(kernel.name)] for kernel in kernels),
        )

    def without_tiles(self) -> Plan:
        """The same places, and tiles as are best for each shape."""
        return Plan({}, self.resident, self.live_bytes)

    def tiling(self, kernel: Kernel) -> Tiling | None:
        """How a kernel is to be tiled."""
        return self.mappings.get(layer(kernel.name))


_PART = re.compile(r"#\d+")


def layer(name: str) -> str:
    """What an operator is a part of, where images of several sizes run side by side."""
    return _PART.sub("", name)
