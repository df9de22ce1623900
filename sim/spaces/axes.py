"""An axis of a space: a name and the values that it takes, listed or in a range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ...arch.explain import got, nearest
from ..errors import SpaceError
from ..variants import Kind

__all__ = ["SCALES", "Axis", "Column", "axis"]

Column: TypeAlias = NDArray[Any]
"""One value for each point: `(points,)` of int64, float64, bool or object (text)."""

Scale: TypeAlias = Literal["linear", "log", "powers-of-two"]
SCALES: tuple[Scale, ...] = ("linear", "log", "powers-of-two")

_RANGE = ("from", "to", "count", "scale")
_MOST = 10_000_000  # values of one axis: a list of them is held in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Values of one parameter.

    Attributes:
        name: The parameter's.
        kind: What its values are.
        values: All of them, in order; empty if the axis is a range without steps.
        low, high: The ends of such a range, both in it.
        log: Whether equal factors are equally far apart on it.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def dtype(self) -> Any:
        """The type of a column of it."""
        return {"int": np.int64, "float": np.float64, "bool": np.bool_, "text": np.object_}[
            self.kind
        ]

    def at(self, steps: NDArray[np.int64]) -> Column:
        """The values at some steps, `(points,)`, counted from 0."""
        return np.array(self.values, dtype=self.dtype)[steps]

    def spread(self, shares: NDArray[np.float64]) -> Column:
        """The values at some shares of the axis, `(points,)`, each in [0, 1).

        >>> axis("rows", "int", {"from": 8, "to": 128, "scale": "log"}).spread(np.array([0, 0.5]))
        array([ 8, 32])
        """
        if self.values:
            return self.at((shares * len(self.values)).astype(np.int64))
        if self.log:
            ends = math.log(self.low), math.log(self.high)
            found = np.exp(ends[0] + shares * (ends[1] - ends[0]))
        elif self.kind == "int":  # each whole number with the same chance, the last too
            found = np.floor(self.low + shares * (self.high - self.low + 1))
        else:
            found = self.low + shares * (self.high - self.low)
        found = np.clip(found, self.low, self.high)
        return np.rint(found).astype(np.int64) if self.kind == "int" else found


def axis(name: str, kind: Kind, given: object) -> Axis:
    """Read an axis: a value, a list of values, or a range.

    >>> axis("array.rows", "int", {"from": 8, "to": 32, "scale": "powers-of-two"}).values
    (8, 16, 32)

    Args:
        name: Of the parameter.
        kind: What its values must be; a whole number is a float where one is wanted.
        given: A value; a sequence of them; or `from`, `to`, `scale` (linear if left out) and
            `count`, without which the range has no steps.

    Raises:
        SpaceError: There are no values, one is of another kind or is there twice, or the range is
            none.
    """
    if isinstance(given, Mapping):
        return _range(name, kind, cast("Mapping[str, Any]", given))
    listed = _list(given)
    if not listed:
        raise SpaceError(("axes", name), "wanted at least one value, got an empty list")
    values = [_value(name, kind, one) for one in listed]
    for at, one in enumerate(values):
        if one in values[:at] and len(values) < 10_000:  # a longer list is nobody's typing
            raise SpaceError(("axes", name), f"{one} is there twice; name each value once")
    return Axis(name=name, kind=kind, values=tuple(values))


def _list(given: object) -> list[object]:
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        return [given]
    return list(cast("Sequence[object]", given))


def _value(name: str, kind: Kind, one: object) -> Any:
    if isinstance(one, np.generic):
        one = cast("object", cast("Any", one).item())
    if kind == "float" and isinstance(one, int) and not isinstance(one, bool):
        return float(one)
    wanted = {"int": int, "float": float, "bool": bool, "text": str}[kind]
    whole = kind == "int" and isinstance(one, bool)
    if not isinstance(one, wanted) or whole or (isinstance(one, float) and not math.isfinite(one)):
        if kind == "float" and hasattr(one, "numerator") and not isinstance(one, bool):
            return float(cast("Any", one))  # a rational, as YAML's 7/4
        words = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        raise SpaceError(("axes", name), f"wanted {words.get(kind, 'text')}, got {got(one)}")
    return one


def _range(name: str, kind: Kind, given: Mapping[str, Any]) -> Axis:
    key = ("axes", name)
    for one in given:
        if one not in _RANGE:
            raise SpaceError((*key, one), f"unknown key{nearest(one, _RANGE)}; wanted from and to")
    if kind not in ("int", "float"):
        raise SpaceError(key, "wanted a list of values, got a range; only numbers have one")
    for end in ("from", "to"):
        if end not in given:
            raise SpaceError(key, f"{end}: missing key, wanted a number")
    low, high = (_value(name, kind, given[end]) for end in ("from", "to"))
    scale, count = given.get("scale", "linear"), given.get("count")
    if scale not in SCALES:
        raise SpaceError(key, f"scale: wanted {', '.join(SCALES)}, got {got(scale, SCALES)}")
    if low > high:
        raise SpaceError(key, f"wanted from at most to, got {low} to {high}: it is empty")
    if scale != "linear" and low <= 0:
        raise SpaceError(key, f"from: a range of scale {scale} begins above 0, got {low}")
    if count is not None and (type(count) is not int or not 1 <= count <= _MOST):
        raise SpaceError(key, f"count: wanted a whole number from 1 to {_MOST}, got {got(count)}")
    if scale == "powers-of-two":
        return Axis(name=name, kind=kind, values=_powers(key, kind, low, high, count))
    if count is None and low < high:
        return Axis(name=name, kind=kind, low=float(low), high=float(high), log=scale == "log")
    steps = _steps(low, high, count or 1, scale == "log")
    values = [round(step) for step in steps] if kind == "int" else [float(step) for step in steps]
    return Axis(name=name, kind=kind, values=tuple(dict.fromkeys(values)))  # rounded alike: once


def _powers(
    key: tuple[str, ...], kind: Kind, low: float, high: float, count: object
) -> tuple[float, ...]:
    if count is not None:
        raise SpaceError(key, "count: a range of powers-of-two has those from from to to; leave it")
    for end in (low, high):
        if math.frexp(end)[0] != 0.5:
            raise SpaceError(key, f"wanted powers of two at both ends, got {end}")
    found = range(math.frexp(low)[1] - 1, math.frexp(high)[1])
    return tuple(2**power if kind == "int" else 2.0**power for power in found)


def _steps(low: float, high: float, count: int, log: bool) -> list[float]:
    """So many numbers from `low` to `high`, both among them as they were given."""
    if count == 1:
        return [low]
    inside = np.geomspace(low, high, count) if log else np.linspace(low, high, count)
    return [low, *map(float, inside[1:-1]), high]
