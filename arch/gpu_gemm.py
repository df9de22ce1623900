"""Which measured constants of a GEMM a GPU takes: its own, or those of its like."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from .document import MachineError
from .gpu import Gpu
from .gpu_gemm_constants import (
    GemmCalibration,
    GemmConstants,
    GemmEvidence,
    GemmHull,
    gemm_calibrations,
)
from .load import load_machine

__all__ = [
    "GemmCalibration",
    "GemmConstants",
    "GemmEvidence",
    "GemmHull",
    "KnownGemm",
    "gemm_calibrations",
    "known_gemm",
]

# fp16 and bf16 run the same kernels on the same units at the same rate.
_MEASURED_AS: Final = MappingProxyType({"fp16": "bf16", "bf16": "fp16"})
_WIDE: Final = ("bf16", "fp16")
_SAME_RATE: Final = 0.05  # of logarithms: rates of one family differ by rounding


class KnownGemm(NamedTuple):
    """The calibration that a GPU takes.

    Attributes:
        constants: Those to compute with; of another GPU, with this one's launch.
        calibration: Where they come from.
        gpu: Of which GPU.
        format: Of which format.
        own: Whether it was measured on this very GPU and format.
        beyond: The GPU on the other side, if constants lie between two.
    """

    constants: GemmConstants
    calibration: GemmCalibration
    gpu: str
    format: str
    own: bool
    beyond: str | None = None

    @property
    def told_by(self) -> str:
        """The GPUs whose measurements tell of this one, for people."""
        return f"`{self.gpu}`" if self.beyond is None else f"`{self.gpu}` and `{self.beyond}`"


@functools.lru_cache(maxsize=256)
def known_gemm(gpu: Gpu, format: str, without: tuple[str, ...] = ()) -> KnownGemm:
    """Return the calibration of a GPU and format, or what those of its like tell of it.

    A GPU that was not measured takes the constants of its family: of the GPU whose tensor cores
    do most nearly as many bf16 FLOP per SM and clock (1024 on Ada, 2048 on the A100, 4096 on
    Hopper, 8192 on Blackwell), and of those the one with the nearest bytes per FLOP.  Between two
    families they are interpolated, logarithm by logarithm of that rate, as rates per clock grow
    with it.  The launch is scaled by the two machines' `launch_s`, and what the power limit leaves
    by watts and energy per FLOP; so it is where a measured GPU was changed.  A format that was
    measured neither on the GPU nor on its like takes bf16's.

    Args:
        gpu: The GPU.
        format: Of the operands.
        without: GPUs as if they had not been measured: what a GPU left out is judged by.

    >>> from tilewise.arch import load_machine
    >>> known = known_gemm(load_machine("h200"), "fp16")
    >>> known.gpu, known.format, known.own
    ('h200', 'bf16', True)

    Raises:
        FormatError: if the GPU does not compute in `format`.
    """
    gpu.flops_per_s(format)
    everything = dict(gemm_calibrations())
    brought = gpu.calibrations.gpu == gpu.name and bool(gpu.calibrations.gemm)
    if brought:
        everything[gpu.name] = dict(gpu.calibrations.gemm)
    for left_out in without:
        everything.pop(left_out, None)
    name, chosen = _teller(gpu, format, everything)
    found = everything[name][chosen]
    own = name == gpu.name and chosen in (format, _MEASURED_AS.get(format))
    if name == gpu.name and brought:
        return KnownGemm(found.constants, found, name, chosen, own)
    theirs, constants = _gpu(name), found.constants
    beyond = _beyond(gpu, theirs, tuple(n for n in everything if chosen in everything[n]))
    if name != gpu.name and beyond is not None:
        share = math.log(_rate(gpu) / _rate(theirs)) / math.log(_rate(_gpu(beyond)) / _rate(theirs))
        constants = _between(constants, everything[beyond][chosen].constants, share)
    constants = constants.replace(
        launch_s=found.constants.launch_s * (gpu.launch_s / theirs.launch_s),
        sustained_fraction=_sustained(constants.sustained_fraction, gpu, theirs, format),
    )
    return KnownGemm(constants, found, name, chosen, own, beyond if name != gpu.name else None)


def _teller(
    gpu: Gpu, format: str, everything: Mapping[str, Mapping[str, GemmCalibration]]
) -> tuple[str, str]:
    """Whose constants of which format: own, those of its like, own of bf16, the nearest GPU's."""
    own = everything.get(gpu.name, {})
    wanted = [name for name in (format, _MEASURED_AS.get(format)) if name is not None]
    for name in wanted:
        if name in own:
            return gpu.name, name
    for name in wanted:
        alike = [n for n in everything if name in everything[n] and _alike(gpu, _gpu(n))]
        if alike:
            return _nearest(gpu, tuple(alike)), name
    for name in _WIDE:
        if name in own:
            return gpu.name, name
    others = tuple(n for n in everything if n != gpu.name) or tuple(everything)
    nearest = _nearest(gpu, others)
    return nearest, next(
        f for f in (*wanted, *_WIDE, *everything[nearest]) if f in everything[nearest]
    )


