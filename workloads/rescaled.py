"""An operator over another number of tokens: its sizes divided by one count, times another."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Any

from .extent import Size, product
from .operator import Attention, Elementwise, MatMul, Movement, Operator, Reduction, Softmax
from .pruning_blocks import PruningError

__all__ = ["over"]


def over(operator: Operator, tokens: Size, kept: Size, varying: Set[str]) -> Operator:
    """The operator over `kept` tokens, which ran over `tokens`.

    Args:
        operator: Work on tokens.
        tokens: How many it ran over.
        kept: How many it is to run over.
        varying: The operators whose results have that many tokens too; other operands, such as the
            keys of cross-attention, stay.

    Raises:
        PruningError: It is no operator that runs over any number of tokens.
    """

    def scaled(size: Size) -> Size:
        return size // tokens * kept

    changes: dict[str, Any] = {}
    match operator:
        case MatMul() if operator.weights:
            side = "m" if _divides(tokens, operator.m) else "copies"
            changes[side] = scaled(getattr(operator, side))
        case Attention(affine=0):
            changes["queries"] = kept
            if varying >= set(operator.operands[1].sources):
                changes["keys"] = kept
        case Softmax():
            changes["rows"] = scaled(operator.rows)
        case Reduction():
            changes["reads"] = scaled(operator.reads)
        case Elementwise() | Movement():
            pass
        case _:
            raise PruningError(
                f"{operator.name} runs over {tokens} tokens only, so they cannot merge before it"
            )
    operands = tuple(
        replace(operand, elements=scaled(operand.elements))
        if varying >= set(operand.sources)
        else operand
        for operand in operator.operands
    )
    shape = tuple(kept if size == tokens else size for size in operator.shape)
    if product(shape) != scaled(operator.elements):
        shape = (scaled(operator.elements),)
    return replace(operator, operands=operands, shape=shape, **changes)


def _divides(divisor: Size, size: Size) -> bool:
    return size // divisor * divisor == size
