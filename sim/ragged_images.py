"""The images of a trace, as a policy puts them together and shapes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from .batches import Batch, Order, batched, named
from .buckets import bucket_edges
from .policies import Counts, Policy, PolicyError
from .token_tiles import Layout, live_counts, whole_counts

__all__ = ["Images"]


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a trace.

    Attributes:
        counts: Patches that each keeps, `(images, selectors)`.
        masks: Which those are, `(images, selectors, patches)`; None if it is not known.
        batch: Images of a batch.
        order: How they are put into batches, where they are not all executed alike.
        buckets: Sizes that `bucket` has at a selector, and queues that `queue` has.
        tile: Tokens that `tile-skip` skips together and `top-k-fit` fills whole.
        most: The most that a count may be.
        layout: What lies beside the patches; None if counts are sizes of images.

    Raises:
        PolicyError: There is no such order, or the masks are not those of the counts.
    """

    counts: Counts
    masks: NDArray[np.bool_] | None
    batch: int
    order: Order
    buckets: int
    tile: int
    most: int
    layout: Layout | None

    def __post_init__(self) -> None:
        named(self.order)
        if self.masks is not None and (
            self.masks.shape != (*self.counts.shape, self.most)
            or (self.masks.sum(axis=2) != self.counts).any()
        ):
            raise PolicyError(
                f"wanted masks of shape {(*self.counts.shape, self.most)} that keep as "
                f"many patches as are counted, got others, of shape {self.masks.shape}"
            )

    def batches(self, policy: Policy) -> list[Batch]:
        """The images that wait for each other."""
        order = self.order if policy.varies else "arrival"
        return batched(order, self.counts, self.batch, self.buckets)

    def lacks(self, policy: Policy) -> str:
        """What the policy would need to know and does not; empty if nothing."""
        if policy.shape in ("fit", "tiles") and self.layout is None:
            return "it is for tokens that selectors keep, and the trace has sizes of images"
        if policy.shape == "tiles" and self.masks is None:
            return "which patches are kept is not known, only how many"
        return ""

    def executed(self, policy: Policy, batches: Sequence[Batch]) -> Counts:
        """What is executed for each image, `(images, selectors)`.

        It is never less than is kept, but for `mean` and `fit`, where the best so many are kept of
        every image.  A `dense` run has no selectors, and nothing is dropped.

        Raises:
            PolicyError: The policy lacks what it needs to know.
        """
        if lacking := self.lacks(policy):
            raise PolicyError(f"{policy.name} cannot be run: {lacking}")
        counts, found = self.counts, self.counts.copy()
        together = batches if policy.grouping == "batch" else np.arange(len(counts))[:, None]
        match policy.shape:
            case "dense" | "all":
                found[:] = self.most
            case "maximum":
                found[:] = counts.max(axis=0)
            case "mean":
                found[:] = self._mean
            case "fit":
                assert self.layout is not None
                # Images side by side fill a tile together.
                images = min(self.batch, len(counts)) if policy.grouping == "batch" else 1
                whole = self.tile // gcd(self.tile, images)
                found[:] = whole_counts(self._mean, whole, self.layout)
            case "batch":
                for group in together:
                    found[group] = counts[group].max(axis=0)
            case "bucket":
                edges = [np.array(bucket_edges(kept, self.buckets)) for kept in counts.T]
                for group in together:
                    largest = counts[group].max(axis=0)
                    found[group] = [
                        sizes[np.searchsorted(sizes, most)]
                        for sizes, most in zip(edges, largest, strict=True)
                    ]
            case "tiles":
                assert self.layout is not None
                assert self.masks is not None
                found[:] = live_counts(self.masks, self.tile, self.layout)
            case "own":
                pass
        if self.layout is None:
            return found
        return np.minimum.accumulate(found, axis=1)  # a bucket may be larger than the one before

    @property
    def _mean(self) -> NDArray[np.int64]:
        """What is kept on average, rounded up, `(selectors,)`.

        A size of an image is rounded to a multiple of what all of them are multiples of.
        """
        step = 1 if self.layout else np.gcd.reduce(self.counts, axis=0)
        mean: NDArray[np.int64] = -(-self.counts.sum(axis=0) // (len(self.counts) * step)) * step
        return mean
