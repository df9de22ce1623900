"""HeatViT's token selector in plain Python, operator by operator as its exported module.

What it computes, and the sources, are told where the torch module is: `torch_selector`.
"""

from __future__ import annotations

from ..extent import Size
from ..operator import Movement, TokenSelection
from .building import Builder, Value, side_by_side

__all__ = ["head_weights", "linear_gelu", "select"]


def select(
    build: Builder, number: int, x: Value, heads: int, kept: Size, spared: int = 1
) -> tuple[Value, Value]:
    """Prunes the tokens `x` `(1, spared + n, embed)`.

    Args:
        build: Where the operators go.
        number: How many selectors came before, each of which left a package token.
        x: CLS, the patches and, after the first selector, the package token.
        heads: Attention heads of the model.
        kept: How many patches stay.
        spared: Tokens before the patches, which are neither scored nor pruned: 1 is CLS.

    Returns:
        The kept tokens `(1, spared + kept + 1, embed)`: CLS, patches and package; and their count.
    """
    path = f"selectors.{number}"
    build.selector = True
    _, tokens, embed = x.shape
    scored = tokens - spared
    patches = scored - 1 if number else scored
    candidates = x.part(1, scored, embed)
    score = _scores(build, path, candidates, heads)
    keep = build.elementwise(f"{path}/Greater", "greater", score.part(1, patches), shape=(patches,))
    chosen = build.append(
        TokenSelection(
            name=f"{path}/NonZero",
            operands=(keep.operand,),
            shape=(1, kept),
            function="nonzero",
            candidates=patches,
            kept=kept,
            data_dependent=True,
        )
    )
    package = _package(build, path, candidates, score, keep, bool(number))
    rest = x.part(1, kept, embed)
    moved = build.append(
        Movement(
            name=f"{path}/Gather_3",
            operands=(rest.operand, chosen.operand),
            shape=(1, kept, embed),
            function="gather",
        )
    )
    count = build.reduce(f"{path}/ReduceSum_5", "reducesum", keep)
    build.selector = False
    first = (x.part(1, spared, embed),) if spared else ()
    return side_by_side((1, spared + kept + 1, embed), *first, moved, package), count


def _scores(build: Builder, path: str, x: Value, heads: int) -> Value:
    """A score in [0, 1] for each token, `(1, n)`."""
    _, tokens, embed = x.shape
    width = int(embed // heads) if isinstance(embed, int) else 0
    split = x.part(1, tokens, heads, width)
    half, quarter = width // 2, width // 4
    local = linear_gelu(build, f"{path}.features", 0, split, half)
    everywhere = build.reduce(f"{path}/ReduceMean", "reducemean", local, 1, 1, heads, half)
    both = side_by_side((1, tokens, heads, 2 * half), local, everywhere)
    hidden = linear_gelu(build, f"{path}.classifier", 0, both, half)
    hidden = linear_gelu(build, f"{path}.classifier", 2, hidden, quarter)
    logits = build.linear(f"{path}.classifier.4/MatMul", hidden, 2)
    shares = build.softmax(f"{path}/Softmax", logits)
    weights = head_weights(build, path, split)
    keep = shares.part(1, tokens, heads)
    weighted = build.elementwise(f"{path}/Mul", "mul", weights, keep)
    total = build.reduce(f"{path}/ReduceSum", "reducesum", weighted, 1, tokens)
    weight = build.reduce(f"{path}/ReduceSum_2", "reducesum", weights, 1, tokens)
    return build.elementwise(f"{path}/Div", "div", total, weight)


def head_weights(build: Builder, path: str, split: Value) -> Value:
    """Weights of the heads of each token, `(1, n, heads)`, from tokens `(1, n, heads, width)`."""
    _, tokens, heads, _ = split.shape
    assert isinstance(heads, int)
    mean = build.reduce(f"{path}/ReduceMean_2", "reducemean", split, 1, tokens, heads)
    hidden = linear_gelu(build, f"{path}.head_weights", 0, mean, heads // 2)
    logits = build.linear(f"{path}.head_weights.2/MatMul", hidden, heads)
    return build.elementwise(f"{path}.head_weights.3/Sigmoid", "sigmoid", logits)


def linear_gelu(build: Builder, path: str, index: int, x: Value, n: int) -> Value:
    """One linear layer of a `torch.nn.Sequential` and the GELU after it."""
    wide = build.linear(f"{path}.{index}/MatMul", x, n)
    return build.elementwise(f"{path}.{index + 1}/Gelu", "gelu", wide)


def _package(build: Builder, path: str, x: Value, score: Value, keep: Value, packed: bool) -> Value:
    """The pruned tokens' mean, weighted by score: `(1, 1, embed)`."""
    _, tokens, embed = x.shape
    (patches,) = keep.shape
    drop = build.elementwise(f"{path}/Not", "not", keep)
    weights = build.elementwise(
        f"{path}/Mul_2", "mul", score.part(1, patches), drop, shape=(1, patches)
    )
    if packed:  # the earlier package token goes into the new one, whatever its score
        weights = side_by_side((1, tokens), weights, score.part(1, 1))
    weight = build.reduce(f"{path}/ReduceSum_3", "reducesum", weights, 1, 1, 1)
    weight = build.elementwise(f"{path}/Clip", "clip", weight)
    weighted = build.elementwise(f"{path}/Mul_3", "mul", weights, x, shape=x.shape)
    total = build.reduce(f"{path}/ReduceSum_4", "reducesum", weighted, 1, 1, embed)
    return build.elementwise(f"{path}/Div_2", "div", total, weight)
