"""What an operator is to the arrays and to the vector unit: products, and rows of elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..arch import ComputeArray, SystolicArray
from ..workloads.extent import known, product
from ..workloads.operator import (
    Convolution,
    MatMul,
    Normalization,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)
from .gemm import Shape, Window
from .shares import Dealt, in_turn, per_image, split_of
from .systolic import smaller

__all__ = ["convolution", "dealt", "matmul", "rows_and_elements"]


def matmul(lead: MatMul) -> Shape:
    """A product, its copies with weights of their own as groups."""
    copies = known(lead.copies)
    groups = smaller(lead.weights, copies) if lead.weights else copies
    return Shape(
        groups=groups,
        repeats=copies // groups,
        m=known(lead.m),
        k=known(lead.k),
        n=known(lead.n),
    )


def convolution(lead: Convolution) -> Shape:
    """The implicit product of a convolution."""
    in_size = tuple(known(size) for size in lead.in_size)
    out_size = tuple(known(size) for size in lead.out_size)
    taps = known(product(lead.kernel))
    depth, width = lead.in_channels // lead.groups, lead.out_channels // lead.groups
    if lead.transposed:  # each input position is spread over the taps, and overlaps are added
        return Shape(
            groups=lead.groups,
            repeats=known(lead.batch),
            m=known(product(in_size)),
            k=depth,
            n=width * taps,
        )
    window = Window(
        in_size=in_size,
        out_size=out_size,
        kernel=tuple((k - 1) * d + 1 for k, d in zip(lead.kernel, lead.dilation, strict=True)),
        stride=lead.stride,
        taps=taps,
    )
    return Shape(
        groups=lead.groups,
        repeats=known(lead.batch),
        m=known(product(out_size)),
        k=depth * taps,
        n=width,
        window=window if taps > 1 or max(lead.stride) > 1 else None,
    )


def dealt(
    shape: Shape, lead: MatMul | Convolution, array: ComputeArray, images: Sequence[int]
) -> Shape:
    """The products as several arrays share them.

    Args:
        shape: Of `lead`.
        lead: A product or a convolution.
        array: The arrays.
        images: What each image has of the product, in any unit.
    """
    if not isinstance(array, SystolicArray):
        return shape
    own = isinstance(lead, MatMul) and not lead.weights  # right operands are activations
    match split_of(array):
        case "head" if shape.groups > 1:
            shares = in_turn([1] * shape.groups, array.count)
            return replace(shape, dealt=Dealt("groups", shares))
        case "image":
            several = shape.repeats > 1 or isinstance(lead, Convolution)
            axis = "groups" if own else "repeats" if several else "m"
            shares = in_turn(per_image(getattr(shape, axis), images), array.count)
            return replace(shape, dealt=Dealt(axis, shares))
        case _:
            return shape


def rows_and_elements(lead: Operator) -> tuple[int, int]:
    """Rows that the work may be cut into, and elements that the unit passes over."""
    if isinstance(lead, Softmax | Normalization):
        rows, length = known(lead.rows), known(lead.row_length)
        return rows, rows * length
    if isinstance(lead, Reduction):
        return known(lead.elements), known(lead.reads)
    if isinstance(lead, TokenSelection):
        return known(lead.candidates), known(lead.candidates)
    return known(lead.elements), known(lead.elements)
