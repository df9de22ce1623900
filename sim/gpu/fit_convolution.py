"""The constants of fp32 convolution from measured kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_convolution import ConvolutionCalibration, ConvolutionConstants
from .convolution import harness_s
from .fit_report import Report, error, evidence, measured, report
from .fitting import Bound, at_bound, check_split, columns, fit, held_out, refuse, refuse_above

__all__ = ["SIZES", "calibrate_convolution", "measured_s"]

SIZES = ("batch", "in_channels", "out_channels", "kernel", "input_size", "stride", "padding")
_IN_MACS = ("batch", "in_channels", "out_channels", "input_size", "input_size")

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
_SPLIT = "every fifth shape by CRC-32"
_OUT_SIZES = ((1, 8), (9, 16), (17, 32), (33, 64), (65, 1 << 30))


def calibrate_convolution(
    frame: pd.DataFrame, gpu: Gpu, *, data: str, date: str | None = None
) -> tuple[ConvolutionCalibration, Report]:
    """Fit the constants of convolution to measured fp32 kernels on one GPU.

    Held out is every fifth shape, by hash.

    Args:
        frame: Columns batch, in_channels, out_channels, kernel (3), input_size, stride (1), padding
            (1), latency_ms.
        gpu: On which it was measured.
        data: Whose measurements.
        date: For the record; today if None.

    Raises:
        CalibrationError: as `columns` and `fit`, or for another kernel, stride or padding.
    """
    what = f"{gpu.name} convolution"
    sizes, seconds = columns(frame, SIZES, what)
    for name, wanted in (("kernel", 3), ("stride", 1), ("padding", 1)):
        refuse(frame, what, name, (wanted,))
    product = np.prod([sizes[name].astype(np.float64) for name in _IN_MACS], axis=0)
    refuse_above(frame, what, " x ".join(_IN_MACS), product)
    hidden = held_out(*sizes.values())
    check_split(hidden, what)
    seen = ~hidden
    macs = sizes["batch"] * sizes["input_size"] ** 2 * 9
    macs = macs * sizes["in_channels"] * sizes["out_channels"]
    channels = np.concatenate([sizes["in_channels"], sizes["out_channels"]])
    start = ConvolutionCalibration(
        gpu=gpu.name,
        evidence=evidence(hidden, data, _SPLIT, date),
        constants=ConvolutionConstants(**{name: usual for name, (_, usual, _) in _BOUNDS.items()}),
        macs=measured(macs),
        channels=measured(channels),
        out_size=measured(sizes["input_size"]),
    )
    known = {name: values[seen] for name, values in sizes.items()}

    def predict(constants: Mapping[str, float]) -> Any:
        return measured_s(gpu, _with(start, constants), known)

    constants = fit(predict, _BOUNDS, seconds[seen], what)
    fitted = _with(start, constants)
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
    found = report(times, roofline, seconds, hidden, by, at_bound(constants, _BOUNDS))
    return fitted.replace(evidence=evidence(hidden, data, _SPLIT, date, found)), found


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


def _roofline_s(gpu: Gpu, sizes: Mapping[str, NDArray[np.int64]], macs: Any) -> Any:
    """What `sim/roofline.py` says of the same kernels."""
    places = sizes["batch"] * sizes["input_size"] ** 2
    channels = sizes["in_channels"] + sizes["out_channels"]
    filters = 9 * sizes["in_channels"] * sizes["out_channels"]
    memory_s = 4 * (places * channels + filters) / gpu.dram.bytes_per_s
    return np.maximum(2 * macs / gpu.vector_flops, memory_s) + gpu.launch_s
