"""Kernels that only move bytes: a launch, and the bytes at the bandwidth the DRAM gives.

    time = launch + longer(bytes / bandwidth, ceil(rows / SMs) x a row's least time)

where a row's time is cycles.  So the bandwidth seen, bytes over time, rises with size and halves
where a launch lasts as long as the transfer (Little's law: what is in flight is bandwidth times
latency).  Norms and long softmaxes read a row more than once; what does not stay on chip comes from
DRAM again.

Operands that fit in L2 were measured only where a harness's overhead is most of the time, so none
is said to be faster for that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_streams import SHORT_SOFTMAX_COLUMNS, StreamCalibration, StreamConstants
from .arrays import plain, select
from .parts import Confidence, Parts

__all__ = ["StreamKind", "overhead_s", "stream"]

StreamKind = Literal["elementwise", "normalization", "softmax"]

Whole = int | NDArray[np.int64]


def stream(
    gpu: Gpu,
    calibration: StreamCalibration,
    *,
    kind: StreamKind,
    read_bytes: Whole,
    written_bytes: Whole,
    rows: Whole = 1,
    columns: Whole = 1,
) -> Parts:
    """The time of a kernel that reads and writes so many bytes.

    Args:
        gpu: Its bandwidth, SMs and launch.
        calibration: Constants as shares of those.
        kind: Movement and reductions are as elementwise work.
        read_bytes: A number, or an array that broadcasts, as all sizes.
        written_bytes: The same.
        rows: How many a norm or softmax runs over; other kinds do not ask.
        columns: Elements of a row.

    Returns:
        Parts in seconds; arrays if sizes are.  The confidence is the worst of them.
    """
    sizes: tuple[Any, Any, Any, Any] = (read_bytes, written_bytes, rows, columns)
    if all(isinstance(size, int) for size in sizes):
        return _one(gpu, calibration, kind, *sizes)
    read_bytes, written_bytes, rows, columns = (np.asarray(size) for size in sizes)
    return _stream(gpu, calibration, kind, read_bytes, written_bytes, rows, columns)


@lru_cache(maxsize=4096)
def _one(
    gpu: Gpu,
    calibration: StreamCalibration,
    kind: StreamKind,
    read_bytes: int,
    written_bytes: int,
    rows: int,
    columns: int,
) -> Parts:
    parts = _stream(gpu, calibration, kind, read_bytes, written_bytes, rows, columns)
    return plain(parts)


def overhead_s(calibration: StreamCalibration, kind: StreamKind, columns: Any = 1) -> Any:
    """What the harness of the calibration adds to a kernel in place of the GPU's launch."""
    short, long = _constants(calibration, kind)
    return select(np.asarray(columns) <= SHORT_SOFTMAX_COLUMNS, short.overhead_s, long.overhead_s)


def _constants(
    calibration: StreamCalibration, kind: StreamKind
) -> tuple[StreamConstants, StreamConstants]:
    """Of short rows and of long ones."""
    if kind == "softmax":
        return calibration.short_softmax, calibration.softmax
    if kind == "normalization":
        return calibration.normalization, calibration.normalization
    return calibration.elementwise, calibration.elementwise


def _stream(
    gpu: Gpu, calibration: StreamCalibration, kind: StreamKind, read_bytes: Any, written_bytes: Any,
    rows: Any, columns: Any,
) -> Parts:  # fmt: skip
    short, long = _constants(calibration, kind)
    clock = calibration.clock_hz / gpu.clock_hz
    memory_s, row_s = _seconds(gpu, short, clock, read_bytes, written_bytes, rows)
    if long is not short:
        is_short = columns <= SHORT_SOFTMAX_COLUMNS
        of_long = _seconds(gpu, long, clock, read_bytes, written_bytes, rows)
        memory_s = select(is_short, memory_s, of_long[0])
        row_s = select(is_short, row_s, of_long[1])
    return Parts(
        memory_s=memory_s,
        vector_s=np.maximum(row_s - memory_s, 0.0),
        launch_s=gpu.launch_s,
        confidence=_confidence(gpu, calibration, kind, read_bytes + written_bytes, columns),
    )


def _seconds(
    gpu: Gpu,
    constants: StreamConstants,
    slower: float,
    read_bytes: Any,
    written_bytes: Any,
    rows: Any,
) -> tuple[Any, Any]:
    """What the bytes take, and what the rows take at least, at a clock `slower` than theirs."""
    moved = read_bytes + written_bytes
    if constants.rereads:
        span = max(constants.uncached_row_bytes - constants.cached_row_bytes, 1.0)
        lost = np.clip(
            (read_bytes / np.maximum(rows, 1) - constants.cached_row_bytes) / span, 0.0, 1.0
        )
        moved = moved + constants.rereads * lost * read_bytes
    memory_s = moved / (gpu.dram.bytes_per_s * constants.bandwidth_share)
    return memory_s, -(-rows // gpu.sms) * constants.row_s * slower


def _confidence(
    gpu: Gpu, calibration: StreamCalibration, kind: StreamKind, moved: Any, columns: Any
) -> Confidence:
    if calibration.gpu != gpu.name:
        return "uncalibrated"
    spans = [(moved, calibration.moved_bytes)]
    if kind in ("normalization", "softmax"):
        spans.append((columns, calibration.columns))
    inside = all(np.all((x >= span.least) & (x <= span.most)) for x, span in spans)
    return "interpolated" if inside and calibration.same_board else "extrapolated"
