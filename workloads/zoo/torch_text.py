"""Text encoders, as transformers builds them from `configs.yaml`."""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from collections.abc import Mapping
from typing import Any

import onnx

from ..extras import require
from ..onnx_export import export


def build(class_path: str, config: Mapping[str, Any]) -> Any:
    """A randomly initialised text encoder of CLIP's kind, ready for inference.

    Its forward takes `input_ids` `(batch, max_position_embeddings)` and returns the tokens' states
    `(batch, tokens, hidden_size)` and the text's, `(batch, width)`.

    Args:
        class_path: `transformers.CLIPTextModel`, or `...WithProjection`.
        config: The arguments of `transformers.CLIPTextConfig`.
    """
    nn = require("torch", "export").nn
    transformers = require("transformers", "export")
    sizes = transformers.CLIPTextConfig(**config, attn_implementation="sdpa")
    base: Any = getattr(transformers, class_path.rpartition(".")[2])

    class Encoder(base):  # type: ignore[misc]
        def forward(self, input_ids: Any) -> Any:
            found = base.forward(self, input_ids)
            pooled = found.text_embeds if "text_embeds" in found else found.pooler_output
            return found.last_hidden_state, pooled

    assert issubclass(Encoder, nn.Module)
    return Encoder(sizes).eval()


def export_text_encoder(
    class_path: str, config: Mapping[str, Any], *, opset: int = 23
) -> onnx.ModelProto:
    """Exports `build(class_path, config)` without weights, for any `batch` of whole texts.

    Raises:
        MissingExtraError: If torch, onnxscript or transformers is not installed.
    """
    torch = require("torch", "export")
    tokens = config["max_position_embeddings"]
    return export(
        lambda: build(class_path, config),
        lambda: (torch.zeros(2, tokens, dtype=torch.int64),),
        dynamic_axes={"input_ids": {0: "batch"}},
        input_names=["input_ids"],
        output_names=["states", "pooled"],
        opset=opset,
    )
