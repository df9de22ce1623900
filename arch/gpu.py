"""A GPU: peaks by format, bandwidths, launch costs and power."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple, Self

from pydantic import model_validator

from .formats import Format, PerFormat
from .gpu_own import OwnCalibrations
from .memory import DramKind
from .value import Count, NotNegative, Positive, Rate, Value

GpuFamily = Literal["volta", "turing", "ampere", "ada", "hopper", "blackwell"]
"""Generations of GPUs whose kernels are alike."""


DISPATCH_S = 10e-6
"""Seconds for which a host is busy with one operator of an eager framework.

Assumed, where a machine says nothing: Python, the framework's dispatcher and the driver's launch
take 5 to 25 us together, which depends on the host more than on the GPU.
"""


class GpuMemory(Value, frozen=True):
    """Device memory: bandwidth, size and kind."""

    bytes_per_s: Positive
    capacity_bytes: Count
    kind: DramKind


class GpuEnergy(NamedTuple):
    """Where the joules of a kernel went."""

    running_j: float
    compute_j: float
    dram_j: float

    @property
    def total_j(self) -> float:
        """All of it, in joules."""
        return self.running_j + self.compute_j + self.dram_j


class Gpu(Value, frozen=True):
    """A GPU as a roofline sees it, and what else its kernels are timed by.

    `peak_flops` are dense peaks in FLOP/s by format (one MAC is two FLOP); `vector_flops` is
    the fp32 rate of the general cores, which do softmax, norms and activations. `launch_s` is
    the least time a kernel takes from its predecessor's end to its own; `sync_s` is what it
    costs to bring a count that depends on data back to the host before the next launch;
    `dispatch_s` is what the host takes to issue one operator.

    `family` is its generation: a GPU that has one can be timed kernel by kernel, if not by what
    was fitted to measurements of its own, then to those of one that is like it. `calibrations` are
    constants that its file names, in place of those that come with Tilewise.

    `fused_attention` says whether attention runs as one kernel whose scores stay on chip, or as
    three that pass them through memory.

    Power: `running_w` is drawn for as long as a kernel runs, whatever it does (not the lower power
    of a board at rest); `pj_per_flop` and `dram_pj_per_bit` come on top; together they never
    exceed `tdp_w`.
    """

    name: str
    description: str = ""
    family: GpuFamily | None = None
    sms: Count
    clock_hz: Positive
    default_format: Format = "fp16"
    peak_flops: PerFormat
    vector_flops: Positive
    dram: GpuMemory
    l2_bytes: Count
    fused_attention: bool = True
    launch_s: NotNegative
    sync_s: NotNegative
    dispatch_s: NotNegative = DISPATCH_S
    running_w: NotNegative
    tdp_w: Positive
    pj_per_flop: PerFormat
    dram_pj_per_bit: Rate
    calibrations: OwnCalibrations = OwnCalibrations()

    @property
    def is_known(self) -> bool:
        """Whether its kernels can be timed: by constants of its own, or of its family."""
        return self.family is not None or bool(self.calibrations.kinds)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_format not in self.peak_flops:
            raise ValueError(
                f"default_format: wanted one of peak_flops ({', '.join(self.peak_flops.names)}), "
                f"got {self.default_format!r}"
            )
        if missing := [name for name in self.peak_flops.names if name not in self.pj_per_flop]:
            raise ValueError(
                f"pj_per_flop: wanted every format of peak_flops, got none for {missing[0]}"
            )
        if self.running_w > self.tdp_w:
            raise ValueError(
                f"running_w: wanted at most tdp_w = {self.tdp_w:g}, got {self.running_w:g}"
            )
        return self

    def flops_per_s(self, format: str) -> float:
        """Return the dense peak in FLOP/s.

        Raises:
            FormatError: if the GPU does not compute in `format`, e.g. fp8 on an A100.
        """
        return _number(self.peak_flops, format)

    def seconds_at_tdp(
        self, *, seconds: float, flops: float, dram_bytes: float, format: str
    ) -> float:
        """Return how long a kernel of `seconds` at full clock takes within the power limit.

        A board over its limit lowers its clock until running_w x t + dynamic energy = tdp_w x t, so
        t = dynamic / (tdp_w - running_w).  That the energy of an operation stays as it is, though
        the voltage falls with the clock, is assumed; it makes t an upper bound.  A board without
        room for anything but running_w is left alone.

        Raises:
            FormatError: if the GPU does not compute in `format`.
        """
        room_w = self.tdp_w - self.running_w
        dynamic_j = self._dynamic_j(flops, dram_bytes, format)
        return max(seconds, sum(dynamic_j) / room_w) if room_w > 0 else seconds

    def energy(self, *, seconds: float, flops: float, dram_bytes: float, format: str) -> GpuEnergy:
        """Return the joules of a kernel that ran for `seconds`, by where they went.

        running_w x seconds + pj_per_flop x flops + dram_pj_per_bit x bits, cut at tdp_w x seconds;
        a cut is shared by compute and DRAM in proportion, because a real board would have
        lowered its clock for both.

        Raises:
            FormatError: if the GPU does not compute in `format`.
        """
        running_j = self.running_w * seconds
        compute_j, dram_j = self._dynamic_j(flops, dram_bytes, format)
        dynamic_j = compute_j + dram_j
        room_j = self.tdp_w * seconds - running_j
        share = min(1.0, room_j / dynamic_j) if dynamic_j > 0 else 1.0
        return GpuEnergy(running_j, compute_j * share, dram_j * share)

    def _dynamic_j(self, flops: float, dram_bytes: float, format: str) -> tuple[float, float]:
        """Joules of arithmetic and of DRAM, whatever the clock."""
        return (
            _number(self.pj_per_flop, format) * 1e-12 * flops,
            float(self.dram_pj_per_bit) * 8e-12 * dram_bytes,
        )


@lru_cache(maxsize=1024)
def _number(per_format: PerFormat, format: str) -> float:
    return float(per_format.get(format))  # asked for every kernel
