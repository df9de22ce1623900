"""The sizes that a few buckets should have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["bucket_edges"]


def bucket_edges(counts: NDArray[np.int64], buckets: int) -> tuple[int, ...]:
    """The sizes of at most so many buckets that pad counts least, by dynamic programming.

    >>> bucket_edges(np.array([10, 10, 11, 50, 52]), 2)
    (11, 52)

    Args:
        counts: What is to be put into buckets, `(images,)`.
        buckets: How many.
    """
    sizes, images = np.unique(counts, return_counts=True)
    total = np.concatenate([[0], np.cumsum(images)])
    tokens = np.concatenate([[0], np.cumsum(images * sizes)])
    count = len(sizes)
    # padding[i, j]: sizes i..j in one bucket of size j
    last = np.arange(count)
    padding = sizes[None, :] * (total[last + 1][None, :] - total[:count][:, None]) - (
        tokens[last + 1][None, :] - tokens[:count][:, None]
    )
    best = padding[0].astype(np.float64)
    choices: list[NDArray[np.int64]] = []
    for _ in range(min(buckets, count) - 1):
        # with one bucket more: the sizes before i as before, and i..j in the new one
        before = np.concatenate([[0.0], best[:-1]])
        sums = np.where(
            np.arange(count)[:, None] <= last[None, :], before[:, None] + padding, np.inf
        )
        choices.append(sums.argmin(axis=0))
        best = sums.min(axis=0)
    edges: list[int] = []
    end = count - 1
    for choice in reversed(choices):
        edges.append(int(sizes[end]))
        end = int(choice[end]) - 1
        if end < 0:
            break
    if end >= 0:
        edges.append(int(sizes[end]))
    return tuple(sorted(edges))
