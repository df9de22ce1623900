"""A size that may not be known yet: an int, or a polynomial over token symbols.

Everything that is counted in Tilewise (rows, elements, MACs, bytes) is a `Size`: a plain `int`
where the number is known, an `Extent` where it depends on symbols such as `batch` or `kept_1`.
Extents are kept in a normal form, so that sums and products compare equal and hash equal however
they were computed, and they evaluate for one binding or for an array of images at once.

>>> kept = symbol("kept_1")
>>> tokens = kept + 2
>>> 12 * tokens == 12 * kept + 24
True
>>> str(tokens * tokens)
'kept_1**2 + 4*kept_1 + 4'
>>> evaluate(tokens, {"kept_1": 137})
139
>>> evaluate(tokens, {"kept_1": np.array([137, 69])}).tolist()
[139, 71]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from math import gcd, prod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Extent",
    "Number",
    "Size",
    "UnboundSymbolError",
    "ceil_div",
    "evaluate",
    "known",
    "lower_bound",
    "maximum",
    "minimum",
    "product",
    "substituted",
    "symbol",
    "symbols_of",
]

Number: TypeAlias = "int | NDArray[np.int64]"
Size: TypeAlias = "int | Extent"


class UnboundSymbolError(ValueError):
    """A size was asked for as a number while one of its symbols has none."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What a polynomial cannot hold: `floor(a / b)`, `max(a, b)` or `min(a, b)`."""

    function: str
    left: Size
    right: Size

    def __str__(self) -> str:
        if self.function == "floor":
            return f"floor({_wrapped(self.left)}/{_wrapped(self.right)})"
        return f"{self.function}({self.left}, {self.right})"


_Atom: TypeAlias = "str | _Call"
_Monomial: TypeAlias = "tuple[_Atom, ...]"  # sorted, repeated for powers


def _order(monomial: _Monomial) -> tuple[int, tuple[str, ...]]:
    return (-len(monomial), tuple(str(atom) for atom in monomial))


