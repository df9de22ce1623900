"""A value: frozen, hashable, checked once when it is made."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Value(BaseModel, frozen=True):
    """The base of everything in `tilewise.arch`: valid when made, never changed, hashable.

    Raises:
        pydantic.ValidationError: (a `ValueError`) naming the field, what was wanted and what
            was got.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __hash__(self) -> int:
        # A machine is asked for it a thousand times a run: it is the key of what was worked out.
        known = vars(self)
        if "_hash" not in known:
            fields = tuple(getattr(self, name) for name in type(self).model_fields)
            known["_hash"] = hash(fields)
        return int(known["_hash"])

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()  # without the hash, which is another in another process
        fields = {k: v for k, v in state["__dict__"].items() if k != "_hash"}
        return {**state, "__dict__": fields}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked again as a whole.

        Raises:
            pydantic.ValidationError: as for a new value.
        """
        return type(self)(**{**dict(self), **changes})


def exact(number: float | Fraction) -> Fraction:
    """Read a number as the decimal that was written, not as its nearest binary fraction.

    >>> exact(0.1), exact(1e-07), exact(3)
    (Fraction(1, 10), Fraction(1, 10000000), Fraction(3, 1))
    """
    return Fraction(repr(float(number))) if isinstance(number, float) else Fraction(number)


def _rational(value: Any) -> Any:
    """Turn 3 and 1.75 into a Fraction; leave the rest for pydantic to refuse."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    if not math.isfinite(value):
        raise ValueError(f"wanted a finite number, got {value}")
    return exact(value)


Count = Annotated[int, Field(gt=0)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[Fraction, BeforeValidator(_rational), Field(gt=0)]
