"""Kernels that only move bytes on a GPU: the constants of one GPU for them."""

from __future__ import annotations

import functools
from typing import Annotated

from pydantic import Field

from .gpu_calibration import CALIBRATIONS, Calibration, Calibrations, Measured, read
from .value import NotNegative, Positive, Value, Whole

__all__ = [
    "SHORT_SOFTMAX_COLUMNS",
    "StreamCalibration",
    "StreamConstants",
    "stream_calibration",
    "stream_calibrations",
]

SHORT_SOFTMAX_COLUMNS = 1024
"""PyTorch's softmax holds rows up to this long in registers (`softmax_warp_forward`)."""


class StreamConstants(Value, frozen=True):
    """What is fitted to one kind of kernel.

    Attributes:
        bandwidth_share: Of the DRAM's bandwidth, when there is much to move.
        overhead_s: What the harness adds to a kernel's time: it timed calls of a framework, not
            kernels in a graph. No prediction contains it.
        rereads: How often a row is read again if it does not stay on chip.
        cached_row_bytes: Rows up to this size stay on chip as a whole.
        uncached_row_bytes: Of rows from this size on, nothing stays; in between a share does.
        row_s: Of an SM for a row, however short.
    """

    bandwidth_share: Annotated[float, Field(gt=0, le=1)]
    overhead_s: NotNegative
    rereads: Whole = 0
    cached_row_bytes: NotNegative = 0.0
    uncached_row_bytes: NotNegative = 0.0
    row_s: NotNegative = 0.0


class StreamCalibration(Calibration, frozen=True):
    """Constants by kind of kernel on one GPU, and the sizes that were measured there.

    `short_softmax` is for rows of at most `SHORT_SOFTMAX_COLUMNS`, `softmax` for longer ones.
    `clock_hz` is what that GPU ran at: what a row takes is cycles.
    """

    clock_hz: Positive
    elementwise: StreamConstants
    normalization: StreamConstants
    short_softmax: StreamConstants
    softmax: StreamConstants
    moved_bytes: Measured
    columns: Measured


@functools.cache
def stream_calibrations() -> Calibrations[StreamCalibration]:
    """All that come with Tilewise."""
    return read(CALIBRATIONS / "streams.yaml", StreamCalibration)


def stream_calibration(gpu: str, family: str | None = None) -> StreamCalibration:
    """A GPU's, by name, or that of the GPU that stands in for it.

    >>> stream_calibration("h200").gpu
    'a100-40gb'
    """
    return stream_calibrations().of(gpu, family)
