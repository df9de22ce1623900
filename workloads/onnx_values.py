"""Shape arithmetic: the contents of small tensors, computed with sizes instead of numbers.

Exporters compute target shapes inside the graph (`Shape`, `Gather`, `Mul`, `Concat`, ...).  Each
function here is one operation on arrays of objects, so that an element may be a symbolic size; it
returns None where the contents cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from onnx import TensorProto

from . import onnx_arithmetic as arithmetic
from .extent import Extent, product
from .onnx_node import Node, Values
from .onnx_types import FLOATING, LARGEST

__all__ = ["contents"]


def contents(node: Node) -> Values | None:
    """The contents of the first output of `node`, or None."""
    rule = _RULES.get(node.op_type) if not node.domain else None
    if rule is None or any(t.values is None for t in node.present[: _NEEDED.get(node.op_type, 99)]):
        return None
    try:
        values = rule(node)
    except (arithmetic.UnknownError, ArithmeticError):
        return None
    return values if values.size <= LARGEST else None


def filled(shape: tuple[int, ...], value: object) -> Values:
    """An array of that shape, each of whose elements is `value`."""
    array = np.empty(shape, dtype=object)
    array.fill(value)
    return array


def _array(node: Node, index: int = 0) -> Values:
    values = node.tensor(index).values
    if values is None:
        raise arithmetic.UnknownError
    return values


def _numbers(node: Node, index: int, attribute: str = "") -> list[int]:
    sizes = node.sizes(index, attribute)
    if sizes is None or any(isinstance(size, Extent) for size in sizes):
        raise arithmetic.UnknownError
    return [int(cast("int", size)) for size in sizes]


def _each(function: Callable[..., Any]) -> Callable[[Node], Values]:
    def rule(node: Node) -> Values:
        arrays = np.broadcast_arrays(*(_array(node, i) for i in range(len(node.inputs))))
        result = np.empty(arrays[0].shape, dtype=object)
        for index in np.ndindex(result.shape):
            result[index] = function(node, *(array[index] for array in arrays))
        return result

    return rule


def _cast(node: Node) -> Values:
    values = _array(node)
    to = node.integer("to", TensorProto.FLOAT)
    kind = float if to in FLOATING else bool if to == TensorProto.BOOL else int
    result = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        result[index] = arithmetic.converted(values[index], kind)
    return result


def _gather(node: Node) -> Values:
    data, indices = _array(node), _array(node, 1)
    axis = node.axis("axis", 0, data.ndim)
    where = np.array([arithmetic.number(i) for i in indices.reshape(-1)], dtype=np.int64)
    return np.asarray(np.take(data, where.reshape(indices.shape), axis=axis), dtype=object)


def _slice(node: Node) -> Values:
    data = _array(node)
    starts, ends = _numbers(node, 1, "starts"), _numbers(node, 2, "ends")
    axes = _numbers(node, 3, "axes") if node.has(3) or "axes" in node.attributes else None
    steps = _numbers(node, 4) if node.has(4) else [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(
        axes or range(len(starts)), starts, ends, steps, strict=False
    ):
        size = data.shape[axis]
        last = None if step < 0 and end < -size else end
        cut[axis] = slice(start, last, step)
    return data[tuple(cut)]


def _concat(node: Node) -> Values:
    arrays = [_array(node, i) for i in range(len(node.inputs))]
    return np.concatenate(arrays, axis=node.axis("axis", 0, arrays[0].ndim))


def _size(node: Node) -> Values:
    return filled((), product(node.shape()))


def _shape(node: Node) -> Values:
    shape = node.shape()
    start, end = node.integer("start", 0), node.attributes.get("end")
    part = shape[start:] if end is None else shape[start:end]
    values = np.empty(len(part), dtype=object)
    values[:] = part
    return values


def _constant_of_shape(node: Node) -> Values:
    shape = _numbers(node, 0)
    if math.prod(shape) > LARGEST:
        raise arithmetic.UnknownError
    given = node.attributes.get("value")
    value = 0.0 if given is None or given.values is None else given.values.reshape(-1)[0]
    return filled(tuple(shape), value)


def _expand(node: Node) -> Values:
    data = _array(node)
    shape = np.broadcast_shapes(data.shape, tuple(_numbers(node, 1)))
    if math.prod(shape) > LARGEST:
        raise arithmetic.UnknownError
    return np.broadcast_to(data, shape)


def _range(node: Node) -> Values:
    start, limit, delta = (arithmetic.number(_array(node, i).reshape(-1)[0]) for i in range(3))
    count = max(math.ceil((limit - start) / delta), 0)
    if count > LARGEST:
        raise arithmetic.UnknownError
    values = np.empty(count, dtype=object)
    values[:] = [start + delta * i for i in range(count)]
    return values


def _reduce(combine: Callable[[Iterator[Any]], Any]) -> Callable[[Node], Values]:
    def rule(node: Node) -> Values:
        data = _array(node)
        axes = node.sizes(1, "axes")
        if axes is not None and len(axes) != data.ndim:
            raise arithmetic.UnknownError
        shape = (1,) * data.ndim if node.integer("keepdims", 1) else ()
        return filled(shape, combine(iter(data.reshape(-1).tolist())))

    return rule


def _total(values: Iterator[Any]) -> Any:
    return sum(values, 0)


def _same(node: Node) -> Values:
    return _array(node)


def _reshaped(node: Node) -> Values:
    """For operations that only change the shape: `_RULES` is asked after the shape is known."""
    return _array(node)


def _transpose(node: Node) -> Values:
    data = _array(node)
    return data.transpose(node.integers("perm", tuple(reversed(range(data.ndim)))))


def _tile(node: Node) -> Values:
    return np.tile(_array(node), _numbers(node, 1))


_NEEDED: Mapping[str, int] = {"Shape": 0, "Size": 0}
"""How many inputs must be known, where it is not all."""

_RULES: Mapping[str, Callable[[Node], Values]] = {
    "Shape": _shape,
    "Size": _size,
    "Add": _each(arithmetic.add),
    "Sum": _each(arithmetic.add),
    "Sub": _each(arithmetic.subtract),
    "Mul": _each(arithmetic.multiply),
    "Div": _each(arithmetic.divide),
    "Mod": _each(arithmetic.modulo),
    "Pow": _each(arithmetic.power),
    "Sqrt": _each(arithmetic.root),
    "Neg": _each(arithmetic.negative),
    "Abs": _each(arithmetic.absolute),
    "Floor": _each(arithmetic.floor),
    "Ceil": _each(arithmetic.ceil),
    "Round": _each(arithmetic.rounded),
    "Min": _each(arithmetic.extreme(largest=False)),
    "Max": _each(arithmetic.extreme(largest=True)),
    "Equal": _each(arithmetic.compare(lambda sign: sign == 0)),
    "Less": _each(arithmetic.compare(lambda sign: sign < 0)),
    "LessOrEqual": _each(arithmetic.compare(lambda sign: sign <= 0)),
    "Greater": _each(arithmetic.compare(lambda sign: sign > 0)),
    "GreaterOrEqual": _each(arithmetic.compare(lambda sign: sign >= 0)),
    "Not": _each(arithmetic.negation),
    "And": _each(arithmetic.both),
    "Or": _each(arithmetic.either),
    "Where": _each(arithmetic.choose),
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Range": _range,
    "ReduceProd": _reduce(product),
    "ReduceSum": _reduce(_total),
    "Transpose": _transpose,
    "Tile": _tile,
    "Identity": _same,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
}
