"""A part of a design on an FPGA: what it takes, and how that is known."""

from __future__ import annotations

from typing import Final, Literal

from .block_ram import bram18s, urams
from .value import Value, Whole

__all__ = ["RESOURCES", "Basis", "Component", "memory", "total"]

Basis = Literal["fitted", "synthesised", "counted", "assumed"]
"""By an equation fitted to synthesis; one run of synthesis; by construction; assumed."""

RESOURCES: Final = ("dsp", "lut", "ff", "bram36", "uram")

_FULL: Final = 2
"""A half goes to UltraRAM if it fills one part in so many of what it takes; assumed."""


class Component(Value, frozen=True):
    """`dsp` slices, `lut`s, `ff`s, block RAMs of 18 Kibit and UltraRAMs of one part."""

    name: str
    dsp: Whole = 0
    lut: Whole = 0
    ff: Whole = 0
    bram18: Whole = 0
    uram: Whole = 0
    basis: Basis
    note: str = ""

    @property
    def bram36(self) -> int:
        """Block RAMs of 36 Kibit, each of which is two of 18."""
        return -(-self.bram18 // 2)

    def count(self, resource: str) -> int:
        """How many it takes of one of `RESOURCES`."""
        return int(getattr(self, resource))


def total(components: tuple[Component, ...], name: str = "total") -> Component:
    """Return the sum of components; block RAMs are paired across them."""

    def added(resource: str) -> int:
        return sum(component.count(resource) for component in components)

    return Component(
        name=name, dsp=added("dsp"), lut=added("lut"), ff=added("ff"),
        bram18=added("bram18"), uram=added("uram"), basis="counted",
    )  # fmt: skip


def memory(name: str, width: int, half_bits: int, *, uram: int = 0, note: str = "") -> Component:
    """Return a double-buffered memory: two halves of `half_bits`, `width` bits a cycle.

    Both halves go to UltraRAM if there is room for them in `uram` blocks and if they fill at least
    half of what they take (assumed: a designer would not waste more), or else to block RAM.
    """
    depth = -(-half_bits // width)
    note = f"{width} bits a cycle, 2 x {depth} words" + (f"; {note}" if note else "")
    if 2 * (blocks := urams(width, depth)) <= uram and blocks * 72 * 4096 <= _FULL * half_bits:
        return Component(name=name, uram=2 * blocks, basis="counted", note=note)
    return Component(name=name, bram18=2 * bram18s(width, depth), basis="counted", note=note)
