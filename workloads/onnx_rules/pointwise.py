"""Work of the vector unit that keeps the shape: arithmetic, activations, softmax and norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from ..extent import Size, product
from ..onnx_node import Node, Result, Tensor, free
from ..operator import Convolution, Elementwise, MatMul, Normalization, Operator, Softmax

__all__ = ["MICROSOFT", "RULES"]


def _elementwise(function: str, *, transcendental: bool = False) -> Callable[[Node], Result]:
    def rule(node: Node) -> Result:
        shape = node.broadcast(*(tensor.shape for tensor in node.present))
        if _changes_nothing(node) and node.shape() == shape:
            return free("it changes nothing", node.tensor())
        operator = Elementwise(
            name=node.name,
            operands=node.operands,
            shape=shape,
            function=function,
            transcendental=transcendental,
            affine=node.trained(),
        )
        wide = [t for t in node.present if t.sources and len(t.shape) == len(shape)]
        straight = all(tensor.straight for tensor in wide)
        return Result(outputs=(node.made(*shape, straight=straight),), operator=operator)

    return rule


def _changes_nothing(node: Node) -> bool:
    neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1}.get(node.op_type)
    return neutral is not None and node.known(1) == (neutral,)


def _unary(function: str, *, transcendental: bool = False) -> Callable[[Node], Result]:
    """Of the first input only; the others are parameters of the function."""

    def rule(node: Node) -> Result:
        tensor = node.tensor()
        operator = Elementwise(
            name=node.name,
            operands=(tensor.operand,),
            shape=tensor.shape,
            function=function,
            transcendental=transcendental,
            affine=sum(t.trained for t in node.present[1:]),
        )
        result = node.made(*tensor.shape, floating=tensor.floating, straight=tensor.straight)
        return Result(outputs=(result,), operator=operator)

    return rule


_ADD, _MUL = _elementwise("add"), _elementwise("mul")


def _add(node: Node) -> Result:
    """A sum; the bias of the product just before it, where it is one."""
    for index, maker in enumerate(node.makers):
        bias = node.tensor(1 - index)
        if isinstance(maker, MatMul):
            fits = maker.weights == 1 and _along(bias, maker.n, axis=-1)
        elif isinstance(maker, Convolution):
            fits = _along(bias, maker.out_channels, axis=-1 - len(maker.kernel))
        else:
            continue
        if fits and (bias.trained or bias.elements == 1) and not maker.bias:
            return _merged(node, index, replace(maker, bias=True), f"the bias of {maker.name}")
    return _ADD(node)


def _mul(node: Node) -> Result:
    """A product; part of the weights of the convolution just before it, where it is a scale."""
    for index, maker in enumerate(node.makers):
        if not isinstance(maker, Convolution) or len(maker.operands) > 1:
            continue
        scale = node.tensor(1 - index)
        if scale.trained and _along(scale, maker.out_channels, axis=-1 - len(maker.kernel)):
            return _multiplied_in(node, maker, index)
    return _MUL(node)


def _multiplied_in(node: Node, maker: Convolution, index: int = 0, *, bias: bool = False) -> Result:
    reason = f"multiplied into the weights of {maker.name}, ahead of time"
    return _merged(node, index, replace(maker, bias=maker.bias or bias), reason)


def _merged(node: Node, index: int, maker: Operator, reason: str) -> Result:
    """A node that becomes part of the operator before it, whose result was not stored between."""
    result = replace(node.tensor(index), sources=(maker.name,), formats=())
    return Result(outputs=(result,), amended=replace(maker, format=None), reason=reason)


def _along(tensor: Tensor, size: Size, axis: int) -> bool:
    """True if it is a parameter of `size` numbers, all along one dimension."""
    if not tensor.constant or len(tensor.shape) < -axis:
        return False
    return tensor.shape[axis] == size and tensor.elements == size


def _softmax(node: Node) -> Result:
    tensor = node.tensor()
    shape = tensor.shape
    axis = node.axis("axis", -1 if node.version >= 13 else 1, len(shape))
    # Before opset 13 everything from the axis on is one row.
    inside = shape[axis : axis + 1] if node.version >= 13 else shape[axis:]
    outside = (*shape[:axis], *shape[axis + 1 :]) if node.version >= 13 else shape[:axis]
    operator = Softmax(
        name=node.name,
        operands=node.operands,
        shape=shape,
        rows=product(outside),
        row_length=product(inside),
    )
    straight = tensor.straight and axis == len(shape) - 1
    return Result(outputs=(node.made(*shape, straight=straight),), operator=operator)


_Form = Literal["layer", "group", "instance", "rms", "batch", "lp"]


def _norm(
    node: Node, form: _Form, rows: Size, row_length: Size, affine: int, *, residual: bool = False
) -> Result:
    shape = node.shape()
    used = node.present if residual else (node.tensor(),)
    operator = Normalization(
        name=node.name,
        operands=tuple(tensor.operand for tensor in used if tensor.sources),
        shape=shape,
        form=form,
        rows=rows,
        row_length=row_length,
        affine=affine,
    )
    result = node.made(*shape, floating=True, straight=node.tensor().straight)
    return Result(outputs=(result,) * max(node.outputs, 1), operator=operator)


def _layer_norm(node: Node) -> Result:
    return _rows_from_axis(node, "layer")


def _rms_norm(node: Node) -> Result:
    return _rows_from_axis(node, "rms")


def _rows_from_axis(node: Node, form: _Form) -> Result:
    shape = node.shape()
    axis = node.axis("axis", -1, len(shape))
    result = _norm(node, form, product(shape[:axis]), product(shape[axis:]), node.trained(1, 2))
    statistics = node.made(*shape[:axis], *(1 for _ in shape[axis:]))
    return replace(result, outputs=(result.outputs[0], statistics, statistics))


def _skip_layer_norm(node: Node) -> Result:
    return _skip_norm(node, "layer", node.trained(2, 3, 4))


def _skip_rms_norm(node: Node) -> Result:
    return _skip_norm(node, "rms", node.trained(2, 3))


def _skip_norm(node: Node, form: _Form, affine: int) -> Result:
    shape = node.shape()
    return _norm(node, form, product(shape[:-1]), shape[-1], affine, residual=True)


def _group_norm(node: Node) -> Result:
    n, channels, *space = node.shape()
    groups = node.integer("num_groups", 1)
    return _norm(node, "group", n * groups, channels // groups * product(space), node.trained(1, 2))


def _instance_norm(node: Node) -> Result:
    n, channels, *space = node.shape()
    return _norm(node, "instance", n * channels, product(space), node.trained(1, 2))


def _batch_norm(node: Node) -> Result:
    maker = node.makers[0]
    if isinstance(maker, Convolution) and len(maker.operands) == 1:
        return _multiplied_in(node, maker, bias=True)
    n, channels, *space = node.shape()
    return _norm(node, "batch", n * channels, product(space), node.trained(1, 2))


def _lp_norm(node: Node) -> Result:
    shape = node.shape()
    axis = node.axis("axis", -1, len(shape))
    return _norm(node, "lp", product((*shape[:axis], *shape[axis + 1 :])), shape[axis], 0)


def _random(node: Node) -> Result:
    if "shape" in node.attributes:
        shape: tuple[Size, ...] = node.integers("shape", ())
    else:
        shape = node.shape()
    operator = Elementwise(name=node.name, operands=(), shape=shape, function=node.op_type.lower())
    return Result(outputs=(node.made(*shape),), operator=operator)


_ARITHMETIC = (
    "Sub Div Pow Sum Mean Min Max Mod Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor "
    "Where BitShift BitwiseAnd BitwiseOr BitwiseXor PRelu"
)
_UNARY = (
    "Abs Neg Sign Floor Ceil Round Reciprocal Not IsNaN IsInf BitwiseNot Relu LeakyRelu Clip "
    "ThresholdedRelu HardSigmoid HardSwish Hardmax Shrink Trilu RotaryEmbedding LRN"
)
_TRANSCENDENTAL = (
    "Exp Log Sqrt Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh Erf Sigmoid Gelu "
    "Mish Softplus Softsign Elu Celu Selu"
)

RULES: Mapping[str, Callable[[Node], Result]] = {
    **{op: _elementwise(op.lower()) for op in _ARITHMETIC.split()},
    **{op: _unary(op.lower()) for op in _UNARY.split()},
    **{op: _unary(op.lower(), transcendental=True) for op in _TRANSCENDENTAL.split()},
    **{f"Random{kind}": _random for kind in ("Normal", "Uniform", "NormalLike", "UniformLike")},
    "Bernoulli": _random,
    "Add": _add,
    "Mul": _mul,
    "Swish": _unary("silu", transcendental=True),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "LayerNormalization": _layer_norm,
    "SimplifiedLayerNormalization": _rms_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "BatchNormalization": _batch_norm,
    "LpNormalization": _lp_norm,
}

MICROSOFT: Mapping[str, Callable[[Node], Result]] = {
    "Gelu": _unary("gelu", transcendental=True),
    "FastGelu": _elementwise("gelu", transcendental=True),
    "BiasGelu": _elementwise("gelu", transcendental=True),
    "QuickGelu": _unary("quickgelu", transcendental=True),
    "SkipLayerNormalization": _skip_layer_norm,
    "SkipSimplifiedLayerNormalization": _skip_rms_norm,
}
