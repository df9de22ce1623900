"""HART, which draws an image scale after scale: its sizes, and what each call of it is for.

Tang et al., "HART: Efficient Visual Generation with Hybrid Autoregressive Transformer",
arXiv:2410.10812, and its code, github.com/mit-han-lab/hart.  Seen there: rotary positions, gated
MLPs, keys and values that are kept from scale to scale, 300 context tokens in place of the first
scale, guidance by a second image without a prompt, a residual diffusion head of width 1024 and
depth 6 that takes 8 steps on the last scale.  Recalled: depth, width, heads and the side lengths.
Assumed: blocks without adaptive norms, which alone would have 340 M parameters.

The paper prints 732 M parameters.  Transformer and head have 727.3 M; with the layer that embeds
the prompt and the embedding of the scale, which are left out here, there are 732.4 M if that is an
MLP and 729.7 M if it is a table.  The code has both; which one is used was not seen.

It prints 12.5 T MACs at 1024 x 1024 and 3.2 T at 512 x 512 as well, and not how they are counted.
Two images, guided, and all products are 24.6 T here, one image 12.30 T.  Of several ways to count
that were tried, one gives both: guided and without attention's products, as the paper counts SDXL,
and without the layer of queries, keys and values, which HART's code calls as a function, so that
counters that look for modules miss it: 12.46 T and, for recalled side lengths, 3.22 T.  That is an
explanation found afterwards, on recalled sizes, and no confirmation of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING

from .model import Model

if TYPE_CHECKING:
    import onnx

__all__ = ["HART_1024", "MODELS", "Hart", "head_call", "transformer_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hart:
    """Sizes of HART; the defaults are HART-0.7B for images of 1024 x 1024.

    Attributes:
        sides: Of the square of tokens at each scale; the first is only counted, not computed.
        context_tokens: Of the prompt, in the place of the first scale.
        depth, embed, heads: Of the transformer.
        channels: Of a token's latent.
        vocabulary: Codes that a token is one of.
        diffusion_embed, diffusion_depth, diffusion_steps: Of the residual diffusion head.
    """

    sides: tuple[int, ...] = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64)
    context_tokens: int = 300
    depth: int = 24
    embed: int = 1536
    heads: int = 24
    channels: int = 32
    vocabulary: int = 4096
    diffusion_embed: int = 1024
    diffusion_depth: int = 6
    diffusion_steps: int = 8

    @property
    def hidden(self) -> int:
        """Width of the gated MLP: two thirds of four times the embedding, in units of 256."""
        return (self.embed * 8 // 3 + 255) // 256 * 256


HART_1024 = Hart()


def transformer_calls(hart: Hart = HART_1024, images: int = 1) -> Iterator[Mapping[str, int]]:
    """What the symbols of the transformer are at each scale: `batch`, `tokens`, `cached`.

    Args:
        hart: The sizes.
        images: Drawn at once; each is guided, so that the batch is twice as many.

    >>> [dict(call) for call in transformer_calls()][-1]
    {'batch': 2, 'tokens': 4096, 'cached': 5654}
    """
    tokens = [hart.context_tokens, *(side**2 for side in hart.sides[1:])]
    for these, all_of_them in zip(tokens, accumulate(tokens), strict=True):
        cached = all_of_them - these
        yield MappingProxyType({"batch": 2 * images, "tokens": these, "cached": cached})


def head_call(hart: Hart = HART_1024, images: int = 1) -> Mapping[str, int]:
    """What the symbols of the head are at each of its steps.

    >>> dict(head_call())
    {'batch': 2, 'tokens': 4096}
    """
    return MappingProxyType({"batch": 2 * images, "tokens": hart.sides[-1] ** 2})


def _transformer() -> onnx.ModelProto:
    from .torch_hart import export_transformer

    return export_transformer(HART_1024)


def _head() -> onnx.ModelProto:
    from .torch_hart import export_head

    return export_head(HART_1024)


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "hart-1024-transformer": Model(
            description="the last scale of HART-0.7B: 4096 tokens, 5654 cached; sizes recalled",
            defaults={"batch": 1, "tokens": 4096, "cached": 5654},
            least={"cached": 0},
            export=_transformer,
        ),
        "hart-1024-head": Model(
            description="HART's residual diffusion MLP, one of 8 steps on the last scale",
            defaults={"batch": 1, "tokens": 4096},
            export=_head,
        ),
    }
)
"""By name."""
