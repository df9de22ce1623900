"""An FPGA: how many slices, look-up tables, registers and memory blocks it has."""

from __future__ import annotations

from .value import Count, Value, Whole

__all__ = ["Device", "DeviceResources"]


class DeviceResources(Value, frozen=True):
    """What there is: DSP slices, 6-input LUTs, flip-flops, block RAMs of 36 Kibit, UltraRAMs.

    >>> DeviceResources(dsp=2520, lut=274080, ff=548160, bram36=912, uram=0).limit("bram36")
    912
    """

    dsp: Count
    lut: Count
    ff: Count
    bram36: Count
    uram: Whole

    def limit(self, resource: str) -> int:
        """How many of one resource there are; `resource` is one of the fields."""
        return int(getattr(self, resource))


class Device(Value, frozen=True):
    """An FPGA by the name of its board, with the part on it."""

    name: str
    part: str
    description: str = ""
    resources: DeviceResources
