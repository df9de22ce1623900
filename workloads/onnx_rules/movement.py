"""Work that reduces, moves or selects: pooling, gathers, scatters and token selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

from ..extent import Size, ceil_div, product
from ..onnx_node import Node, Result, Shape, Tensor, free
from ..operator import Movement, Reduction, TokenSelection

__all__ = ["RULES", "unknown"]


def _reduced(node: Node, shape: Shape, reads: Size) -> Result:
    operator = Reduction(
        name=node.name,
        operands=(node.tensor().operand,),
        shape=shape,
        function=node.op_type.lower(),
        reads=reads,
    )
    return Result(outputs=(node.made(*shape),) * max(node.outputs, 1), operator=operator)


def _without(shape: Shape, axes: set[int], keep: bool) -> Shape:
    if keep:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def _reduce(node: Node) -> Result:
    data = node.tensor()
    axes = node.sizes(1, "axes")
    if not axes and node.integer("noop_with_empty_axes", 0):
        return free("it reduces nothing", data)
    rank = len(data.shape)
    chosen = {node.counted(node.static(axis), rank) for axis in axes} if axes else set(range(rank))
    return _reduced(
        node, _without(data.shape, chosen, bool(node.integer("keepdims", 1))), data.elements
    )


def _arg(node: Node) -> Result:
    data = node.tensor()
    axis = node.axis("axis", 0, len(data.shape))
    shape = _without(data.shape, {axis}, bool(node.integer("keepdims", 1)))
    return _reduced(node, shape, data.elements)


def _running(node: Node) -> Result:
    return _reduced(node, node.shape(), node.tensor().elements)


def _global_pool(node: Node) -> Result:
    n, channels, *space = node.shape()
    return _reduced(node, (n, channels, *(1 for _ in space)), node.tensor().elements)


def _pool(node: Node) -> Result:
    n, channels, *space = node.shape()
    kernel = node.integers("kernel_shape", ())
    rank = len(kernel)
    strides, dilations = (
        node.integers("strides", (1,) * rank),
        node.integers("dilations", (1,) * rank),
    )
    pads, same = (
        node.integers("pads", (0,) * 2 * rank),
        node.text("auto_pad", "").startswith("SAME"),
    )
    out: list[Size] = []
    for i, size in enumerate(space):
        reach = (kernel[i] - 1) * dilations[i] + 1
        room = size + pads[i] + pads[i + rank] - reach
        if same:
            out.append(ceil_div(size, strides[i]))
        elif node.integer("ceil_mode", 0):
            # A window that starts in the padding after the input is left out.
            last = ceil_div(size + pads[i], strides[i])
            out.append(node.ledger.minimum(ceil_div(room, strides[i]) + 1, last))
        else:
            out.append(room // strides[i] + 1)
    shape = (n, channels, *out)
    return _reduced(node, shape, product(shape) * product(kernel))


def _moved(
    node: Node, tensors: Sequence[Tensor], shape: Shape, *, function: str = "", **fields: Any
) -> Result:
    """Data that is only moved: a `Movement` that reads `tensors`."""
    operator = Movement(
        name=node.name,
        operands=tuple(tensor.operand for tensor in tensors if tensor.sources),
        shape=shape,
        function=function or node.op_type.lower(),
        **fields,
    )
    return Result(outputs=(node.made(*shape),) * max(node.outputs, 1), operator=operator)


def unknown(node: Node, shapes: Sequence[Shape], captured: Sequence[Tensor] = ()) -> Result:
    """An operation of which only the data that it moves is known.

    Args:
        node: The node.
        shapes: Of its outputs.
        captured: What it reads besides its inputs.
    """
    function = f"{node.domain or 'ai.onnx'}.{node.op_type}"
    result = _moved(node, (*node.present, *captured), shapes[0], function=function, unknown=True)
    note = f"{node.name}: {function} is unknown and counted as moving its data only"
    return replace(result, outputs=tuple(node.made(*shape) for shape in shapes), note=note)


def _gather_elements(node: Node) -> Result:
    data, indices = node.tensor(0), node.tensor(1)
    return _moved(node, (_as_read(data, indices.shape), indices), indices.shape)


def _as_read(data: Tensor, shape: Shape) -> Tensor:
    """`data`, of which as many elements as `shape` has are read."""
    return Tensor(shape=shape, sources=data.sources, floating=data.floating)


def _gather_nd(node: Node) -> Result:
    data, indices = node.tensor(0), node.tensor(1)
    depth = node.static(indices.shape[-1])
    shape = (*indices.shape[:-1], *data.shape[node.integer("batch_dims", 0) + depth :])
    return _moved(node, (_as_read(data, shape), indices), shape)


def _scatter(node: Node) -> Result:
    return _moved(node, node.present, node.shape())


def _resize(node: Node) -> Result:
    shape = node.shape()
    axes = tuple(
        node.counted(axis, len(shape)) for axis in node.integers("axes", range(len(shape)))
    )
    first = 1 if node.op_type == "Upsample" else 2
    wanted = node.known(3) if node.has(3) and node.tensor(3).shape != (0,) else None
    scales = node.known(first) if node.has(first) and node.tensor(first).shape != (0,) else None
    result = list(shape)
    if wanted is not None:
        for axis, size in zip(axes, wanted, strict=True):
            result[axis] = size
    elif scales is not None:
        for axis, scale in zip(axes, scales, strict=True):
            ratio = Fraction(cast("float", scale)).limit_denominator(2**16)
            result[axis] = shape[axis] * ratio.numerator // ratio.denominator
    elif (hint := node.hint()) is not None:
        result = list(hint)
    else:
        raise node.error("neither its sizes nor its scales are known")
    if tuple(result) == shape:
        return free("it keeps the size", node.tensor())
    return _moved(node, (node.tensor(),), tuple(result))


def _pad(node: Node) -> Result:
    shape = list(node.shape())
    pads = node.sizes(1, "pads") or ()
    if all(pad == 0 for pad in pads):
        return free("it adds nothing", node.tensor())
    axes = node.sizes(3) or tuple(range(len(shape)))
    for i, axis in enumerate(axes):
        index = node.counted(node.static(axis), len(shape))
        shape[index] = shape[index] + pads[i] + pads[i + len(axes)]
    return _moved(node, (node.tensor(),), tuple(shape))


def _selected(
    node: Node, function: str, kept: Size, candidates: Size, *shapes: Shape, data_dependent: bool
) -> Result:
    operator = TokenSelection(
        name=node.name,
        operands=node.operands,
        shape=shapes[0],
        function=function,
        candidates=candidates,
        kept=kept,
        data_dependent=data_dependent,
    )
    outputs = tuple(node.made(*shape) for shape in shapes)
    return Result(outputs=outputs, operator=operator)


def _nonzero(node: Node) -> Result:
    mask = node.tensor()
    kept = node.ledger.born(_last(node.hints), mask.elements)
    shape = (len(mask.shape), kept)
    return _selected(node, "nonzero", kept, mask.elements, shape, data_dependent=True)


def _last(hints: Sequence[Shape | None]) -> Size | None:
    return hints[0][-1] if hints and hints[0] else None


def _compress(node: Node) -> Result:
    data, mask = node.tensor(0), node.tensor(1)
    if "axis" in node.attributes:
        axis = node.axis("axis", 0, len(data.shape))
        upper = data.shape[axis]
    else:
        axis, upper = 0, data.elements
    hint = node.hints[0] if node.hints else None
    kept = node.ledger.born(hint[axis] if hint else None, upper)
    shape: Shape = (kept,)
    if "axis" in node.attributes:
        shape = (*data.shape[:axis], kept, *data.shape[axis + 1 :])
    return _selected(node, "compress", kept, mask.elements, shape, data_dependent=True)


def _unique(node: Node) -> Result:
    data = node.tensor()
    if "axis" in node.attributes:
        axis = node.axis("axis", 0, len(data.shape))
        count = data.shape[axis]
        kept = node.ledger.born(None, count)
        shape: Shape = (*data.shape[:axis], kept, *data.shape[axis + 1 :])
    else:
        count = data.elements
        kept = node.ledger.born(_last(node.hints), count)
        shape = (kept,)
    shapes = (shape, (kept,), (count,), (kept,))[: max(node.outputs, 1)]
    return _selected(node, "unique", kept, count, *shapes, data_dependent=True)


def _top_k(node: Node) -> Result:
    data = node.tensor()
    axis = node.axis("axis", -1, len(data.shape))
    count = node.known(1) if node.has(1) else (node.integer("k", 1),)
    if count:
        k, dynamic = count[0], False
    else:
        hint = node.hints[0] if node.hints else None
        k, dynamic = node.ledger.born(hint[axis] if hint else None, data.shape[axis]), True
    shape = (*data.shape[:axis], k, *data.shape[axis + 1 :])
    return _selected(
        node, "topk", product(shape), data.elements, shape, shape, data_dependent=dynamic
    )


def _one_hot(node: Node) -> Result:
    indices = node.tensor()
    depth = (node.sizes(1) or (1,))[0]
    axis = node.integer("axis", -1) % (len(indices.shape) + 1)
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    return _moved(node, (indices,), shape)


def _eye_like(node: Node) -> Result:
    return free("", Tensor(shape=node.shape(), sized=True))


_REDUCTIONS = (
    "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum "
    "ReduceLogSumExp ReduceSumSquare"
)

RULES: Mapping[str, Callable[[Node], Result]] = {
    **dict.fromkeys(_REDUCTIONS.split(), _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("CumSum", "CumProd"), _running),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), _pool),
    **dict.fromkeys(("Scatter", "ScatterND", "ScatterElements", "TensorScatter"), _scatter),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "NonZero": _nonzero,
    "Compress": _compress,
    "Unique": _unique,
    "TopK": _top_k,
    "OneHot": _one_hot,
    "EyeLike": _eye_like,
}
