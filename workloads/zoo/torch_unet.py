"""The denoising UNet of Stable Diffusion 1.5, as diffusers builds it.

Source of the sizes: the model's published configuration (`unet/config.json` of Stable Diffusion
v1.5, the same keys as v1.1 to v1.4); built from it, the module has the published 859.52 M
parameters. At 64 x 64 latents, 77 text tokens and batch 1 it computes 401.64 G MACs, of which
63.03 G are attention's QK^T and AV, which papers usually leave out.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export

SD15_UNET: Mapping[str, Any] = MappingProxyType(
    {
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "center_input_sample": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "down_block_types": (
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        "up_block_types": (
            "UpBlock2D",
            "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D",
            "CrossAttnUpBlock2D",
        ),
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "downsample_padding": 1,
        "mid_block_scale_factor": 1,
        "act_fn": "silu",
        "norm_num_groups": 32,
        "norm_eps": 1e-05,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,  # the number of heads: the published key's name is a known slip
    }
)
"""Arguments of `diffusers.UNet2DConditionModel`."""


def build(config: Mapping[str, Any]) -> Any:
    """A randomly initialised `diffusers.UNet2DConditionModel` of that size, ready for inference."""
    return require("diffusers", "export").UNet2DConditionModel(**config).eval()


def export_unet(
    config: Mapping[str, Any] = SD15_UNET,
    *,
    opset: int = 23,
    weights: bool = False,
    module_factory: Callable[[], Any] | None = None,
) -> onnx.ModelProto:
    """Exports the UNet for any `batch`, `height`, `width` (multiples of 8) and `text_tokens`.

    Its inputs are `sample` `(batch, 4, height, width)`, `timestep` `(batch,)` and
    `encoder_hidden_states` `(batch, text_tokens, cross_attention_dim)`; `height` and `width` are
    those of the latents. Its output is `noise`, of the shape of `sample`.

    Args:
        config: The sizes.
        opset: The ONNX operator set.
        weights: Whether the model keeps its weights.
        module_factory: Makes the module, if not `build(config)`.

    Raises:
        MissingExtraError: If torch, onnxscript or diffusers is not installed.
    """
    torch = require("torch", "export")
    return export(
        module_factory or (lambda: build(config)),
        lambda: (
            # Distinct sizes, lest torch find two of them equal, and no special ones.
            torch.zeros(2, config["in_channels"], 64, 72),
            torch.zeros(2),
            torch.zeros(2, 77, config["cross_attention_dim"]),
        ),
        dynamic_axes={
            "sample": {0: "batch", 2: "height", 3: "width"},
            "timestep": {0: "batch"},
            "encoder_hidden_states": {0: "batch", 1: "text_tokens"},
        },
        input_names=["sample", "timestep", "encoder_hidden_states"],
        output_names=["noise"],
        options={"return_dict": False},
        # Three halvings on the way down must give whole sizes to meet again on the way up.
        multiples={"height": 8, "width": 8},
        opset=opset,
        weights=weights,
    )
