"""A token trace recorded: the model is run on images, and says how many patches it kept.

Needs onnxruntime, which the extra `traces` brings, and a model with its weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .extras import require
from .token_trace import TokenTrace
from .trace_rows import TraceError

__all__ = ["record"]

_KEPT = re.compile(r"kept_[1-9]\d*")


def record(
    model: str | Path | bytes,
    images: Iterable[NDArray[np.generic]],
    *,
    patches: int | None = None,
    outputs: Sequence[str] | None = None,
    name: str = "recorded",
    source: str | None = None,
    labels: Sequence[str] = (),
) -> TokenTrace:
    """Runs a pruning model on images, one at a time, and reads the kept counts it computes.

    Args:
        model: An ONNX file, or its content, with weights. Its one input takes `(1, ...)`.
        images: Each `(channels, height, width)`, or whatever the input takes without its batch;
            converted to the input's type.
        patches: Patches of an image; by default the largest `kept_1` that the model allows.
        outputs: The outputs that are kept counts, in order; by default all called `kept_1`...
        name: The trace's name.
        source: How it was made, for people.
        labels: What the images are called.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        TraceError: The model cannot be run, has no such output, or computes no kept counts.
        OnnxError: The model cannot be read, where its patches are to be found out.
    """
    runtime = require("onnxruntime", "traces")
    content = model if isinstance(model, bytes) else str(model)
    where = "the model" if isinstance(model, bytes) else str(model)
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no common base
        raise TraceError(
            f"{where} cannot be run; does it hold its weights? {_line(error)}"
        ) from None
    named = [output.name for output in session.get_outputs()]
    wanted = list(outputs or sorted(filter(_KEPT.fullmatch, named), key=lambda n: int(n[5:])))
    missing = [output for output in wanted if output not in named]
    if missing or not wanted:
        raise TraceError(
            f"{where}: wanted the output {(*missing, 'kept_1')[0]}, a count of kept patches, got "
            f"{', '.join(named)}"
        )
    entry = session.get_inputs()[0]
    kind = np.float16 if "float16" in entry.type else np.float32
    counts: list[list[int]] = []
    for number, image in enumerate(images, start=1):
        try:
            found = session.run(wanted, {entry.name: image[None].astype(kind)})
        except Exception as error:
            raise TraceError(f"{where}, image {number} cannot be run: {_line(error)}") from None
        counts.append([_count(value, n, number) for value, n in zip(found, wanted, strict=True)])
    said = f"recorded: {len(counts)} images, onnxruntime {runtime.__version__}"
    return TokenTrace.of(name, patches or _patches(model), counts, source or said, labels)


def _count(value: Any, output: str, image: int) -> int:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise TraceError(
            f"image {image}: wanted {output} as one whole number, got {array.dtype} of shape "
            f"{array.shape}"
        )
    return int(array.item())


def _patches(model: str | Path | bytes) -> int:
    """How many patches the first selector of a model is given."""
    from .onnx_reader import read  # onnx takes long to import

    for symbol in read(model).symbols:
        if symbol.name == "kept_1" and isinstance(symbol.upper, int):
            return symbol.upper
    raise TraceError("the model does not tell how many patches an image has; give patches")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
