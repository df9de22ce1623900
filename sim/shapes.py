"""What an operator is to the arrays and to the vector unit: products, and rows of elements."""

from __future__ import annotations

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

__all__ = ["convolution", "matmul", "rows_and_elements"]


def matmul(lead: MatMul) -> Shape:
    """A product, its copies with weights of their own as groups."""
    copies = known(lead.copies)
    groups = min(lead.weights, copies) if lead.weights else copies
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
