"""Products that read the same rows as one: the projections of attention side by side.

Q, K and V of self-attention, and K and V of cross-attention, are products of the same activations
with weights of their own; with the weights beside each other they are one product with as many
columns, as `fuse_qkv_projections` of Hugging Face's diffusers has it.
"""

from __future__ import annotations

from dataclasses import replace

from .graph import Workload
from .operator import Attention, MatMul, Operator

__all__ = ["fused_projections"]


def fused_projections(workload: Workload) -> Workload:
    """The workload with those products made one that the same attention reads of one operand.

    >>> from .zoo import load
    >>> unet = load("sd15-unet")
    >>> fused = fused_projections(unet)
    >>> len(unet.operators) - len(fused.operators), fused.bind().macs == unet.bind().macs
    (48, True)
    """
    products = {o.name: o for o in workload.operators if isinstance(o, MatMul) and o.weights == 1}
    readers: dict[str, int] = dict.fromkeys(workload.outputs, 1)
    for operator in workload.operators:
        for operand in operator.operands:
            for source in operand.sources:
                readers[source] = readers.get(source, 0) + 1
    became: dict[str, str] = {}
    wider: dict[str, MatMul] = {}
    for operator in workload.operators:
        if not isinstance(operator, Attention):
            continue
        names = [o.sources[0] for o in operator.operands[:3] if len(o.sources) == 1]
        read = [products[name] for name in names if name in products and readers[name] == 1]
        for first in read:
            same = [o for o in read if _rows(o) == _rows(first) and o.name not in became]
            if len(same) > 1:
                whole = _side_by_side(same)
                wider[whole.name] = whole
                became.update((o.name, whole.name) for o in same)
    return replace(
        workload,
        operators=tuple(
            _reading(wider.get(o.name, o), became)
            for o in workload.operators
            if became.get(o.name, o.name) == o.name
        ),
    )


def _rows(product: MatMul) -> object:
    return product.operands, product.copies, product.m, product.k, product.bias, product.selector


def _side_by_side(same: list[MatMul]) -> MatMul:
    first = same[0]
    n = sum((product.n for product in same), 0)
    rows: dict[str, int] = {}
    for product in same:
        for format, count in product.weight_formats:
            rows[format] = rows.get(format, 0) + count
    return replace(first, n=n, shape=(*first.shape[:-1], n), weight_formats=tuple(rows.items()))


def _reading(operator: Operator, became: dict[str, str]) -> Operator:
    if not any(s in became for operand in operator.operands for s in operand.sources):
        return operator
    operands = tuple(
        replace(operand, sources=tuple(became.get(source, source) for source in operand.sources))
        for operand in operator.operands
    )
    return replace(operator, operands=operands)
