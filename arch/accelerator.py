"""An accelerator: a clock, arrays, buffers, DRAM, a vector unit, a host and an energy table."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Self

from pydantic import model_validator

from .array import ComputeArray
from .energy import EnergyTable
from .formats import Format, FormatError
from .memory import Buffers, Dram
from .value import NotNegative, Positive, Value, exact
from .vector import VectorUnit


class Host(Value, frozen=True):
    """The processor that sets the loop bounds of a kernel whose size is known only at run time.

    `round_trip_s` runs from the last score known to the next kernel's bounds set. 0 means that
    the count never leaves the accelerator's own registers. `active_w` is what the host draws for
    that long on top of `static_w`; 0 counts none of it.
    """

    round_trip_s: NotNegative
    active_w: NotNegative = 0.0


class Accelerator(Value, frozen=True):
    """An accelerator around a systolic or an unrolled array.

    `clock_hz` is the one clock; `default_format` is used where a workload names none;
    `static_w` is power drawn whatever happens (leakage, clock tree, board parts counted in).

    Raises:
        pydantic.ValidationError: if a part is wrong, or if the parts do not fit: the default
            format must be one the array computes in, and the energy table must know every
            format of the array and the kind of DRAM.
    """

    name: str
    description: str = ""
    clock_hz: Positive
    default_format: Format = "int8"
    array: ComputeArray
    buffers: Buffers
    dram: Dram
    vector: VectorUnit
    host: Host
    energy: EnergyTable
    static_w: NotNegative = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        rates, prices = self.array.macs_per_pe_cycle, self.energy.mac_pj
        try:
            rates.most(self.default_format, self.default_format)
        except FormatError as error:
            raise ValueError(f"default_format: {error}") from None
        for name, (weights, activations) in zip(rates.names, rates.pairs, strict=True):
            try:
                prices.least(weights, activations)
            except FormatError:
                raise ValueError(
                    f"energy: wanted a table with mac_pj for {name}, got {self.energy.name!r}, "
                    f"which has {', '.join(prices.names)}"
                ) from None
        if self.dram.kind not in self.energy.dram_pj_per_bit:
            raise ValueError(
                f"energy: wanted a table with dram_pj_per_bit for {self.dram.kind}, got "
                f"{self.energy.name!r}, which has {', '.join(self.energy.dram_pj_per_bit.names)}"
            )
        return self

    @property
    def dram_bytes_per_cycle(self) -> Fraction:
        """DRAM bandwidth in bytes per cycle, exactly."""
        return exact(self.dram.bytes_per_s) / exact(self.clock_hz)

    @property
    def dram_latency_cycles(self) -> int:
        """DRAM latency in whole cycles, rounded up."""
        return math.ceil(exact(self.dram.latency_s) * exact(self.clock_hz))

    @property
    def host_cycles(self) -> int:
        """The host's round trip in whole cycles, rounded up."""
        return math.ceil(exact(self.host.round_trip_s) * exact(self.clock_hz))
