"""Fused attention on a GPU: tiles of queries that loop over tiles of keys, in waves over the SMs.

FlashAttention (Dao, ICLR 2024; Shah et al., NeurIPS 2024) gives every block of threads a tile of
queries and lets it walk over all keys: a product, a softmax, a product.  So a kernel takes

    launch + longer(SMs, DRAM) + exposed_memory x shorter(SMs, DRAM) + combine,
    SMs  = ceil(tiles x parts / number of SMs) x tile,
    tile = (tile_s + fill) / resident + steps x step,
    step = longer(products, softmax) + exposed_softmax x shorter(products, softmax),

where a tile fills with its first operands at a share of the DRAM's rate, DRAM counts only if
operands and results exceed L2, and parts of split keys are combined by a kernel of their own;
tiles, steps and the head's columns are whole: a length of 197 costs as much as 256 where the
tile has 128 rows.  The exponentials run on special-function units beside the tensor cores, 16 a
cycle on every SM since Volta (NVIDIA, CUDA C++ Programming Guide, table of arithmetic throughput);
at 64 columns they take Hopper as long as the products do.

Attention that is not fused is two batched products and a softmax through memory: the models of
GEMMs and of streams make it up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.formats import bits
from ...arch.gpu_attention import AttentionCalibration, AttentionKernel
from ..errors import MappingError
from .arrays import plain, select
from .changed import launch_ratio
from .parts import Confidence, Parts

__all__ = ["attention"]

Whole = int | NDArray[np.int64]

EXPONENTIALS_PER_SM_CYCLE = 16
_MOST_SPLITS = 128  # of FlashAttention's own heuristics
_ENOUGH = 0.8  # tiles for this share of the SMs are not split
_GOOD = 0.85  # the fewest parts that fill waves this well, compared with the best
_FEW_STEPS = 4  # loops as short as this are not split


def attention(
    gpu: Gpu,
    calibration: AttentionCalibration,
    *,
    copies: Whole,
    queries: Whole,
    keys: Whole,
    head_dim: Whole,
    format: str = "bf16",
) -> Parts:
    """The time of `copies` (batch x heads) attentions `(queries, d) (keys, d)`, unmasked.

    Args:
        gpu: Its peaks.
        calibration: The kernel, and its constants as shares of those peaks.
        copies: Batch times heads; a number, or an array that broadcasts, as all sizes.
        queries: Rows of Q.
        keys: Rows of K and V.
        head_dim: Columns of all three.
        format: Of all operands.

    Returns:
        Parts in seconds; arrays if sizes are.  The confidence is the worst of them.

    Raises:
        MappingError: The kernel has no tile for so many columns.
        FormatError: The GPU does not multiply in `format`.
    """
    sizes: tuple[Any, Any, Any, Any] = (copies, queries, keys, head_dim)
    if all(isinstance(size, int) for size in sizes):
        return _one(gpu, calibration, *sizes, format)
    copies, queries, keys, head_dim = (np.asarray(size) for size in sizes)
    return _attention(gpu, calibration, copies, queries, keys, head_dim, format)


@lru_cache(maxsize=4096)
def _one(
    gpu: Gpu,
    calibration: AttentionCalibration,
    copies: int,
    queries: int,
    keys: int,
    head_dim: int,
    format: str,
) -> Parts:
    parts = _attention(gpu, calibration, copies, queries, keys, head_dim, format)
    return plain(parts)


class _Tiling(NamedTuple):
    """Of each attention: rows and columns of its tiles, and how many there are."""

    queries: Any
    keys: Any
    columns: Any
    resident: Any
    tiles: Any
    steps: Any
    parts: Any


def _attention(
    gpu: Gpu, calibration: AttentionCalibration, copies: Any, queries: Any, keys: Any,
    head_dim: Any, format: str,
) -> Parts:  # fmt: skip
    constants = calibration.constants
    tiling = _tiling(calibration.kernel, gpu, copies, queries, keys, head_dim)
    peak = gpu.flops_per_s(format)
    element_bytes = bits(format) / 8
    bandwidth = gpu.dram.bytes_per_s

    # A step of the loop, on one SM.
    product_s = 4.0 * tiling.queries * tiling.keys * tiling.columns
    product_s = product_s * gpu.sms / (peak * constants.tensor_share)
    exponentials_per_s = EXPONENTIALS_PER_SM_CYCLE * gpu.clock_hz * constants.exponential_share
    softmax_s = tiling.queries * tiling.keys / exponentials_per_s
    longer, shorter = np.maximum(product_s, softmax_s), np.minimum(product_s, softmax_s)
    step_s = longer + calibration.kernel.exposed_softmax * shorter

    # A tile: its start, the first operands and the result, the loop.
    first_bytes = 2 * element_bytes * (tiling.queries + tiling.keys) * tiling.columns
    fill_s = first_bytes * gpu.sms / (bandwidth * constants.fill_share) / tiling.resident
    start_s = constants.tile_s / tiling.resident
    tile_s = start_s + fill_s + tiling.steps * step_s

    # Waves: `even` is what an SM would have to do if tiles could be cut at will.
    tiles = tiling.tiles * tiling.parts
    even = tiles / gpu.sms
    busy_s = -(-tiles // gpu.sms) * tile_s
    useful_s = 4.0 * copies * queries * keys * head_dim / peak

    moved = 2.0 * element_bytes * copies * (queries + keys) * head_dim
    dram_s = select(moved > gpu.l2_bytes, moved, 0) / (bandwidth * constants.dram_share)
    longer, shorter = np.maximum(busy_s, dram_s), np.minimum(busy_s, dram_s)
    beyond_s = longer + constants.exposed_memory * shorter - busy_s
    # The parts of split keys are written and read in fp32.
    combine_s = select(tiling.parts > 1, constants.combine_s, 0.0)
    combined = select(tiling.parts > 1, 8.0 * copies * queries * head_dim * tiling.parts, 0)
    return Parts(
        useful_s=useful_s,
        edge_s=even * (start_s + tiling.steps * product_s) - useful_s,
        wave_s=busy_s - even * tile_s,
        memory_s=even * fill_s + beyond_s + combined / bandwidth,
        vector_s=even * tiling.steps * (step_s - product_s),
        launch_s=constants.launch_s * launch_ratio(gpu, calibration.gpu) + combine_s,
        confidence=_confidence(gpu, calibration, copies, queries, keys, head_dim),
    )


def _tiling(
    kernel: AttentionKernel, gpu: Gpu, copies: Any, queries: Any, keys: Any, head_dim: Any
) -> _Tiling:
    if np.any(head_dim > kernel.most_head_dim):
        raise MappingError(
            f"attention: head_dim: wanted at most {kernel.most_head_dim} for {kernel.name}, "
            f"got {int(np.max(head_dim))}; unfused attention has no such limit"
        )
    if isinstance(queries, int) and isinstance(head_dim, int):
        rows, step, columns, resident = _tile_of(kernel, queries, head_dim)
    else:
        rows, step, columns, resident = _tiles_of(kernel, queries, head_dim)
    tiles, steps = copies * -(-queries // rows), -(-keys // step)
    parts = _parts(kernel, gpu, tiles, steps)
    return _Tiling(rows, step, columns, resident, tiles, -(-steps // parts), parts)


def _tile_of(kernel: AttentionKernel, queries: int, head_dim: int) -> tuple[int, int, int, int]:
    """The first tile that fits: its rows, keys, padded columns and blocks on an SM."""
    tile = next(
        tile
        for tile in kernel.tiles
        if head_dim <= tile.head_dim and (tile.most_queries is None or queries <= tile.most_queries)
    )
    columns = tile.head_dim if tile.pad is None else -(-head_dim // tile.pad) * tile.pad
    return tile.queries, tile.keys, columns, tile.resident


def _tiles_of(kernel: AttentionKernel, queries: Any, head_dim: Any) -> Any:
    """The same of arrays, `(4, ...)`."""
    pairs = np.stack(np.broadcast_arrays(queries, head_dim), axis=-1)
    found, which = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    tiles = np.asarray([_tile_of(kernel, int(q), int(d)) for q, d in found], dtype=np.int64)
    return np.moveaxis(tiles[which.reshape(-1)].reshape(*pairs.shape[:-1], 4), -1, 0)


def _parts(kernel: AttentionKernel, gpu: Gpu, tiles: Any, steps: Any) -> Any:
    """Into how many parts the keys are cut: `num_splits_heuristic` of FlashAttention's sources."""
    if kernel.splits == "none":
        return np.ones_like(tiles * steps) if np.ndim(tiles * steps) else 1
    if kernel.splits == "fill":
        room = np.minimum(np.minimum(gpu.sms // np.maximum(tiles, 1), _MOST_SPLITS), steps)
        return select(steps <= _FEW_STEPS, 1, np.maximum(room, 1))
    parts = np.arange(1, min(_MOST_SPLITS, gpu.sms) + 1)
    if np.ndim(tiles * steps) == 0 and (tiles >= _ENOUGH * gpu.sms or steps <= _FEW_STEPS):
        return 1  # the common case of one kernel, without arrays
    tiles, steps = np.broadcast_arrays(tiles, steps)
    waves = tiles[..., None] * parts / gpu.sms
    full = select(parts <= steps[..., None], waves / np.maximum(np.ceil(waves), 1), 0.0)
    good = full >= _GOOD * full.max(axis=-1, keepdims=True)
    split = (tiles < _ENOUGH * gpu.sms) & (steps > _FEW_STEPS)
    return select(split, parts[np.argmax(good, axis=-1)], 1)


def _confidence(
    gpu: Gpu, calibration: AttentionCalibration, copies: Any, queries: Any, keys: Any, head_dim: Any
) -> Confidence:
    if calibration.gpu != gpu.name:
        return "uncalibrated"
    spans = (
        (copies, calibration.copies),
        (queries, calibration.sequence),
        (keys, calibration.sequence),
        (head_dim, calibration.head_dim),
    )
    inside = all(np.all((x >= span.least) & (x <= span.most)) for x, span in spans)
    return "interpolated" if inside and calibration.same_board else "extrapolated"
