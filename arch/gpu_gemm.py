"""What a GPU was measured to do in a GEMM: a few physical constants for each number format."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple, cast

from pydantic import Field, ValidationError

from .document import Document, MachineError, read_document
from .explain import explain, got
from .gpu import Gpu
from .load import load_machine
from .value import Count, NotNegative, Positive, Value, Whole

__all__ = [
    "GemmCalibration",
    "GemmConstants",
    "GemmEvidence",
    "GemmHull",
    "KnownGemm",
    "gemm_calibrations",
    "known_gemm",
    "known_without",
]

_FILE: Final = Path(__file__).resolve().parent / "calibrations" / "gemm.yaml"
_Share = Annotated[float, Field(gt=0, le=1)]
_Range = Annotated[tuple[Count, Count], Field(strict=False)]  # YAML's lists are no tuples
# fp16 and bf16 run the same kernels on the same units at the same rate.
_MEASURED_AS: Final = MappingProxyType({"fp16": "bf16"})
_SAME_RATE: Final = 0.05  # of logarithms: rates of one family differ by rounding


class GemmConstants(Value, frozen=True):
    """The constants of a GEMM, as fractions of a GPU's own peaks or per clock of one SM.

    Attributes:
        launch_s: A GEMM with next to no work, from its predecessor's end to its own.
        peak_fraction: Of the tensor cores' peak, in the main loop of a tile.
        fill_cycles: From a tile's start to its first step: addresses, first loads.
        step_cycles: The least time between two steps of 128 bytes of k: a load's latency over
            the stages of the pipeline.
        l2_bytes_per_cycle: One SM's share of what L2 gives all of them.
        output_bytes_per_cycle: What one SM writes at the end of a tile.
        reduction_s: The second kernel of split-K, beside its traffic.
        reduction_bytes_per_cycle: At which one SM's share of the partial sums is written and read.
        dram_fraction: Of the DRAM's bandwidth, in a long stream.
        l2_read_share: Of L2's bytes that hold operands from one use to the next; half where the
            L2 keeps a copy in each of two partitions.
        l2_write_share: The same for results, which are written over again.
        l2_sharpness: How suddenly data fall out of L2 as they outgrow it: the exponent of a
            logistic curve over their logarithm.
        overlap: The exponent of the norm that joins the SMs' time and the DRAM's: 1 is one after
            the other, infinity is the longer of the two.
        sustained_fraction: Of the speed at first, what a long kernel keeps when the board's power
            limit lowers the clock.
        burst_s: The kernel's time at the peak after which half of that loss has set in.
    """

    launch_s: NotNegative
    peak_fraction: _Share
    fill_cycles: NotNegative
    step_cycles: NotNegative
    l2_bytes_per_cycle: Positive
    output_bytes_per_cycle: Positive
    reduction_s: NotNegative
    reduction_bytes_per_cycle: Positive
    dram_fraction: _Share
    l2_read_share: Positive
    l2_write_share: Positive
    l2_sharpness: Positive
    overlap: Annotated[float, Field(ge=1)]
    sustained_fraction: _Share
    burst_s: Positive


class GemmHull(Value, frozen=True):
    """The sizes that were measured, from the least to the greatest."""

    m: _Range
    n: _Range
    k: _Range

    def holds(self, m: float, n: float, k: float) -> bool:
        """Whether a shape lies between measured sizes."""
        sizes = ((m, self.m), (n, self.n), (k, self.k))
        return all(low <= size <= high for size, (low, high) in sizes)


class GemmEvidence(Value, frozen=True):
    """Where constants come from, and how well they predict shapes they were not fitted to.

    Errors are of latency, in per cent: `mape` the mean of the absolute, `p95` its 95th percentile,
    `bias` the mean of the signed; `new_weights_mape` over held-out pairs of n and k,
    `new_rows_mape` over held-out shapes whose n and k were seen with other m; `roofline_mape` what
    max(FLOP / peak, bytes / bandwidth) and a launch makes of the same shapes.
    """

    data: str
    split: str
    date: str
    rows: Count
    fitted: Count
    held_out: Whole
    mape: NotNegative
    median: NotNegative
    p95: NotNegative
    bias: float
    new_weights_mape: NotNegative
    new_rows_mape: NotNegative
    roofline_mape: NotNegative
    converged: bool


class GemmCalibration(Value, frozen=True):
    """Constants, the sizes they were measured between, and their evidence."""

    constants: GemmConstants
    hull: GemmHull
    evidence: GemmEvidence


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


@functools.cache
def gemm_calibrations(
    file: Path = _FILE,
) -> Mapping[str, Mapping[str, GemmCalibration]]:
    """Return every calibration, by the GPU's name and the number format.

    >>> sorted(gemm_calibrations())
    ['a100-80gb', 'b200', 'h100', 'h200', 'l40s']

    Raises:
        MachineError: if the file is wrong; one line names file, line, key, wanted and got.
    """
    document = read_document(file)
    found: dict[str, dict[str, GemmCalibration]] = {}
    for gpu, formats in document.values.items():
        if not isinstance(formats, dict):
            document.fail((gpu,), f"wanted calibrations by format, got {got(formats)}")
        for format, fields in cast("dict[str, Any]", formats).items():
            found.setdefault(gpu, {})[format] = _calibration(fields, document, (gpu, format))
    return MappingProxyType({gpu: MappingProxyType(known) for gpu, known in found.items()})


def _calibration(fields: Any, document: Document, at: tuple[str, str]) -> GemmCalibration:
    try:
        return GemmCalibration.model_validate(fields)
    except ValidationError as error:
        key, text = explain(GemmCalibration, error.errors(include_url=False)[0])
        document.fail((*at, *key), text)


@functools.lru_cache(maxsize=256)
def known_gemm(gpu: Gpu, format: str) -> KnownGemm:
    """Return the calibration of a GPU and format, or what those of its like tell of it.

    A GPU that was not measured takes the constants of its family: of the GPU whose tensor cores
    do most nearly as many bf16 FLOP per SM and clock (1024 on Ada, 2048 on the A100, 4096 on
    Hopper, 8192 on Blackwell), and of those the one with the nearest bytes per FLOP.  Between two
    families they are interpolated, logarithm by logarithm of that rate, as rates per clock grow
    with it.  The launch is scaled by the two machines' `launch_s`, and what the power limit leaves
    by watts and energy per FLOP.  A format that was not measured takes bf16's.

    >>> from tilewise.arch import load_machine
    >>> known = known_gemm(load_machine("h200"), "fp16")
    >>> known.gpu, known.format, known.own
    ('h200', 'bf16', True)

    Raises:
        FormatError: if the GPU does not compute in `format`.
    """
    gpu.flops_per_s(format)
    return known_without(gpu, format, ())


def known_without(gpu: Gpu, format: str, without: tuple[str, ...]) -> KnownGemm:
    """As `known_gemm`, had some GPUs not been measured: what a GPU left out is judged by."""
    everything = {name: known for name, known in gemm_calibrations().items() if name not in without}
    measured = _MEASURED_AS.get(format, format)
    name = gpu.name if gpu.name in everything else _nearest(gpu, tuple(everything))
    formats = everything[name]
    own = name == gpu.name and measured in formats
    chosen = next(f for f in (measured, "bf16", *formats) if f in formats)
    constants = formats[chosen].constants
    if name == gpu.name:
        return KnownGemm(constants, formats[chosen], name, chosen, own)
    theirs = _gpu(name)
    beyond = _beyond(gpu, theirs, tuple(n for n in everything if chosen in everything[n]))
    if beyond is not None:
        share = math.log(_rate(gpu) / _rate(theirs)) / math.log(_rate(_gpu(beyond)) / _rate(theirs))
        constants = _between(constants, everything[beyond][chosen].constants, share)
    constants = constants.replace(
        launch_s=formats[chosen].constants.launch_s * (gpu.launch_s / theirs.launch_s),
        sustained_fraction=_sustained(constants.sustained_fraction, gpu, theirs, format),
    )
    return KnownGemm(constants, formats[chosen], name, chosen, own=False, beyond=beyond)


def _nearest(gpu: Gpu, names: tuple[str, ...]) -> str:
    own_rate, own_bytes = _rate(gpu), _bytes_per_flop(gpu)

    def apart(name: str) -> tuple[float, float]:
        rate, bytes_per_flop = _rate(_gpu(name)), _bytes_per_flop(_gpu(name))
        # Rates of one family differ by rounding; between families they differ by a factor of two.
        return round(abs(math.log(rate / own_rate)), 1), abs(math.log(bytes_per_flop / own_bytes))

    return min(names, key=apart)


def _beyond(gpu: Gpu, nearest: Gpu, names: tuple[str, ...]) -> str | None:
    """The nearest GPU on the other side of a rate that no measured family has."""
    apart = math.log(_rate(gpu) / _rate(nearest))
    if abs(apart) < _SAME_RATE:
        return None
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
        raise MachineError(f"{_FILE}: {name}: wanted the name of a GPU")
    return machine


def _rate(gpu: Gpu) -> float:
    """FLOP per SM and clock in bf16, or what the GPU has instead."""
    return _peak(gpu) / gpu.sms / gpu.clock_hz


def _bytes_per_flop(gpu: Gpu) -> float:
    return gpu.dram.bytes_per_s / _peak(gpu)


def _peak(gpu: Gpu) -> float:
    peaks = gpu.peak_flops
    return gpu.flops_per_s(next((f for f in ("bf16", "fp16") if f in peaks), gpu.default_format))
