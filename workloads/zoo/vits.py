"""The zoo's vision transformers that are graphs of their own: DeiT, ViT, LV-ViT, Quasar-ViT.

Sizes of DeiT: Touvron et al., "Training data-efficient image transformers", ICML 2021, Table 1; of
ViT-L/16: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, Table 1; of LV-ViT: Jiang
et al., "All Tokens Matter", NeurIPS 2021, as in its code (github.com/zihangJiang/TokenLabeling,
`tlt/models/lvvit.py` and `models/layers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from .model import Model
from .quasar import QUASAR_LARGE, QUASAR_MEDIUM, QUASAR_SMALL, Quasar

if TYPE_CHECKING:
    import onnx

__all__ = [
    "DEIT_BASE",
    "DEIT_SMALL",
    "DEIT_TINY",
    "HEATVIT_DEIT_SMALL",
    "HEATVIT_DIGITS16",
    "LV_VIT_MEDIUM",
    "LV_VIT_SMALL",
    "MODELS",
    "VIT_LARGE",
    "VitConfig",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VitConfig:
    """Sizes of a vision transformer; the defaults are DeiT-S at 224 x 224."""

    image: int = 224
    patch: int = 16
    depth: int = 12
    embed: int = 384
    heads: int = 6
    mlp_ratio: float = 4
    classes: int = 1000
    selectors: tuple[int, ...] = ()
    """The blocks, counted from 1, that a token selector comes before."""
    stem: int = 0
    """Channels of LV-ViT's three convolutions before the patches'; 0 if there are none."""
    qkv_bias: bool = True
    skip: float = 1
    """What a block divides by before it adds to its input: LV-ViT's `skip_lam`."""
    token_head: bool = False
    """Whether a second head classifies every patch, and half of the best is added (LV-ViT)."""

    @property
    def patches(self) -> int:
        """Patches of one image: its tokens without CLS."""
        return (self.image // self.patch) ** 2


DEIT_TINY = VitConfig(embed=192, heads=3)
DEIT_SMALL = VitConfig()
DEIT_BASE = VitConfig(embed=768, heads=12)
VIT_LARGE = VitConfig(depth=24, embed=1024, heads=16)
LV_VIT_SMALL = VitConfig(depth=16, mlp_ratio=3, stem=64, qkv_bias=False, skip=2, token_head=True)
LV_VIT_MEDIUM = VitConfig(
    depth=20, embed=512, heads=8, mlp_ratio=3, stem=64, qkv_bias=False, skip=2, token_head=True
)
HEATVIT_DEIT_SMALL = VitConfig(selectors=(4, 7, 10))
HEATVIT_DIGITS16 = VitConfig(
    image=16, patch=2, depth=4, embed=64, heads=4, mlp_ratio=4, classes=10, selectors=(2, 3, 4)
)
"""Small enough to be trained on one core: see `digits16_trace`."""


def _vit(config: VitConfig) -> onnx.ModelProto:
    from .torch_vit import export_vit

    return export_vit(config)


def _quasar(point: Quasar) -> onnx.ModelProto:
    from .torch_vit import export_quasar

    return export_quasar(point)


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "deit-tiny": Model(
            description="DeiT-T: 12 blocks of width 192, 197 tokens of a 224 x 224 image",
            export=partial(_vit, DEIT_TINY),
        ),
        "deit-small": Model(
            description="DeiT-S: 12 blocks of width 384, 197 tokens of a 224 x 224 image",
            export=partial(_vit, DEIT_SMALL),
        ),
        "deit-base": Model(
            description="DeiT-B: 12 blocks of width 768, 197 tokens of a 224 x 224 image",
            export=partial(_vit, DEIT_BASE),
        ),
        "vit-large": Model(
            description="ViT-L/16: 24 blocks of width 1024, 197 tokens of a 224 x 224 image",
            export=partial(_vit, VIT_LARGE),
        ),
        "lv-vit-small": Model(
            description="LV-ViT-S: 16 blocks of width 384 behind four convolutions, 197 tokens",
            export=partial(_vit, LV_VIT_SMALL),
        ),
        "lv-vit-medium": Model(
            description="LV-ViT-M: 20 blocks of width 512 behind four convolutions, 197 tokens",
            export=partial(_vit, LV_VIT_MEDIUM),
        ),
        "heatvit-deit-small": Model(
            description="DeiT-S, HeatViT selectors before blocks 4, 7, 10; default counts assumed",
            defaults={"kept_1": 137, "kept_2": 69, "kept_3": 48},
            export=partial(_vit, HEATVIT_DEIT_SMALL),
        ),
        "heatvit-digits16": Model(
            description="a small ViT with HeatViT token selectors, trained on digits: 64 patches",
            defaults={"kept_1": 40, "kept_2": 9, "kept_3": 5},  # the means of the trace digits16
            export=partial(_vit, HEATVIT_DIGITS16),
        ),
        "quasar-vit-small": Model(
            description="12 blocks of width 240, rows of 8 and 4 bits; sizes and bits are assumed",
            export=partial(_quasar, QUASAR_SMALL),
        ),
        "quasar-vit-medium": Model(
            description="13 blocks of width 288, rows of 8 and 4 bits; sizes and bits are assumed",
            export=partial(_quasar, QUASAR_MEDIUM),
        ),
        "quasar-vit-large": Model(
            description="12 blocks of width 384, rows of 8 and 4 bits; sizes and bits are assumed",
            export=partial(_quasar, QUASAR_LARGE),
        ),
    }
)
"""By name."""
