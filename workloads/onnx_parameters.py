"""Initializers and attributes: which numbers are trained, and which small ones decide shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from .onnx_formats import format_of
from .onnx_node import Shape, Tensor, Values
from .onnx_tidy import WEIGHTS_FILE
from .onnx_types import FLOATING, LARGEST, LARGEST_FLOATS, WEIGHT

__all__ = ["attributes", "captured", "constant", "trained_numbers"]

_UNREADABLE = (LookupError, OSError, TypeError, ValueError, onnx.checker.ValidationError)

_UNTRAINED: Mapping[str, frozenset[int]] = {
    "BatchNormalization": frozenset({3, 4}),
    "Clip": frozenset({1, 2}),
    "ConvInteger": frozenset({2, 3}),
    "DequantizeLinear": frozenset({1, 2}),
    "MatMulInteger": frozenset({2, 3}),
    "Pad": frozenset({2}),
    "QGemm": frozenset({1, 2, 4, 5, 7, 8}),
    "QLinearAdd": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QuantizeLinear": frozenset({1, 2}),
    "Resize": frozenset({1, 2}),
    "Upsample": frozenset({1}),
}
"""Inputs that hold measured or chosen numbers: statistics, limits, scales of a quantization."""

_QUANTIZED: Mapping[str, tuple[int, ...]] = {
    "DequantizeLinear": (0,),
    "QGemm": (3, 6),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
}
"""Inputs that are trained numbers if they are stored, even as integers of 16 or 32 bits."""


def trained_numbers(graph: onnx.GraphProto) -> dict[str, int]:
    """How many trained numbers each initializer that some node reads has.

    A single number is a constant of the formula, such as the scale of an attention.  In a file that
    was written without its weights, what it does contain is no weight.
    """
    used: set[str] = set()
    integers: set[str] = set()
    for node in graph.node:
        integers.update(_dequantized(node))
        skipped = _UNTRAINED.get(node.op_type, frozenset())
        used.update(name for i, name in enumerate(node.input) if i not in skipped)
        used.update(captured(node))
    candidates = [
        tensor
        for tensor in graph.initializer
        if tensor.name in used and (tensor.data_type in WEIGHT or tensor.name in integers)
    ]
    trained = [tensor for tensor in candidates if _left_out(tensor)]
    if not trained:
        trained = [tensor for tensor in candidates if prod(tensor.dims) > 1]
    return {tensor.name: prod(tensor.dims) for tensor in trained}


def _dequantized(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads as trained numbers, of whatever type they are: biases have 32 bits."""
    for i in _QUANTIZED.get(node.op_type, ()):
        yield from node.input[i : i + 1]


def _left_out(tensor: TensorProto) -> bool:
    return any(entry.value == WEIGHTS_FILE for entry in tensor.external_data)


def captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the bodies of an `If`, `Loop` or `Scan` read."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from captured(inner)


def constant(proto: TensorProto, folder: Path | None, trained: int = 0) -> Tensor:
    """A tensor that the file gives, with its contents if they may decide a shape."""
    shape: Shape = tuple(proto.dims)
    floating = proto.data_type in FLOATING
    format = format_of(proto.data_type, proto.metadata_props, f"tensor {proto.name}")
    return Tensor(
        shape=shape,
        floating=floating,
        trained=trained,
        values=_contents(proto, folder, floating),
        formats=((format, prod(proto.dims)),) if format else (),
    )


def _contents(proto: TensorProto, folder: Path | None, floating: bool) -> Values | None:
    count = prod(proto.dims)
    if count > (LARGEST_FLOATS if floating else LARGEST) or proto.data_type == TensorProto.STRING:
        return None
    if count == 0:
        return np.empty(tuple(proto.dims), dtype=object)
    if proto.data_location == TensorProto.EXTERNAL and folder is None:
        return None
    try:
        return _objects(numpy_helper.to_array(proto, str(folder or "")))
    except _UNREADABLE:  # the file came without its weights
        return None


def _objects(array: Any) -> Values:
    values = np.empty(array.shape, dtype=object)
    values[...] = np.asarray(array).astype(object)
    return values


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node, decoded; tensors become `Tensor`, graphs are left out."""
    decoded: dict[str, Any] = {}
    for attribute in node.attribute:
        match attribute.type:
            case AttributeProto.INT:
                decoded[attribute.name] = attribute.i
            case AttributeProto.FLOAT:
                decoded[attribute.name] = attribute.f
            case AttributeProto.STRING:
                decoded[attribute.name] = attribute.s.decode(errors="replace")
            case AttributeProto.INTS:
                decoded[attribute.name] = tuple(attribute.ints)
            case AttributeProto.FLOATS:
                decoded[attribute.name] = tuple(attribute.floats)
            case AttributeProto.TENSOR:
                decoded[attribute.name] = constant(attribute.t, None)
            case _:
                pass
    return decoded
