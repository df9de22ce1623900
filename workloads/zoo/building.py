"""A model in plain Python: each call appends one operator and gives the value that it makes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

from ..extent import Size, product
from ..operator import (
    Elementwise,
    MatMul,
    Normalization,
    Operand,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)

__all__ = ["Builder", "Value", "side_by_side"]


@dataclass(frozen=True, slots=True)
class Value:
    """What operators read: who made it, its shape, and how many numbers that really is."""

    sources: tuple[str, ...]
    shape: tuple[Size, ...]
    read: Size

    @property
    def operand(self) -> Operand:
        """The value as an operator reads it."""
        return Operand(sources=self.sources, elements=self.read)

    def part(self, *shape: Size) -> Value:
        """Some of its elements, or all of them under another shape."""
        return Value(self.sources, shape, product(shape))


@dataclass(slots=True)
class Builder:
    """The operators of a model so far.

    Attributes:
        operators: In the order of the calls.
        selector: Whether what is appended belongs to a token selector.
    """

    operators: list[Operator] = field(default_factory=list[Operator])
    selector: bool = False

    def append(self, operator: Operator) -> Value:
        """Any operator."""
        self.operators.append(replace(operator, selector=self.selector))
        return Value((operator.name,), operator.shape, operator.elements)

    def linear(self, name: str, x: Value, n: int) -> Value:
        """`x @ weight + bias`, over the last dimension."""
        *rows, k = x.shape
        return self.append(
            MatMul(
                name=name,
                operands=(x.operand,),
                shape=(*rows, n),
                m=product(rows),
                k=k,
                n=n,
                weights=1,
                bias=True,
            )
        )

    def layer_norm(self, name: str, x: Value) -> Value:
        """A norm over the last dimension, with scale and shift."""
        *rows, width = x.shape
        return self.append(
            Normalization(
                name=name,
                operands=(x.operand,),
                shape=x.shape,
                form="layer",
                rows=product(rows),
                row_length=width,
                affine=2 * cast("int", width),
            )
        )

    def softmax(self, name: str, x: Value) -> Value:
        """Shares, or their logarithms, over the last dimension."""
        *rows, width = x.shape
        return self.append(
            Softmax(
                name=name,
                operands=(x.operand,),
                shape=x.shape,
                rows=product(rows),
                row_length=width,
            )
        )

    def top_k(self, name: str, scores: Value, kept: Size, listed: Size) -> Value:
        """Where the best of `scores` `(images, n)` are: `kept` stay, as `(images, listed)`."""
        images, _ = scores.shape
        return self.append(
            TokenSelection(
                name=name,
                operands=(scores.operand,),
                shape=(images, listed),
                function="topk",
                candidates=product(scores.shape),
                kept=images * kept,
                data_dependent=False,
            )
        )

    def elementwise(
        self,
        name: str,
        function: str,
        *values: Value,
        shape: tuple[Size, ...] | None = None,
        affine: int = 0,
    ) -> Value:
        """One result for each position of `shape`, by default that of the first value."""
        return self.append(
            Elementwise(
                name=name,
                operands=tuple(value.operand for value in values),
                shape=values[0].shape if shape is None else shape,
                function=function,
                transcendental=function in ("gelu", "sigmoid"),
                affine=affine,
            )
        )

    def reduce(self, name: str, function: str, x: Value, *shape: Size) -> Value:
        """A sum or mean over some dimensions."""
        return self.append(
            Reduction(
                name=name,
                operands=(x.operand,),
                shape=shape,
                function=function,
                reads=product(x.shape),
            )
        )


def side_by_side(shape: tuple[Size, ...], *values: Value) -> Value:
    """The concatenation of `values`, which costs nothing."""
    sources = tuple(dict.fromkeys(source for value in values for source in value.sources))
    return Value(sources, shape, sum((value.read for value in values), cast("Size", 0)))
