"""Networks that make video, and the encoders beside them, as diffusers and transformers build them.

Each is built from its arguments in `configs.yaml`.  What is computed once from sizes alone, as the
positions of tokens are, is an input of the graph: it is read like one, and it is not trained.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from collections.abc import Callable, Mapping
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export
from .configs import arguments, class_path

__all__ = [
    "export_cogvideox",
    "export_cogvideox_decoder",
    "export_image_encoder",
    "export_svd",
    "export_svd_decoder",
    "export_t5",
]

SVD_LATENTS = (72, 128)
"""Height and width of the latents of a video of 576 x 1024."""

FRAMES = 13
"""Latent frames of CogVideoX: 49 frames, the first of which is compressed alone, the rest by 4."""


def export_svd(name: str) -> onnx.ModelProto:
    """Exports a spatio-temporal UNet for any `batch` and `frames`.

    Its inputs are `sample` `(batch, frames, 8, 72, 128)`, the latents of the noise and of the
    image; `timestep` `(batch,)`; `encoder_hidden_states` `(batch, 1, 1024)`, the embedding of that
    image; and `added_time_ids` `(batch, 3)`: frame rate, motion and noise.  Its output, `noise`,
    has 4 channels.  What embeds the numbers of the frames depends on no input and is not counted
    as work of a step: 0.1 GMACs for each frame.

    Raises:
        MissingExtraError: If torch, onnxscript or diffusers is not installed.
    """
    config = arguments(name)
    width = config["cross_attention_dim"]
    return _export(
        lambda: _class(name)(**config).eval(),
        {
            "sample": ((2, 5, config["in_channels"], *SVD_LATENTS), ("batch", "frames")),
            "timestep": ((2,), ("batch",)),
            "encoder_hidden_states": ((2, 1, width), ("batch",)),
            "added_time_ids": ((2, 3), ("batch",)),
        },
        "noise",
        options={"return_dict": False},
    )


def export_svd_decoder(name: str) -> onnx.ModelProto:
    """Exports the temporal decoder of an autoencoder for any `frames`, `height` and `width`.

    Its input is `sample` `(frames, 4, height, width)`, the latents of frames that are decoded
    together, its output `video` `(frames, 3, 8 height, 8 width)`.
    """
    torch = require("torch", "export")

    def build() -> Any:
        decoder = _class(name)(**arguments(name)).decoder
        base: Any = type(decoder)

        class Decoder(base):  # type: ignore[misc]
            def forward(self, sample: Any) -> Any:
                frames = sample.shape[0]
                return base.forward(self, sample, torch.zeros(1, frames), frames)

        decoder.__class__ = Decoder
        return decoder.eval()

    return _export(
        build,
        {"sample": ((5, 4, 64, 72), ("frames", "", "height", "width"))},
        "video",
    )


def export_cogvideox(name: str) -> onnx.ModelProto:
    """Exports a CogVideoX transformer for any `batch`, and for videos of 49 x 480 x 720.

    Its inputs are `hidden_states` `(batch, 13, 16, 60, 90)`, `encoder_hidden_states`
    `(batch, 226, 4096)`, `timestep` `(batch,)`, and its positions: `pos_embedding`
    `(1, 17776, width)`, added to text and patches, or the tables `cos` and `sin` `(17550, 64)`
    that rotate queries and keys.  Its output, `noise`, has the shape of `hidden_states`.
    """
    config = arguments(name)
    text, patch = config["max_text_seq_length"], config["patch_size"]
    height, width = config["sample_height"], config["sample_width"]
    tokens = FRAMES * (height // patch) * (width // patch)
    embed = config["num_attention_heads"] * config["attention_head_dim"]
    rotary = config["use_rotary_positional_embeddings"]
    table = ((tokens, config["attention_head_dim"]), ())
    base: Any = _class(name)

    class Rotary(base):  # type: ignore[misc]
        def forward(
            self, hidden_states: Any, encoder_hidden_states: Any, timestep: Any, cos: Any, sin: Any
        ) -> Any:
            return base.forward(
                self,
                hidden_states,
                encoder_hidden_states,
                timestep,
                image_rotary_emb=(cos, sin),
                return_dict=False,
            )

    class Added(base):  # type: ignore[misc]
        def __init__(self, **config: Any) -> None:
            super().__init__(**config)
            del self.patch_embed.pos_embedding

        def forward(
            self, hidden_states: Any, encoder_hidden_states: Any, timestep: Any, pos_embedding: Any
        ) -> Any:
            self.patch_embed.pos_embedding = pos_embedding
            noise = base.forward(
                self, hidden_states, encoder_hidden_states, timestep, return_dict=False
            )
            del self.patch_embed.pos_embedding
            return noise

    return _export(
        lambda: (Rotary if rotary else Added)(**config).eval(),
        {
            "hidden_states": ((2, FRAMES, config["in_channels"], height, width), ("batch",)),
            "encoder_hidden_states": ((2, text, config["text_embed_dim"]), ("batch",)),
            "timestep": ((2,), ("batch",)),
            **(
                {"cos": table, "sin": table}
                if rotary
                else {"pos_embedding": ((1, text + tokens, embed), ())}
            ),
        },
        "noise",
    )


def export_cogvideox_decoder(name: str) -> onnx.ModelProto:
    """Exports the decoder of CogVideoX's causal autoencoder, for 13 latent frames of 60 x 90.

    All frames are decoded in one pass.  diffusers decodes 3, and then 2 at a time, with the last
    frames of each convolution's input kept for the next: as many outputs, hence as many MACs.

    Its input is `sample` `(1, 16, 13, 60, 90)`, its output `video` `(1, 3, 49, 480, 720)`.
    """
    nn = require("torch", "export").nn

    def build() -> Any:
        decoder = _class(name)(**arguments(name)).decoder
        base: Any = type(decoder)

        class Decoder(base):  # type: ignore[misc]
            def forward(self, sample: Any) -> Any:
                return base.forward(self, sample)[0]

        decoder.__class__ = Decoder
        for module in decoder.modules():
            if isinstance(module, nn.Conv3d):  # diffusers' own cuts what is large for a GPU
                module.__class__ = nn.Conv3d
        return decoder.eval()

    return _export(build, {"sample": ((1, 16, FRAMES, 60, 90), ())}, "video")


def export_t5(name: str) -> onnx.ModelProto:
    """Exports a T5 encoder: `input_ids` `(batch, tokens)` to `hidden` `(batch, tokens, d_model)`.

    Its attention is written out, since torch 2.13 cannot export the fused one of transformers 5.
    """
    base: Any
    base, config = _transformer(name, attn_implementation="eager")

    class Encoder(base):  # type: ignore[misc]
        def forward(self, input_ids: Any) -> Any:
            return base.forward(self, input_ids).last_hidden_state

    inputs = {"input_ids": ((2, 226), ("batch", "tokens"))}
    return _export(lambda: Encoder(config).eval(), inputs, "hidden")


def export_image_encoder(name: str) -> onnx.ModelProto:
    """Exports a CLIP image tower: `pixel_values` `(batch, 3, 224, 224)` to `image_embeds`."""
    base: Any
    base, config = _transformer(name)

    class Encoder(base):  # type: ignore[misc]
        def forward(self, pixel_values: Any) -> Any:
            return base.forward(self, pixel_values).image_embeds

    inputs = {"pixel_values": ((2, 3, config.image_size, config.image_size), ("batch",))}
    return _export(lambda: Encoder(config).eval(), inputs, "image_embeds")


def _transformer(name: str, **options: Any) -> tuple[Any, Any]:
    """A class of transformers, and the configuration to build it with."""
    kind = getattr(require("transformers", "export"), class_path(name).rpartition(".")[2])
    return kind, kind.config_class(**arguments(name), **options)


Input = tuple[tuple[int, ...], tuple[str, ...]]
"""Shape of an example, and the symbols of its dimensions; an empty one is fixed."""


def _class(name: str) -> Any:
    return getattr(require("diffusers", "export"), class_path(name).rpartition(".")[2])


def _export(
    build: Callable[[], Any],
    inputs: Mapping[str, Input],
    *outputs: str,
    options: Mapping[str, object] | None = None,
) -> onnx.ModelProto:
    torch = require("torch", "export")
    return export(
        build,
        lambda: tuple(
            torch.zeros(*sizes, dtype=torch.int64 if name == "input_ids" else None)
            for name, (sizes, _) in inputs.items()
        ),
        dynamic_axes={
            name: {axis: symbol for axis, symbol in enumerate(symbols) if symbol}
            for name, (_, symbols) in inputs.items()
        },
        input_names=list(inputs),
        output_names=list(outputs),
        options=options,
    )
