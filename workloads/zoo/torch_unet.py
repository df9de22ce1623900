"""Denoising UNets of images, as diffusers builds them from `configs.yaml`.

Where a configuration names the width of what is attended to, it is a `UNet2DConditionModel`: those
of Stable Diffusion and of latent diffusion.  Where it does not, it is a `UNet2DModel`: DDPM's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export

_TIME_IDS = 6  # sizes of the original image, the crop and the target, two numbers each


def build(config: Mapping[str, Any]) -> Any:
    """A randomly initialised UNet of that size, ready for inference.

    Where the configuration asks for it, as SDXL's does, its forward takes `text_embeds` and
    `time_ids` as further arguments.
    """
    diffusers: Any = require("diffusers", "export")
    base: Any = diffusers.UNet2DConditionModel if _attends(config) else diffusers.UNet2DModel
    if not _is_conditioned(config):
        return base(**config).eval()

    class Conditioned(base):  # type: ignore[misc]
        def forward(
            self,
            sample: Any,
            timestep: Any,
            encoder_hidden_states: Any,
            text_embeds: Any,
            time_ids: Any,
            return_dict: bool = True,
        ) -> Any:
            added = {"text_embeds": text_embeds, "time_ids": time_ids}
            return base.forward(
                self,
                sample,
                timestep,
                encoder_hidden_states,
                added_cond_kwargs=added,
                return_dict=return_dict,
            )

    return Conditioned(**config).eval()


def _attends(config: Mapping[str, Any]) -> bool:
    return "cross_attention_dim" in config


def _is_conditioned(config: Mapping[str, Any]) -> bool:
    return config.get("addition_embed_type") == "text_time"


def export_unet(
    config: Mapping[str, Any],
    *,
    opset: int = 23,
    weights: bool = False,
    module_factory: Callable[[], Any] | None = None,
) -> onnx.ModelProto:
    """Exports the UNet for any `batch`, `height`, `width` and `text_tokens`.

    Its inputs are `sample` `(batch, in_channels, height, width)`, `timestep` `(batch,)` and, unless
    it is one of DDPM, `encoder_hidden_states` `(batch, text_tokens, cross_attention_dim)`; `height`
    and `width` are those of the latents, or of the image where there are none, multiples of what
    the down blocks halve them by. SDXL's has `text_embeds`
    `(batch, 1280)` and `time_ids` `(batch, 6)` too. Its output, `noise`, has the shape of `sample`.

    Args:
        config: The sizes.
        opset: The ONNX operator set.
        weights: Whether the model keeps its weights.
        module_factory: Makes the module, if not `build(config)`.

    Raises:
        MissingExtraError: If torch, onnxscript or diffusers is not installed.
    """
    torch = require("torch", "export")
    # What is halved on the way down must give whole sizes to meet again on the way up.
    halved = 2 ** (len(config["down_block_types"]) - 1)
    # Distinct sizes, lest torch find two of them equal, and no special ones.
    sizes = {
        "sample": (2, config["in_channels"], 64, 64 + max(8, halved)),
        "timestep": (2,),
    }
    dynamic_axes = {
        "sample": {0: "batch", 2: "height", 3: "width"},
        "timestep": {0: "batch"},
    }
    if _attends(config):
        sizes |= {"encoder_hidden_states": (2, 77, config["cross_attention_dim"])}
        dynamic_axes |= {"encoder_hidden_states": {0: "batch", 1: "text_tokens"}}
    if _is_conditioned(config):
        times = _TIME_IDS * config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - times
        sizes |= {"text_embeds": (2, pooled), "time_ids": (2, _TIME_IDS)}
        dynamic_axes |= {"text_embeds": {0: "batch"}, "time_ids": {0: "batch"}}
    return export(
        module_factory or (lambda: build(config)),
        lambda: tuple(torch.zeros(*size) for size in sizes.values()),
        dynamic_axes=dynamic_axes,
        input_names=list(sizes),
        output_names=["noise"],
        options={"return_dict": False},
        multiples={"height": halved, "width": halved},
        opset=opset,
        weights=weights,
    )
