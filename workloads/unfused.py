"""Attention written out: scores, softmax, and their product with V."""

from __future__ import annotations

from .extent import product
from .operator import Attention, MatMul, Operand, Operator, Softmax

__all__ = ["unfused_attention"]


def unfused_attention(operator: Attention) -> list[Operator]:
    """Attention as three operators that pass the scores on through memory."""
    shape = (operator.copies, operator.queries, operator.keys)
    elements = product(shape)
    scores, weights = f"{operator.name}/scores", f"{operator.name}/softmax"
    query, key, value, *rest = operator.operands

    def between(source: str) -> Operand:
        return Operand(sources=(source,), elements=elements, format=query.format)

    return [
        MatMul(
            name=scores, operands=(query, key, *rest), shape=shape, selector=operator.selector,
            format=query.format,
            copies=operator.copies, m=operator.queries, k=operator.head_dim, n=operator.keys,
            weights=0,
        ),
        Softmax(
            name=weights, operands=(between(scores),), shape=shape, format=query.format,
            selector=operator.selector, rows=operator.copies * operator.queries,
            row_length=operator.keys,
        ),
        MatMul(
            name=operator.name, operands=(between(weights), value), format=operator.format,
            shape=operator.shape, selector=operator.selector, copies=operator.copies,
            m=operator.queries, k=operator.keys, n=operator.value_dim, weights=0,
        ),
    ]  # fmt: skip
