"""Calibrate the GEMM model of one GPU and format, and say how well it predicts other shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arch import Gpu, bits
from ...arch.gpu_gemm_constants import GemmCalibration, GemmConstants, GemmEvidence, GemmHull
from .fit import Bounds, Errors, Fitted, errors, fit, held_out
from .fit_report import Report, today
from .fitting import CalibrationError, check_split, columns, missing
from .gemm import GemmHardware, gemm_seconds, hardware, least_bytes, plan, price

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GEMM_BOUNDS",
    "CalibrationError",
    "GemmReport",
    "calibrate_formats",
    "calibrate_gemm",
    "roofline_seconds",
]

_Floats = NDArray[np.float64]

GEMM_BOUNDS: Final[Mapping[str, Bounds]] = {
    "launch_s": Bounds(2.2e-6, 0.5e-6, 10e-6),
    "peak_fraction": Bounds(0.9, 0.5, 1.0),
    "fill_cycles": Bounds(300.0, 20.0, 4000.0),  # at most a few DRAM latencies
    "step_cycles": Bounds(250.0, 20.0, 1500.0),  # at most one DRAM latency, unpipelined
    "l2_bytes_per_cycle": Bounds(50.0, 8.0, 256.0),
    "output_bytes_per_cycle": Bounds(20.0, 2.0, 256.0),
    "reduction_s": Bounds(1.5e-6, 0.05e-6, 8e-6),
    "reduction_bytes_per_cycle": Bounds(30.0, 2.0, 512.0),
    "dram_fraction": Bounds(0.85, 0.5, 1.0),
    # Two partitions that each keep a copy leave half; results written through may leave nothing.
    "l2_read_share": Bounds(0.85, 0.3, 1.2),
    "l2_write_share": Bounds(0.7, 0.05, 1.2),
    "l2_sharpness": Bounds(15.0, 1.0, 60.0),
    "overlap": Bounds(3.0, 1.2, 20.0),
    "sustained_fraction": Bounds(0.8, 0.4, 1.0),
    "burst_s": Bounds(1e-3, 50e-6, 20e-3),
}
"""Where each constant begins, and what physics allows."""

# What measuring an 8-bit GEMM has beside it: a kernel that brings the bf16 activations to 8 bits
# reads two bytes and writes one for each.  It is fitted along and left out of the constants.
_QUANTIZER: Final[Mapping[str, Bounds]] = {
    "quantizer_s": Bounds(2e-6, 0.1e-6, 15e-6),
    "quantizer_fraction": Bounds(0.6, 0.02, 4.0),
}
_QUANTIZER_BYTES: Final = 3.0
_SAMPLE: Final = 1500
_COLUMNS: Final = ("m", "n", "k", "latency_ms_median")
_NAMES: Final[Mapping[str, str]] = {"bfloat16": "bf16", "float16": "fp16"}


class GemmReport(NamedTuple):
    """A calibration, and what its evidence does not say.

    Attributes:
        calibration: The constants with hull and evidence.
        fitted_errors: On the rows it was fitted to.
        at_bound: Constants that ended at a bound, which the data thus do not tell.
        training: Which rows of the format were open to the fit, `[S]`.
    """

    calibration: GemmCalibration
    fitted_errors: Errors
    at_bound: tuple[str, ...]
    training: NDArray[np.bool_]

    @property
    def report(self) -> Report:
        """The same as the other kinds of kernels report it."""
        known = self.calibration.evidence
        return Report(
            fitted_shapes=known.fitted,
            held_out_shapes=known.held_out,
            fitted_mape=self.fitted_errors.mape / 100,
            held_out_mape=known.mape / 100,
            roofline_mape=known.roofline_mape / 100,
            by={"new n, k": known.new_weights_mape / 100, "new m": known.new_rows_mape / 100},
            at_bound=self.at_bound,
            converged=known.converged,
        )


def calibrate_gemm(
    frame: pd.DataFrame,
    gpu: Gpu,
    format: str = "bf16",
    *,
    data: str = "not stated",
    quantized: bool | None = None,
    fixed: Mapping[str, float] | None = None,
    restarts: int = 1,
) -> GemmReport:
    """Fit the constants of a GPU to measured GEMMs of one format.

    Args:
        frame: One measurement a row: `m`, `n`, `k`, `latency_ms_median`, and if it has formats
            `dtype`, of which only `format` is taken.
        gpu: On which they were measured.
        format: Of the operands.
        data: Where the measurements come from, for the evidence.
        quantized: Whether a latency includes bringing the activations to 8 bits; without it, as
            the format has 8 bits.
        fixed: Constants that are known already, by name.
        restarts: How often the fit begins again from elsewhere.

    Raises:
        CalibrationError: if a column is missing, a value is not positive, or the rows are too few.
        FormatError: if the GPU does not compute in `format`.
    """
    machine = hardware(gpu, format)
    what = f"{gpu.name} gemm {format}"
    missing(frame, _COLUMNS, what)  # of the whole table, before its formats are looked at
    *axes, time = _COLUMNS
    sizes, measured_s = columns(
        _of_format(frame, format),
        axes,
        what,
        time=time,
        least=10 * len(GEMM_BOUNDS),  # ten for each constant
    )
    shapes = np.stack([*sizes.values()], axis=1)
    whole, single = held_out(shapes[:, 1:], shapes)
    check_split(whole | single, what)
    training = ~(whole | single)
    if quantized is None:
        quantized = machine.operand_bytes <= 1
    known = dict(fixed or {})
    bounds = {name: bound for name, bound in GEMM_BOUNDS.items() if name not in known}
    if quantized:
        bounds |= _QUANTIZER

    rows = np.flatnonzero(training)
    sample = np.sort(np.random.default_rng(0).permutation(rows)[:_SAMPLE])
    found = _fit(machine, shapes[sample], measured_s[sample], bounds, known, restarts)
    constants = _constants({**known, **found.values})

    def predicted(chosen: NDArray[np.intp] | NDArray[np.bool_]) -> _Floats:
        m, n, k = (shapes[chosen, axis].astype(float) for axis in range(3))
        beside = _quantizer_s(machine, m, k, found.values) if quantized else 0.0
        return _in_pieces(machine, constants, m, n, k) + beside

    aside = whole | single
    seen, unseen = (errors(predicted(p), measured_s[p]) for p in (sample, aside))
    by_group = [errors(predicted(p), measured_s[p]).mape for p in (whole, single)]
    m, n, k = (shapes[aside, axis].astype(float) for axis in range(3))
    plain_s = roofline_seconds(machine, constants.launch_s, m, n, k)
    if quantized:
        plain_s = plain_s + found.values["quantizer_s"]
    evidence = GemmEvidence(
        data=data,
        split="by a hash of the shape: a tenth of the (n, k) pairs, a ninth of the other shapes",
        date=today(),
        rows=len(shapes),
        fitted=len(sample),
        held_out=int(aside.sum()),
        mape=round(unseen.mape, 2),
        median=round(unseen.median, 2),
        p95=round(unseen.p95, 1),
        bias=round(unseen.bias, 2),
        new_weights_mape=round(by_group[0], 2),
        new_rows_mape=round(by_group[1], 2),
        roofline_mape=round(errors(plain_s, measured_s[aside]).mape, 1),
        converged=found.converged,
    )
    least, most = shapes.min(axis=0).tolist(), shapes.max(axis=0).tolist()
    hull = GemmHull(**{axis: (least[i], most[i]) for i, axis in enumerate("mnk")})
    calibration = GemmCalibration(constants=constants, hull=hull, evidence=evidence)
    return GemmReport(calibration, seen, found.at_bound, training)


def calibrate_formats(
    frame: pd.DataFrame, gpu: Gpu, format: str | None = None, *, data: str = "not stated"
) -> dict[str, GemmReport]:
    """Calibrate each format of the measurements that the GPU computes in, or the one given.

    An 8-bit GEMM is launched as a 16-bit one: what a launch takes is that one's, where it is
    measured too, as the kernel that quantizes the activations hides it.

    Raises:
        CalibrationError: as `calibrate_gemm`, or if there is no format of this GPU.
        FormatError: as `calibrate_gemm`.
    """
    if format is not None:
        return {format: calibrate_gemm(frame, gpu, format, data=data)}
    what = f"{gpu.name} gemm"
    missing(frame, _COLUMNS, what)
    if "dtype" not in frame.columns:
        raise CalibrationError(
            f"{what}: wanted a column dtype, got none; "
            f"if all rows are of one format, name it: --format {gpu.default_format}"
        )
    names = sorted(set(_formats(frame)))
    formats = [name for name in names if name in gpu.peak_flops]
    if not formats:
        have = ", ".join(gpu.peak_flops.names)
        raise CalibrationError(f"{what}: dtype: wanted one of {have}, got {', '.join(names)}")
    formats.sort(key=lambda name: -bits(name))
    reports: dict[str, GemmReport] = {}
    for name in formats:
        wide = reports.get("bf16") or reports.get("fp16")
        fixed = {"launch_s": wide.calibration.constants.launch_s} if wide else {}
        narrow = wide is not None and bits(name) <= 8
        reports[name] = calibrate_gemm(frame, gpu, name, data=data, fixed=fixed if narrow else None)
    return reports


def roofline_seconds(
    machine: GemmHardware, launch_s: float, m: _Floats, n: _Floats, k: _Floats
) -> _Floats:
    """Return max(FLOP / peak, bytes / bandwidth) and a launch, `[S]`: what is to be beaten."""
    moved = machine.operand_bytes * (m * k + n * k) + max(2.0, machine.operand_bytes) * m * n
    arithmetic_s = 2.0 * m * n * k / machine.peak_flops
    return np.asarray(np.maximum(arithmetic_s, moved / machine.dram_bytes_per_s) + launch_s)


def _formats(frame: pd.DataFrame) -> list[str]:
    """The format of each row, as Tilewise names it."""
    return [_NAMES.get(name, name) for name in map(str, frame["dtype"].tolist())]


def _of_format(frame: pd.DataFrame, format: str) -> pd.DataFrame:
    if "dtype" not in frame.columns:
        return frame
    names = _formats(frame)
    if format not in names:
        raise CalibrationError(f"dtype: wanted {format}, got {', '.join(sorted(set(names)))}")
    return frame[[name == format for name in names]]


def _fit(
    machine: GemmHardware,
    shapes: NDArray[np.int64],
    measured_s: _Floats,
    bounds: Mapping[str, Bounds],
    known: Mapping[str, float],
    restarts: int,
) -> Fitted:
    m, n, k = (shapes[:, axis].astype(float) for axis in range(3))
    ways = plan(machine, m, n, k)
    moved = least_bytes(machine, ways)

    def seconds(values: Mapping[str, float]) -> _Floats:
        both = {**known, **values}
        total_s = price(machine, _constants(both), ways, moved).total_s
        return total_s + (_quantizer_s(machine, m, k, both) if "quantizer_s" in both else 0.0)

    return fit(seconds, measured_s, bounds, restarts)


def _constants(values: Mapping[str, float]) -> GemmConstants:
    # Four digits: the data tell no more, and what is written to a file is what was judged.
    return GemmConstants(**{name: float(f"{values[name]:.4g}") for name in GEMM_BOUNDS})


def _quantizer_s(
    machine: GemmHardware, m: _Floats, k: _Floats, values: Mapping[str, float]
) -> _Floats:
    rate = machine.dram_bytes_per_s * values["quantizer_fraction"]
    return np.asarray(values["quantizer_s"] + _QUANTIZER_BYTES * m * k / rate)


def _in_pieces(
    machine: GemmHardware, constants: GemmConstants, m: _Floats, n: _Floats, k: _Floats
) -> _Floats:
    """As `gemm_seconds`, a thousand shapes at a time: every candidate of all would fill memory."""
    pieces = [slice(first, first + 1000) for first in range(0, len(m), 1000)]
    found = [gemm_seconds(machine, constants, m[p], n[p], k[p]) for p in pieces]
    return np.concatenate(found) if found else np.empty(0)
