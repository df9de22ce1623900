"""Convolutions in any number of dimensions, and their transposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..extent import Size, ceil_div
from ..onnx_node import Node, Result, Shape, Tensor, operands
from ..operator import Convolution
from .products import rows_by_format

__all__ = ["RULES"]


def _convolution(node: Node) -> Result:
    third = node.tensor(2) if node.has(2) else None
    return _convolve(node, node.tensor(0), node.tensor(1), third)


def _convolve(node: Node, data: Tensor, weight: Tensor, bias: Tensor | None) -> Result:
    channels, *space = data.shape[1:]
    kernel = tuple(node.static(size) for size in weight.shape[2:])
    rank = len(kernel)
    if len(space) != rank:
        raise node.error(f"{len(space)} spatial sizes, but a kernel of {rank}")
    groups = node.integer("group", 1)
    node.same(channels, weight.shape[1] * groups)
    strides = node.integers("strides", (1,) * rank)
    dilations = node.integers("dilations", (1,) * rank)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    padding = _padding(node, space, reach, strides)
    out = tuple(
        (size + pad - far) // stride + 1
        for size, pad, far, stride in zip(space, padding, reach, strides, strict=True)
    )
    if node.text("auto_pad", "NOTSET").startswith("SAME"):
        out = tuple(ceil_div(size, stride) for size, stride in zip(space, strides, strict=True))
    return _convolved(node, data, weight, bias, node.static(weight.shape[0]), padding, out)


def _padding(
    node: Node, space: Sequence[Size], reach: Sequence[int], strides: Sequence[int]
) -> tuple[int, ...]:
    """Zeros on both sides together, for each spatial dimension."""
    if not node.text("auto_pad", "NOTSET").startswith("SAME"):
        pads = node.integers("pads", (0,) * 2 * len(reach))
        return tuple(a + b for a, b in zip(pads, pads[len(reach) :], strict=False))
    # Of a size that is not known yet, assume that the stride divides it.
    return tuple(
        max((-(-size // stride) - 1) * stride + far - size, 0)
        if isinstance(size, int)
        else max(far - stride, 0)
        for size, far, stride in zip(space, reach, strides, strict=True)
    )


def _convolved(
    node: Node,
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out_channels: int,
    padding: tuple[int, ...],
    out: Shape,
    *,
    transposed: bool = False,
) -> Result:
    batch, channels, *space = data.shape
    kernel = tuple(node.static(size) for size in weight.shape[2:])
    ones = (1,) * len(kernel)
    shape = (batch, out_channels, *out)
    operator = Convolution(
        name=node.name,
        operands=operands((data, weight)),
        shape=shape,
        batch=batch,
        in_channels=node.static(channels),
        out_channels=out_channels,
        groups=node.integer("group", 1),
        kernel=kernel,
        stride=node.integers("strides", ones),
        dilation=node.integers("dilations", ones),
        padding=padding,
        in_size=tuple(space),
        out_size=out,
        transposed=transposed,
        bias=bias is not None,
        weight_formats=rows_by_format(weight, out_channels),
    )
    return Result(outputs=(node.made(*shape),), operator=operator)


def _transposed_convolution(node: Node) -> Result:
    data, weight = node.tensor(0), node.tensor(1)
    kernel = tuple(node.static(size) for size in weight.shape[2:])
    rank = len(kernel)
    strides = node.integers("strides", (1,) * rank)
    dilations = node.integers("dilations", (1,) * rank)
    extra = node.integers("output_padding", (0,) * rank)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    pads = node.integers("pads", (0,) * 2 * rank)
    padding = tuple(a + b for a, b in zip(pads, pads[rank:], strict=False))
    space = data.shape[2:]
    out: Shape
    if "output_shape" in node.attributes:
        out = node.integers("output_shape", ())[-rank:]
    elif node.text("auto_pad", "NOTSET").startswith("SAME"):
        out = tuple(size * stride for size, stride in zip(space, strides, strict=True))
    else:
        out = tuple(
            stride * (size - 1) + more + far - pad
            for size, stride, more, far, pad in zip(
                space, strides, extra, reach, padding, strict=True
            )
        )
    channels = node.static(weight.shape[1]) * node.integer("group", 1)
    bias = node.tensor(2) if node.has(2) else None
    return _convolved(node, data, weight, bias, channels, padding, out, transposed=True)


RULES: Mapping[str, Callable[[Node], Result]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
}
