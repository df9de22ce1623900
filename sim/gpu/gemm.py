"""Seconds of a GEMM on a GPU: the best of a catalogue of tiles, in waves over the SMs.

A library has kernels for a few tile sizes, and runs each with the reduction whole or split.  A tile
takes one SM; tiles run in waves, and the last wave takes as long as a full one.  The kernel is as
long as its SMs or its DRAM traffic need, joined by a norm; see `docs/gpu.md` for each formula.

Wave and tile quantization: NVIDIA, Matrix Multiplication Background User's Guide, 2023.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch import Gpu, bits
from ...arch.gpu_gemm import GemmConstants, known_gemm
from .parts import Confidence, Parts

__all__ = [
    "GemmHardware",
    "GemmPlan",
    "gemm_seconds",
    "gemm_time",
    "hardware",
    "least_bytes",
    "plan",
    "price",
]

_Floats = NDArray[np.float64]

# Accumulators are fp32 in registers (before Blackwell) of which an SM has 65,536: half of them hold
# 32,768 results, the largest tile; two tiles of 128 x 128 run side by side.
_LARGEST_TILE: Final = 256 * 128
_MOST_PER_SM: Final = 4
_SPLITS: Final = (1, 2, 3, 4, 6, 8, 12, 16)
_LARGEST_EXPONENT: Final = 700.0  # of e, before a float overflows
_STEP_BYTES: Final = 128  # a row of operands in one step of k: 64 numbers of 16 bits
_SMALLEST_SPLIT: Final = 2  # steps, below which nothing would be left to pipeline
_SPLIT_UNDER_WAVES: Final = 2.0  # splitting serves to fill SMs; with more tiles they are full
_EDGES: Final = (32, 64, 128, 256)
# Blackwell's instructions take 128 rows by any multiple of 16 columns up to 256 (NVIDIA, PTX ISA
# 8.7, tcgen05.mma shapes), and its library uses edges between the powers of two.
_EDGES_FROM_8192: Final = (32, 64, 96, 128, 192, 256)
# The benchmark behind the calibrations runs up to five GEMMs in turn, each with weights of its
# own, or as many as fill L2 once (ai-dynamo/aiconfigurator, collector/trtllm/collect_gemm.py).
_BENCHMARK_WEIGHTS: Final = 5


class GemmHardware(NamedTuple):
    """What the model asks of a GPU in one format; peaks, not yet what is reached of them."""

    sms: int
    clock_hz: float
    peak_flops: float
    dram_bytes_per_s: float
    l2_bytes: float
    operand_bytes: float


class GemmPlan(NamedTuple):
    """Shapes by ways to run them: `[S, C]` for S shapes and C candidates, sizes `[S, 1]`.

    Nothing in it depends on a constant that is fitted.
    """

    m: _Floats
    n: _Floats
    k: _Floats
    copies: _Floats
    tile_rows: _Floats
    tile_columns: _Floats
    splits: _Floats
    tiles: _Floats
    steps: _Floats
    allowed: NDArray[np.bool_]


class GemmBytes(NamedTuple):
    """Bytes each shape moves at least, `[S, 1]`, and those between two uses of its weights."""

    inputs: _Floats
    weights: _Floats
    outputs: _Floats
    between: _Floats
    output_width: float


class GemmPrice(NamedTuple):
    """Seconds of each shape's best candidate by what takes them, `[S]`, and which it is."""

    useful_s: _Floats
    edge_s: _Floats
    wave_s: _Floats
    memory_s: _Floats
    launch_s: _Floats
    candidate: NDArray[np.intp]

    @property
    def total_s(self) -> _Floats:
        """The whole, `[S]`."""
        return self.useful_s + self.edge_s + self.wave_s + self.memory_s + self.launch_s


def hardware(gpu: Gpu, format: str) -> GemmHardware:
    """Return what the model asks of a GPU.

    Raises:
        FormatError: if the GPU does not compute in `format`.
    """
    return GemmHardware(
        sms=gpu.sms,
        clock_hz=gpu.clock_hz,
        peak_flops=gpu.flops_per_s(format),
        dram_bytes_per_s=gpu.dram.bytes_per_s,
        l2_bytes=gpu.l2_bytes,
        operand_bytes=bits(format) / 8,
    )


@functools.lru_cache(maxsize=8)
def _catalogue(flops_per_sm_cycle: float) -> tuple[_Floats, _Floats, _Floats]:
    """Rows, columns and splits of every candidate, `[1, C]` each."""
    edges = _EDGES_FROM_8192 if flops_per_sm_cycle > 6000 else _EDGES
    tiles = [(r, c) for r in edges for c in edges if 32 * 64 <= r * c <= _LARGEST_TILE]
    every = np.array([(r, c, s) for r, c in tiles for s in _SPLITS], dtype=float)
    return every[None, :, 0], every[None, :, 1], every[None, :, 2]


