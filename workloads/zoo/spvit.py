"""The token selector as SPViT's code has it, operator by operator.

Source: Kong et al., "SPViT: Enabling Faster Vision Transformers via Soft Token Pruning", ECCV 2022,
in the form of its released code, github.com/PeiyanFlying/SPViT, `vit_l2_3keep_senet.py` and
`lvvit_l2_3keep_senet.py`, which were read.  HeatViT (`torch_selector`) is the same authors' next
paper.  With `h` heads, `d = embed / h` and `n` scored tokens, this differs from HeatViT's form:

1. Each head's tokens go through a LayerNorm and one layer `d -> d`; its first half is the local
   feature, the mean of its other half over the tokens the global one.  HeatViT: a layer
   `d -> d / 2`, whose result and whose mean are both.
2. Two scores: the heads' logarithms of softmax, weighted, decide; the heads' softmax, weighted,
   weighs the package token.  HeatViT: the latter alone, against 0.5.
3. The package token is the weighted *sum* of what was pruned (the division is commented out there).
4. Each selector adds a package token; the earlier ones are scored, always stay, and are not merged
   again.  Behind the k-th there are `1 + kept_k + k` tokens.  HeatViT: one.

MACs of one selector: `n (h (d d + d d/2 + d/2 d/4 + 2 d/4) + 2 h (h/2))`, `n` being all patches at
the first selector and `kept_(k-1) + k - 1` at the k-th; 40,164 a token for DeiT-S.

Assumed:
- Pruned tokens are gone.  The code masks them, in evaluation too, so that as it stands it saves
  nothing; its own count of operations (`est_flops_dynamicvit.py`) takes them for gone.
- The larger logarithm decides.  The code draws from a Gumbel-Softmax, in evaluation too.
- One MLP serves all heads: the code lists the same module once per head.
- LV-ViT's second head classifies the package tokens too, which the code leaves out (`x[:, 1:-3]`):
  three tokens of `classes * embed` MACs.
"""

from __future__ import annotations

from ..extent import Size
from ..operator import Movement, TokenSelection
from .building import Builder, Value, side_by_side
from .heatvit import head_weights, linear_gelu

__all__ = ["select"]


def select(
    build: Builder, number: int, x: Value, heads: int, kept: Size, spared: int = 1
) -> tuple[Value, Value]:
    """Prunes the tokens `x` `(1, spared + n, embed)`.

    Args:
        build: Where the operators go.
        number: How many selectors came before, each of which left a package token.
        x: CLS, the patches and the package tokens.
        heads: Attention heads of the model.
        kept: How many patches stay.
        spared: Tokens before the patches, which are neither scored nor pruned: 1 is CLS.

    Returns:
        The kept tokens `(1, spared + kept + number + 1, embed)`: CLS, patches and packages; and
        the count of the patches.
    """
    path = f"selectors.{number}"
    build.selector = True
    _, tokens, embed = x.shape
    scored = tokens - spared
    patches = scored - number
    candidates = x.part(1, scored, embed)
    decides, weighs = _scores(build, path, candidates, heads)
    keep = build.elementwise(
        f"{path}/Greater", "greater", decides.part(1, patches, 2), shape=(patches,)
    )
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
    drop = build.elementwise(f"{path}/Not", "not", keep)
    weight = build.elementwise(
        f"{path}/Mul_3", "mul", weighs.part(1, patches), drop, shape=(1, patches)
    )
    weighted = build.elementwise(
        f"{path}/Mul_4", "mul", weight, x.part(1, patches, embed), shape=(1, patches, embed)
    )
    package = build.reduce(f"{path}/ReduceSum_3", "reducesum", weighted, 1, 1, embed)
    rest = x.part(1, kept, embed)
    moved = build.append(
        Movement(
            name=f"{path}/Gather",
            operands=(rest.operand, chosen.operand),
            shape=(1, kept, embed),
            function="gather",
        )
    )
    count = build.reduce(f"{path}/ReduceSum_4", "reducesum", keep)
    build.selector = False
    earlier = (x.part(1, number, embed),) if number else ()
    first = (x.part(1, spared, embed),) if spared else ()
    left = (1, spared + kept + number + 1, embed)
    return side_by_side(left, *first, moved, *earlier, package), count


def _scores(build: Builder, path: str, x: Value, heads: int) -> tuple[Value, Value]:
    """What decides, `(1, n, 2)`, and what weighs the package token, `(1, n)`."""
    _, tokens, embed = x.shape
    width = int(embed // heads) if isinstance(embed, int) else 0
    split = x.part(1, tokens, heads, width)
    half, quarter = width // 2, width // 4
    normed = build.layer_norm(f"{path}.in_conv.0/LayerNormalization", split)
    hidden = linear_gelu(build, f"{path}.in_conv", 1, normed, 2 * half)
    local = hidden.part(1, tokens, heads, half)
    everywhere = build.reduce(f"{path}/ReduceMean", "reducemean", local, 1, 1, heads, half)
    both = side_by_side((1, tokens, heads, 2 * half), local, everywhere)
    hidden = linear_gelu(build, f"{path}.out_conv", 0, both, half)
    hidden = linear_gelu(build, f"{path}.out_conv", 2, hidden, quarter)
    logits = build.linear(f"{path}.out_conv.4/MatMul", hidden, 2)
    weights = head_weights(build, path, split)
    total = build.reduce(f"{path}.head_weights/ReduceSum", "reducesum", weights, 1, tokens)
    scores: list[Value] = []
    for softmax, columns, again in (("LogSoftmax", 2, ""), ("Softmax", 1, "_2")):
        shares = build.softmax(f"{path}/{softmax}", logits).part(1, tokens, heads, columns)
        weighted = build.elementwise(f"{path}/Mul{again}", "mul", shares, weights)
        summed = build.reduce(f"{path}/ReduceSum{again}", "reducesum", weighted, 1, tokens, columns)
        scores.append(build.elementwise(f"{path}/Div{again}", "div", summed, total))
    decides, weighs = scores
    return decides, weighs.part(1, tokens)
