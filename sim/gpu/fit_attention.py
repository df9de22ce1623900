"""Attention's constants from measured kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_attention import (
    AttentionCalibration,
    AttentionConstants,
    AttentionKernel,
)
from .attention import attention
from .fit_report import Report, error, evidence, measured, report
from .fitting import Bound, at_bound, check_split, columns, fit, held_out, refuse_above

__all__ = ["SIZES", "calibrate_attention", "predicted_s"]

SIZES = ("batch", "sequence", "heads", "head_dim")

# Physical: a launch is microseconds, a share at most 1.  Operands come at up to 8 times DRAM's
# rate (L2), exponentials at up to 3 times the special-function units' (polynomials beside them) or
# down to half (the rest of a softmax: a maximum, a subtraction, a sum and a cast).
_BOUNDS: dict[str, Bound] = {
    "launch_s": (1e-6, 4e-6, 15e-6),
    "tile_s": (0.0, 1.5e-6, 8e-6),
    "fill_share": (0.2, 1.0, 8.0),
    "tensor_share": (0.2, 0.7, 1.0),
    "exponential_share": (0.5, 0.8, 3.0),
    "combine_s": (0.0, 3e-6, 15e-6),
    "dram_share": (0.5, 0.85, 1.0),
    "exposed_memory": (0.0, 0.2, 1.0),
}
_SPLIT = "every fifth shape by CRC-32, and every fifth length with all its shapes"
_LENGTHS = ((1, 64), (65, 256), (257, 1024), (1025, 4096), (4097, 16384), (16385, 1 << 30))


def calibrate_attention(
    frame: pd.DataFrame,
    gpu: Gpu,
    kernel: AttentionKernel,
    *,
    data: str,
    date: str | None = None,
) -> tuple[AttentionCalibration, Report]:
    """Fit a kernel's constants to measured self-attention on one GPU.

    Held out are every fifth shape, by hash, and all shapes of every fifth length, by hash.

    Args:
        frame: Columns batch, sequence, heads, head_dim, latency_ms; 16 bits, unmasked.
        gpu: On which it was measured.
        kernel: What ran.
        data: Whose measurements.
        date: For the record; today if None.

    Raises:
        CalibrationError: as `columns` and `fit`, or for a head that no tile of the kernel holds.
    """
    what = f"{gpu.name} attention"
    sizes, seconds = columns(frame, SIZES, what)
    most, why = kernel.most_head_dim, f" for {kernel.name}"
    refuse_above(frame, what, "head_dim", sizes["head_dim"], most, why)
    product = np.prod([values.astype(np.float64) for values in sizes.values()], axis=0)
    refuse_above(frame, what, " x ".join(SIZES), product)
    lengths = held_out(sizes["sequence"])
    hidden = held_out(*sizes.values()) | lengths
    check_split(hidden, what)
    seen = ~hidden
    copies = sizes["batch"] * sizes["heads"]
    start = AttentionCalibration(
        gpu=gpu.name,
        evidence=evidence(hidden, data, _SPLIT, date),
        kernel=kernel,
        constants=AttentionConstants(**{name: usual for name, (_, usual, _) in _BOUNDS.items()}),
        copies=measured(copies),
        sequence=measured(sizes["sequence"]),
        head_dim=measured(sizes["head_dim"]),
    )
    bounds = {**_BOUNDS}
    if kernel.splits == "none":
        del bounds["combine_s"]  # nothing would show it
    known = {name: values[seen] for name, values in sizes.items()}

    def predict(constants: Mapping[str, float]) -> Any:
        return predicted_s(gpu, _with(start, constants), known)

    constants = fit(predict, bounds, seconds[seen], what)
    fitted = _with(start, constants)
    times = predicted_s(gpu, fitted, sizes)
    roofline = _roofline_s(gpu, sizes)
    by = {"held-out lengths": error(times, seconds, lengths)}
    for columns_ in np.unique(sizes["head_dim"]):
        by[f"head_dim {columns_}"] = error(times, seconds, hidden & (sizes["head_dim"] == columns_))
    for least, most in _LENGTHS:
        group = hidden & (sizes["sequence"] >= least) & (sizes["sequence"] <= most)
        if group.any():
            by[f"length {least} to {min(most, int(sizes['sequence'].max()))}"] = error(
                times, seconds, group
            )
    found = report(times, roofline, seconds, hidden, by, at_bound(constants, bounds))
    return fitted.replace(evidence=evidence(hidden, data, _SPLIT, date, found)), found


def predicted_s(
    gpu: Gpu, calibration: AttentionCalibration, sizes: Mapping[str, NDArray[np.int64]]
) -> Any:
    """Seconds of self-attention of the sizes a frame of measurements holds, `(rows,)`."""
    return attention(
        gpu,
        calibration,
        copies=sizes["batch"] * sizes["heads"],
        queries=sizes["sequence"],
        keys=sizes["sequence"],
        head_dim=sizes["head_dim"],
        format=_format(gpu),
    ).total_s


def _format(gpu: Gpu) -> str:
    """Of 16 bits: some GPUs have no bf16, and where there are both, they run alike."""
    return "bf16" if "bf16" in gpu.peak_flops else "fp16"


def _with(calibration: AttentionCalibration, constants: Mapping[str, float]) -> Any:
    return calibration.model_copy(update={"constants": AttentionConstants(**constants)})


def _roofline_s(gpu: Gpu, sizes: Mapping[str, NDArray[np.int64]]) -> Any:
    """What `sim/roofline.py` says of the same kernels."""
    copies, length = sizes["batch"] * sizes["heads"], sizes["sequence"].astype(np.float64)
    macs = 2 * copies * length * length * sizes["head_dim"]
    math_s = 2 * macs / gpu.flops_per_s(_format(gpu))
    vector_s = 12 * copies * length * length / gpu.vector_flops
    memory_s = 8 * copies * length * sizes["head_dim"] / gpu.dram.bytes_per_s
    return np.maximum(np.maximum(math_s, vector_s), memory_s) + gpu.launch_s
