"""The sizes of a product or convolution, and what each of several arrays has of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .shares import Dealt, Shares

__all__ = ["Shape", "Window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The geometry of a convolution's left operand.

    Attributes:
        in_size, out_size: Spatial sizes; the last is the fastest in memory.
        kernel: Extent of the kernel in each dimension, dilation included.
        stride: Steps in each dimension.
        taps: Kernel positions.
    """

    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    taps: int

    def positions(self, outputs: Any) -> Any:
        """Input positions that a run of `outputs` output positions reads, halo included.

        A run covers whole innermost rows where it is longer than one; a run that may start inside
        a row is charged the rows it can touch.
        """
        if len(self.out_size) == 1:
            return self._span(0, outputs)
        *_, width = self.out_size
        inner = self._span(-1, np.minimum(outputs, width))
        rows = -(-outputs // width)
        rows = rows + ((outputs % width != 0) & (outputs > width))
        outer_sizes = self.out_size[:-1]
        total = inner
        for axis in range(len(outer_sizes) - 1, -1, -1):
            here = np.minimum(rows, outer_sizes[axis])
            total = total * self._span(axis, here)
            rows = -(-rows // outer_sizes[axis])
        return total

    def _span(self, axis: int, outputs: Any) -> Any:
        reach = (outputs - 1) * self.stride[axis] + self.kernel[axis]
        return np.minimum(reach, self.in_size[axis])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`groups` x `repeats` products `(m, k) @ (k, n)`, on all arrays together.

    Attributes:
        groups, repeats, m, k, n: Of the products.
        window: Of a convolution.
        dealt: What each array has, if it does not work on a tile with the others.
    """

    groups: int
    repeats: int
    m: int
    k: int
    n: int
    window: Window | None = None
    dealt: Dealt | None = None

    def shares(self, axis: str) -> Shares:
        """What each array has of `groups`, `repeats` or `m`; one number if it is not dealt."""
        if self.dealt is not None and self.dealt.axis == axis:
            return self.dealt.shares
        size: int = getattr(self, axis)
        return (size,)

    def longest(self, axis: str) -> int:
        """What an array has of `groups`, `repeats` or `m` at most."""
        return max(self.shares(axis))

    def largest(self, axis: str, tile: Any) -> Any:
        """What the largest tile has of a dimension, if each array takes at most `tile` of it."""
        return sum(np.minimum(tile, share) for share in self.shares(axis))

    def of_all(self, value: Any) -> Any:
        """What the arrays together have, if the one with the most has `value`; about, in a tile."""
        if self.dealt is None:
            return value
        return value * sum(self.dealt.shares) // max(self.dealt.shares)
