"""How a machine lives with a token count that differs from image to image: the policies.

A policy is three choices: which *shape* is executed for an image, how images are *grouped*, and
when the shape is *known*.  The named ones are presets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["POLICIES", "Counts", "Policy", "PolicyError", "bucket_edges", "executed", "policy"]

Counts = NDArray[np.int64]
"""Patches kept, `(images, selectors)`."""


class PolicyError(ValueError):
    """No such policy, or none that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A way to run varying token counts.

    Attributes:
        name: Of the preset.
        shape: What is executed for an image: `dense` (the model without selectors), `all` (every
            token, those pruned masked), `maximum` (the largest count that may come), `batch` (the
            largest of the batch), `bucket` (the next of a few sizes), `mean` (one count for all),
            or `own`.
        grouping: `batch`: the images of a batch side by side, layer by layer; `image`: one image
            after another, each a run of its own.
        known: Whether the shape is known before the image is seen.  If not, everything waits at
            each selector until the count is there: arrays drain, the host is asked if the machine
            has one, and only weights are loaded ahead.
        mapping: `own`: tiles are chosen for the shape; `one`: tiles are those of the largest shape,
            and loop bounds in registers cut the last ones.  Where shapes are many, activations
            have the places of the largest in either case.
        gated: Whether products with masked tokens take no energy.
        switches: Whether another shape than those that are ready costs a switch.
        practice: Who does so.
    """

    name: str
    shape: Literal["dense", "all", "maximum", "batch", "bucket", "mean", "own"]
    grouping: Literal["batch", "image"] = "batch"
    known: bool = True
    mapping: Literal["own", "one"] = "own"
    gated: bool = False
    switches: bool = False
    practice: str


POLICIES: tuple[Policy, ...] = (
    Policy(
        name="dense",
        shape="dense",
        practice="no pruning: the base of every comparison",
    ),
    Policy(
        name="mask",
        shape="all",
        practice="masks in place of removal, as DynamicViT trains: saves nothing",
    ),
    Policy(
        name="gate",
        shape="all",
        gated=True,
        practice="zero-gated operands, as in Eyeriss: saves energy, not time",
    ),
    Policy(
        name="pad-max",
        shape="maximum",
        practice="one engine built for the largest count, as static TensorRT engines",
    ),
    Policy(
        name="pad-batch",
        shape="batch",
        known=False,
        mapping="one",
        practice="pad to the longest of the batch, as Hugging Face's collators",
    ),
    Policy(
        name="bucket",
        shape="bucket",
        known=False,
        practice="a few sizes compiled ahead, as TensorRT's optimization profiles",
    ),
    Policy(
        name="top-k",
        shape="mean",
        practice="a static count, a dynamic choice, as DynamicViT and EViT infer",
    ),
    Policy(
        name="exact",
        shape="own",
        grouping="image",
        known=False,
        mapping="one",
        practice="loop bounds in registers, image by image, as HeatViT's compaction",
    ),
    Policy(
        name="pack",
        shape="own",
        known=False,
        mapping="one",
        practice="tokens of a batch side by side, as FlashAttention's varlen and NaViT",
    ),
    Policy(
        name="respecialise",
        shape="own",
        grouping="image",
        known=False,
        switches=True,
        practice="a program for each shape, kept in a cache, as XLA and TorchInductor compile",
    ),
)
"""The presets, in the order of reports."""


def policy(name: str) -> Policy:
    """The preset of that name.

    Raises:
        PolicyError: There is none; the message names the nearest.
    """
    for one in POLICIES:
        if one.name == name:
            return one
    names = [one.name for one in POLICIES]
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise PolicyError(f"no policy is called {name}{hint} There are {', '.join(names)}")


def executed(
    policy: Policy,
    counts: Counts,
    batches: Sequence[NDArray[np.int64]],
    patches: int,
    edges: Sequence[Sequence[int]] = (),
    *,
    nested: bool = True,
) -> Counts:
    """What is executed for each image, `(images, selectors)`.

    It is never less than is kept, but for `mean`, where the best so many are kept of every image.

    Args:
        policy: Any but `dense`, which executes no selectors.
        counts: What each image keeps.
        batches: The images of each batch.
        patches: Of an image.
        edges: For each selector the sizes of its buckets, ascending, the last at least the
            largest count.
        nested: Whether no count of an image is more than the one before.  If they are sizes of
            images instead, `mean` is a multiple of what all of them are multiples of.
    """
    found = counts.copy()
    match policy.shape:
        case "dense" | "all":
            found[:] = patches
        case "maximum":
            found[:] = counts.max(axis=0)
        case "mean":
            step = 1 if nested else np.gcd.reduce(counts, axis=0)
            found[:] = np.ceil(counts.mean(axis=0) / step).astype(np.int64) * step
        case "batch":
            for batch in batches:
                found[batch] = counts[batch].max(axis=0)
        case "bucket":
            for batch in batches:
                largest = counts[batch].max(axis=0)
                found[batch] = [
                    np.asarray(sizes)[np.searchsorted(sizes, most)]
                    for sizes, most in zip(edges, largest, strict=True)
                ]
        case "own":
            pass
    if not nested:
        return found
    return np.minimum.accumulate(found, axis=1)  # a bucket may be larger than the one before


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
