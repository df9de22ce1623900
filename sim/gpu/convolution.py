"""Convolution in fp32 on a GPU: the faster of an implicit product and Winograd's algorithm.

The implicit product has a row for every output position, a column for every output channel and a
sum over taps and input channels; it runs in tiles, and in waves over the SMs.  Winograd's
F(4x4, 3x3) (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016) cuts the
output into tiles of 4 x 4 and does 36 products where there were 144, between two transforms through
memory: four times less arithmetic, but an output of 5 x 5 costs as much as one of 8 x 8.

Tensor cores multiply other formats; for those `convolution_as_gemm` says which product it is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.gpu_convolution import ConvolutionCalibration
from ...workloads.extent import known
from ...workloads.operator import Convolution
from .arrays import plain, select
from .parts import Confidence, Parts

__all__ = ["AsGemm", "convolution", "convolution_as_gemm", "harness_s"]

Whole = int | NDArray[np.int64]

_Sizes = tuple[Any, Any, Any, Any, Any]

# cuDNN's SGEMM tiles go by such sizes; assumed: it takes the fastest for every shape.
_TILES = ((128, 128), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (32, 64), (64, 32),
          (32, 32))  # fmt: skip
_UNIT_TILE = 128 * 128
_SUM_STEP = 8  # k is walked in steps of 8 by SGEMM kernels
_WORD_BYTES = 4
_WINOGRAD_TILE = 4
_WINOGRAD_POINTS = 36  # (4 + 3 - 1)^2
_WINOGRAD_KERNELS = 4  # two transforms of operands, the products, the transform of the result


class AsGemm(NamedTuple):
    """`copies` products `(m, k) @ (k, n)`."""

    m: int
    n: int
    k: int
    copies: int


def convolution_as_gemm(operator: Convolution) -> AsGemm:
    """The products that a convolution is: output positions x output channels, over taps x inputs.

    A transposed one is input positions x (output channels x taps), over input channels.  Groups are
    copies.

    Raises:
        UnboundSymbolError: A size still depends on a symbol.
    """
    groups, taps = operator.groups, math.prod(operator.kernel)
    of_groups = operator.in_channels // groups, operator.out_channels // groups
    places = operator.in_size if operator.transposed else operator.out_size
    m = known(operator.batch) * math.prod(known(size) for size in places)
    if operator.transposed:
        return AsGemm(m, of_groups[1] * taps, of_groups[0], groups)
    return AsGemm(m, of_groups[1], of_groups[0] * taps, groups)


def convolution(
    gpu: Gpu,
    calibration: ConvolutionCalibration,
    *,
    batch: Whole,
    in_channels: Whole,
    out_channels: Whole,
    out_height: Whole,
    out_width: Whole,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
) -> Parts:
    """The time of a square convolution in fp32 on the general cores.

    Args:
        gpu: Its peak, SMs and bandwidth.
        calibration: Constants as shares of those.
        batch: Images; a number, or an array that broadcasts, as all sizes but the last three.
        in_channels: Of all groups together.
        out_channels: Of all groups together.
        out_height: Rows of the output.
        out_width: Columns of the output.
        kernel: Of both dimensions.
        stride: Of both dimensions.
        groups: Of the channels.

    Returns:
        Parts in seconds; arrays if sizes are.  The confidence is the worst of them.
    """
    sizes: _Sizes = (batch, in_channels, out_channels, out_height, out_width)
    if all(isinstance(size, int) for size in sizes):
        return _one(gpu, calibration, *sizes, kernel, stride, groups)
    return _convolution(gpu, calibration, *_arrays(sizes), kernel, stride, groups)[0]


def harness_s(
    gpu: Gpu,
    calibration: ConvolutionCalibration,
    *,
    batch: Whole,
    in_channels: Whole,
    out_channels: Whole,
    out_height: Whole,
    out_width: Whole,
) -> Any:
    """Seconds of 3 x 3 convolutions as the calibration's harness would see them."""
    sizes = _arrays((batch, in_channels, out_channels, out_height, out_width))
    parts, winograd = _convolution(gpu, calibration, *sizes, 3, 1, 1)
    constants = calibration.constants
    overhead_s = constants.overhead_s + select(winograd, constants.winograd_overhead_s, 0.0)
    return parts.total_s - parts.launch_s + overhead_s


def _arrays(sizes: _Sizes) -> _Sizes:
    batch, in_channels, out_channels, out_height, out_width = (np.asarray(x) for x in sizes)
    return batch, in_channels, out_channels, out_height, out_width


@lru_cache(maxsize=4096)
def _one(
    gpu: Gpu, calibration: ConvolutionCalibration, batch: int, in_channels: int, out_channels: int,
    out_height: int, out_width: int, kernel: int, stride: int, groups: int,
) -> Parts:  # fmt: skip
    sizes = (batch, in_channels, out_channels, out_height, out_width)
    parts, _ = _convolution(gpu, calibration, *sizes, kernel, stride, groups)
    return plain(parts)


