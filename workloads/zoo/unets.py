"""The zoo's denoising UNets: one step of one image, without classifier-free guidance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from .model import Model

if TYPE_CHECKING:
    import onnx

__all__ = ["MODELS"]


def _unet(name: str) -> onnx.ModelProto:
    from .configs import arguments
    from .torch_unet import export_unet

    return export_unet(arguments(name))


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "sd15-unet": Model(
            description="the Stable Diffusion 1.5 UNet, one denoising step of a 512 x 512 image",
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 77},
            export=partial(_unet, "sd15-unet"),
        ),
        "sdxl-unet": Model(
            description="the SDXL base UNet, one denoising step of a 1024 x 1024 image",
            defaults={"batch": 1, "height": 128, "width": 128, "text_tokens": 77},
            export=partial(_unet, "sdxl-unet"),
        ),
        "sdxl-turbo-unet": Model(
            description="the SDXL-Turbo UNet, SDXL's network on a 512 x 512 image",
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 77},
            graph="sdxl-unet",
        ),
    }
)
"""By name."""
