"""What each way of pruning does at one place: the operators it adds and the tokens that it leaves.

`heatvit` is told where its module is: `zoo/torch_selector.py`.  `topk` is DynamicViT's: Rao et al.,
"DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification", NeurIPS 2021.
`evit` is told where it is built: `evit.py`; `trilevel` keeps the same patches and no token for the
others: Kong et al., "Peeling the Onion: Hierarchical Reduction of Data Redundancy for Efficient
Vision Transformer Training", AAAI 2023 (github.com/ZLKong/Tri-Level-ViT).
`spvit` is told where its selector is: `zoo/spvit.py`.
`tome` is token merging: Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from .evit import attentive, fused_inattentive
from .extent import Size, ceil_div
from .matching import gathered, matched
from .operator import Operand
from .pruning_blocks import PruningError
from .zoo import spvit
from .zoo.building import Builder, Value, side_by_side
from .zoo.heatvit import select

__all__ = ["METHODS", "Left", "Method", "Place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where tokens are pruned.

    Attributes:
        number: How many places came before.
        tokens: `(images, tokens, width)`, patches last.
        spared: Tokens before the patches, which stay.
        kept: Patches that stay.
        heads: Attention heads.
        queries, keys: What the attention just before compares; None if there is none.
        sizes: How many tokens each token is merged of, `(images, tokens, 1)`; None if one.
    """

    number: int
    tokens: Value
    spared: int
    kept: Size
    heads: int
    queries: Operand | None = None
    keys: Operand | None = None
    sizes: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a place leaves.

    Attributes:
        tokens: Those that stay.
        counts: Operators that make further outputs of the graph: the number of kept patches.
        sizes: How many tokens each token is merged of.
        mask: What later attention adds to its scores.
    """

    tokens: Value
    counts: tuple[str, ...] = ()
    sizes: Value | None = None
    mask: Operand | None = None


_Prune: TypeAlias = Callable[[Builder, Place], Left]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way of pruning.

    Attributes:
        where: `before` a block, or `between` its attention and its MLP.
        packed: Tokens that it leaves besides the kept patches and those that are spared.
        accumulates: True if those of earlier places stay beside it, so that they become more.
        data_dependent: True if the image decides how many stay, so that a run takes one image.
        halves: True if no place can remove more than half of the patches.
        prune: Appends what it does.
    """

    where: Literal["before", "between"]
    prune: _Prune
    packed: int = 0
    accumulates: bool = False
    data_dependent: bool = False
    halves: bool = False


def _heatvit(build: Builder, place: Place) -> Left:
    """HeatViT: the patches that a classifier scores above 0.5, the others as a package token."""
    _check_heads("heatvit", place)
    tokens, count = select(build, place.number, place.tokens, place.heads, place.kept, place.spared)
    return Left(tokens=tokens, counts=count.sources)


def _topk(build: Builder, place: Place) -> Left:
    """DynamicViT: a predictor scores the patches, and the best of a fixed number stay.

    With `d` the width: LayerNorm, `d -> d`, GELU; one half is local, the mean of the other over the
    patches is global; both, side by side, go through `d -> d/2 -> d/4 -> 2` with GELUs between and
    a log-softmax behind.  MACs for each patch: `d d + d d/2 + d/2 d/4 + 2 d/4`.  The product with
    the policy that trains it is left out: of the patches that are still there it is 1.
    """
    path = f"selectors.{place.number}"
    images, tokens, width = place.tokens.shape
    patches = tokens - place.spared
    half, quarter = width // 2, width // 4
    if not isinstance(half, int) or not isinstance(quarter, int) or not quarter:
        raise PruningError(f"topk needs tokens of a known width of 4 or more, got {width}")
    normed = build.layer_norm(
        f"{path}.in_conv.0/LayerNormalization", place.tokens.part(images, patches, width)
    )
    hidden = build.linear(f"{path}.in_conv.1/MatMul", normed, half * 2)
    hidden = build.elementwise(f"{path}.in_conv.2/Gelu", "gelu", hidden)
    everywhere = build.reduce(
        f"{path}/ReduceMean", "reducemean", hidden.part(images, patches, half), images, 1, half
    )
    hidden = side_by_side(
        (images, patches, 2 * half), hidden.part(images, patches, half), everywhere
    )
    for index, size in ((0, half), (2, quarter)):
        hidden = build.linear(f"{path}.out_conv.{index}/MatMul", hidden, size)
        hidden = build.elementwise(f"{path}.out_conv.{index + 1}/Gelu", "gelu", hidden)
    logits = build.linear(f"{path}.out_conv.4/MatMul", hidden, 2)
    scores = build.softmax(f"{path}.out_conv.5/LogSoftmax", logits)
    best = scores.part(images, patches)
    chosen = build.top_k(f"{path}/TopK", best, place.kept, place.kept)
    moved = gathered(build, f"{path}/Gather", place.tokens, chosen, place.kept)
    return Left(tokens=_joined(place, place.tokens.part(images, place.spared, width), moved))