def plan(
    machine: GemmHardware, m: ArrayLike, n: ArrayLike, k: ArrayLike, copies: ArrayLike = 1
) -> GemmPlan:
    """Return every way to run `[S]` GEMMs of `[m, k]` by `[k, n]`, `copies` of each at once."""
    m, n, k, copies = (
        np.atleast_1d(np.asarray(size, dtype=float))[:, None] for size in (m, n, k, copies)
    )
    # The tensor rate per SM and clock tells the generation; formats scale it by their width.
    rate = machine.peak_flops / machine.sms / machine.clock_hz * machine.operand_bytes / 2
    rows, columns, splits = _catalogue(float(2 ** round(np.log2(rate))))
    whole = copies * np.ceil(m / rows) * np.ceil(n / columns)
    steps = np.ceil(np.ceil(k / splits) * machine.operand_bytes / _STEP_BYTES)
    fills = (steps >= _SMALLEST_SPLIT) & (whole < _SPLIT_UNDER_WAVES * machine.sms)
    allowed = (splits == 1) | fills
    return GemmPlan(m, n, k, copies, rows, columns, splits, whole * splits, steps, allowed)


def least_bytes(
    machine: GemmHardware,
    ways: GemmPlan,
    *,
    input_bytes: ArrayLike | None = None,
    weight_bytes: ArrayLike | None = None,
    between_bytes: ArrayLike | None = None,
) -> GemmBytes:
    """Return the bytes of each shape; those not given are the matrices', results two bytes each."""

    def given(value: ArrayLike | None, default: _Floats) -> _Floats:
        if value is None:
            return default
        return np.atleast_1d(np.asarray(value, dtype=float))[:, None]

    width = max(2.0, machine.operand_bytes)
    inputs = given(input_bytes, ways.copies * ways.m * ways.k * machine.operand_bytes)
    weights = given(weight_bytes, ways.copies * ways.n * ways.k * machine.operand_bytes)
    outputs = ways.copies * ways.m * ways.n * width
    sets = np.clip(np.ceil(machine.l2_bytes / np.maximum(weights, 1.0)), 1, _BENCHMARK_WEIGHTS)
    between = given(between_bytes, (sets - 1) * weights)
    return GemmBytes(inputs, weights, outputs, between, width)


def price(
    machine: GemmHardware, constants: GemmConstants, ways: GemmPlan, moved: GemmBytes
) -> GemmPrice:
    """Return the seconds of `[S]` GEMMs, each run in the fastest of its ways."""
    c, clock = constants, machine.clock_hz
    area = ways.tile_rows * ways.tile_columns
    step_flops = 2.0 * area * _STEP_BYTES / machine.operand_bytes
    arithmetic_s = step_flops * machine.sms / (machine.peak_flops * c.peak_fraction)
    load_s = (ways.tile_rows + ways.tile_columns) * _STEP_BYTES / (c.l2_bytes_per_cycle * clock)
    split = ways.splits > 1
    # A slice's results leave in the reduction.
    width = np.where(split, 0.0, moved.output_width)
    output_s = area * width / (c.output_bytes_per_cycle * clock)

    share = ways.tiles / machine.sms
    waves = np.ceil(share)
    beside = np.clip(np.floor(_LARGEST_TILE / area), 1, _MOST_PER_SM)
    rounds = np.ceil(waves / beside)
    # L2 is shared: where fewer SMs ask, each gets more, so that its time knows no waves.
    fed_s = _join_fourth(waves * arithmetic_s, share * load_s)
    loop_s = ways.steps * _join_fourth(fed_s, rounds * (c.step_cycles / clock))
    busy_s = loop_s + waves * output_s + rounds * c.fill_cycles / clock
    # Had the SMs equal work and no latency:
    even_s = share * (ways.steps * _join_fourth(arithmetic_s, load_s) + output_s)

    dram_s = _dram_s(machine, c, moved)
    joined_s = _join(busy_s, dram_s, c.overlap)
    # Split-K: every slice's fp32 tile is written to L2 and read again.
    reduced_s = np.where(
        split, ways.tiles * area * 8.0 / (c.reduction_bytes_per_cycle * clock * machine.sms), 0.0
    )
    useful_s = 2.0 * ways.copies * ways.m * ways.n * ways.k / machine.peak_flops
    slower = (1 / c.sustained_fraction - 1) * useful_s / (useful_s + c.burst_s)
    kernel_s = joined_s + reduced_s
    throttled_s = kernel_s * slower
    launch_s = c.launch_s + np.where(split, c.reduction_s, 0.0)

    total_s = np.where(ways.allowed, kernel_s + throttled_s + launch_s, np.inf)
    best = total_s.argmin(axis=1)

    every: NDArray[np.intp] = np.arange(best.size, dtype=np.intp)

    def chosen(values: _Floats) -> _Floats:
        # `[S, C]`, or a length of 1 where shapes or candidates do not differ.
        rows, columns = values.shape
        found: _Floats = values[every if rows > 1 else 0, best if columns > 1 else 0]
        return found + np.zeros(best.size)

    useful = chosen(useful_s)
    return GemmPrice(
        useful_s=useful,
        edge_s=np.maximum(0.0, chosen(even_s) - useful) + chosen(throttled_s),
        wave_s=np.maximum(0.0, chosen(busy_s) - np.maximum(chosen(even_s), useful)),
        memory_s=np.maximum(0.0, chosen(joined_s - busy_s)) + chosen(reduced_s),
        launch_s=chosen(launch_s),
        candidate=best,
    )


