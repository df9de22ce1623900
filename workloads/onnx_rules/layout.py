"""Operations that only say where numbers lie: other addresses for the same data, hence free.

Reshapes, transposes, concatenations, constant slices, broadcasts: their neighbours load and store
accordingly.  Each rule here gives shapes; none gives an operator, except a gather that needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import cast

from ..extent import Size, product
from ..onnx_formats import FORMATS
from ..onnx_node import Node, Result, Shape, Tensor, free, view
from ..onnx_types import FLOATING

__all__ = ["RULES"]

_VIEW = "a view: the same numbers under another shape"
_LAYOUT = "layout: its neighbours load and store in the other order"
_AGAIN = "its consumers read the same numbers again"
_SIDE_BY_SIDE = "its parts are written side by side"
_SAME = "hands its input on"


def _identity(node: Node) -> Result:
    return free(_SAME, node.tensor())


def _dropout(node: Node) -> Result:
    mask = replace(node.tensor(), floating=False)
    return free("dropout does nothing at inference", node.tensor(), mask)


def _cast(node: Node) -> Result:
    to, data = node.integer("to", 1), node.tensor()
    formats = ((FORMATS[to], data.elements),) if to in FORMATS else data.formats
    return free(
        "numbers are converted where they are written",
        replace(data, floating=to in FLOATING, formats=formats),
    )


def _cast_like(node: Node) -> Result:
    floating = node.tensor(1).floating
    return free(
        "numbers are converted where they are written", replace(node.tensor(), floating=floating)
    )


def _reshape(node: Node) -> Result:
    data = node.tensor()
    if node.tensor(1).values is None and (hint := node.hint()) is not None:
        return free(_VIEW, view(data, hint))
    given = node.sizes(1, "shape") or ()
    shape: list[Size] = []
    for i, size in enumerate(given):
        if size == 0 and not node.integer("allowzero", 0):
            if i >= len(data.shape):
                raise node.error(f"cannot copy dimension {i} of {len(data.shape)}")
            size = data.shape[i]
        shape.append(size)
    if -1 in shape:
        known = product(size for size in shape if size != -1)
        shape[shape.index(-1)] = _quotient(node, data.elements, known)
    else:
        node.same(data.elements, product(shape))
    return free(_VIEW, view(data, tuple(shape)))


def _quotient(node: Node, elements: Size, known: Size) -> Size:
    if isinstance(elements, int) and isinstance(known, int) and known and elements % known:
        raise node.error(f"{elements} elements do not fill rows of {known}")
    return elements // known if known != 0 else 0


def _flatten(node: Node) -> Result:
    shape = node.shape()
    axis = node.integer("axis", 1)
    axis = len(shape) if axis == len(shape) else node.counted(axis, len(shape))
    return free(_VIEW, view(node.tensor(), (product(shape[:axis]), product(shape[axis:]))))


def _squeeze(node: Node) -> Result:
    shape = node.shape()
    axes = node.sizes(1, "axes")
    if axes is None:
        gone = {i for i, size in enumerate(shape) if size == 1}
    else:
        gone = {node.counted(node.static(axis), len(shape)) for axis in axes}
        for axis in gone:
            node.same(shape[axis], 1)
    rest = tuple(size for i, size in enumerate(shape) if i not in gone)
    return free(_VIEW, view(node.tensor(), rest))


def _unsqueeze(node: Node) -> Result:
    shape = node.shape()
    axes = node.sizes(1, "axes") or ()
    rank = len(shape) + len(axes)
    new = {node.counted(node.static(axis), rank) for axis in axes}
    rest = iter(shape)
    return free(
        _VIEW, view(node.tensor(), tuple(1 if i in new else next(rest) for i in range(rank)))
    )


def _transpose(node: Node) -> Result:
    shape = node.shape()
    perm = node.integers("perm", tuple(reversed(range(len(shape)))))
    if sorted(perm) != list(range(len(shape))):
        raise node.error(f"perm {list(perm)} does not fit {len(shape)} dimensions")
    straight = node.tensor().straight and (not perm or perm[-1] == len(perm) - 1)
    result = view(node.tensor(), tuple(shape[i] for i in perm), straight=straight)
    return free(_LAYOUT, result)


def _depth_to_space(node: Node) -> Result:
    n, c, *space = node.shape()
    block = node.integer("blocksize", 1)
    shape = (n, c // block**2, *(size * block for size in space))
    return free(_LAYOUT, view(node.tensor(), shape, straight=False))


def _space_to_depth(node: Node) -> Result:
    n, c, *space = node.shape()
    block = node.integer("blocksize", 1)
    shape = (n, c * block**2, *(size // block for size in space))
    return free(_LAYOUT, view(node.tensor(), shape, straight=False))


def _concat(node: Node) -> Result:
    tensors = node.present
    axis = node.axis("axis", 0, len(tensors[0].shape))
    if len({len(tensor.shape) for tensor in tensors}) != 1:
        raise node.error(f"its inputs have {[len(t.shape) for t in tensors]} dimensions")
    shape = list(tensors[0].shape)
    for tensor in tensors[1:]:
        for i, size in enumerate(tensor.shape):
            shape[i] = shape[i] + size if i == axis else node.same(shape[i], size)
    active = [tensor for tensor in tensors if tensor.sources]
    whole = len(active) == len(tensors) and all(tensor.distinct is None for tensor in tensors)
    read = reduce(lambda total, tensor: total + tensor.read, active, cast("Size", 0))
    result = Tensor(
        shape=tuple(shape),
        sources=tuple(dict.fromkeys(source for tensor in tensors for source in tensor.sources)),
        floating=tensors[0].floating,
        trained=sum(tensor.trained for tensor in tensors),
        distinct=None if whole or not active else read,
        sized=any(tensor.sized for tensor in tensors),
        straight=all(tensor.straight for tensor in tensors),
        formats=_formats(tensors),
    )
    return free(_SIDE_BY_SIDE, result)


def _formats(tensors: Sequence[Tensor]) -> tuple[tuple[str, Size], ...]:
    """How many elements of several tensors have which format; none if weights have one in part."""
    if not any(tensor.sources for tensor in tensors) and not all(t.formats for t in tensors):
        return ()
    total: dict[str, Size] = {}
    for tensor in tensors:
        for format, count in tensor.formats:
            # A part of a tensor still counts the elements of the whole.
            number = tensor.elements if len(tensor.formats) == 1 else count
            total[format] = total.get(format, 0) + number
    return tuple(total.items())


def _expand(node: Node) -> Result:
    data = node.tensor()
    if node.tensor(1).values is None and (hint := node.hint()) is not None:
        shape = hint
    else:
        shape = node.broadcast(data.shape, node.sizes(1) or ())
    return free(_AGAIN, _repeated(data, shape))


def _repeated(data: Tensor, shape: Shape) -> Tensor:
    if shape == data.shape:
        return view(data, shape)
    distinct = data.read if data.sources else None
    return replace(view(data, shape), distinct=distinct)


def _tile(node: Node) -> Result:
    repeats = node.sizes(1) or ()
    shape = tuple(size * times for size, times in zip(node.shape(), repeats, strict=True))
    return free(_AGAIN, _repeated(node.tensor(), shape))


RULES: Mapping[str, Callable[[Node], Result]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Concat": _concat,
    "Expand": _expand,
    "Tile": _tile,
}
