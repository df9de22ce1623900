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
]

_FILE: Final = Path(__file__).resolve().parent / "calibrations" / "gemm.yaml"
_Share = Annotated[float, Field(gt=0, le=1)]
_Range = Annotated[tuple[Count, Count], Field(strict=False)]  # YAML's lists are no tuples
# fp16 and bf16 run the same kernels on the same units at the same rate.
_MEASURED_AS: Final = MappingProxyType({"fp16": "bf16"})


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
    """

    constants: GemmConstants
    calibration: GemmCalibration
    gpu: str
    format: str
    own: bool


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
    """Return the calibration of a GPU and format, or of the nearest that was measured.

    A GPU that was not measured takes the constants of its family: of the GPU whose tensor cores
    do most nearly as many bf16 FLOP per SM and clock (1024 on Ada, 2048 on the A100, 4096 on
    Hopper, 8192 on Blackwell), and of those the one with the nearest bytes per FLOP.  Its launch
    is scaled by the two machines' `launch_s`.  A format that was not measured takes bf16's.

    >>> from tilewise.arch import load_machine
    >>> known = known_gemm(load_machine("h200"), "fp16")
    >>> known.gpu, known.format, known.own
    ('h200', 'bf16', True)

    Raises:
        FormatError: if the GPU does not compute in `format`.
    """
    gpu.flops_per_s(format)
    everything = gemm_calibrations()
    measured = _MEASURED_AS.get(format, format)
    name = gpu.name if gpu.name in everything else _nearest(gpu, tuple(everything))
    formats = everything[name]
    own = name == gpu.name and measured in formats
    chosen = next(f for f in (measured, "bf16", *formats) if f in formats)
    constants = formats[chosen].constants
    if name != gpu.name and (theirs := _gpu(name).launch_s) > 0:
        constants = constants.replace(launch_s=constants.launch_s * gpu.launch_s / theirs)
    return KnownGemm(constants, formats[chosen], name, chosen, own)


def _nearest(gpu: Gpu, names: tuple[str, ...]) -> str:
    own_rate, own_bytes = _family(gpu)

    def apart(name: str) -> tuple[float, float]:
        rate, bytes_per_flop = _family(_gpu(name))
        # Rates of one family differ by rounding; between families they differ by a factor of two.
        return round(abs(math.log(rate / own_rate)), 1), abs(math.log(bytes_per_flop / own_bytes))

    return min(names, key=apart)


def _gpu(name: str) -> Gpu:
    machine = load_machine(name)
    if not isinstance(machine, Gpu):
        raise MachineError(f"{_FILE}: {name}: wanted the name of a GPU")
    return machine


def _family(gpu: Gpu) -> tuple[float, float]:
    """FLOP per SM and clock, and bytes of DRAM per FLOP, in bf16 or what the GPU has instead."""
    peaks = gpu.peak_flops
    format = next((f for f in ("bf16", "fp16") if f in peaks), gpu.default_format)
    peak = gpu.flops_per_s(format)
    return peak / gpu.sms / gpu.clock_hz, gpu.dram.bytes_per_s / peak