def _dram_s(machine: GemmHardware, c: GemmConstants, moved: GemmBytes) -> _Floats:
    """Seconds of the bytes that are not in L2 any more when they are wanted again."""
    once = moved.inputs + moved.weights + moved.outputs

    def cold(share: float, touched: _Floats) -> _Floats:
        fits = c.l2_sharpness * np.log(share * machine.l2_bytes / touched)
        fallen: _Floats = 1.0 / (1.0 + np.exp(np.minimum(fits, _LARGEST_EXPONENT)))
        return fallen

    from_dram = (
        cold(c.l2_read_share, once + moved.between) * moved.weights
        + cold(c.l2_read_share, once) * moved.inputs
        + cold(c.l2_write_share, once) * moved.outputs
    )
    return from_dram / (machine.dram_bytes_per_s * c.dram_fraction)


def _join_fourth(a: _Floats, b: _Floats) -> _Floats:
    """The norm of exponent 4, which joins arithmetic, loads and latency inside of a step.

    Two square roots are much quicker than a power, and this is half of all the work.
    """
    larger = np.maximum(a, b)
    square = np.square(np.minimum(a, b) / np.maximum(larger, 1e-30))
    return np.asarray(larger * np.sqrt(np.sqrt(1.0 + square * square)))


def _join(a: _Floats, b: _Floats, exponent: float) -> _Floats:
    """The norm (a^p + b^p)^(1/p), scaled by the larger so that no power underflows."""
    larger = np.maximum(a, b)
    ratio = np.minimum(a, b) / np.maximum(larger, 1e-30)
    joined: _Floats = larger * (1.0 + ratio**exponent) ** (1.0 / exponent)
    return joined


def gemm_seconds(
    machine: GemmHardware,
    constants: GemmConstants,
    m: ArrayLike,
    n: ArrayLike,
    k: ArrayLike,
    copies: ArrayLike = 1,
) -> _Floats:
    """Return the seconds of `[S]` GEMMs, run as the benchmark behind the calibrations ran them."""
    ways = plan(machine, m, n, k, copies)
    return price(machine, constants, ways, least_bytes(machine, ways)).total_s


@functools.lru_cache(maxsize=65536)
def gemm_time(
    gpu: Gpu,
    constants: GemmConstants | None = None,
    *,
    m: int,
    n: int,
    k: int,
    copies: int = 1,
    format: str | None = None,
    input_bytes: float | None = None,
    weight_bytes: float | None = None,
    between_bytes: float | None = None,
) -> Parts:
    """Return what the time of one kernel consists of: `copies` products `[m, k]` by `[k, n]`.

    Args:
        gpu: On which GPU.
        constants: Instead of those in `arch/calibrations/gemm.yaml`; the label then says
            `extrapolated`, as nobody knows what they were measured on.
        m: Rows, as tokens or pixels.
        n: Columns, as features.
        k: The reduction.
        copies: Of the product in this one kernel, as the heads of a batched product.
        format: Of the operands; the GPU's default without it.
        input_bytes: What is read of the first operand at least, where that is not `m k`: a
            convolution reads an image less often than its windows.
        weight_bytes: The same for the second operand.
        between_bytes: What else passes through L2 between two uses of these weights; without it,
            as in the benchmark, four more sets of weights or L2 filled once.  A model whose
            weights and activations exceed L2 passes them all.

    >>> from tilewise.arch import load_machine
    >>> parts = gemm_time(load_machine("h200"), m=4096, n=4096, k=4096, format="bf16")
    >>> parts.confidence, 150 < parts.total_s * 1e6 < 220
    ('interpolated', True)

    Raises:
        FormatError: if the GPU does not compute in `format`.
        ValueError: if a size is not positive.
    """
    for name, size in (("m", m), ("n", n), ("k", k), ("copies", copies)):
        if size < 1:
            raise ValueError(f"{name}: wanted a size of at least 1, got {size}")
    format = format or gpu.default_format
    machine = hardware(gpu, format)
    confidence: Confidence = "extrapolated"
    if constants is None:
        known = known_gemm(gpu, format)
        constants = known.constants
        if not known.own:
            confidence = "uncalibrated"
        elif copies == 1 and known.calibration.hull.holds(m, n, k):
            confidence = "interpolated"
    ways = plan(machine, m, n, k, copies)
    moved = least_bytes(
        machine,
        ways,
        input_bytes=input_bytes,
        weight_bytes=weight_bytes,
        between_bytes=between_bytes,
    )
    found = price(machine, constants, ways, moved)
    return Parts(
        useful_s=float(found.useful_s[0]),
        edge_s=float(found.edge_s[0]),
        wave_s=float(found.wave_s[0]),
        memory_s=float(found.memory_s[0]),
        launch_s=float(found.launch_s[0]),
        confidence=confidence,
    )
