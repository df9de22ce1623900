"""How images are put into batches: as they arrive, sorted by size, or from a queue for each size.

An image's size is the sum of what it keeps after each selector, which its work follows.  The first
count alone hardly differs between images, and the last says little of the blocks before it.

Sizes are taken as known before an image is run, as they are of a data set that was run before.  A
machine that learns them at its selectors can only do worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .buckets import bucket_edges
from .policies import Counts, PolicyError

__all__ = ["ORDERS", "Batch", "Order", "batched", "named"]

Order: TypeAlias = Literal["arrival", "sorted", "queue"]

ORDERS: Mapping[Order, str] = {
    "arrival": "as they come",
    "sorted": "sorted by size",
    "queue": "from queues by size",
}
"""The rules: in the order of the trace; the largest images first; or a queue for each range of
sizes, from which a batch is taken as soon as there is one."""

Batch: TypeAlias = NDArray[np.int64]
"""The numbers of the images of one batch."""


def named(name: str) -> Order:
    """The rule of that name.

    Raises:
        PolicyError: There is none; the message names the nearest.
    """
    for one in ORDERS:
        if one == name:
            return one
    near = get_close_matches(name, ORDERS, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise PolicyError(f"no order is called {name}{hint} There are {', '.join(ORDERS)}")


def batched(order: Order, counts: Counts, batch: int, queues: int) -> list[Batch]:
    """The batches in the order in which they run; every image is in exactly one.

    >>> sizes = np.array([[9], [2], [8], [1], [9]])
    >>> [members.tolist() for members in batched("sorted", sizes, 2, 2)]
    [[0, 4], [2, 1], [3]]
    >>> [members.tolist() for members in batched("queue", sizes, 2, 2)]
    [[0, 2], [1, 3], [4]]

    Args:
        order: The rule.
        counts: What each image keeps.
        batch: Images of a batch; what is left over at the end makes smaller ones, one by `arrival`
            and `sorted`, and one for each queue that is not empty, small sizes first.
        queues: Ranges of sizes at most, whose ends are chosen as those of buckets are.
    """
    images = np.arange(len(counts))
    sizes = counts.sum(axis=1)
    match order:
        case "arrival":
            return _cut(images, batch)
        case "sorted":
            return _cut(images[np.argsort(-sizes, kind="stable")], batch)
        case "queue":
            ends = np.array(bucket_edges(sizes, queues))
            return _queued((ends[:, None] < sizes).sum(axis=0), batch)


def _cut(images: Batch, batch: int) -> list[Batch]:
    return [images[first : first + batch] for first in range(0, len(images), batch)]


def _queued(queue: NDArray[np.int64], batch: int) -> list[Batch]:
    """Batches in the order in which they are full, then what is left in each queue."""
    parts = [part for one in np.unique(queue) for part in _cut(np.flatnonzero(queue == one), batch)]
    full = [part for part in parts if len(part) == batch]
    return sorted(full, key=lambda part: int(part[-1])) + [p for p in parts if len(p) < batch]
