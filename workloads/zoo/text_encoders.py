"""The zoo's text encoders: one text of 77 tokens, padded as diffusion models take it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from .model import Model

if TYPE_CHECKING:
    import onnx

__all__ = ["MODELS"]


def _encoder(name: str) -> onnx.ModelProto:
    from .configs import arguments, class_path
    from .torch_text import export_text_encoder

    return export_text_encoder(class_path(name), arguments(name))


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "clip-l-text": Model(
            description="CLIP ViT-L/14's text encoder, of Stable Diffusion 1 and SDXL: 77 tokens",
            export=partial(_encoder, "clip-l-text"),
        ),
        "openclip-h-text": Model(
            description="OpenCLIP ViT-H/14's text encoder, 23 blocks of Stable Diffusion 2's",
            export=partial(_encoder, "openclip-h-text"),
        ),
        "openclip-bigg-text": Model(
            description="OpenCLIP ViT-bigG/14's text encoder, the second of SDXL: 77 tokens",
            export=partial(_encoder, "openclip-bigg-text"),
        ),
    }
)
"""By name."""
