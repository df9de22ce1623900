"""What a GPU was measured to do in a GEMM: a few physical constants for each number format."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, cast

from pydantic import Field

from .build import build
from .document import read_document
from .explain import got
from .formats import FORMATS
from .gpu_calibration import CALIBRATIONS
from .value import Count, NotNegative, Positive, Value, Whole

__all__ = [
    "GemmCalibration",
    "GemmConstants",
    "GemmEvidence",
    "GemmHull",
    "gemm_calibrations",
]

_Share = Annotated[float, Field(gt=0, le=1)]
_Range = Annotated[tuple[Count, Count], Field(strict=False)]  # YAML's lists are no tuples


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


def gemm_calibrations(file: Path | None = None) -> Mapping[str, Mapping[str, GemmCalibration]]:
    """Return every calibration of a file, by the GPU's name and the number format.

    >>> sorted(gemm_calibrations())
    ['a100-80gb', 'b200', 'h100', 'h200', 'l40s']

    Args:
        file: The one that comes with Tilewise if None.

    Raises:
        MachineError: if the file is wrong; one line names file, line, key, wanted and got.
    """
    return _read(file) if file is not None else _shipped()


@functools.cache
def _shipped() -> Mapping[str, Mapping[str, GemmCalibration]]:
    return _read(CALIBRATIONS / "gemm.yaml")


def _read(file: Path) -> Mapping[str, Mapping[str, GemmCalibration]]:
    document = read_document(file)
    found: dict[str, dict[str, GemmCalibration]] = {}
    for gpu, formats in document.values.items():
        if not isinstance(formats, dict):
            document.fail((gpu,), f"wanted calibrations by format, got {got(formats)}")
        for format, fields in cast("dict[str, Any]", formats).items():
            if format not in FORMATS:
                document.fail((gpu, format), f"wanted a format, got {got(format, FORMATS)}")
            one = build(GemmCalibration, fields, document, (gpu, format))
            found.setdefault(gpu, {})[format] = one
    return MappingProxyType({gpu: MappingProxyType(known) for gpu, known in found.items()})
