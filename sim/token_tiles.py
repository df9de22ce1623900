"""How many tokens a machine computes at once, and which counts and masks fill that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator, Gpu
from ..workloads.block import places
from ..workloads.graph import Workload
from ..workloads.unpruned import kept_symbols, patches_of
from .array_work import whole_units
from .policies import Counts

__all__ = ["Layout", "layout", "live_counts", "token_tile", "whole_counts"]


class Layout(NamedTuple):
    """What lies beside the patches in a model's sequences.

    Attributes:
        patches: Of an image.
        before: Tokens before the patches, such as CLS, from the beginning on.
        beside: For each selector, tokens behind it that are no patches: those before the patches,
            and others, such as its package token, behind them.
    """

    patches: int
    before: int
    beside: tuple[int, ...]


def layout(workload: Workload, bind: Mapping[str, int]) -> Layout:
    """The layout of a model with token selectors.

    Raises:
        BindingError: It has none, or another symbol has no value.
    """
    names = kept_symbols(workload)
    patches = patches_of(workload, bind)
    found = places(workload, {**bind, **dict.fromkeys(names, patches)})
    beside = {place.symbol: place.besides for place in reversed(found)}
    return Layout(patches, found[0].tokens - patches, tuple(beside[name] for name in names))


def token_tile(machine: Accelerator | Gpu) -> int:
    """Tokens that the array holds at once, so that fewer take as long.

    In most products tokens are the rows of the left operand.  They lie along the array's rows if
    outputs are stationary and along its columns if inputs are; if weights are, and in an unrolled
    array, they stream through one by one and the tile is 1.  So it is on a GPU, whose roofline
    knows no tiles.
    """
    return whole_units(machine.array)[0] if isinstance(machine, Accelerator) else 1


def live_counts(masks: NDArray[np.bool_], tile: int, layout: Layout) -> Counts:
    """Patches, as the model counts them, of an image whose dead tiles are skipped.

    A sequence is cut into tiles of `tile` tokens from its beginning on.  Those with a kept patch,
    or with a token that is no patch, are live, and all their tokens are computed.

    >>> two = np.array([[[1, 0, 0, 0, 0, 0, 1]]], dtype=bool)
    >>> [int(live_counts(two, tile, Layout(7, 1, (1,)))[0, 0]) for tile in (1, 2, 3, 4, 9)]
    [2, 3, 4, 7, 7]

    Args:
        masks: Which patches are kept, `(images, selectors, patches)`.
        tile: Tokens of a tile.
        layout: What lies beside the patches.

    Returns:
        `(images, selectors)`: tokens of live tiles less those that are no patches.
    """
    images, selectors, patches = masks.shape
    found = np.zeros((images, selectors), dtype=np.int64)
    for selector, beside in enumerate(layout.beside):
        length = patches + beside
        tiles = -(-length // tile)
        tokens = np.zeros((images, tiles * tile), dtype=np.bool_)
        tokens[:, :length] = True
        tokens[:, layout.before : layout.before + patches] = masks[:, selector]
        live = tokens.reshape(images, tiles, tile).any(axis=2)
        sizes = np.full(tiles, tile)
        sizes[-1] = length - (tiles - 1) * tile
        found[:, selector] = live @ sizes - beside
    return found


def whole_counts(counts: NDArray[np.int64], tile: int, layout: Layout) -> NDArray[np.int64]:
    """Counts `(selectors,)` moved such that sequences are whole tiles, whichever is nearest.

    Of two as near it is the larger.  A sequence does not vanish, and no count is more than the
    patches or than the one before, even if that leaves a tile ragged.

    >>> whole_counts(np.array([138, 62, 30]), 32, Layout(196, 1, (2, 2, 2))).tolist()
    [126, 62, 30]
    """
    beside = np.array(layout.beside)
    tokens = counts + beside
    tiles = np.maximum((2 * tokens + tile) // (2 * tile), tokens > 0)
    # A tile may be smaller than what lies beside the patches.
    fitted = np.clip(tiles * tile - beside, 0, layout.patches)
    return np.minimum.accumulate(fitted)
