"""Slices, splits and gathers: parts of a tensor, free where the addresses are known in advance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from ..extent import Extent, Size, ceil_div, product
from ..onnx_node import Node, Result, Shape, Tensor, free, view
from ..operator import Movement

__all__ = ["RULES"]

_PART = "its consumers read a part"


def _part(tensor: Tensor, shape: Shape) -> Tensor:
    """Some of the elements of `tensor`."""
    trained = tensor.trained
    elements = product(shape)
    if trained and isinstance(elements, int):
        trained = min(trained, elements)
    straight = tensor.straight and tensor.shape[-1:] == shape[-1:]
    return replace(
        view(tensor, shape, straight=straight),
        trained=trained,
        distinct=tensor.distinct if shape == tensor.shape else None,
    )


def _slice(node: Node) -> Result:
    shape = list(node.shape())
    starts, ends = node.sizes(1, "starts"), node.sizes(2, "ends")
    if starts is None or ends is None:
        raise node.error("starts or ends are missing")
    axes = node.sizes(3, "axes") or tuple(range(len(starts)))
    steps = node.sizes(4) or (1,) * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        i = node.counted(node.static(axis), len(shape))
        shape[i] = _cut(node, shape[i], start, end, node.static(step))
    return free(_PART, _part(node.tensor(), tuple(shape)))


_FAR = 2**31 - 1


def _cut(node: Node, size: Size, start: Size, end: Size, step: int) -> Size:
    """How many of `size` elements a slice keeps."""
    if step < 0:
        if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
            return len(range(size)[slice(start, None if end < -size else end, step)])
        return ceil_div(size, -step)  # flips of a whole dimension are the only ones in use
    first, last = _bounded(node, size, start), _bounded(node, size, end)
    return node.ledger.maximum(0, ceil_div(last - first, step))


def _bounded(node: Node, size: Size, index: Size) -> Size:
    if isinstance(index, int) and abs(index) >= _FAR:
        return size if index > 0 else 0
    if isinstance(index, int) and index < 0:
        return node.ledger.maximum(0, size + index)
    if isinstance(index, Extent) and node.ledger.sign(-index) == 1:
        return node.ledger.maximum(0, size + index)
    return node.ledger.minimum(index, size)


def _split(node: Node) -> Result:
    shape = node.shape()
    axis = node.axis("axis", 0, len(shape))
    given = node.sizes(1, "split")
    count = node.integer("num_outputs", node.outputs)
    if given is None:
        each = ceil_div(shape[axis], count)
        given = (*(each,) * (count - 1), shape[axis] - each * (count - 1))
    parts = [_part(node.tensor(), (*shape[:axis], size, *shape[axis + 1 :])) for size in given]
    if (values := node.tensor().values) is not None and axis == 0:
        start = 0
        for i, size in enumerate(given):
            length = node.static(size)
            parts[i] = replace(parts[i], values=values[start : start + length])
            start += length
    return free(_PART, *parts)


def _gather(node: Node) -> Result:
    data, indices = node.tensor(), node.tensor(1)
    axis = node.axis("axis", 0, len(data.shape))
    shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    if indices.constant and (not indices.shape or _contiguous(node.known(1))):
        return free(_PART, _part(data, shape))
    if data.constant and indices.constant:
        return free("", _part(data, shape))
    table = data.trained if data.constant else 0
    rows = () if data.constant else (replace(data.operand, elements=product(shape)),)
    result = node.made(*shape, floating=data.floating)
    function = "gather"
    operator = Movement(
        name=node.name,
        operands=(*rows, *((indices.operand,) if indices.sources else ())),
        shape=shape,
        function=function,
        table=table,
    )
    return Result(outputs=(result,), operator=operator)


def _contiguous(values: tuple[Size, ...] | None) -> bool:
    if not values or any(isinstance(value, Extent) for value in values):
        return False
    first = cast("int", values[0])
    return list(values) == list(range(first, first + len(values)))


RULES: Mapping[str, Callable[[Node], Result]] = {
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
}
