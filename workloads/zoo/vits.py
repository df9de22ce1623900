"""The zoo's vision transformers: DeiT, dense and with HeatViT's token selectors, and Quasar-ViT.

Sizes: Touvron et al., "Training data-efficient image transformers", ICML 2021, Table 1.
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

__all__ = ["DEIT_SMALL", "HEATVIT_DEIT_SMALL", "HEATVIT_DIGITS16", "MODELS", "VitConfig"]


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

    @property
    def patches(self) -> int:
        """Patches of one image: its tokens without CLS."""
        return (self.image // self.patch) ** 2


DEIT_SMALL = VitConfig()
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
        "deit-small": Model(
            description="DeiT-S: 12 blocks of width 384, 197 tokens of a 224 x 224 image",
            export=partial(_vit, DEIT_SMALL),
        ),
        "heatvit-deit-small": Model(
            description="DeiT-S with HeatViT token selectors before blocks 4, 7 and 10",
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
