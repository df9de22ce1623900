"""8-bit products in PyTorch: tensors stay in 16 bits, and each product quantizes what it reads.

A kernel finds the largest magnitude of a row and divides the row by it, and a product of 8-bit
operands is scaled as it is written (dynamic quantization of linear layers in torchao).
Attention and products of two activations have no such kernels and stay in 16 bits.  Convolutions
have none either, but are taken as if they had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...arch.formats import bits
from ...workloads.extent import known
from ...workloads.operator import Convolution, MatMul, Normalization, Operand, Operator
from ..formats import format_of

__all__ = ["LEAST_BITS", "quantizing"]

LEAST_BITS = 16
"""Of what a framework keeps between operators."""


def quantizing(operators: Sequence[Operator], wide: str, *, shared: bool) -> tuple[Operator, ...]:
    """Bound operators, and those that quantize what a product reads.

    Args:
        operators: In an order in which they can run.
        wide: The format of tensors that would have fewer than 16 bits.
        shared: Whether what is quantized for one product is there for the next.
    """
    found: dict[str, Operator] = {}
    for operator in operators:
        found.update((one.name, one) for one in _quantized(operator, wide, found, shared=shared))
    return tuple(found.values())


def _quantized(
    operator: Operator, wide: str, before: dict[str, Operator], *, shared: bool
) -> Iterator[Operator]:
    multiplies = isinstance(operator, MatMul | Convolution) and operator.parameters > 0
    operands: list[Operand] = []
    for number, operand in enumerate(operator.operands):
        if not _is_narrow(operand):
            operands.append(operand)
            continue
        whole = replace(operand, format=wide)
        if not multiplies:
            operands.append(whole)
            continue
        by = operand.sources[0] if shared and len(operand.sources) == 1 else operator.name
        name = f"{by}.quantized_{number}"
        if name not in before:
            rows = _rows(operator, operand)
            yield Normalization(
                name=name, operands=(whole,), shape=(operand.elements,), form="lp",
                rows=rows, row_length=known(operand.elements) // max(rows, 1),
                selector=operator.selector, format=operand.format,
            )  # fmt: skip
        operands.append(replace(operand, sources=(name,)))
    format = wide if _is_narrow(operator) else operator.format
    yield replace(operator, operands=tuple(operands), format=format)


def _is_narrow(thing: Operator | Operand) -> bool:
    return bits(format_of(thing)) < LEAST_BITS


def _rows(operator: Operator, operand: Operand) -> int:
    """What has a scale of its own: a row of a product, an image of a convolution."""
    if isinstance(operator, MatMul):
        return known(operand.elements) // known(operator.k)
    assert isinstance(operator, Convolution)
    return known(operator.batch)
