"""A vision transformer in plain Python: the workload that reading its exported graph gives.

Operators are named after timm's modules and equal those of the exported model one by one, so that
a size can be changed without torch: `vit(depth=12, embed=192, heads=3)` is DeiT-T.  Sizes of the
DeiT family: Touvron et al., "Training data-efficient image transformers", ICML 2021, Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..extent import Size, symbol
from ..graph import Symbol, Workload
from ..operator import Attention, Convolution
from .building import Builder, Value
from .heatvit import select

__all__ = ["vit"]


def vit(
    *,
    depth: int,
    embed: int,
    heads: int,
    image: int = 224,
    patch: int = 16,
    mlp_ratio: float = 4.0,
    classes: int = 1000,
    batch: str | int = "batch",
    selectors: Sequence[int] = (),
) -> Workload:
    """A ViT that classifies images, dense or with HeatViT's token selectors.

    Args:
        depth: Blocks.
        embed: Width of a token.
        heads: Attention heads.
        image: Side of the image in pixels.
        patch: Side of a patch in pixels.
        mlp_ratio: Hidden width of the MLPs over `embed`.
        classes: Classes.
        batch: Images of a run, or the symbol for them.  With selectors a run takes one image, as
            images keep different numbers of tokens.
        selectors: The blocks, counted from 1, that a token selector comes before.

    Raises:
        ValueError: Sizes do not fit together.

    >>> vit(depth=12, embed=384, heads=6).bind({"batch": 1}).macs
    4598882304
    """
    _check(depth, embed, heads, image, patch, batch, selectors)
    images: Size = 1 if selectors else symbol(batch) if isinstance(batch, str) else batch
    build = Builder()
    side = image // patch
    tokens = _embedded(build, images, image, patch, embed)
    counts: list[Value] = []
    symbols = [Symbol(name=batch)] if isinstance(batch, str) and not selectors else []
    for block in range(depth):
        if block + 1 in selectors:
            upper: Size = symbol(symbols[-1].name) if symbols else side * side
            kept = f"kept_{len(counts) + 1}"
            symbols.append(Symbol(name=kept, lower=0, upper=upper))
            tokens, count = select(build, len(counts), tokens, heads, symbol(kept))
            counts.append(count)
        tokens = _block(build, f"blocks.{block}", tokens, heads, int(mlp_ratio * embed))
    normed = build.layer_norm("norm/LayerNormalization", tokens)
    logits = build.linear("head/Gemm", normed.part(images, embed), classes)
    return Workload(
        name="heatvit" if selectors else "vit",
        operators=tuple(build.operators),
        inputs=(("image", (images, 3, image, image)),),
        outputs=tuple(source for value in (logits, *counts) for source in value.sources),
        symbols=tuple(symbols),
        parameters=sum(operator.parameters for operator in build.operators),
        images=images,
    )


def _check(
    depth: int,
    embed: int,
    heads: int,
    image: int,
    patch: int,
    batch: str | int,
    selectors: Sequence[int],
) -> None:
    if embed % heads:
        raise ValueError(f"embed={embed} must be a multiple of heads={heads}")
    if image % patch:
        raise ValueError(f"image={image} must be a multiple of patch={patch}")
    if sorted(set(selectors)) != list(selectors) or not all(1 <= s <= depth for s in selectors):
        raise ValueError(f"selectors={tuple(selectors)} must be blocks 1 to {depth}, in order")
    if selectors and batch not in ("batch", 1):
        raise ValueError(f"with selectors a run takes one image, got batch={batch!r}")


def _embedded(build: Builder, images: Size, image: int, patch: int, embed: int) -> Value:
    """Patches, the CLS token before them, their positions added."""
    side = image // patch
    patches = build.append(
        Convolution(
            name="patch_embed.proj/Conv",
            operands=(Value(("image",), (), images * 3 * image * image).operand,),
            shape=(images, embed, side, side),
            batch=images,
            in_channels=3,
            out_channels=embed,
            kernel=(patch, patch),
            stride=(patch, patch),
            dilation=(1, 1),
            padding=(0, 0),
            in_size=(image, image),
            out_size=(side, side),
            bias=True,
        )
    )
    shape = (images, side * side + 1, embed)
    positions = prod((side * side + 1, embed))
    return build.elementwise("Add", "add", patches, shape=shape, affine=positions + embed)


def _block(build: Builder, path: str, x: Value, heads: int, hidden: int) -> Value:
    images, tokens, embed = x.shape
    width = embed // heads
    normed = build.layer_norm(f"{path}.norm1/LayerNormalization", x)
    qkv = build.linear(f"{path}.attn.qkv/MatMul", normed, 3 * _number(embed))
    mixed = build.append(
        Attention(
            name=f"{path}.attn/Attention",
            operands=(qkv.part(*x.shape).operand,) * 3,
            shape=(images, heads, tokens, width),
            copies=images * heads,
            kv_copies=images * heads,
            queries=tokens,
            keys=tokens,
            head_dim=width,
            value_dim=width,
        )
    )
    projected = build.linear(f"{path}.attn.proj/MatMul", mixed.part(*x.shape), _number(embed))
    x = build.elementwise(f"{path}/Add", "add", x, projected)
    normed = build.layer_norm(f"{path}.norm2/LayerNormalization", x)
    wide = build.linear(f"{path}.mlp.fc1/MatMul", normed, hidden)
    active = build.elementwise(f"{path}.mlp.act/Gelu", "gelu", wide)
    narrow = build.linear(f"{path}.mlp.fc2/MatMul", active, _number(embed))
    return build.elementwise(f"{path}/Add_2", "add", x, narrow)


def _number(size: Size) -> int:
    assert isinstance(size, int)
    return size
