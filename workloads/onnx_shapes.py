"""Shapes as an ONNX file states them: a fallback, and names for sizes that only data decides."""

from __future__ import annotations

import onnx

from .extent import symbol
from .extent_text import parse
from .onnx_node import Shape

__all__ = ["dims", "inferred_shapes", "stated_shapes"]


def dims(shape: onnx.TensorShapeProto, name: str) -> Shape:
    """The sizes of tensor `name`; one without a name is a symbol called after its place."""
    return tuple(
        parse(dim.dim_param)
        if dim.dim_param
        else dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else symbol(f"{name}_{i}")
        for i, dim in enumerate(shape.dim)
    )


def inferred_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """What onnx infers, for standard operations that have no rule here."""
    try:
        return stated_shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)
    except (ValueError, RuntimeError, onnx.shape_inference.InferenceError):
        return {}


def stated_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Shapes that the file states for intermediate results, where every size has a name."""
    stated: dict[str, Shape] = {}
    for info in (*graph.value_info, *graph.output):
        kind = info.type.tensor_type
        if kind.HasField("shape") and all(
            dim.dim_param or dim.HasField("dim_value") for dim in kind.shape.dim
        ):
            stated[info.name] = dims(kind.shape, info.name)
    return stated
