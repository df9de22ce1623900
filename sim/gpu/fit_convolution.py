"""The constants of fp32 convolution from measured kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_calibration import Evidence, Measured
from ...arch.gpu_convolution import ConvolutionCalibration, ConvolutionConstants
from .convolution import harness_s
from .fitting import Bound, CalibrationError, Report, columns, error, fit, held_out

__all__ = ["SIZES", "calibrate_convolution", "measured_s"]

SIZES = ("batch", "in_channels", "out_channels", "kernel", "input_size", "stride", "padding")

# Physical: shares of a peak are at most 1; transforms may find in L2 what was passed on, at up to
# 5 times the DRAM's rate; a harness adds tens of microseconds.
_BOUNDS: dict[str, Bound] = {
    "arithmetic_share": (0.2, 0.8, 1.0),
    "half_rate_macs": (0.0, 8.0, 64.0),
    "full_tiles": (0.1, 1.5, 6.0),
    "implicit_dram_share": (0.1, 0.7, 1.0),
    "transform_dram_share": (0.1, 0.8, 5.0),
    "filter_dram_share": (0.05, 0.6, 5.0),
    "overhead_s": (0.0, 40e-6, 100e-6),
    "winograd_overhead_s": (0.0, 40e-6, 120e-6),
}
_OUT_SIZES = ((1, 8), (9, 16), (17, 32), (33, 64), (65, 1 << 30))


def calibrate_convolution(
    frame: pd.DataFrame, gpu: Gpu, *, data: str, date: str
) -> tuple[ConvolutionCalibration, Report]:
    """Fit the constants of convolution to measured fp32 kernels on one GPU.

    Held out is every fifth shape, by hash.

    Args:
        frame: Columns batch, in_channels, out_channels, kernel (3), input_size, stride (1), padding
            (1), latency_ms.
        gpu: On which it was measured.
        data: Whose measurements.
        date: Today, for the record.

    Raises:
        CalibrationError: as `columns` and `fit`, or for another kernel, stride or padding.
    """
    what = f"{gpu.name} convolution"
    sizes, seconds = columns(frame, SIZES, what)
    for name, wanted in (("kernel", 3), ("stride", 1), ("padding", 1)):
        wrong = sizes[name] != wanted
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CalibrationError(
                f"{what}: row {row}: {name}: wanted {wanted}, got {sizes[name][row]}; drop the row"
            )
    hidden = held_out(*sizes.values())
    seen = ~hidden
    macs = sizes["batch"] * sizes["input_size"] ** 2 * 9
    macs = macs * sizes["in_channels"] * sizes["out_channels"]
    channels = np.concatenate([sizes["in_channels"], sizes["out_channels"]])
    evidence = Evidence(
        data=data,
        split="every fifth shape by CRC-32",
        date=date,
        fitted_shapes=int(seen.sum()),
        held_out_shapes=int(hidden.sum()),
        held_out_mape=0.0,
        roofline_mape=0.0,
    )
    start = ConvolutionCalibration(
        gpu=gpu.name,
        evidence=evidence,
        constants=ConvolutionConstants(**{name: usual for name, (_, usual, _) in _BOUNDS.items()}),
        macs=_between(macs),
        channels=_between(channels),
        out_size=_between(sizes["input_size"]),
    )
    known = {name: values[seen] for name, values in sizes.items()}

    def predict(constants: Mapping[str, float]) -> Any:
        return measured_s(gpu, _with(start, constants), known)

    fitted = _with(start, fit(predict, _BOUNDS, seconds[seen], what))
    times = measured_s(gpu, fitted, sizes)
    roofline = _roofline_s(gpu, sizes, macs)
    by: dict[str, float] = {}
    for least, most in _OUT_SIZES:
        group = hidden & (sizes["input_size"] >= least) & (sizes["input_size"] <= most)
        if group.any():
            by[f"output {least} to {min(most, int(sizes['input_size'].max()))}"] = error(
                times, seconds, group
            )
    few = np.minimum(sizes["in_channels"], sizes["out_channels"]) < 32
    by["fewer than 32 channels"] = error(times, seconds, hidden & few)
    by["32 channels or more"] = error(times, seconds, hidden & ~few)
    report = Report(
        fitted_shapes=evidence.fitted_shapes,
        held_out_shapes=evidence.held_out_shapes,
        fitted_mape=error(times, seconds, seen),
        held_out_mape=error(times, seconds, hidden),
        roofline_mape=error(roofline, seconds, hidden),
        by=by,
    )
    told = evidence.replace(
        held_out_mape=round(report.held_out_mape, 4), roofline_mape=round(report.roofline_mape, 4)
    )
    return fitted.replace(evidence=told), report


def measured_s(
    gpu: Gpu, calibration: ConvolutionCalibration, sizes: Mapping[str, NDArray[np.int64]]
) -> Any:
    """Seconds as the calibration's harness would see them, `(rows,)`."""
    return harness_s(
        gpu,
        calibration,
        batch=sizes["batch"],
        in_channels=sizes["in_channels"],
        out_channels=sizes["out_channels"],
        out_height=sizes["input_size"],
        out_width=sizes["input_size"],
    )


def _with(calibration: ConvolutionCalibration, constants: Mapping[str, float]) -> Any:
    return calibration.model_copy(update={"constants": ConvolutionConstants(**constants)})


def _between(sizes: NDArray[np.int64]) -> Measured:
    return Measured(least=int(sizes.min()), most=int(sizes.max()))


def _roofline_s(gpu: Gpu, sizes: Mapping[str, NDArray[np.int64]], macs: Any) -> Any:
    """What `sim/roofline.py` says of the same kernels."""
    places = sizes["batch"] * sizes["input_size"] ** 2
    channels = sizes["in_channels"] + sizes["out_channels"]
    filters = 9 * sizes["in_channels"] * sizes["out_channels"]
    memory_s = 4 * (places * channels + filters) / gpu.dram.bytes_per_s
    return np.maximum(2 * macs / gpu.vector_flops, memory_s) + gpu.launch_s
