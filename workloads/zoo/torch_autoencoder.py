"""The decoders of Stable Diffusion's autoencoders, as diffusers builds them from `configs.yaml`."""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from collections.abc import Mapping
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export

_LATENT = (64, 72)  # distinct sizes, lest torch find them equal


def build(config: Mapping[str, Any]) -> Any:
    """The decoding half of a randomly initialised `diffusers.AutoencoderKL`, for inference.

    Its forward takes `latents` `(batch, latent_channels, height, width)` and returns the image
    `(batch, out_channels, 8 height, 8 width)`, the 8 for four blocks.
    """
    nn = require("torch", "export").nn
    both = require("diffusers", "export").AutoencoderKL(**config)

    class Decoder(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.post_quant_conv = both.post_quant_conv
            self.decoder = both.decoder

        def forward(self, latents: Any) -> Any:
            return self.decoder(self.post_quant_conv(latents))

    return Decoder().eval()


def export_decoder(config: Mapping[str, Any], *, opset: int = 23) -> onnx.ModelProto:
    """Exports `build(config)` without weights, for any `batch`, `height` and `width` of latents.

    Raises:
        MissingExtraError: If torch, onnxscript or diffusers is not installed.
    """
    torch = require("torch", "export")
    return export(
        lambda: build(config),
        lambda: (torch.zeros(2, config["latent_channels"], *_LATENT),),
        dynamic_axes={"latents": {0: "batch", 2: "height", 3: "width"}},
        input_names=["latents"],
        output_names=["image"],
        opset=opset,
    )