def _tome(build: Builder, place: Place) -> Left:
    """ToMe: tokens at even places merge into the most similar one at an odd place.

    Keys, averaged over the heads, tell what is similar; the `r` best pairs are merged to their
    mean, weighted by how many tokens each stands for.  From then on attention adds the logarithm of
    that number to its scores.  Left out: marking CLS as unlike all others.
    """
    path = f"merging.{place.number}"
    images, tokens, _ = place.tokens.shape
    match = matched(
        build,
        path,
        _mean_key(build, path, place),
        ceil_div(tokens, 2),
        tokens // 2,
        tokens - place.spared - place.kept,
    )
    x = place.tokens
    if place.sizes is not None:
        x = build.elementwise(f"{path}/Mul", "mul", x, place.sizes)
    total = _joined(place, *match.into(build, path, x))
    ones = Value((), (images, tokens, 1), 0)  # nothing was merged before: there is nothing to read
    sizes = _joined(place, *match.into(build, f"{path}.size", place.sizes or ones))
    mean = build.elementwise(f"{path}/Div_2", "div", total, sizes)
    mask = build.elementwise(f"{path}/Log", "log", sizes)
    return Left(tokens=mean, sizes=sizes, mask=mask.operand)


def _mean_key(build: Builder, path: str, place: Place) -> Value:
    """The keys of the attention just before, averaged over its heads: `(images, tokens, width)`."""
    if place.keys is None:
        raise PruningError("tome compares keys, and finds no attention that has them")
    images, tokens, _ = place.tokens.shape
    width = place.keys.elements // (images * place.heads * tokens)
    keys = Value(place.keys.sources, (images, place.heads, tokens, width), place.keys.elements)
    return build.reduce(f"{path}/ReduceMean", "reducemean", keys, images, tokens, width)


def _evit(build: Builder, place: Place) -> Left:
    """EViT: the best by CLS attention, of a fixed number, and one token for the others."""
    if place.queries is None or place.keys is None:
        raise PruningError("evit ranks by attention, and finds none in the block")
    tokens = fused_inattentive(
        build,
        f"reorganization.{place.number}",
        place.tokens,
        (place.queries, place.keys),
        place.heads,
        place.spared,
        place.kept,
    )
    return Left(tokens=tokens)


def _spvit(build: Builder, place: Place) -> Left:
    """SPViT's code: a classifier for each head, and one package token more at each place."""
    _check_heads("spvit", place)
    tokens, count = spvit.select(
        build, place.number, place.tokens, place.heads, place.kept, place.spared
    )
    return Left(tokens=tokens, counts=count.sources)


def _trilevel(build: Builder, place: Place) -> Left:
    """Tri-Level: the best by CLS attention, of a fixed number; nothing is left of the others."""
    if place.queries is None or place.keys is None:
        raise PruningError("trilevel ranks by attention, and finds none in the block")
    stay, _, _ = attentive(
        build,
        f"selectors.{place.number}",
        place.tokens,
        (place.queries, place.keys),
        place.heads,
        place.spared,
        place.kept,
    )
    images, _, width = place.tokens.shape
    return Left(tokens=_joined(place, place.tokens.part(images, place.spared, width), stay))


def _check_heads(method: str, place: Place) -> None:
    width = place.tokens.shape[-1] // place.heads
    if place.heads < 2 or not isinstance(width, int) or width < 4:
        raise PruningError(
            f"{method} needs 2 heads of width 4 or more, and this model has {place.heads} of "
            f"{width}"
        )


def _joined(place: Place, *values: Value) -> Value:
    """The tokens that a place leaves, one after the other; parts without any are left out."""
    images, _, width = values[0].shape
    shape = (images, place.spared + place.kept, width)
    return side_by_side(shape, *(value for value in values if value.shape[1] != 0))


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "heatvit": Method(where="before", prune=_heatvit, packed=1, data_dependent=True),
        "spvit": Method(
            where="before", prune=_spvit, packed=1, accumulates=True, data_dependent=True
        ),
        "topk": Method(where="before", prune=_topk),
        "dynamicvit": Method(where="before", prune=_topk),  # by its paper's name
        "evit": Method(where="between", prune=_evit, packed=1),
        "trilevel": Method(where="between", prune=_trilevel),
        "tome": Method(where="between", prune=_tome, halves=True),
    }
)
"""The ways of pruning, by name."""
