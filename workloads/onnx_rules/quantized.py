"""Quantized numbers: conversions to and from integers, and operations that compute on integers.

An operation on integers is the same operation on numbers of a shorter format, so its rule is that
of the operation on floats.  What a conversion costs depends on its surroundings: here each is an
operator; `stored` makes those free that ride on another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from ..extent import Size
from ..onnx_formats import FORMATS
from ..onnx_node import Node, Result, Tensor, free
from ..operator import Elementwise, Operand, Reduction
from .convolution import RULES as CONVOLUTION
from .layout import RULES as LAYOUT
from .movement import RULES as MOVEMENT
from .pointwise import RULES as POINTWISE
from .products import RULES as PRODUCTS

__all__ = ["MICROSOFT", "RULES"]

Formats: TypeAlias = "tuple[tuple[str, Size], ...]"

_FLOAT = {**CONVOLUTION, **LAYOUT, **MOVEMENT, **POINTWISE, **PRODUCTS}
_DEFAULT = "int8"  # of ONNX, where there is neither a type nor a zero point: UINT8
_SEMANTICS = 13
"""The opset whose axes and attributes Microsoft's quantized operations have."""


def _quantize(node: Node) -> Result:
    code = node.integer("output_dtype", 0)
    if code and code not in FORMATS:
        raise node.error(f"output_dtype {code} is no type of quantized numbers that is known here")
    format = FORMATS[code] if code else _of_zero_point(node, 2)
    result = _converted(node, ((format, node.tensor().elements),), floating=False)
    return replace(result, operator=result.operator and replace(result.operator, format=format))


def _dequantize(node: Node) -> Result:
    return _converted(node, node.tensor().formats, floating=True)


def _converted(node: Node, formats: Formats, *, floating: bool) -> Result:
    data = node.tensor()
    if data.constant:
        return free("", _as(data, data.sources, formats, floating))
    operator = Elementwise(
        name=node.name,
        operands=(data.operand,),
        shape=data.shape,
        function=node.op_type.lower(),
    )
    return Result(outputs=(_as(data, (node.name,), formats, floating),), operator=operator)


def _as(data: Tensor, sources: tuple[str, ...], formats: Formats, floating: bool) -> Tensor:
    return replace(data, sources=sources, formats=formats, floating=floating, values=None)


def _dynamic(node: Node) -> Result:
    """A pass that finds the range of the whole tensor, and one that converts it."""
    data, extremes = node.tensor(), f"{node.name}.range"
    if data.constant:
        return free("", _as(data, (), ((_DEFAULT, data.elements),), False), node.made())
    before = Reduction(
        name=extremes, operands=(data.operand,), shape=(2,), function="minmax", reads=data.elements
    )
    operator = Elementwise(
        name=node.name,
        operands=(data.operand, Operand(sources=(extremes,), elements=2)),
        shape=data.shape,
        function="dynamicquantizelinear",
        format=_DEFAULT,
    )
    scale = Tensor(shape=(), sources=(extremes,))
    made = _as(data, (node.name,), ((_DEFAULT, data.elements),), False)
    return Result(outputs=(made, scale, scale), operator=operator, before=before)


def _on_integers(
    operation: str, *data: int, zero_point: int | None = None, default: str | None = _DEFAULT
) -> Callable[[Node], Result]:
    """The rule of an operation on floats, for the inputs that are numbers.

    Args:
        operation: What it is called on floats.
        data: Which inputs are numbers, not scales and zero points.
        zero_point: The input whose type is that of the result; None if the result is a sum of 32
            bits.
        default: The format of the result where that input is left out.
    """
    rule = _FLOAT[operation]

    def integer_rule(node: Node) -> Result:
        result = rule(_without_scales(node, operation, data))
        if zero_point is None:
            return result
        format = _of_zero_point(node, zero_point, default)
        return _stored(result, format) if format else result

    return integer_rule


def _without_scales(node: Node, operation: str, data: tuple[int, ...]) -> Node:
    inputs = [node.inputs[i] if i < len(node.inputs) else None for i in data]
    version = max(node.version, node.integer("opset", _SEMANTICS))
    return replace(
        node,
        op_type=operation,
        version=version if node.domain else node.version,
        inputs=tuple(inputs),
        makers=(None,) * len(inputs),
    )


def _stored(result: Result, format: str) -> Result:
    """The result with its first output in a format."""
    first, *rest = result.outputs
    return replace(
        result,
        outputs=(replace(first, formats=((format, first.elements),)), *rest),
        operator=result.operator and replace(result.operator, format=format),
    )


def _of_zero_point(node: Node, index: int, default: str | None = _DEFAULT) -> str:
    """The format of numbers that have this zero point."""
    if not node.has(index):
        return default or ""
    format = node.tensor(index).format
    if format is None:
        raise node.error(f"input {index}, a zero point, is of no type that is known here")
    return format


def _concatenation(node: Node) -> Result:
    """`QLinearConcat`: scale and zero point of the result, then three inputs for each part."""
    data = tuple(range(2, len(node.inputs), 3))
    return _FLOAT["Concat"](_without_scales(node, "Concat", data))


RULES: Mapping[str, Callable[[Node], Result]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _on_integers("MatMul", 0, 1),
    "ConvInteger": _on_integers("Conv", 0, 1),
    "QLinearMatMul": _on_integers("MatMul", 0, 3, zero_point=7),
    "QLinearConv": _on_integers("Conv", 0, 3, 8, zero_point=7),
}

MICROSOFT: Mapping[str, Callable[[Node], Result]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "QGemm": _on_integers("Gemm", 0, 3, 6, zero_point=8, default=None),
    "QLinearAdd": _on_integers("Add", 0, 3, zero_point=7),
    "QLinearMul": _on_integers("Mul", 0, 3, zero_point=7),
    "QLinearWhere": _on_integers("Where", 0, 1, 4, zero_point=8),
    "QLinearSigmoid": _on_integers("Sigmoid", 0, zero_point=4),
    "QLinearLeakyRelu": _on_integers("LeakyRelu", 0, zero_point=4),
    "QLinearSoftmax": _on_integers("Softmax", 0, zero_point=4),
    "QLinearReduceMean": _on_integers("ReduceMean", 0, zero_point=4),
    "QLinearAveragePool": _on_integers("AveragePool", 0, zero_point=4),
    "QLinearGlobalAveragePool": _on_integers("GlobalAveragePool", 0, zero_point=4),
    "QLinearConcat": _concatenation,
}
