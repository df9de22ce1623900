"""What is known before any data is: constants, and the sizes of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ..extent import Extent, ceil_div
from ..onnx_node import Node, Result, Shape, Tensor, free
from ..onnx_types import LARGEST

__all__ = ["RULES"]


def _of_sizes(shape: Shape, floating: bool) -> Tensor:
    return Tensor(shape=shape, floating=floating, sized=True)


def _shape(node: Node) -> Result:
    rank = len(node.shape())
    count = len(range(rank)[slice(node.integer("start", 0), node.integer("end", rank))])
    return free("shape arithmetic", _of_sizes((count,), False))


def _size(_: Node) -> Result:
    return free("shape arithmetic", _of_sizes((), False))


def _constant(node: Node) -> Result:
    kinds = {"value_int": False, "value_ints": False, "value_float": True, "value_floats": True}
    for name, floating in kinds.items():
        if name in node.attributes:
            values = np.array(node.attributes[name], dtype=object)
            known = None if values.size > LARGEST else values
            return free("constant", Tensor(shape=values.shape, floating=floating, values=known))
    value = node.attributes.get("value")
    return free("constant", value if isinstance(value, Tensor) else Tensor(shape=()))


def _constant_of_shape(node: Node) -> Result:
    value = node.attributes.get("value")
    floating = value.floating if isinstance(value, Tensor) else True
    return free(
        "it depends on sizes only", Tensor(shape=tuple(node.sizes(0) or ()), floating=floating)
    )


def _range(node: Node) -> Result:
    ends = [node.known(i) for i in range(3)]
    shape: Shape
    if any(not end for end in ends):
        shape = node.hint() or (node.ledger.born(None, upper=None),)
    else:
        start, limit, delta = (end[0] for end in ends if end)
        if isinstance(start, Extent) or isinstance(limit, Extent) or isinstance(delta, Extent):
            shape = (ceil_div(limit - start, delta),)
        else:
            shape = (max(math.ceil((limit - start) / delta), 0),)
    return free(
        "it depends on sizes only", Tensor(shape=shape, floating=node.tensor().floating, sized=True)
    )


RULES: Mapping[str, Callable[[Node], Result]] = {
    "Constant": _constant,
    "Shape": _shape,
    "Size": _size,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
}
