"""HeatViT's token selector: keeps the patches that score well, packs the others into one token.

Source: Dong et al., "HeatViT: Hardware-Efficient Adaptive Token Pruning for Vision Transformers",
HPCA 2023 (arXiv 2211.08110), and, where the paper leaves a size open, the same authors' released
code for the same selector: Kong et al., "SPViT", ECCV 2022 (github.com/PeiyanFlying/SPViT,
`vit_l2_3keep_senet.py`).

With `h` heads, `d = embed / h` and `n` scored tokens (the CLS token is never scored nor pruned):

1. Tokens are split by head, `(n, h, d)`. An MLP `d -> d/2` gives local features, their mean over
   the tokens is the global feature, and both, concatenated to `d`, are classified by an MLP
   `d -> d/2 -> d/4 -> 2` with softmax into keep and prune.
2. The mean of each head's features, `(n, h)`, goes through an MLP `h -> h/2 -> h` with sigmoid:
   the heads' weights. A token's score is the mean of its heads' keep scores, so weighted.
3. A patch whose score exceeds 0.5 is kept. The pruned ones become one package token, their mean
   weighted by score, which takes part in all that follows.

MACs of one selector: `n (h (d d/2 + d d/2 + d/2 d/4 + 2 d/4) + 2 h (h/2))`, `n` being all patches
at the first selector and `kept_(k-1) + 1` at the k-th; 27,876 a token for DeiT-S.

Assumed:
- One MLP serves all heads: SPViT's code lists the same module once per head. An MLP per head would
  need `h` times the weights and the same MACs.
- `h -> h/2 -> h` is SPViT's; the paper prints no hidden size for the heads' weights.
- No normalisation inside: SPViT's code has a LayerNorm of `d` first and splits one `d -> d` layer
  into local and global halves; HeatViT's `d -> d/2` shared by both costs half of that layer.
- There is always exactly one package token: the earlier one is scored like a patch and merged into
  the new one (SPViT's code lets one more accumulate at each selector). It is zero if nothing has
  been pruned so far.
- At inference the threshold replaces training's Gumbel-Softmax. Batch 1, as images keep different
  numbers of tokens.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from functools import cache
from typing import Any

from ..extras import require

KEEP_THRESHOLD = 0.5
_SMALLEST_WEIGHT = 1e-12  # with nothing to pack, 0 / this is 0 where 0 / 0 would be NaN


@cache
def selector_class() -> type[Any]:
    """The selector as a `torch.nn.Module` class, `Selector(embed, heads)`.

    Raises:
        MissingExtraError: If torch is not installed.
    """
    torch = require("torch", "export")
    nn = torch.nn

    class Selector(nn.Module):  # type: ignore[misc, name-defined]
        """Selects tokens of one image: see the module's docstring."""

        def __init__(self, embed: int, heads: int) -> None:
            super().__init__()
            width = embed // heads
            self.heads = heads
            self.features = nn.Sequential(nn.Linear(width, width // 2), nn.GELU())
            self.classifier = nn.Sequential(
                nn.Linear(2 * (width // 2), width // 2),
                nn.GELU(),
                nn.Linear(width // 2, width // 4),
                nn.GELU(),
                nn.Linear(width // 4, 2),
            )
            self.head_weights = nn.Sequential(
                nn.Linear(heads, heads // 2),
                nn.GELU(),
                nn.Linear(heads // 2, heads),
                nn.Sigmoid(),
            )

        def scores(self, tokens: Any) -> Any:
            """Keep scores in [0, 1] of `tokens` `(1, n, embed)`: `(1, n)`."""
            split = tokens.unflatten(-1, (self.heads, -1))
            local = self.features(split)
            everywhere = local.mean(dim=1, keepdim=True).expand_as(local)
            logits = self.classifier(torch.cat([local, everywhere], dim=-1))
            keep = logits.softmax(dim=-1)[..., 0]
            weights = self.head_weights(split.mean(dim=-1))
            return (weights * keep).sum(dim=-1) / weights.sum(dim=-1)

        def forward(self, x: Any, packed: bool) -> tuple[Any, Any]:
            """Prunes `x` `(1, 1 + n, embed)`, whose last token is a package token if `packed`.

            Returns:
                The kept tokens `(1, 1 + kept + 1, embed)`: CLS, the kept patches in their order,
                the package token; and `kept`, an int64 scalar.
            """
            tokens = x[:, 1:]
            scores = self.scores(tokens)
            patch_scores = scores[:, :-1] if packed else scores
            keep = patch_scores[0] > KEEP_THRESHOLD
            index = keep.nonzero().squeeze(1)
            torch._check(index.shape[0] <= keep.shape[0])
            weights = patch_scores * ~keep
            if packed:  # whatever its score, the earlier package token goes into the new one
                weights = torch.cat([weights, scores[:, -1:]], dim=1)
            weights = weights.unsqueeze(-1)
            total = weights.sum(dim=1, keepdim=True).clamp(min=_SMALLEST_WEIGHT)
            package = (weights * tokens).sum(dim=1, keepdim=True) / total
            x = torch.cat([x[:, :1], tokens.index_select(1, index), package], dim=1)
            return x, keep.sum()

    return Selector
