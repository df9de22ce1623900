"""Convolution in fp32 on a GPU: the constants of one GPU for it."""

from __future__ import annotations

import functools
from typing import Annotated

from pydantic import Field

from .gpu_calibration import CALIBRATIONS, Calibration, Calibrations, Measured, read
from .value import NotNegative, Positive, Value

__all__ = [
    "ConvolutionCalibration",
    "ConvolutionConstants",
    "convolution_calibration",
    "convolution_calibrations",
]

Share = Annotated[float, Field(gt=0, le=1)]


class ConvolutionConstants(Value, frozen=True):
    """What is fitted.

    Attributes:
        arithmetic_share: Of the general cores' peak, in a tile that reads nothing.
        half_rate_macs: Multiply-accumulates for each word a tile reads at which it runs at half
            that rate; a tile of `r x c` does `r c / (r + c)`.
        full_tiles: Tiles of 128 x 128 that an SM needs before it is fully busy.
        implicit_dram_share: Of the DRAM's bandwidth, for the operands of the implicit product.
        transform_dram_share: The same for the transforms of images; more than 1 where what they
            pass on is found in L2.
        filter_dram_share: The same for the transform of the filters.
        overhead_s: What the harness adds to a kernel: it timed calls of a framework, not kernels
            in a graph.  No prediction contains it.
        winograd_overhead_s: What it adds on top where one call launches four kernels.
    """

    arithmetic_share: Share
    half_rate_macs: NotNegative
    full_tiles: Positive
    implicit_dram_share: Share
    transform_dram_share: Positive
    filter_dram_share: Positive
    overhead_s: NotNegative
    winograd_overhead_s: NotNegative


class ConvolutionCalibration(Calibration, frozen=True):
    """Constants on one GPU, and the sizes that were measured there: 3 x 3, stride 1, no groups."""

    constants: ConvolutionConstants
    macs: Measured
    channels: Measured
    out_size: Measured


@functools.cache
def convolution_calibrations() -> Calibrations[ConvolutionCalibration]:
    """All that come with Tilewise."""
    return read(CALIBRATIONS / "convolution.yaml", ConvolutionCalibration)


def convolution_calibration(gpu: str, family: str | None = None) -> ConvolutionCalibration:
    """A GPU's, by name, or that of the GPU that stands in for it.

    >>> convolution_calibration("h200").gpu
    'a100-80gb'
    """
    return convolution_calibrations().of(gpu, family)