class _Product(NamedTuple):
    """Seconds of products: at the peak, in whole tiles, in whole waves."""

    useful_s: Any
    tiles_s: Any
    waves_s: Any


def _product(
    gpu: Gpu, calibration: ConvolutionCalibration, m: Any, n: Any, k: Any, copies: Any
) -> _Product:
    constants = calibration.constants
    useful_s = 2.0 * m * n * k * copies / gpu.vector_flops
    best: _Product | None = None
    for rows, columns in _TILES:
        macs_per_word = rows * columns / (rows + columns)
        rate = (
            constants.arithmetic_share * macs_per_word / (macs_per_word + constants.half_rate_macs)
        )
        padded_k = -(-k // _SUM_STEP) * _SUM_STEP
        tile_s = 2.0 * rows * columns * padded_k * gpu.sms / (gpu.vector_flops * rate)
        tiles = copies * -(-m // rows) * -(-n // columns)
        least = constants.full_tiles * _UNIT_TILE / (rows * columns)
        waves_s = np.maximum(-(-tiles // gpu.sms), least) * tile_s
        tiles_s = tiles / gpu.sms * tile_s
        if best is None:
            best = _Product(useful_s, tiles_s, waves_s)
        else:
            tiles_s = select(waves_s < best.waves_s, tiles_s, best.tiles_s)
            best = _Product(useful_s, tiles_s, np.minimum(waves_s, best.waves_s))
    assert best is not None
    return best


def _convolution(
    gpu: Gpu, calibration: ConvolutionCalibration, batch: Any, in_channels: Any, out_channels: Any,
    out_height: Any, out_width: Any, kernel: int, stride: int, groups: int,
) -> tuple[Parts, Any]:  # fmt: skip
    """Its parts, and whether it is Winograd's."""
    constants = calibration.constants
    bandwidth = gpu.dram.bytes_per_s
    taps = kernel * kernel
    out_places = batch * out_height * out_width
    images = _WORD_BYTES * out_places * (in_channels * stride * stride + out_channels)
    filters = _WORD_BYTES * taps * in_channels * out_channels // groups
    of_group = in_channels // groups, out_channels // groups

    product = _product(
        gpu, calibration, out_places, of_group[1], taps * of_group[0],
        groups,
    )  # fmt: skip
    moved_s = (images + filters) / (bandwidth * constants.implicit_dram_share)
    memory_s: Any = np.maximum(moved_s - product.waves_s, 0.0)
    winograd: Any = np.zeros(np.shape(product.waves_s), dtype=bool)
    if (kernel, stride, groups) == (3, 1, 1):
        tiles = batch * -(-out_height // _WINOGRAD_TILE) * -(-out_width // _WINOGRAD_TILE)
        fast = _product(
            gpu, calibration, tiles, out_channels, in_channels,
            _WINOGRAD_POINTS,
        )  # fmt: skip
        points = _WORD_BYTES * _WINOGRAD_POINTS
        passed = images + points * tiles * (in_channels + out_channels)
        filtered = filters + points * in_channels * out_channels
        transforms_s = passed / (bandwidth * constants.transform_dram_share)
        transforms_s = transforms_s + filtered / (bandwidth * constants.filter_dram_share)
        # Of its arithmetic, that of whole tiles of output is edge; the rest is of use.
        useful_s = fast.useful_s * out_places / (tiles * _WINOGRAD_TILE**2)
        winograd = (
            fast.waves_s + transforms_s + constants.winograd_overhead_s
            < product.waves_s + memory_s
        )  # fmt: skip
        product = _Product(
            select(winograd, useful_s, product.useful_s),
            select(winograd, fast.tiles_s, product.tiles_s),
            select(winograd, fast.waves_s, product.waves_s),
        )
        memory_s = select(winograd, transforms_s, memory_s)
    launches = select(winograd, _WINOGRAD_KERNELS, 1)
    parts = Parts(
        useful_s=product.useful_s,
        edge_s=product.tiles_s - product.useful_s,
        wave_s=product.waves_s - product.tiles_s,
        memory_s=memory_s,
        launch_s=gpu.launch_s * launches,
        confidence=_confidence(
            gpu, calibration, (kernel, stride, groups), out_places * in_channels * out_channels * 9,
            (in_channels, out_channels), (out_height, out_width),
        ),
    )  # fmt: skip
    return parts, winograd


def _confidence(
    gpu: Gpu,
    calibration: ConvolutionCalibration,
    how: tuple[int, int, int],
    macs: Any,
    channels: tuple[Any, Any],
    out_size: tuple[Any, Any],
) -> Confidence:
    if calibration.gpu != gpu.name:
        return "uncalibrated"
    spans = [(macs, calibration.macs)]
    spans += [(count, calibration.channels) for count in channels]
    spans += [(size, calibration.out_size) for size in out_size]
    inside = all(np.all((x >= span.least) & (x <= span.most)) for x, span in spans)
    inside = inside and how == (3, 1, 1) and calibration.same_board
    return "interpolated" if inside else "extrapolated"