def _alike(one: Gpu, other: Gpu) -> bool:
    return abs(math.log(_rate(one) / _rate(other))) < _SAME_RATE


def _nearest(gpu: Gpu, names: tuple[str, ...]) -> str:
    own_rate, own_bytes = _rate(gpu), _bytes_per_flop(gpu)

    def apart(name: str) -> tuple[float, float]:
        rate, bytes_per_flop = _rate(_gpu(name)), _bytes_per_flop(_gpu(name))
        # Rates of one family differ by rounding; between families they differ by a factor of two.
        return round(abs(math.log(rate / own_rate)), 1), abs(math.log(bytes_per_flop / own_bytes))

    return min(names, key=apart)


def _beyond(gpu: Gpu, nearest: Gpu, names: tuple[str, ...]) -> str | None:
    """The nearest GPU on the other side of a rate that no measured family has."""
    if _alike(gpu, nearest):
        return None
    apart = math.log(_rate(gpu) / _rate(nearest))
    there = tuple(n for n in names if math.log(_rate(_gpu(n)) / _rate(gpu)) * apart > 0)
    return _nearest(gpu, there) if there else None


def _between(one: GemmConstants, other: GemmConstants, share: float) -> GemmConstants:
    """Constants at a share of the way from one to the other, each along its logarithm."""
    values = {
        name: value ** (1 - share) * getattr(other, name) ** share
        for name, value in one.model_dump().items()
    }
    return GemmConstants(**values)


def _sustained(theirs_keep: float, gpu: Gpu, theirs: Gpu, format: str) -> float:
    """What a power limit leaves of the peak: FLOP/s follow watts over joules per FLOP.

    A GPU that was not limited tells of no limit.
    """
    if theirs_keep >= 1 or format not in theirs.peak_flops:
        return theirs_keep
    own, other = (
        one.tdp_w / float(one.pj_per_flop.get(format)) / one.flops_per_s(format)
        for one in (gpu, theirs)
    )
    return min(1.0, theirs_keep * (own / other))


def _gpu(name: str) -> Gpu:
    machine = load_machine(name)
    if not isinstance(machine, Gpu):
        raise MachineError(f"gemm.yaml: {name}: wanted the name of a GPU")
    return machine


def _rate(gpu: Gpu) -> float:
    """FLOP per SM and clock in bf16, or what the GPU has instead."""
    return _peak(gpu) / gpu.sms / gpu.clock_hz


def _bytes_per_flop(gpu: Gpu) -> float:
    return gpu.dram.bytes_per_s / _peak(gpu)


def _peak(gpu: Gpu) -> float:
    peaks = gpu.peak_flops
    return gpu.flops_per_s(next((f for f in ("bf16", "fp16") if f in peaks), gpu.default_format))
