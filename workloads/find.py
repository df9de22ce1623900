"""A workload by what users call it: a name in the zoo, or the path of an ONNX file."""

from __future__ import annotations

from pathlib import Path

from . import zoo
from .graph import Workload

__all__ = ["workload"]


def workload(name_or_path: str | Path) -> Workload:
    """The workload of that name or in that file.

    Args:
        name_or_path: A name of `zoo.names()`, or the path of an `.onnx` or `.onnx.gz` file.

    Raises:
        UnknownModelError: It is neither; the message names the nearest model.
        OnnxError: The file cannot be read as a workload.
    """
    text = str(name_or_path)
    if text in zoo.names():
        return zoo.load(text)
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.exists() or path.suffix in (".onnx", ".gz"):
        from .onnx_reader import read  # onnx takes long to import

        return read(path)
    return zoo.load(text)
