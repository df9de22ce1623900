"""Quasar-ViT's search space: vision transformers whose rows of weights have 8 or 4 bits.

The idea is of Li et al., "Quasar-ViT: Hardware-Oriented Quantization-Aware Architecture Search for
Vision Transformers", ICS 2024, arXiv:2407.18175: a supernet over sizes, and in each layer a share
of the rows in 8 bits, the rest in 4.  What the choices are and which points were found is not known
here, only what those points reach on a ZCU102 (`PUBLISHED`).  So every number of the space and of
the named points is assumed, by these rules:

- Sizes lie between DeiT-T (width 192, 12 blocks) and DeiT-S (width 384; Touvron et al., ICML 2021,
  Table 1), as the published accuracies lie around theirs (72.2 and 79.8 % top-1); widths in steps
  of 24, which 3, 4, 6 heads divide.
- The large point is DeiT-S.  The medium and the small one are the widths and depths with 6 heads
  and MLP ratio 4 whose MACs come nearest to the large one's times the published frame rates'
  ratio: time in proportion to MACs.
- A quarter of the rows of each layer in a block has 8 bits.  The patch embedding and the head, the
  first and last layer, have 8 bits throughout, and so have all activations, unless one asks for
  others.

>>> points()
112590225143094357918016612529754638671875
>>> from_genes(genes(QUASAR_SMALL)) == QUASAR_SMALL
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, repeat
from math import prod
from random import Random
from types import MappingProxyType

from ..bit_widths import Precision
from ..graph import Workload
from ..quantization import BitRules, quantized
from .vit import vit

__all__ = [
    "CHOICES",
    "DEPTHS",
    "EMBEDS",
    "HEADS",
    "LAYERS",
    "MLP_RATIOS",
    "PUBLISHED",
    "QUASAR_LARGE",
    "QUASAR_MEDIUM",
    "QUASAR_SMALL",
    "SHARES",
    "Quasar",
    "bits",
    "from_genes",
    "genes",
    "mixed",
    "points",
    "quasar_vit",
    "sampled",
]

EMBEDS = tuple(range(192, 385, 24))  # assumed
DEPTHS = (12, 13, 14)  # assumed
HEADS = (3, 4, 6)  # assumed
MLP_RATIOS = (3.0, 3.5, 4.0)  # assumed
SHARES = tuple(Fraction(n, 4) for n in range(5))  # assumed

LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""The layers of a block whose rows are mixed."""

PUBLISHED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "quasar-vit-small": (251.6, 74.9),
        "quasar-vit-medium": (159.6, 78.6),
        "quasar-vit-large": (101.5, 80.4),
    }
)
"""Frames per second on a ZCU102 and top-1 in percent: Li et al., arXiv:2407.18175, abstract."""

CHOICES: tuple[int, ...] = (
    *map(len, (EMBEDS, DEPTHS, HEADS, MLP_RATIOS)),
    *repeat(len(SHARES), len(LAYERS) * max(DEPTHS)),
)
"""How many values each gene has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quasar:
    """One point of the space.

    Attributes:
        embed: Width of a token.
        depth: Blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over `embed`.
        wide: The share of 8-bit rows of each layer: of `LAYERS` for the first block, the second...

    Raises:
        ValueError: A number is none of the choices.
    """

    embed: int
    depth: int
    heads: int
    mlp_ratio: float
    wide: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        _index("embed", self.embed, EMBEDS)
        _index("depth", self.depth, DEPTHS)
        _index("heads", self.heads, HEADS)
        _index("mlp_ratio", self.mlp_ratio, MLP_RATIOS)
        for share in self.wide:
            _index("wide", share, SHARES)
        if len(self.wide) != len(LAYERS) * self.depth:
            raise ValueError(
                f"wide: wanted a share for each of {len(LAYERS)} layers in {self.depth} blocks, "
                f"got {len(self.wide)}"
            )


def quasar_vit(point: Quasar, *, batch: str | int = "batch", activations: int = 8) -> Workload:
    """The workload of a point, for images of 224 x 224, its activations in so many bits.

    >>> quasar_vit(QUASAR_LARGE).bind({"batch": 1}).macs
    4598882304
    """
    model = vit(
        depth=point.depth,
        embed=point.embed,
        heads=point.heads,
        mlp_ratio=point.mlp_ratio,
        batch=batch,
    )
    return quantized(model, bits(point, activations))


def bits(point: Quasar, activations: int = 8) -> BitRules:
    """Which layer of a point has how many bits."""
    names = [f"blocks.{block}.{layer}" for block in range(point.depth) for layer in LAYERS]
    return BitRules(
        default=mixed(Fraction(1), activations),
        layers={
            name: mixed(share, activations) for name, share in zip(names, point.wide, strict=True)
        },
        where="quasar-vit",
    )


def points() -> int:
    """How many points the space has."""
    sizes = len(EMBEDS) * len(HEADS) * len(MLP_RATIOS)
    return sizes * sum(prod(repeat(len(SHARES), len(LAYERS) * depth)) for depth in DEPTHS)


def genes(point: Quasar) -> tuple[int, ...]:
    """A point as whole numbers, each from 0 up to its number of `CHOICES`.

    Genes of blocks that the point does not have are 0.
    """
    shares = [SHARES.index(share) for share in point.wide]
    return (
        EMBEDS.index(point.embed),
        DEPTHS.index(point.depth),
        HEADS.index(point.heads),
        MLP_RATIOS.index(point.mlp_ratio),
        *shares,
        *repeat(0, len(CHOICES) - 4 - len(shares)),
    )


def from_genes(numbers: Sequence[int]) -> Quasar:
    """The point that genes stand for; those of blocks that it does not have are ignored.

    Raises:
        ValueError: There are not as many as `CHOICES`, or one is out of its range.
    """
    if len(numbers) != len(CHOICES):
        raise ValueError(f"genes: wanted {len(CHOICES)}, got {len(numbers)}")
    for place, (number, count) in enumerate(zip(numbers, CHOICES, strict=True)):
        if not 0 <= number < count:
            raise ValueError(f"genes: wanted 0 to {count - 1} at place {place}, got {number}")
    embed, depth, heads, ratio, *shares = numbers
    return Quasar(
        embed=EMBEDS[embed],
        depth=DEPTHS[depth],
        heads=HEADS[heads],
        mlp_ratio=MLP_RATIOS[ratio],
        wide=tuple(SHARES[i] for i in islice(shares, len(LAYERS) * DEPTHS[depth])),
    )


def sampled(count: int, *, seed: int) -> tuple[Quasar, ...]:
    """Points at random, each choice as likely as its others; the same for the same seed."""
    random = Random(seed)
    return tuple(
        from_genes([random.randrange(choices) for choices in CHOICES]) for _ in range(count)
    )


def mixed(share: Fraction, activations: int) -> Precision:
    """A share of the rows in 8 bits and the rest in 4."""
    widths = ((8, share), (4, 1 - share))
    return Precision(weights=tuple(width for width in widths if width[1]), activations=activations)


def _index(name: str, value: float | Fraction, choices: Sequence[float | Fraction]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: wanted one of {', '.join(map(str, choices))}, got {value}")


def _named(embed: int, depth: int) -> Quasar:
    wide = (Fraction(1, 4),) * (len(LAYERS) * depth)
    return Quasar(embed=embed, depth=depth, heads=6, mlp_ratio=4.0, wide=wide)


QUASAR_SMALL, QUASAR_MEDIUM, QUASAR_LARGE = _named(240, 12), _named(288, 13), _named(384, 12)
