"""Number formats: what an operand is, and a number for each format a machine knows."""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal, get_args

from .value import Rate, Value

Format = Literal["int4", "int8", "fp8", "fp16", "bf16", "tf32", "fp32"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
_BITS: Final = MappingProxyType(
    {"int4": 4, "int8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "tf32": 32, "fp32": 32}
)


class FormatError(ValueError):
    """A number format, or another named choice, that is not there; the text says which are."""


def bits(format: str) -> int:
    """Return the stored width of one number, in bits. TF32 computes on 19 but is stored as 32.

    >>> bits("int8"), bits("bf16"), bits("tf32")
    (8, 16, 32)

    Raises:
        FormatError: if `format` is none of `FORMATS`.
    """
    if format not in _BITS:
        raise FormatError(f"format: wanted one of {', '.join(FORMATS)}, got {format!r}")
    return _BITS[format]


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

    int4: Rate | None = None
    int8: Rate | None = None
    fp8: Rate | None = None
    fp16: Rate | None = None
    bf16: Rate | None = None
    tf32: Rate | None = None
    fp32: Rate | None = None
