"""The zoo's video models, Stable Video Diffusion and CogVideoX, and the encoders of their prompts.

Blattmann et al., "Stable Video Diffusion", arXiv:2311.15127; Yang et al., "CogVideoX",
arXiv:2408.06072.  Sizes are in `configs.yaml`; each network is one step or one pass of one video.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from .model import Model

if TYPE_CHECKING:
    import onnx

__all__ = ["MODELS"]


def _export(function: str, config: str) -> onnx.ModelProto:
    from . import torch_video

    graph: onnx.ModelProto = getattr(torch_video, function)(config)
    return graph


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "svd-unet": Model(
            description="the Stable Video Diffusion UNet, one step of 14 frames of 576 x 1024",
            defaults={"batch": 1, "frames": 14},
            export=partial(_export, "export_svd", "svd-unet"),
        ),
        "svd-xt-unet": Model(
            description="the SVD-XT UNet, SVD's network on 25 frames",
            defaults={"batch": 1, "frames": 25},
            graph="svd-unet",
        ),
        "svd-vae-decoder": Model(
            description="SVD's temporal decoder, 14 frames of 576 x 1024 at once",
            defaults={"frames": 14, "height": 72, "width": 128},
            export=partial(_export, "export_svd_decoder", "svd-vae"),
        ),
        "openclip-h-image": Model(
            description="OpenCLIP's ViT-H/14, which encodes SVD's first frame: 257 tokens",
            export=partial(_export, "export_image_encoder", "openclip-h-image"),
        ),
        "cogvideox-2b": Model(
            description="the CogVideoX-2B transformer, one step: 226 text and 17550 video tokens",
            export=partial(_export, "export_cogvideox", "cogvideox-2b"),
        ),
        "cogvideox-5b": Model(
            description="the CogVideoX-5B transformer, one step: 226 text and 17550 video tokens",
            export=partial(_export, "export_cogvideox", "cogvideox-5b"),
        ),
        "cogvideox-vae-decoder": Model(
            description="CogVideoX's causal decoder, 13 latent frames to 49 of 480 x 720",
            defaults={},
            export=partial(_export, "export_cogvideox_decoder", "cogvideox-vae"),
        ),
        "t5-xxl-text": Model(
            description="the T5 v1.1 XXL text encoder on CogVideoX's 226 tokens",
            defaults={"batch": 1, "tokens": 226},
            export=partial(_export, "export_t5", "t5-xxl-text"),
        ),
    }
)
"""By name."""
