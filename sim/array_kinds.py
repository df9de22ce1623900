"""Closed forms for a column of arrays that differ in more than numbers, such as their dataflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

__all__ = ["for_each_kind"]

P = ParamSpec("P")
R = TypeVar("R")


def for_each_kind(form: Callable[P, R]) -> Callable[P, R]:
    """A closed form that takes arrays of several kinds, each on the rows that are its own.

    Args:
        form: Takes an array, and sizes that are numbers or have a row for each array.
    """

    @wraps(form)
    def called(*args: P.args, **named: P.kwargs) -> R:
        array, *sizes = cast("tuple[Any, ...]", args)
        if getattr(array, "kinds", None) is None:
            return form(*args, **named)
        parts: list[tuple[Any, Any]] = []
        count: int = array.count_of_rows
        any_form = cast("Callable[..., Any]", form)
        for rows, one in array.kinds:
            own = [_taken(size, rows, count) for size in sizes]
            options = {name: _taken(value, rows, count) for name, value in named.items()}
            parts.append((rows, any_form(one, *own, **options)))
        return cast("R", parts[0][1] if len(parts) == 1 else _joined(parts, count))

    return called


def _taken(value: Any, rows: Any, count: int) -> Any:
    """Of a column those rows; what is one for all arrays stays, and a tuple is its parts."""
    if isinstance(value, tuple):
        kept: Any = value  # pyright: ignore[reportUnknownVariableType]
        parts = [_taken(part, rows, count) for part in kept]
        return kept._make(parts) if hasattr(kept, "_make") else tuple(parts)
    column: Any = value
    return column[rows] if np.ndim(column) and len(column) == count else column


def _joined(parts: Sequence[tuple[Any, Any]], count: int) -> Any:
    """Results of some rows each as those of all."""
    first: Any = parts[0][1]
    if isinstance(first, tuple):
        each = zip(*(value for _, value in parts), strict=True)
        rows = [row for row, _ in parts]
        return tuple(_joined(list(zip(rows, values, strict=True)), count) for values in each)
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        kind: Any = type(first)
        return kind(
            **{n: _joined([(rows, getattr(v, n)) for rows, v in parts], count) for n in names}
        )
    values = [np.asarray(value) for _, value in parts]
    shape = np.broadcast_shapes(*(value.shape[1:] for value in values))
    whole = np.empty((count, *shape), dtype=np.result_type(*values))
    for (rows, _), value in zip(parts, values, strict=True):
        whole[rows] = value
    return whole
