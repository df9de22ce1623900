"""Rows of several widths: a kernel whose weights have them becomes one kernel for each.

An array multiplies all columns of a fold alike, so that rows of weights are gathered by their
width, and the last fold of each width may be ragged.  What a kernel makes of its rows, and the
elementwise work behind it, is shared in proportion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..workloads.extent import known
from ..workloads.operator import Convolution, Elementwise, MatMul, Operand, Operator
from .fusion import Kernel

__all__ = ["by_width"]


def by_width(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """The kernels in order, those of several widths as several kernels of the same output."""
    return tuple(part for kernel in kernels for part in _parts(kernel))


def _parts(kernel: Kernel) -> Iterator[Kernel]:
    formats = kernel.lead.weight_formats
    if len(formats) < 2:
        yield kernel
        return
    whole = sum(rows for _, rows in formats)
    for format, rows in formats:
        yield Kernel(
            lead=_some(kernel.lead, format, rows),
            epilogue=tuple(_share(operator, rows, whole) for operator in kernel.epilogue),
            extra=tuple(_share_of(operand, rows, whole) for operand in kernel.extra),
            rows=format,
        )


def _some(lead: Operator, format: str, rows: int) -> Operator:
    match lead:
        case MatMul():
            size: dict[str, Any] = {"n": rows, "shape": (lead.copies * lead.m * rows,)}
        case Convolution():
            size = {"out_channels": rows, "shape": (lead.batch, rows, *lead.out_size)}
        case _:
            raise ValueError(f"{lead.name}: only products and convolutions have rows of weights")
    return replace(lead, weight_formats=((format, rows),), **size)


def _share(operator: Elementwise, rows: int, whole: int) -> Elementwise:
    """The part of an elementwise operator that follows some of the rows."""
    return replace(
        operator,
        operands=tuple(_share_of(operand, rows, whole) for operand in operator.operands),
        shape=(_part(known(operator.elements), rows, whole),),
        affine=_part(operator.affine, rows, whole),
    )


def _share_of(operand: Operand, rows: int, whole: int) -> Operand:
    return replace(operand, elements=_part(known(operand.elements), rows, whole))


def _part(elements: int, rows: int, whole: int) -> int:
    """So much of what has one element, or several, for each row; a scalar is the same for all."""
    return elements // whole * rows if elements % whole == 0 else elements
