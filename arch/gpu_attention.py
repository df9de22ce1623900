"""Attention on a GPU: the tiles of a fused kernel, and the constants of one GPU for it."""

from __future__ import annotations

import functools
from typing import Annotated, Literal

from pydantic import Field

from .gpu_calibration import CALIBRATIONS, Calibration, Calibrations, Measured, read
from .value import Count, NotNegative, Positive, Value

__all__ = [
    "AttentionCalibration",
    "AttentionConstants",
    "AttentionKernel",
    "AttentionTile",
    "attention_calibration",
    "attention_calibrations",
]

Share = Annotated[float, Field(gt=0, le=1)]


class AttentionTile(Value, frozen=True):
    """What one block of threads holds: a tile of queries, and of the keys it loops over.

    Attributes:
        head_dim: The most columns it holds.
        queries: Rows of Q.
        keys: Rows of K and V in a step of the loop.
        pad: Columns are padded to a multiple of it; to `head_dim` if None.
        most_queries: It is for sequences of at most this many queries; for any if None.
        resident: Blocks that share an SM and so hide each other's start.
    """

    head_dim: Count
    queries: Count
    keys: Count
    pad: Count | None = None
    most_queries: Count | None = None
    resident: Count = 1


class AttentionKernel(Value, frozen=True):
    """A fused attention kernel: the first tile that fits is the one it takes.

    `splits` is what it does with fewer tiles than SMs: `none` leaves SMs idle; `waves` cuts the
    keys into the fewest parts whose last wave is nearly as full as that of any number of parts;
    `fill` cuts them into as many as there is room for.  Parts are added up by a second kernel.

    `exposed_softmax` is the part of the shorter of products and softmax that the longer does not
    hide: 1 where the same warps do one after the other, 0 where other warps do each.
    """

    name: str
    splits: Literal["none", "waves", "fill"]
    tiles: Annotated[tuple[AttentionTile, ...], Field(min_length=1)]
    exposed_softmax: Annotated[float, Field(ge=0, le=1)]

    @property
    def most_head_dim(self) -> int:
        """The most columns of a head that it holds."""
        return max(tile.head_dim for tile in self.tiles)


class AttentionConstants(Value, frozen=True):
    """What is fitted.

    Attributes:
        launch_s: Before the first tile begins.
        tile_s: Of a tile, outside of its loop: indices, first loads' latency, the last scaling.
        fill_share: Rate at which a tile's first operands come, as a share of an SM's part of the
            DRAM's; more than 1 where they come from L2.
        tensor_share: Of the tensor cores' peak, inside the loop.
        exponential_share: Of the special-function units' peak; more than 1 where part of the
            exponentials are polynomials on the general cores, less where the rest of the softmax
            is slower than they are.
        combine_s: Launching the kernel that adds up the parts of split keys.
        dram_share: Of the DRAM's bandwidth.
        exposed_memory: Part of the shorter of arithmetic and DRAM that the longer does not hide.
    """

    launch_s: NotNegative
    tile_s: NotNegative
    fill_share: Positive
    tensor_share: Share
    exponential_share: Positive
    combine_s: NotNegative = 0.0
    dram_share: Share
    exposed_memory: Annotated[float, Field(ge=0, le=1)]


class AttentionCalibration(Calibration, frozen=True):
    """A kernel, its constants on one GPU, and the sizes that were measured there."""

    kernel: AttentionKernel
    constants: AttentionConstants
    copies: Measured
    sequence: Measured
    head_dim: Measured


@functools.cache
def attention_calibrations() -> Calibrations[AttentionCalibration]:
    """All that come with Tilewise."""
    return read(CALIBRATIONS / "attention.yaml", AttentionCalibration)


def attention_calibration(gpu: str, family: str | None = None) -> AttentionCalibration:
    """A GPU's, by name, or that of the GPU whose kernel class it or its family runs.

    >>> attention_calibration("h200").gpu, attention_calibration("h200").kernel.name
    ('h100', 'fa3')
    >>> attention_calibration("mine", "blackwell").kernel.name
    'fa4'
    """
    return attention_calibrations().of(gpu, family)