@dataclass(frozen=True)
class Extent:
    """A polynomial with integer coefficients over symbols, in normal form.

    Built by `symbol`, `parse` and arithmetic, never by hand: `+`, `-`, `*` and `//` with ints and
    other extents give an `int` when no symbol is left, and an `Extent` otherwise.
    """

    terms: tuple[tuple[_Monomial, int], ...]

    @cached_property
    def symbols(self) -> frozenset[str]:
        """The names of the symbols that the value depends on."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= symbols_of(atom.left) | symbols_of(atom.right)
        return frozenset(found)

    def __add__(self, other: Size) -> Size:
        sums = dict(self.terms)
        for monomial, coefficient in _terms(other):
            sums[monomial] = sums.get(monomial, 0) + coefficient
        return _normal(sums)

    def __mul__(self, other: Size) -> Size:
        sums: dict[_Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=str))
                sums[monomial] = sums.get(monomial, 0) + a * b
        return _normal(sums)

    def __floordiv__(self, other: Size) -> Size:
        return _quotient(self, other)

    def __rfloordiv__(self, other: int) -> Size:
        return _quotient(other, self)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + other * -1

    def __rsub__(self, other: int) -> Size:
        return self * -1 + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Extent({self._text})"

    @cached_property
    def _text(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            powers: dict[str, int] = {}
            for atom in monomial:
                powers[str(atom)] = powers.get(str(atom), 0) + 1
            factors = [name if power == 1 else f"{name}**{power}" for name, power in powers.items()]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            sign = (
                ("-" if coefficient < 0 else "")
                if not text
                else " - "
                if coefficient < 0
                else " + "
            )
            text += sign + "*".join(factors)
        return text


def symbol(name: str) -> Extent:
    """The size that is called `name`."""
    return Extent((((name,), 1),))


def symbols_of(size: Size) -> frozenset[str]:
    """The symbols that `size` depends on; none for an int."""
    return size.symbols if isinstance(size, Extent) else frozenset()


def _wrapped(size: Size) -> str:
    text = str(size)
    return text if text.replace("_", "").isalnum() else f"({text})"


def _terms(size: Size) -> tuple[tuple[_Monomial, int], ...]:
    return size.terms if isinstance(size, Extent) else ((((), int(size)),) if size else ())


def _normal(sums: Mapping[_Monomial, int]) -> Size:
    kept = [(monomial, value) for monomial, value in sums.items() if value]
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return Extent(tuple(sorted(kept, key=lambda term: _order(term[0]))))


def _without(monomial: _Monomial, divisor: _Monomial) -> _Monomial | None:
    rest = list(monomial)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _divide(dividend: Size, divisor: Size) -> Size | None:
    """The exact quotient, by long division on leading terms, or None where there is none."""
    if divisor == 0:
        raise ZeroDivisionError(f"{dividend} divided by zero")
    lead, lead_coefficient = _terms(divisor)[0]
    quotient: Size = 0
    rest = dividend
    while _terms(rest):
        monomial, coefficient = _terms(rest)[0]
        over = _without(monomial, lead)
        if over is None or coefficient % lead_coefficient:
            return None
        step = _normal({over: coefficient // lead_coefficient})
        quotient = quotient + step
        rest = rest - step * divisor
    return quotient


def _quotient(dividend: Size, divisor: Size) -> Size:
    exact = _divide(dividend, divisor)
    return _floor_of(dividend, divisor) if exact is None else exact


def _floor_of(dividend: Size, divisor: Size) -> Size:
    """`floor(dividend / divisor)` in normal form.

    What divides exactly moves outside, common factors cancel, and a floor in a floor goes:
    `floor((floor(a/b) + c)/d)` is `floor((a + b*c)/(b*d))`.
    """
    if not isinstance(divisor, int):
        return Extent((((_Call("floor", dividend, divisor),), 1),))
    if divisor < 0:
        dividend, divisor = dividend * -1, -divisor
    outside: Size = 0
    inside: dict[_Monomial, int] = {}
    for monomial, coefficient in _terms(dividend):
        inside[monomial] = coefficient % divisor
        outside = outside + _normal({monomial: coefficient // divisor})
    constant = inside.pop((), 0)
    varying = {monomial: coefficient for monomial, coefficient in inside.items() if coefficient}
    if not varying:
        return outside + constant // divisor
    factor = gcd(divisor, *varying.values())
    if factor > 1:
        whole = _normal({monomial: value // factor for monomial, value in varying.items()})
        return outside + (whole + constant // factor) // (divisor // factor)
    inner = [_floor_atom(monomial) for monomial, value in varying.items() if value == 1]
    match [(floor, floor.right) for floor in inner if floor]:
        case [(_Call(left=left) as floor, int(right))]:
            del varying[(floor,)]
            rest = _normal({**varying, (): constant})
            return outside + (left + rest * right) // (right * divisor)
        case _:
            pass
    rest = _normal({**varying, (): constant})
    return outside + Extent((((_Call("floor", rest, divisor),), 1),))


def _floor_atom(monomial: _Monomial) -> _Call | None:
    """The floor that a monomial is, if it is one alone."""
    match monomial:
        case (_Call(function="floor") as floor,):
            return floor
        case _:
            return None


def ceil_div(dividend: Size, divisor: Size) -> Size:
    """`ceil(dividend / divisor)`.

    >>> ceil_div(7, 2), str(ceil_div(symbol("height"), 2))
    (4, 'floor((height + 1)/2)')
    """
    return (dividend + divisor - 1) // divisor


def maximum(left: Size, right: Size) -> Size:
    """The larger of two sizes; symbolic where the answer depends on a symbol."""
    return _extreme("max", max, left, right)


def minimum(left: Size, right: Size) -> Size:
    """The smaller of two sizes; symbolic where the answer depends on a symbol."""
    return _extreme("min", min, left, right)


def _extreme(name: str, choose: Callable[[int, int], int], left: Size, right: Size) -> Size:
    difference = left - right
    if isinstance(difference, int):
        return right + choose(difference, 0)
    first, second = sorted((left, right), key=str)
    return Extent((((_Call(name, first, second),), 1),))


def lower_bound(size: Size, least: Mapping[str, int]) -> int | None:
    """A number that `size` never falls below, or None where none is easily known.

    Args:
        size: An int or an extent.
        least: The least value of each symbol, never negative; 0 for those it leaves out.

    >>> lower_bound(3 * symbol("tokens") - 1, {"tokens": 1})
    2
    >>> lower_bound(1 - symbol("tokens"), {})
    """
    bound = 0
    for monomial, coefficient in _terms(size):
        atoms = [_least_atom(atom, least) for atom in monomial]
        if any(atom is None or atom < 0 for atom in atoms) or (coefficient < 0 and atoms):
            return None
        bound += coefficient * prod(atom for atom in atoms if atom is not None)
    return bound


def _least_atom(atom: _Atom, least: Mapping[str, int]) -> int | None:
    if isinstance(atom, str):
        return least.get(atom, 0)
    left, right = lower_bound(atom.left, least), lower_bound(atom.right, least)
    if atom.function == "floor":
        if left is None or left < 0 or (right is not None and right < 0):
            return None
        return left // atom.right if isinstance(atom.right, int) else 0
    if left is None or right is None:
        return (right if left is None else left) if atom.function == "max" else None
    return max(left, right) if atom.function == "max" else min(left, right)


def product(sizes: Iterable[Size]) -> Size:
    """The product of `sizes`; 1 for none."""
    return reduce(lambda a, b: a * b, sizes, cast("Size", 1))


def evaluate(size: Size, binding: Mapping[str, Number]) -> Any:
    """The number that `size` is under `binding`.

    Args:
        size: An int or an extent.
        binding: A number, or an integer array `(images,)`, for every symbol.

    Returns:
        An `int`, or an int64 array `(images,)` if any symbol of `size` is bound to an array.

    Raises:
        UnboundSymbolError: A symbol of `size` is not in `binding`.
    """
    if not isinstance(size, Extent):
        return size
    missing = sorted(size.symbols - binding.keys())
    if missing:
        raise UnboundSymbolError(
            f"size {size} needs a value for {', '.join(missing)}; bind it, for example "
            f"{missing[0]}=1"
        )
    return _value(size, binding)


def substituted(size: Size, by: Mapping[str, Size]) -> Size:
    """`size` with some of its symbols replaced by other sizes.

    >>> str(substituted(symbol("batch") * symbol("tokens"), {"tokens": symbol("kept_1") + 2}))
    'batch*kept_1 + 2*batch'
    """
    if not isinstance(size, Extent) or not size.symbols & by.keys():
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        factors = (
            by.get(atom, symbol(atom)) if isinstance(atom, str) else _substituted_call(atom, by)
            for atom in monomial
        )
        total = total + coefficient * product(factors)
    return total


def _substituted_call(call: _Call, by: Mapping[str, Size]) -> Size:
    left, right = substituted(call.left, by), substituted(call.right, by)
    if call.function == "floor":
        return left // right
    return maximum(left, right) if call.function == "max" else minimum(left, right)


def known(size: Size) -> int:
    """The number that a bound size is.

    Raises:
        UnboundSymbolError: The size still depends on a symbol.
    """
    if isinstance(size, Extent):
        raise UnboundSymbolError(f"size {size} must be bound before it can be used")
    return size


def _value(size: Size, binding: Mapping[str, Number]) -> Any:
    if not isinstance(size, Extent):
        return size
    total: Any = 0
    for monomial, coefficient in size.terms:
        term: Any = coefficient
        for atom in monomial:
            term = term * (binding[atom] if isinstance(atom, str) else _call(atom, binding))
        total = total + term
    return total


def _call(call: _Call, binding: Mapping[str, Number]) -> Any:
    left, right = _value(call.left, binding), _value(call.right, binding)
    if call.function == "floor":
        return left // right
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right) if call.function == "max" else min(left, right)
    return np.maximum(left, right) if call.function == "max" else np.minimum(left, right)
