"""Arithmetic on one element of shape arithmetic: a size, a number or a truth value.

Every function takes the node first, which knows the symbols and the types, and raises
`UnknownError` where the result cannot be told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .extent import Extent, Size, ceil_div, product
from .onnx_node import Node

__all__ = [
    "Fraction",
    "UnknownError",
    "absolute",
    "add",
    "both",
    "ceil",
    "choose",
    "compare",
    "converted",
    "divide",
    "either",
    "extreme",
    "floor",
    "modulo",
    "multiply",
    "negation",
    "negative",
    "number",
    "power",
    "root",
    "rounded",
    "subtract",
]

Element: TypeAlias = Any
"""A `Size`, a float, a bool or a `Fraction`; operations check what they get."""

_LARGEST_DENOMINATOR = 2**16
_LARGEST_POWER = 8


class UnknownError(Exception):
    """An element cannot be told."""


@dataclass(frozen=True, slots=True)
class Fraction:
    """A size divided by a number, before it is rounded: shapes computed in floating point."""

    top: Size
    bottom: int


def number(value: Element) -> Element:
    """A value that depends on no symbol."""
    if isinstance(value, (Extent, Fraction)):
        raise UnknownError
    return value


def add(_: Node, *values: Element) -> Element:
    """The sum."""
    if any(isinstance(value, Fraction) for value in values):
        raise UnknownError
    if any(isinstance(value, Extent) for value in values):
        values = tuple(_whole(value) for value in values)
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def subtract(node: Node, left: Element, right: Element) -> Element:
    """`left - right`."""
    return add(node, left, multiply(node, right, -1))


def multiply(_: Node, left: Element, right: Element) -> Element:
    """The product; a fraction if a size is scaled by a number that is no integer."""
    if isinstance(right, (Extent, Fraction)):
        left, right = right, left
    if isinstance(left, Fraction):
        raise UnknownError
    if not isinstance(left, Extent) or isinstance(right, (Extent, int)):
        return left * right
    top, bottom = float(number(right)).as_integer_ratio()
    if bottom > _LARGEST_DENOMINATOR:
        raise UnknownError
    return left * top if bottom == 1 else Fraction(left * top, bottom)


def divide(node: Node, left: Element, right: Element) -> Element:
    """`left / right`: exact for floating-point types, towards zero for integers."""
    if not node.tensor(0).floating:
        if isinstance(left, int) and isinstance(right, int) and (left < 0) != (right < 0):
            return -(-left // right)
        return left // right
    if not isinstance(left, Extent):
        return number(left) / number(right)
    if not isinstance(right := _whole(right), int):
        raise UnknownError
    return Fraction(left, right)


def modulo(_: Node, left: Element, right: Element) -> Element:
    """The remainder, with the sign of the divisor."""
    return left - left // right * right


def floor(_: Node, value: Element) -> Element:
    """Rounded down."""
    if isinstance(value, Fraction):
        return value.top // value.bottom
    if isinstance(value, Extent):
        return value
    plain: float = number(value)
    return float(math.floor(plain))


def ceil(_: Node, value: Element) -> Element:
    """Rounded up."""
    if isinstance(value, Fraction):
        return ceil_div(value.top, value.bottom)
    if isinstance(value, Extent):
        return value
    plain: float = number(value)
    return float(math.ceil(plain))


def rounded(_: Node, value: Element) -> Element:
    """Rounded to the nearest integer."""
    return value if isinstance(value, Extent) else float(round(number(value)))


def absolute(_: Node, value: Element) -> Element:
    """Without its sign; a size has none."""
    return value if isinstance(value, Extent) else abs(number(value))


def negative(node: Node, value: Element) -> Element:
    """`-value`."""
    return multiply(node, value, -1)


def negation(_: Node, value: Element) -> bool:
    """Not."""
    return not number(value)


def both(_: Node, left: Element, right: Element) -> bool:
    """And."""
    return bool(number(left) and number(right))


def either(_: Node, left: Element, right: Element) -> bool:
    """Or."""
    return bool(number(left) or number(right))


def choose(_: Node, test: Element, left: Element, right: Element) -> Element:
    """`left` where `test` holds, else `right`."""
    return left if number(test) else right


def root(_: Node, value: Element) -> Element:
    """The square root."""
    return math.sqrt(number(value))


def power(_: Node, value: Element, exponent: Element) -> Element:
    """`value` to the power of `exponent`."""
    if not isinstance(value, Extent):
        return number(value) ** number(exponent)
    if not 0 <= (whole := _whole(number(exponent))) <= _LARGEST_POWER or isinstance(whole, float):
        raise UnknownError
    return product([value] * whole)


def converted(value: Element, kind: type[float | int | bool]) -> Element:
    """The value in another type."""
    if isinstance(value, Fraction):
        return value if kind is float else value.top // value.bottom
    if not isinstance(value, Extent):
        return kind(value)
    if kind is bool:
        raise UnknownError
    return value


def extreme(*, largest: bool) -> Callable[..., Element]:
    """The largest or the smallest of some values."""

    def pick_one(node: Node, *values: Element) -> Element:
        best = values[0]
        for value in values[1:]:
            if isinstance(best, Extent) or isinstance(value, Extent):
                pick = node.ledger.maximum if largest else node.ledger.minimum
                best = pick(_whole(best), _whole(value))
            else:
                best = max(best, value) if largest else min(best, value)
        return best

    return pick_one


def compare(test: Callable[[int], bool]) -> Callable[..., bool]:
    """A comparison: `test` is asked about the sign of the difference."""

    def compared(node: Node, left: Element, right: Element) -> bool:
        if not isinstance(left, Extent) and not isinstance(right, Extent):
            return test((number(left) > number(right)) - (left < right))
        sign = node.ledger.sign(subtract(node, left, right))
        if sign is None:
            raise UnknownError
        return test(sign)

    return compared


def _whole(value: Element) -> Element:
    """A number as it may meet a symbolic size."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
