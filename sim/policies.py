"""How a machine lives with a token count that differs from image to image: the policies.

A policy is three choices: which *shape* is executed for an image, how images are *grouped*, and
when the shape is *known*.  The named ones are presets, and `policy` reads others.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["POLICIES", "Counts", "Policy", "PolicyError", "policies", "policy"]

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
            largest of those that run together), `bucket` (the next of a few sizes), `mean` (one
            count for all), `fit` (as `mean`, moved to what the array holds whole), `tiles` (every
            token of the tiles in which one is kept, none of them moved), or `own`.
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
    shape: Literal["dense", "all", "maximum", "batch", "bucket", "mean", "fit", "tiles", "own"]
    grouping: Literal["batch", "image"] = "batch"
    known: bool = True
    mapping: Literal["own", "one"] = "own"
    gated: bool = False
    switches: bool = False
    practice: str

    @property
    def varies(self) -> bool:
        """Whether images differ in what is executed for them."""
        return self.shape in ("batch", "bucket", "tiles", "own")

    @property
    def many(self) -> bool:
        """Whether shapes are many, so that parts of them come again."""
        return self.shape in ("batch", "tiles", "own")

    @property
    def moves(self) -> bool:
        """Whether kept tokens are moved together."""
        return self.shape != "tiles"

    @property
    def pads(self) -> bool:
        """Whether what is executed beyond what an image keeps is in vain."""
        return self.shape not in ("dense", "mean", "fit")


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
        name="top-k-fit",
        shape="fit",
        practice="a static count that the array holds whole, as hardware-aware pruning chooses it",
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
        name="tile-skip",
        shape="tiles",
        grouping="image",
        known=False,
        mapping="one",
        practice="tokens stay in place and empty tiles are skipped, as block-sparse kernels do",
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


_CHOICES: dict[str, tuple[str, object]] = {
    "batch": ("grouping", "batch"),
    "image": ("grouping", "image"),
    "known": ("known", True),
    "unknown": ("known", False),
}
"""What may stand behind a preset, and what it changes."""


def policy(name: str) -> Policy:
    """The preset of that name, or one with other choices: `PRESET[/batch|image][/known|unknown]`.

    >>> own = policy("exact/batch/known")
    >>> own.shape, own.grouping, own.known
    ('own', 'batch', True)

    Raises:
        PolicyError: There is no such preset or choice; the message names the nearest.
    """
    preset, *choices = name.split("/")
    presets = {one.name: one for one in POLICIES}
    if preset not in presets:
        wrong = f"no policy is called {preset}{_near(preset, presets)}"
        raise PolicyError(
            f"{wrong if preset else 'wanted the name of a policy, got nothing.'} "
            f"There are {', '.join(presets)}, "
            "each with /batch or /image and /known or /unknown behind it, as exact/batch"
        )
    changes: dict[str, Any] = {}
    for choice in choices:
        if choice not in _CHOICES:
            raise PolicyError(
                f"policy {name}: wanted batch or image, and known or unknown, behind {preset}, got "
                f"{choice or 'nothing'}{_near(choice, _CHOICES)}"
            )
        what, chosen = _CHOICES[choice]
        if what in changes:
            raise PolicyError(f"policy {name}: {choice} contradicts or repeats what is before it")
        changes[what] = chosen
    if not changes:
        return presets[preset]
    return replace(presets[preset], name=name, practice=f"{preset} with other choices", **changes)


def policies(names: str) -> tuple[Policy, ...]:
    """Those of several names, with commas between them.

    >>> [one.name for one in policies("exact, pack/known")]
    ['exact', 'pack/known']

    Raises:
        PolicyError: One of them is none, or is named twice.
    """
    found = tuple(policy(name.strip()) for name in names.split(","))
    for at, one in enumerate(found):
        if one in found[:at]:
            raise PolicyError(f"policy {one.name} is named twice; name each once")
    return found


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else "."
