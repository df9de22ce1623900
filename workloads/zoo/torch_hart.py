"""HART in torch: one scale of its transformer, and one step of its residual diffusion head.

Written after github.com/mit-han-lab/hart, with its module names.  What is left out is small: the
layer that embeds the prompt once, the tables of positions (inputs here), the norm before the head,
and the sampling of codes.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

import math
from functools import cache
from types import SimpleNamespace
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export
from .hart import Hart

__all__ = ["build_head", "build_transformer", "export_head", "export_transformer"]

_FREQUENCIES = 256  # of the diffusion step's embedding


def build_transformer(hart: Hart) -> Any:
    """A randomly initialised transformer of that size, ready for inference.

    Its forward takes `latents` `(batch, tokens, channels)`, `condition` `(batch, embed)`, the
    pooled prompt; `cos` and `sin` `(batch, tokens, embed / heads)`; and `keys` and `values`
    `(depth, batch, heads, cached, embed / heads)` of the scales before.  It returns `logits`
    `(batch, tokens, vocabulary)` and the keys and values of these tokens.
    """
    return _modules().Transformer(hart).eval()


def build_head(hart: Hart) -> Any:
    """A randomly initialised residual diffusion head of that size, ready for inference.

    Its forward takes `residual` `(batch, tokens, channels)`, `timestep` `(batch, tokens)` and
    `condition` `(batch, tokens, embed)`, and returns `(batch, tokens, 2 channels)`.
    """
    return _modules().Head(hart).eval()


def export_transformer(hart: Hart) -> onnx.ModelProto:
    """Exports the transformer for any `batch`, `tokens` and `cached`.

    Raises:
        MissingExtraError: If torch or onnxscript is not installed.
    """
    torch = require("torch", "export")
    width = hart.embed // hart.heads
    tokens, cached = {0: "batch", 1: "tokens"}, {1: "batch", 3: "cached"}
    return export(
        lambda: build_transformer(hart),
        lambda: (
            torch.zeros(2, 49, hart.channels),
            torch.zeros(2, hart.embed),
            torch.zeros(2, 49, width),
            torch.zeros(2, 49, width),
            torch.zeros(hart.depth, 2, hart.heads, 354, width),
            torch.zeros(hart.depth, 2, hart.heads, 354, width),
        ),
        dynamic_axes={
            "latents": tokens,
            "condition": {0: "batch"},
            "cos": tokens,
            "sin": tokens,
            "keys": cached,
            "values": cached,
        },
        input_names=["latents", "condition", "cos", "sin", "keys", "values"],
        output_names=["logits", "new_keys", "new_values"],
    )


def export_head(hart: Hart) -> onnx.ModelProto:
    """Exports the residual diffusion head for any `batch` and `tokens`.

    Raises:
        MissingExtraError: If torch or onnxscript is not installed.
    """
    torch = require("torch", "export")
    axes = {0: "batch", 1: "tokens"}
    return export(
        lambda: build_head(hart),
        lambda: (
            torch.zeros(2, 49, hart.channels),
            torch.zeros(2, 49),
            torch.zeros(2, 49, hart.embed),
        ),
        dynamic_axes={"residual": axes, "timestep": axes, "condition": axes},
        input_names=["residual", "timestep", "condition"],
        output_names=["noise"],
    )


@cache
def _modules() -> Any:
    torch = require("torch", "export")
    nn, functional = torch.nn, torch.nn.functional

    def rotated(x: Any, cos: Any, sin: Any) -> Any:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    class Attention(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, hart: Hart) -> None:
            super().__init__()
            self.heads = hart.heads
            self.qkv_proj = nn.Linear(hart.embed, 3 * hart.embed)
            self.proj = nn.Linear(hart.embed, hart.embed)

        def forward(self, x: Any, cos: Any, sin: Any, keys: Any, values: Any) -> tuple[Any, ...]:
            qkv = self.qkv_proj(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
            mixed = functional.scaled_dot_product_attention(
                q, torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
            )
            return self.proj(mixed.transpose(1, 2).flatten(2)), k, v

    class GatedMlp(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, embed: int, hidden: int) -> None:
            super().__init__()
            self.gate_proj = nn.Linear(embed, hidden, bias=False)
            self.up_proj = nn.Linear(embed, hidden, bias=False)
            self.down_proj = nn.Linear(hidden, embed, bias=False)

        def forward(self, x: Any) -> Any:
            return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, hart: Hart) -> None:
            super().__init__()
            self.attn = Attention(hart)
            self.ffn = GatedMlp(hart.embed, hart.hidden)
            self.ln_wo_grad = nn.RMSNorm(hart.embed, eps=1e-6)  # one for both, as there

        def forward(self, x: Any, cos: Any, sin: Any, keys: Any, values: Any) -> tuple[Any, ...]:
            mixed, k, v = self.attn(self.ln_wo_grad(x), cos, sin, keys, values)
            x = x + mixed
            return x + self.ffn(self.ln_wo_grad(x)), k, v

    class Modulated(nn.Module):  # type: ignore[misc, name-defined]
        """The norm before the codes, scaled and shifted by the prompt."""

        def __init__(self, embed: int) -> None:
            super().__init__()
            self.ln_wo_grad = nn.RMSNorm(embed, eps=1e-6)
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(embed, 2 * embed))

        def forward(self, x: Any, condition: Any) -> Any:
            scale, shift = self.ada_lin(condition).unsqueeze(1).chunk(2, dim=-1)
            return self.ln_wo_grad(x) * (scale + 1) + shift

    class Transformer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, hart: Hart) -> None:
            super().__init__()
            self.word_embed = nn.Linear(hart.channels, hart.embed)
            self.blocks = nn.ModuleList(Block(hart) for _ in range(hart.depth))
            self.head_nm = Modulated(hart.embed)
            self.head = nn.Linear(hart.embed, hart.vocabulary)

        def forward(
            self, latents: Any, condition: Any, cos: Any, sin: Any, keys: Any, values: Any
        ) -> tuple[Any, ...]:
            x = self.word_embed(latents)
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
            made: list[tuple[Any, Any]] = []
            for block, k, v in zip(self.blocks, keys.unbind(0), values.unbind(0), strict=True):
                x, new_k, new_v = block(x, cos, sin, k, v)
                made.append((new_k, new_v))
            new_keys, new_values = (torch.stack(each) for each in zip(*made, strict=True))
            return self.head(self.head_nm(x, condition)), new_keys, new_values

    class Residual(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, embed: int) -> None:
            super().__init__()
            self.in_ln = nn.LayerNorm(embed, eps=1e-6)
            self.mlp = nn.Sequential(nn.Linear(embed, embed), nn.SiLU(), nn.Linear(embed, embed))
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(embed, 3 * embed))

        def forward(self, x: Any, y: Any) -> Any:
            shift, scale, gate = self.adaLN_modulation(y).chunk(3, dim=-1)
            return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)

    class Final(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, embed: int, channels: int) -> None:
            super().__init__()
            self.norm_final = nn.LayerNorm(embed, elementwise_affine=False, eps=1e-6)
            self.linear = nn.Linear(embed, channels)
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(embed, 2 * embed))

        def forward(self, x: Any, y: Any) -> Any:
            shift, scale = self.adaLN_modulation(y).chunk(2, dim=-1)
            return self.linear(self.norm_final(x) * (1 + scale) + shift)

    class Timestep(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, embed: int) -> None:
            super().__init__()
            self.mlp = nn.Sequential(
                nn.Linear(_FREQUENCIES, embed), nn.SiLU(), nn.Linear(embed, embed)
            )

        def forward(self, t: Any) -> Any:
            half = _FREQUENCIES // 2
            angles = t.unsqueeze(-1) * torch.exp(torch.arange(half) * (-math.log(10000) / half))
            return self.mlp(torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1))

    class Head(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, hart: Hart) -> None:
            super().__init__()
            embed = hart.diffusion_embed
            self.time_embed = Timestep(embed)
            self.cond_embed = nn.Linear(hart.embed, embed)
            self.input_proj = nn.Linear(hart.channels, embed)
            self.res_blocks = nn.ModuleList(Residual(embed) for _ in range(hart.diffusion_depth))
            self.final_layer = Final(embed, 2 * hart.channels)

        def forward(self, residual: Any, timestep: Any, condition: Any) -> Any:
            x = self.input_proj(residual)
            y = self.time_embed(timestep) + self.cond_embed(condition)
            for block in self.res_blocks:
                x = block(x, y)
            return self.final_layer(x, y)

    return SimpleNamespace(Transformer=Transformer, Head=Head)
