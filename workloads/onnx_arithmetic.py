"""Arithmetic on single elements of shape arithmetic: sizes, numbers and truth values.

Every function takes the node first, which knows the symbols and the types, and raises
`UnknownError` where the result cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .extent import Extent, Size, ceil_div, product
from .onnx_node import Node

__all__ = [
    "Fraction",
    "UnknownError",
    "add",
    "ceil",
    "compare",
    "divide",
    "extreme",
    "floor",
    "modulo",
    "multiply",
    "number",
    "power",
    "root",
    "rounded",
    "subtract",
]


class UnknownError(Exception):
    """An element cannot be told."""


@dataclass(frozen=True, slots=True)
class Fraction:
    """A size divided by a number, before it is rounded: shapes computed in floating point."""

    top: Size
    bottom: int


def add(_: Node, *values: Any) -> Any:
    if any(isinstance(value, Fraction) for value in values):
        raise UnknownError
    if any(isinstance(value, float) for value in values):
        values = tuple(_whole(value) for value in values)
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _whole(value: Any) -> Any:
    """A float as it may meet a symbolic size."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def subtract(_: Node, left: Any, right: Any) -> Any:
    if isinstance(left, Extent) or isinstance(right, Extent):
        return add(_, left, multiply(_, right, -1))
    return left - right


def multiply(_: Node, left: Any, right: Any) -> Any:
    if isinstance(right, (Extent, Fraction)):
        left, right = right, left
    if not isinstance(left, (Extent, Fraction)):
        return left * right
    if isinstance(left, Fraction) or isinstance(right, Fraction):
        raise UnknownError
    if isinstance(right, float):
        ratio = right.as_integer_ratio()
        if ratio[1] > 2**16:
            raise UnknownError
        return left * ratio[0] if ratio[1] == 1 else Fraction(left * ratio[0], ratio[1])
    return left * right


def divide(node: Node, left: Any, right: Any) -> Any:
    if node.tensor(0).floating or isinstance(right, float):
        if not isinstance(left, Extent) and not isinstance(right, (Extent, Fraction)):
            return left / right
        if not isinstance(left, Extent) or not isinstance(_whole(right), int):
            raise UnknownError
        return Fraction(left, int(right))
    if isinstance(left, int) and isinstance(right, int) and (left < 0) != (right < 0):
        return -(-left // right)  # ONNX divides towards zero
    return left // right


def modulo(_: Node, left: Any, right: Any) -> Any:
    return left - left // right * right


def floor(_: Node, value: Any) -> Any:
    if isinstance(value, Fraction):
        return value.top // value.bottom
    return value if isinstance(value, Extent) else float(math.floor(value))


def ceil(_: Node, value: Any) -> Any:
    if isinstance(value, Fraction):
        return ceil_div(value.top, value.bottom)
    return value if isinstance(value, Extent) else float(math.ceil(value))


def rounded(_: Node, value: Any) -> Any:
    return value if isinstance(value, Extent) else float(round(number(value)))


def number(value: Any) -> Any:
    if isinstance(value, (Extent, Fraction)):
        raise UnknownError
    return value


def root(_: Node, value: Any) -> Any:
    return math.sqrt(number(value))


def power(_: Node, value: Any, power: Any) -> Any:
    if isinstance(value, Extent):
        if _whole(power) not in range(9):
            raise UnknownError
        return product([value] * int(power))
    return number(value) ** number(power)


def extreme(largest: bool) -> Callable[..., Any]:
    def choose(node: Node, *values: Any) -> Any:
        best = values[0]
        for value in values[1:]:
            if isinstance(best, Extent) or isinstance(value, Extent):
                pick = node.ledger.maximum if largest else node.ledger.minimum
                best = pick(_whole(best), _whole(value))
            else:
                best = max(best, value) if largest else min(best, value)
        return best

    return choose


def compare(test: Callable[[int], bool]) -> Callable[..., Any]:
    def compare(node: Node, left: Any, right: Any) -> Any:
        if not isinstance(left, Extent) and not isinstance(right, Extent):
            return test((number(left) > number(right)) - (left < right))
        sign = node.ledger.sign(subtract(node, left, right))
        if sign is None:
            raise UnknownError
        return test(sign)

    return compare
