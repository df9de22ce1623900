"""Bytes become a checked ONNX model, or one line that says what is wrong with them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.inliner import inline_local_functions

from .onnx_ledger import OnnxError

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "load"]

OLDEST_OPSET = 11
NEWEST_OPSET = 25

_GZIP = b"\x1f\x8b"


def load(source: str | Path | bytes) -> tuple[onnx.ModelProto, Path | None]:
    """A model and, if it came from a file, the folder where its external data may lie.

    Local functions are inlined; external data is left where it is.

    Raises:
        OnnxError: There is no such file, or it is no ONNX model that can be read.
    """
    if isinstance(source, bytes):
        return _model(source, "the given bytes"), None
    path = Path(source)
    if path.is_dir():
        raise OnnxError(f"{path} is a directory; give the path of an .onnx file")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise OnnxError(f"{path}: there is no such file") from None
    except OSError as error:
        raise OnnxError(f"{path} cannot be read: {error.strerror or error}") from None
    return _model(content, str(path)), path.parent


def _model(content: bytes, where: str) -> onnx.ModelProto:
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise OnnxError(f"{where} is a gzip file that is cut off or damaged") from None
    if not content:
        raise OnnxError(f"{where} is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise OnnxError(f"{where} is not an ONNX model, or is cut off") from None
    if not model.HasField("graph") or not (model.opset_import or model.ir_version):
        raise OnnxError(f"{where} is not an ONNX model, or is cut off: it holds no graph")
    if not all(isinstance(text, str) for text in _texts(model)):
        raise OnnxError(f"{where} is damaged: it holds names that are no text")
    _check_opset(model, where)
    if not model.graph.node:
        raise OnnxError(f"{where} holds a graph without nodes: there is nothing to compute")
    if not model.graph.output:
        raise OnnxError(f"{where} holds a graph without outputs; it may be cut off")
    return inline_local_functions(model) if model.functions else model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """The names in a model, which protobuf hands out as bytes where they are damaged."""
    graph = model.graph
    for entry in model.opset_import:
        yield entry.domain
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in graph.initializer:
        yield tensor.name
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _check_opset(model: onnx.ModelProto, where: str) -> None:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        if model.opset_import:
            return  # every operation is of another domain
        raise OnnxError(f"{where} states no opset; it may be cut off")
    if not OLDEST_OPSET <= versions[0] <= NEWEST_OPSET:
        raise OnnxError(
            f"{where} is of opset {versions[0]}, but opsets {OLDEST_OPSET} to {NEWEST_OPSET} can "
            "be read; convert it with onnx.version_converter"
        )
