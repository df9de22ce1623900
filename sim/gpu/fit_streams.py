"""The constants of kernels that only move bytes, from measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_streams import SHORT_SOFTMAX_COLUMNS, StreamCalibration, StreamConstants
from .fit_report import Report, error, evidence, measured, report
from .fitting import (
    Bound,
    CalibrationError,
    at_bound,
    check_split,
    columns,
    fit,
    held_out,
    refuse,
    refuse_above,
)
from .streams import StreamKind, overhead_s, stream

__all__ = ["OPERATORS", "SIZES", "calibrate_streams", "measured_s"]

SIZES = ("rows", "columns")


class _Operator(NamedTuple):
    """Which kind it is, and how many fp32 operands it reads; all write one."""

    kind: StreamKind
    reads: int


OPERATORS: dict[str, _Operator] = {
    "add": _Operator("elementwise", 2),
    "mul": _Operator("elementwise", 2),
    "relu": _Operator("elementwise", 1),
    "gelu": _Operator("elementwise", 1),
    "ln": _Operator("normalization", 1),
    "softmax": _Operator("softmax", 1),
}
"""What a frame of measurements may hold."""

_FP32_BYTES = 4
_BANDWIDTH: dict[str, Bound] = {
    "bandwidth_share": (0.4, 0.85, 1.0),
    "overhead_s": (0.0, 20e-6, 100e-6),
}
_ROWS: dict[str, Bound] = {
    **_BANDWIDTH,
    "cached_row_bytes": (0.0, 4096.0, 65536.0),
    "uncached_row_bytes": (1024.0, 16384.0, 131072.0),
    "row_s": (0.0, 0.2e-6, 5e-6),
}
# A norm reads a row twice (moments, then the result), a softmax three times (maximum, sum, result).
_GROUPS: dict[str, tuple[StreamKind, int, dict[str, Bound]]] = {
    "elementwise": ("elementwise", 0, _BANDWIDTH),
    "normalization": ("normalization", 1, _ROWS),
    "short_softmax": ("softmax", 0, _BANDWIDTH),
    "softmax": ("softmax", 2, _ROWS),
}
_SPLIT = "every fifth shape by CRC-32"


def calibrate_streams(
    frame: pd.DataFrame, gpu: Gpu, *, data: str, date: str | None = None
) -> tuple[StreamCalibration, Report]:
    """Fit the constants of streams to measured fp32 kernels on one GPU.

    Held out is every fifth shape, by hash.

    Args:
        frame: Columns op (one of `OPERATORS`), rows, columns, latency_ms.
        gpu: On which it was measured.
        data: Whose measurements.
        date: For the record; today if None.

    Raises:
        CalibrationError: as `columns` and `fit`, for an unknown op, or if a kind has no rows.
    """
    what = f"{gpu.name} streams"
    sizes, seconds = columns(frame, SIZES, what)
    product = sizes["rows"].astype(np.float64) * sizes["columns"]
    refuse_above(frame, what, "rows x columns", product)
    operators = _operators(frame, what)
    kinds = np.asarray([OPERATORS[op].kind for op in operators])
    reads = np.asarray([OPERATORS[op].reads for op in operators], dtype=np.int64)
    sizes["read_bytes"] = sizes["rows"] * sizes["columns"] * _FP32_BYTES * reads
    sizes["written_bytes"] = sizes["rows"] * sizes["columns"] * _FP32_BYTES
    hidden = held_out(sizes["rows"], sizes["columns"])
    check_split(hidden, what)
    moved = sizes["read_bytes"] + sizes["written_bytes"]
    usual = StreamConstants(bandwidth_share=0.85, overhead_s=0.0)
    calibration = StreamCalibration(
        gpu=gpu.name,
        evidence=evidence(hidden, data, _SPLIT, date),
        clock_hz=gpu.clock_hz,
        elementwise=usual,
        normalization=usual,
        short_softmax=usual,
        softmax=usual,
        moved_bytes=measured(moved),
        columns=measured(sizes["columns"]),
    )
    times, by, bound = np.zeros_like(seconds), dict[str, float](), list[str]()
    is_short = sizes["columns"] <= SHORT_SOFTMAX_COLUMNS
    for name, (kind, rereads, bounds) in _GROUPS.items():
        rows = kinds == kind
        if kind == "softmax":
            rows &= is_short if name == "short_softmax" else ~is_short
        seen = rows & ~hidden
        if seen.sum() < 2 * len(bounds):
            raise CalibrationError(
                f"{what}: wanted at least {2 * len(bounds)} rows of {name}, got {int(seen.sum())}; "
                "measure more"
            )
        values = _fitted(gpu, calibration, (name, kind, rereads, bounds), _of(sizes, seen),
                         seconds[seen], what)  # fmt: skip
        bound += [f"{name}.{constant}" for constant in at_bound(values, bounds)]
        constants = StreamConstants(rereads=rereads, **values)
        calibration = calibration.model_copy(update={name: constants})
        times[rows] = measured_s(gpu, calibration, kind, _of(sizes, rows))
        by[name] = error(times, seconds, hidden & rows)
    roofline = moved / gpu.dram.bytes_per_s + gpu.launch_s
    for kind in ("elementwise", "normalization", "softmax"):
        by[f"{kind}, roofline"] = error(roofline, seconds, hidden & (kinds == kind))
    found = report(times, roofline, seconds, hidden, by, tuple(bound))
    return calibration.replace(evidence=evidence(hidden, data, _SPLIT, date, found)), found


def measured_s(
    gpu: Gpu,
    calibration: StreamCalibration,
    kind: StreamKind,
    sizes: Mapping[str, NDArray[np.int64]],
) -> Any:
    """Seconds as the calibration's harness would see them, `(rows,)`."""
    parts = stream(
        gpu,
        calibration,
        kind=kind,
        read_bytes=sizes["read_bytes"],
        written_bytes=sizes["written_bytes"],
        rows=sizes["rows"],
        columns=sizes["columns"],
    )
    return parts.total_s - parts.launch_s + overhead_s(calibration, kind, sizes["columns"])


def _fitted(
    gpu: Gpu,
    calibration: StreamCalibration,
    group: tuple[str, StreamKind, int, dict[str, Bound]],
    sizes: Mapping[str, NDArray[np.int64]],
    seconds: Any,
    what: str,
) -> dict[str, float]:
    name, kind, rereads, bounds = group

    def predict(constants: Mapping[str, float]) -> Any:
        trial = StreamConstants(rereads=rereads, **constants)
        return measured_s(gpu, calibration.model_copy(update={name: trial}), kind, sizes)

    return fit(predict, bounds, seconds, f"{what}, {name}")


def _operators(frame: pd.DataFrame, what: str) -> list[str]:
    if "op" not in frame.columns:
        raise CalibrationError(f"{what}: wanted the column op, got none; add it")
    refuse(frame, what, "op", tuple(OPERATORS))
    return [str(op) for op in frame["op"]]


def _of(
    sizes: Mapping[str, NDArray[np.int64]], rows: NDArray[np.bool_]
) -> dict[str, NDArray[np.int64]]:
    return {name: values[rows] for name, values in sizes.items()}
