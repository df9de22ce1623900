"""Number formats: what an operand is, and a number for each format a machine knows."""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal, get_args

from .value import Rate, Value

Format = Literal[
    "int2", "int3", "int4", "int5", "int6", "int7", "int8", "int16",
    "fp4", "fp8", "fp16", "bf16", "tf32", "fp32",
]  # fmt: skip
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

# How wide a number is stored, and how many bits its significand has, sign and hidden bit included
# (FP8 and FP4 as E4M3 and E2M1); of an integer both are its width.
_FLOATS: Final = MappingProxyType(
    {"fp4": (4, 3), "fp8": (8, 5), "fp16": (16, 12), "bf16": (16, 9), "tf32": (32, 12),
     "fp32": (32, 25)}
)  # fmt: skip
# Which floats hold all values of another, by exponent and significand.
_HOLDS: Final = MappingProxyType(
    {"fp8": ("fp4",), "fp16": ("fp4", "fp8"), "bf16": ("fp4", "fp8"),
     "tf32": ("fp4", "fp8", "fp16", "bf16"), "fp32": ("fp4", "fp8", "fp16", "bf16", "tf32")}
)  # fmt: skip


class FormatError(ValueError):
    """A number format, or another named choice, that is not there; the text says which are."""


def bits(format: str) -> int:
    """Return the stored width of one number, in bits. TF32 computes on 19 but is stored as 32.

    >>> bits("int8"), bits("bf16"), bits("tf32")
    (8, 16, 32)

    Raises:
        FormatError: if `format` is none of `FORMATS`.
    """
    if format not in FORMATS:
        raise FormatError(f"format: wanted one of {', '.join(FORMATS)}, got {format!r}")
    return _FLOATS[format][0] if format in _FLOATS else int(format.removeprefix("int"))


def holds(wide: str, narrow: str) -> bool:
    """Whether every value of one format is a value of another.

    >>> holds("int8", "int4"), holds("bf16", "int8"), holds("int8", "fp8"), holds("fp16", "bf16")
    (True, True, False, False)

    Raises:
        FormatError: if one of them is none of `FORMATS`.
    """
    wide_bits, narrow_bits = bits(wide), bits(narrow)
    if narrow in _FLOATS:
        return narrow == wide or narrow in _HOLDS.get(wide, ())
    # -2^(b-1) is a power of two, so that an integer of b bits needs b - 1 of them beside its sign.
    return (_FLOATS[wide][1] if wide in _FLOATS else wide_bits) >= narrow_bits


class Choices(Value, frozen=True):
    """A number for each of some names; a name that has none is refused, never guessed."""

    def get(self, name: str) -> Fraction:
        """Return the number for `name`, exactly.

        Raises:
            FormatError: if there is none; the text lists the names that have one.
        """
        found = getattr(self, name, None) if name in type(self).model_fields else None
        if found is None:
            raise FormatError(f"wanted one of {', '.join(self.names) or 'none'}, got {name!r}")
        return Fraction(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that have a number, in the order of their declaration."""
        return tuple(n for n in type(self).model_fields if getattr(self, n) is not None)

    def __contains__(self, name: object) -> bool:
        return name in self.names


class PerFormat(Choices, frozen=True):
    """A number for each format a machine has, e.g. MACs per cycle, FLOP/s or picojoules.

    >>> a100 = PerFormat(int8=624e12, fp16=312e12)
    >>> a100.get("fp16") == 312e12, "fp8" in a100
    (True, False)
    >>> a100.get("fp8")
    Traceback (most recent call last):
        ...
    tilewise.arch.formats.FormatError: wanted one of int8, fp16, got 'fp8'
    """

    int2: Rate | None = None
    int3: Rate | None = None
    int4: Rate | None = None
    int5: Rate | None = None
    int6: Rate | None = None
    int7: Rate | None = None
    int8: Rate | None = None
    int16: Rate | None = None
    fp4: Rate | None = None
    fp8: Rate | None = None
    fp16: Rate | None = None
    bf16: Rate | None = None
    tf32: Rate | None = None
    fp32: Rate | None = None


class PerProduct(PerFormat, frozen=True):
    """A number for each pair of formats that is multiplied: weights by activations.

    `int8` is `int8` by `int8`, `w4a8` is `int4` weights by `int8` activations.  A product that has
    no number of its own takes that of a pair which holds it.

    >>> rates = PerProduct(int8=Fraction(1), w4a6=Fraction(2))
    >>> rates.most("int4", "int5"), rates.most("int4", "int8")
    (Fraction(2, 1), Fraction(1, 1))
    """

    w2a8: Rate | None = None
    w4a5: Rate | None = None
    w4a6: Rate | None = None
    w4a8: Rate | None = None
    w4a16: Rate | None = None
    w8a5: Rate | None = None
    w8a6: Rate | None = None
    w8a16: Rate | None = None

    @classmethod
    def of_all(cls) -> tuple[tuple[str, tuple[str, str]], ...]:
        """Every name that may have a number, and the formats of its weights and activations."""
        return tuple((name, _pair(name)) for name in cls.model_fields)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The formats of weights and activations that have a number."""
        return tuple(_pair(name) for name in self.names)

    def most(self, weights: str, activations: str) -> Fraction:
        """The largest number of a pair that holds this one, as of MACs per cycle.

        Raises:
            FormatError: if no pair does.
        """
        return max(self._held(weights, activations))

    def least(self, weights: str, activations: str) -> Fraction:
        """The smallest number of a pair that holds this one, as of picojoules.

        Raises:
            FormatError: if no pair does.
        """
        return min(self._held(weights, activations))

    def _held(self, weights: str, activations: str) -> list[Fraction]:
        found = [
            self.get(name)
            for name, pair in zip(self.names, self.pairs, strict=True)
            if holds(pair[0], weights) and holds(pair[1], activations)
        ]
        if not found:
            asked = weights if weights == activations else f"{weights} weights by {activations}"
            raise FormatError(f"wanted one of {', '.join(self.names) or 'none'}, got {asked!r}")
        return found


def _pair(name: str) -> tuple[str, str]:
    """The formats of weights and activations that `w4a8` or `int8` names."""
    weights, mixed, activations = name.removeprefix("w").partition("a")
    return (f"int{weights}", f"int{activations}") if mixed and name[0] == "w" else (name, name)
