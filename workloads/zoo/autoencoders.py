"""The zoo's image decoders: from the latents of one image to its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from .model import Model

if TYPE_CHECKING:
    import onnx

__all__ = ["MODELS"]


def _decoder(config: str) -> onnx.ModelProto:
    from .configs import arguments
    from .torch_autoencoder import export_decoder

    return export_decoder(arguments(config))


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "sd-vae-decoder": Model(
            description="the decoder of Stable Diffusion 1 and 2, for a 512 x 512 image",
            defaults={"batch": 1, "height": 64, "width": 64},
            export=partial(_decoder, "sd-vae"),
        ),
        "sdxl-vae-decoder": Model(
            description="the SDXL decoder, Stable Diffusion's network for a 1024 x 1024 image",
            defaults={"batch": 1, "height": 128, "width": 128},
            graph="sd-vae-decoder",
        ),
        "snapfusion-vae-decoder": Model(
            description="SnapFusion's decoder, half the channels of Stable Diffusion's, 512 x 512",
            defaults={"batch": 1, "height": 64, "width": 64},
            export=partial(_decoder, "snapfusion-vae"),
        ),
    }
)
"""By name."""
