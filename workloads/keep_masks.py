"""Which patches an image keeps, not only how many: masks, written as a digit for each patch.

A selector keeps patches of those that the one before has kept, so that all there is to say of a
patch is how many selectors it survives.  `3` in a trace of three selectors is kept to the end, `0`
goes at the first; patches go row by row from the top left.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MOST", "counted", "masks_of", "refitted", "survived_of"]

MOST = 9
"""Selectors of which a digit can tell."""


def survived_of(masks: ArrayLike) -> tuple[str, ...]:
    """For each image how many selectors each of its patches survives, a digit a patch.

    >>> survived_of([[[1, 1, 0, 1], [0, 1, 0, 0]]])
    ('1201',)

    Args:
        masks: True where a selector keeps a patch, `(images, selectors, patches)`.

    Raises:
        ValueError: They are no such table, or a selector keeps what one before it has dropped; the
            message begins with the image if it is one's fault.
    """
    array = np.asarray(masks)
    if array.ndim != 3:
        raise ValueError(f"wanted masks (images, selectors, patches), got shape {array.shape}")
    if array.shape[1] > MOST:
        raise ValueError(f"wanted masks of at most {MOST} selectors, got {array.shape[1]}")
    if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"wanted masks of true and false, got values of type {array.dtype}")
    kept = array.astype(np.bool_)
    again = np.argwhere(kept[:, 1:] & ~kept[:, :-1])
    if len(again):
        image, selector, patch = again[0] + 1
        raise ValueError(
            f"image {image}: wanted selector {selector + 1} to keep some of what selector "
            f"{selector} keeps, got patch {patch}, which it has dropped"
        )
    digits = kept.sum(axis=1).astype(np.uint8) + ord("0")
    return tuple(row.tobytes().decode("ascii") for row in digits)


@lru_cache(maxsize=16)
def masks_of(survived: tuple[str, ...], selectors: int) -> NDArray[np.bool_]:
    """The masks `(images, selectors, patches)` again; read-only, and the same array every time."""
    digits = np.frombuffer("".join(survived).encode("ascii"), dtype=np.uint8) - ord("0")
    images = digits.reshape(len(survived), 1, -1)
    masks = images > np.arange(selectors, dtype=np.uint8)[:, None]
    masks.flags.writeable = False
    return masks


def counted(survived: str, selectors: int) -> tuple[int, ...] | None:
    """How many patches are left after each selector; None if there are other digits.

    >>> counted("1201", 2)
    (3, 1)
    """
    found = [survived.count(str(number)) for number in range(selectors + 1)]
    if sum(found) != len(survived):
        return None
    return tuple(sum(found[number:]) for number in range(1, selectors + 1))


def refitted(
    survived: tuple[str, ...], counts: Sequence[Sequence[int]], patches: int
) -> tuple[str, ...]:
    """The masks for images cut into another number of patches, which keep `counts` of them.

    Both lie as squares over the same image.  Of the patches that are left, each selector keeps
    those of whose area it kept most before; of equal ones those come first that come first in the
    image.

    >>> refitted(("2010",), [(8, 4)], 16)
    ('2200220011001100',)

    Args:
        survived: For each image how many selectors each patch survives.
        counts: How many each selector is to keep, never growing, `(images, selectors)`.
        patches: Of an image.

    Returns:
        As `survived`; empty if one of the two patch counts is no square.
    """
    before, after = isqrt(len(survived[0])), isqrt(patches)
    if before**2 != len(survived[0]) or after**2 != patches:
        return ()
    selectors = len(counts[0])
    masks = masks_of(survived, selectors).reshape(len(survived), selectors, before, before)
    shares = _overlaps(before, after)
    # In whole numbers, so that equal areas are equal.
    area = (shares @ masks.astype(np.int64) @ shares.T).reshape(len(survived), selectors, patches)
    left = np.ones((len(survived), patches), dtype=np.bool_)
    kept = np.zeros(area.shape, dtype=np.bool_)
    for selector in range(selectors):
        order = np.argsort(-np.where(left, area[:, selector], -1), axis=1, kind="stable")
        for image, row in enumerate(order):
            kept[image, selector, row[: counts[image][selector]]] = True
        left = kept[:, selector]
    return survived_of(kept)


def _overlaps(before: int, after: int) -> NDArray[np.int64]:
    """How much of each old patch lies in each new one along one side, `(after, before)`.

    In units in which the side is `before x after` long.
    """
    old, new = np.arange(before) * after, np.arange(after)[:, None] * before
    shared: NDArray[np.int64] = np.minimum(old + after, new + before) - np.maximum(old, new)
    return np.maximum(shared, 0)
