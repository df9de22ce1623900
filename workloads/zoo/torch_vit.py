"""A vision transformer in torch: DeiT, LV-ViT, or one with HeatViT's token selectors.

Module names follow timm's, so that the graph's operators are called what practitioners call them:
`patch_embed.proj`, `blocks.0.attn.qkv`, `blocks.0.mlp.fc1`, ..., `norm`, `head`.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export
from ..onnx_quantized import quantized_model
from .quasar import Quasar, bits
from .torch_selector import selector_class
from .vits import VitConfig


def build(config: VitConfig) -> Any:
    """A randomly initialised `torch.nn.Module` of that size, ready for inference.

    Its forward takes `image` `(batch, 3, config.image, config.image)` and returns `logits`
    `(batch, classes)` and, if there are selectors, the kept counts as int64 scalars after it.
    """
    return _vit_class()(config).eval()


def export_vit(
    config: VitConfig,
    *,
    opset: int = 23,
    weights: bool = False,
    module_factory: Callable[[], Any] | None = None,
) -> onnx.ModelProto:
    """Exports a vision transformer, for any `batch` if dense and for batch 1 if it prunes.

    Args:
        config: The sizes.
        opset: The ONNX operator set.
        weights: Whether the model keeps its weights.
        module_factory: Makes the module, if not `build(config)`.
    """
    torch = require("torch", "export")
    dense = not config.selectors
    return export(
        module_factory or (lambda: build(config)),
        # Two images, as torch takes a dimension of one for a constant.
        lambda: (torch.zeros(2 if dense else 1, 3, config.image, config.image),),
        dynamic_axes={"image": {0: "batch"}} if dense else {},
        input_names=["image"],
        output_names=["logits", *(f"kept_{k + 1}" for k in range(len(config.selectors)))],
        opset=opset,
        weights=weights,
    )


def export_quasar(point: Quasar) -> onnx.ModelProto:
    """Exports a point of Quasar-ViT's search space without weights, its bits as conversions."""
    config = VitConfig(
        depth=point.depth, embed=point.embed, heads=point.heads, mlp_ratio=point.mlp_ratio
    )
    return quantized_model(export_vit(config).SerializeToString(), bits(point))[0]


@cache
def _vit_class() -> type[Any]:
    torch = require("torch", "export")
    nn = torch.nn

    class Attention(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, embed: int, heads: int, bias: bool) -> None:
            super().__init__()
            self.heads = heads
            self.qkv = nn.Linear(embed, 3 * embed, bias=bias)
            self.proj = nn.Linear(embed, embed)

        def forward(self, x: Any) -> Any:
            # (batch, tokens, 3 embed) -> (3, batch, heads, tokens, width)
            qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(*qkv.unbind(0))
            return self.proj(mixed.transpose(1, 2).flatten(2))

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, config: VitConfig) -> None:
            super().__init__()
            embed, hidden = config.embed, int(config.mlp_ratio * config.embed)
            self.skip = config.skip
            self.norm1 = nn.LayerNorm(embed, eps=1e-6)
            self.attn = Attention(embed, config.heads, config.qkv_bias)
            self.norm2 = nn.LayerNorm(embed, eps=1e-6)
            self.mlp = nn.Sequential(
                OrderedDict(
                    fc1=nn.Linear(embed, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, embed)
                )
            )

        def forward(self, x: Any) -> Any:
            if self.skip == 1:
                x = x + self.attn(self.norm1(x))
                return x + self.mlp(self.norm2(x))
            x = x + self.attn(self.norm1(x)) / self.skip
            return x + self.mlp(self.norm2(x)) / self.skip

    def stem(width: int) -> Any:
        """LV-ViT's `PatchEmbed4_2` without its last convolution: half the image's size."""
        layers: OrderedDict[str, Any] = OrderedDict()
        for number, (channels, side, stride) in enumerate(
            ((3, 7, 2), (width, 3, 1), (width, 3, 1)), start=1
        ):
            layers[f"conv{number}"] = nn.Conv2d(
                channels, width, side, stride=stride, padding=side // 2, bias=False
            )
            layers[f"bn{number}"] = nn.BatchNorm2d(width)
            layers[f"relu{number}"] = nn.ReLU()
        return layers

    class Vit(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, config: VitConfig) -> None:
            super().__init__()
            embed, heads = config.embed, config.heads
            side = config.patch // 2 if config.stem else config.patch
            layers = stem(config.stem) if config.stem else OrderedDict()
            layers["proj"] = nn.Conv2d(config.stem or 3, embed, kernel_size=side, stride=side)
            self.patch_embed = nn.Sequential(layers)
            self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, embed))
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + config.patches, embed))
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
            selector = selector_class()
            self.selected = config.selectors
            self.selectors = nn.ModuleList(selector(embed, heads) for _ in config.selectors)
            self.norm = nn.LayerNorm(embed, eps=1e-6)
            self.head = nn.Linear(embed, config.classes)
            self.aux_head = nn.Linear(embed, config.classes) if config.token_head else None

        def forward(self, image: Any) -> tuple[Any, ...]:
            patches = self.patch_embed(image).flatten(2).transpose(1, 2)
            cls = self.cls_token.expand(image.shape[0], -1, -1)
            x = torch.cat([cls, patches], dim=1) + self.pos_embed
            kept: list[Any] = []
            for number, block in enumerate(self.blocks, start=1):
                if number in self.selected:
                    x, count = self.selectors[len(kept)](x, packed=bool(kept))
                    kept.append(count)
                x = block(x)
            x = self.norm(x)
            logits = self.head(x[:, 0])
            if self.aux_head is not None:
                logits = logits + 0.5 * self.aux_head(x[:, 1:]).amax(1)
            return logits, *kept

    return Vit
