"""Bars of blocks, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .units import percent

__all__ = ["bars"]


def bars(title: str, parts: Sequence[tuple[str, float, str]], values: Iterable[str] = ()) -> Table:
    """A bar for each part, as long as its share."""
    table = Table.grid(padding=(0, 1))
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    table.add_column(min_width=14)
    table.add_column(justify="right", min_width=7)
    texts = list(values)
    if texts:
        table.add_column(justify="right", min_width=8)
    table.add_column(width=_BAR)
    for index, (label, share, color) in enumerate(parts):
        cells: list[RenderableType] = [f"  {label}", percent(share)]
        if texts:
            cells.append(texts[index])
        table.add_row(*cells, Text(_bar(share), style=color))
    return table


_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _bar(share: float) -> str:
    """Full blocks and one eighth; something is never shown as nothing."""
    eighths = max(1, round(share * _BAR * 8)) if share > 0 else 0
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")
