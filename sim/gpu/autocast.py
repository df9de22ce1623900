"""Autocast: what a model of fp32 weights casts when it runs in half precision.

PyTorch's `torch.autocast` (its documentation's tables of operators): products, convolutions and
attention compute in the given format, norms, softmax and reductions in fp32; what reads several
tensors takes the widest.  Each reader casts for itself: a weight once for each time it is used, an
activation once for each operator that wants it otherwise than it is.  Softmax reads fp16 as it is,
and writes fp32 (aten/src/ATen/native/SoftMax.cpp, half to float).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Normalization,
    Operand,
    Operator,
    Reduction,
    Softmax,
)
from ..formats import widest

__all__ = ["autocast"]

_WIDE = "fp32"


def autocast(operators: Sequence[Operator], format: str) -> tuple[Operator, ...]:
    """Bound operators, and the casts between them, for products in `format`.

    What is read from outside of the graph is in fp32.
    """
    formats: dict[str, str] = {}
    found: list[Operator] = []
    for operator in operators:
        new = tuple(_cast(operator, format, formats))
        found.extend(new)
        formats.update((one.name, one.format or _WIDE) for one in new)
    return tuple(found)


def _cast(operator: Operator, format: str, formats: dict[str, str]) -> Iterator[Operator]:
    read = [
        widest(formats.get(source, _WIDE) for source in operand.sources)
        for operand in operator.operands
    ]
    if isinstance(operator, MatMul | Convolution | Attention):
        wanted: str | None = format
    elif isinstance(operator, Normalization | Softmax | Reduction):
        wanted = _WIDE
    else:
        wanted = None
    operands: list[Operand] = []
    for number, (operand, own) in enumerate(zip(operator.operands, read, strict=True)):
        if wanted is None or own == wanted or (isinstance(operator, Softmax) and own == "fp16"):
            operands.append(replace(operand, format=own))
            continue
        name = f"{operator.name}.cast_{number}"
        yield Elementwise(
            name=name, function="cast", operands=(replace(operand, format=own),),
            shape=(operand.elements,), selector=operator.selector, format=wanted,
        )  # fmt: skip
        operands.append(replace(operand, sources=(name,), format=wanted))
    weights = tuple((wanted or _WIDE, rows) for _, rows in operator.weight_formats)
    if wanted == format and operator.parameters:
        yield Elementwise(
            name=f"{operator.name}.cast_weights", function="cast", operands=(),
            shape=(operator.parameters,), affine=operator.parameters, selector=operator.selector,
            format=format, weight_formats=((_WIDE, 1),),
        )  # fmt: skip
    yield replace(
        operator,
        operands=tuple(operands),
        format=wanted or widest(read or [_WIDE]),
        weight_formats=weights,
    )
