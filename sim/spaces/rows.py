"""Rows of a frame as plain values of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Row", "keys_of", "records"]

Row: TypeAlias = dict[str, Any]


def records(frame: pd.DataFrame) -> list[Row]:
    """Row by row what it says, without what is empty."""
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    empty = {str(name): frame[name].isna().tolist() for name in frame.columns}
    return [
        {name: values[i] for name, values in columns.items() if not empty[name][i]}
        for i in range(len(frame))
    ]


def keys_of(designs: pd.DataFrame) -> list[tuple[Any, ...]]:
    """What tells one design from another, row by row."""
    filled = designs.astype(object).where(designs.notna(), None)
    return list(zip(*(filled[name].tolist() for name in filled), strict=True))
