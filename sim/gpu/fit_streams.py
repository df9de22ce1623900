"""The constants of kernels that only move bytes, from measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_calibration import Evidence, Measured
from ...arch.gpu_streams import SHORT_SOFTMAX_COLUMNS, StreamCalibration, StreamConstants
from .fitting import Bound, CalibrationError, Report, columns, error, fit, held_out
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


def calibrate_streams(
    frame: pd.DataFrame, gpu: Gpu, *, data: str, date: str
) -> tuple[StreamCalibration, Report]:
    """Fit the constants of streams to measured fp32 kernels on one GPU.

    Held out is every fifth shape, by hash.

    Args:
        frame: Columns op (one of `OPERATORS`), rows, columns, latency_ms.
        gpu: On which it was measured.
        data: Whose measurements.
        date: Today, for the record.

    Raises:
        CalibrationError: as `columns` and `fit`, for an unknown op, or if a kind has no rows.
    """
    what = f"{gpu.name} streams"
    sizes, seconds = columns(frame, SIZES, what)
    operators = _operators(frame, what)
    kinds = np.asarray([OPERATORS[op].kind for op in operators])
    reads = np.asarray([OPERATORS[op].reads for op in operators], dtype=np.int64)
    sizes["read_bytes"] = sizes["rows"] * sizes["columns"] * _FP32_BYTES * reads
    sizes["written_bytes"] = sizes["rows"] * sizes["columns"] * _FP32_BYTES
    hidden = held_out(sizes["rows"], sizes["columns"])
    moved = sizes["read_bytes"] + sizes["written_bytes"]
    usual = StreamConstants(bandwidth_share=0.85, overhead_s=0.0)
    calibration = StreamCalibration(
        gpu=gpu.name,
        evidence=Evidence(
            data=data,
            split="every fifth shape by CRC-32",
            date=date,
            fitted_shapes=int((~hidden).sum()),
            held_out_shapes=int(hidden.sum()),
            held_out_mape=0.0,
            roofline_mape=0.0,
        ),
        elementwise=usual,
        normalization=usual,
        short_softmax=usual,
        softmax=usual,
        moved_bytes=Measured(least=int(moved.min()), most=int(moved.max())),
        columns=Measured(least=int(sizes["columns"].min()), most=int(sizes["columns"].max())),
    )
    times, by = np.zeros_like(seconds), dict[str, float]()
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
        found = _fitted(gpu, calibration, (name, kind, rereads, bounds), _of(sizes, seen),
                        seconds[seen], what)  # fmt: skip
        calibration = calibration.model_copy(update={name: found})
        times[rows] = measured_s(gpu, calibration, kind, _of(sizes, rows))
        by[name] = error(times, seconds, hidden & rows)
    roofline = moved / gpu.dram.bytes_per_s + gpu.launch_s
    report = Report(
        fitted_shapes=int((~hidden).sum()),
        held_out_shapes=int(hidden.sum()),
        fitted_mape=error(times, seconds, ~hidden),
        held_out_mape=error(times, seconds, hidden),
        roofline_mape=error(roofline, seconds, hidden),
        by=by,
    )
    for kind in ("elementwise", "normalization", "softmax"):
        by[f"{kind}, roofline"] = error(roofline, seconds, hidden & (kinds == kind))
    evidence = calibration.evidence.replace(
        held_out_mape=round(report.held_out_mape, 4), roofline_mape=round(report.roofline_mape, 4)
    )
    return calibration.replace(evidence=evidence), replace(report, by=by)


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
) -> StreamConstants:
    name, kind, rereads, bounds = group

    def predict(constants: Mapping[str, float]) -> Any:
        trial = StreamConstants(rereads=rereads, **constants)
        return measured_s(gpu, calibration.model_copy(update={name: trial}), kind, sizes)

    return StreamConstants(rereads=rereads, **fit(predict, bounds, seconds, f"{what}, {name}"))


def _operators(frame: pd.DataFrame, what: str) -> list[str]:
    if "op" not in frame.columns:
        raise CalibrationError(f"{what}: wanted the column op, got none; add it")
    operators = [str(op) for op in frame["op"]]
    for row, op in enumerate(operators):
        if op not in OPERATORS:
            raise CalibrationError(
                f"{what}: row {row}: op: wanted one of {', '.join(OPERATORS)}, got {op!r}; "
                "drop the row"
            )
    return operators


def _of(
    sizes: Mapping[str, NDArray[np.int64]], rows: NDArray[np.bool_]
) -> dict[str, NDArray[np.int64]]:
    return {name: values[rows] for name, values in sizes.items()}
