"""EViT: the patches that CLS attends to most stay, and the others become one token.

Liang et al., "Not All Patches are What You Need: Expediting Vision Transformers via Token
Reorganizations", ICLR 2022, and its code, github.com/youweiliang/evit: between the attention and
the MLP of a block.  The sum of the others, weighted by the attention to them, is one more token,
which later blocks may keep or fuse again like a patch.
"""

from __future__ import annotations

from typing import cast

from .extent import Size
from .matching import gathered
from .operator import MatMul, Operand
from .pruning_blocks import PruningError
from .zoo.building import Builder, Value, side_by_side

__all__ = ["attentive", "fused_inattentive"]


def attentive(
    build: Builder,
    path: str,
    tokens: Value,
    attention: tuple[Operand, Operand],
    heads: int,
    spared: int,
    kept: Size,
) -> tuple[Value, Value, Value]:
    """The patches of `tokens` `(images, n, width)` that CLS attends to most.

    The scores of a fused attention never leave the machine, so the row of CLS is computed once
    more: `n * width` MACs for each image.  Without a CLS token there is no such row.

    Args:
        build: Where the operators go.
        path: Of their names.
        tokens: CLS and others that stay, then the patches.
        attention: What the attention just before compares, Q and K.
        heads: Its heads.
        spared: Tokens before the patches.
        kept: Patches that stay.

    Returns:
        Those that stay, `(images, kept, width)`; where all are, the best first; and what CLS gives
        each of its attention, both `(images, n - spared)`.

    Raises:
        PruningError: There is no CLS token.
    """
    if not spared:
        raise PruningError("patches are ranked by the attention of CLS, and the model has no CLS")
    images, count, _ = tokens.shape
    queries, keys = attention
    head = keys.elements // (images * heads * count)
    scores = build.append(
        MatMul(
            name=f"{path}/MatMul",
            operands=(
                Operand(sources=queries.sources, elements=images * heads * head),
                Operand(sources=keys.sources, elements=images * heads * count * head),
            ),
            shape=(images, heads, 1, count),
            copies=images * heads,
            m=1,
            k=head,
            n=count,
            weights=0,
        )
    )
    row = build.softmax(f"{path}/Softmax", scores)
    patches = count - spared
    shares = row.part(images, heads, patches)
    mean = build.reduce(f"{path}/ReduceMean", "reducemean", shares, images, patches)
    chosen = build.top_k(f"{path}/TopK", mean, kept, patches)
    return gathered(build, f"{path}/Gather", tokens, chosen, kept), chosen, mean


def fused_inattentive(
    build: Builder,
    path: str,
    tokens: Value,
    attention: tuple[Operand, Operand],
    heads: int,
    spared: int,
    kept: Size,
) -> Value:
    """Prunes the tokens `(images, n, width)` to `(images, spared + kept + 1, width)`.

    Its arguments, and what it raises, are those of `attentive`.
    """
    stay, chosen, mean = attentive(build, path, tokens, attention, heads, spared, kept)
    images, count, width = tokens.shape
    left = count - spared - kept
    others = gathered(build, f"{path}/Gather_2", tokens, chosen, left)
    weight = mean.part(images, left)
    weighted = build.elementwise(f"{path}/Mul", "mul", others, weight)
    fused = build.reduce(f"{path}/ReduceSum", "reducesum", weighted, images, 1, cast("int", width))
    first = tokens.part(images, spared, width)
    return side_by_side((images, spared + kept + 1, width), first, stay, fused)
