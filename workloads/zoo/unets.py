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

_DIFF_PRUNING = 0.7
"""Of the channels: `--pruning_ratio 0.3` in the scripts of github.com/VainF/Diff-Pruning."""


def _unet(name: str) -> onnx.ModelProto:
    from .configs import arguments
    from .torch_unet import export_unet

    return export_unet(arguments(name))


def _pruned(name: str) -> onnx.ModelProto:
    from ..channel_pruning import channel_pruned_model
    from ..onnx_file import load
    from . import content

    return channel_pruned_model(load(content(name))[0], keep=_DIFF_PRUNING)


def _snapfusion() -> onnx.ModelProto:
    from .configs import arguments
    from .torch_snapfusion import build
    from .torch_unet import export_unet

    config = arguments("snapfusion-unet")
    return export_unet(config, module_factory=lambda: build(config))


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "sd15-unet": Model(
            description="the Stable Diffusion 1.5 UNet, one denoising step of a 512 x 512 image",
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 77},
            export=partial(_unet, "sd15-unet"),
        ),
        "sd21-unet": Model(
            description="the Stable Diffusion 2.1 UNet, one denoising step of a 768 x 768 image",
            defaults={"batch": 1, "height": 96, "width": 96, "text_tokens": 77},
            export=partial(_unet, "sd21-unet"),
        ),
        "sd21-base-unet": Model(
            description="the Stable Diffusion 2.1 UNet, one denoising step of a 512 x 512 image",
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 77},
            graph="sd21-unet",
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
        "snapfusion-unet": Model(
            description="SnapFusion's UNet, one step of a 512 x 512 image; its middle is assumed",
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 77},
            export=_snapfusion,
        ),
        "ddpm-cifar10-unet": Model(
            description="the DDPM UNet of CIFAR-10, one denoising step of a 32 x 32 image",
            defaults={"batch": 1, "height": 32, "width": 32},
            export=partial(_unet, "ddpm-cifar10-unet"),
        ),
        "ddpm-celeba-unet": Model(
            description="the DDIM UNet of CelebA, one denoising step of a 64 x 64 image",
            defaults={"batch": 1, "height": 64, "width": 64},
            export=partial(_unet, "ddpm-celeba-unet"),
        ),
        "ddpm-lsun-unet": Model(
            description="the DDPM UNet of LSUN, one denoising step of a 256 x 256 image",
            defaults={"batch": 1, "height": 256, "width": 256},
            export=partial(_unet, "ddpm-lsun-unet"),
        ),
        "diffpruning-cifar10-unet": Model(
            description="the DDPM UNet of CIFAR-10 with 0.7 of its channels: Diff-Pruning",
            defaults={"batch": 1, "height": 32, "width": 32},
            export=partial(_pruned, "ddpm-cifar10-unet"),
        ),
        "diffpruning-celeba-unet": Model(
            description="the DDIM UNet of CelebA with 0.7 of its channels: Diff-Pruning",
            defaults={"batch": 1, "height": 64, "width": 64},
            export=partial(_pruned, "ddpm-celeba-unet"),
        ),
        "diffpruning-lsun-unet": Model(
            description="the DDPM UNet of LSUN with 0.7 of its channels: Diff-Pruning",
            defaults={"batch": 1, "height": 256, "width": 256},
            export=partial(_pruned, "ddpm-lsun-unet"),
        ),
        "ldm4-unet": Model(
            description="the LDM-4 UNet of ImageNet, one denoising step of a 256 x 256 image",
            # What it attends to is one token, the embedded class.
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 1},
            export=partial(_unet, "ldm4-unet"),
        ),
    }
)
"""By name."""
