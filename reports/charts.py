"""The geometry of stacked bars; the template only draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..sim.result import Result
from .compare import Comparison
from .style import ink
from .units import percent, quantity

__all__ = ["LABELS", "PLOT", "Bar", "Segment", "StackedBars", "stacked_bars"]

LABELS, PLOT = 230.0, 700.0
"""Widths of the labels on the left and of the plot beside them; 1040 in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a bar: `text` is written in it, `title` shown when pointed at."""

    x: float
    width: float
    color: str
    ink: str
    text: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One result: its parts, what it is, and its whole."""

    y: float
    label: str
    segments: tuple[Segment, ...]
    end: float
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedBars:
    """Bars in groups, each group under its heading."""

    legend: tuple[tuple[str, str], ...]
    headings: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    axis: float
    height: float


_BAR, _GAP, _HEADING = 22.0, 8.0, 24.0


def stacked_bars(
    comparisons: Sequence[Comparison],
    parts: Callable[[Result], Mapping[str, float]],
    unit: str,
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> StackedBars:
    """A bar for each result, as long as its whole is beside the longest of its comparison.

    Args:
        comparisons: What is drawn together.
        parts: What a result's bar is made of, per image.
        unit: Of the parts.
        colors: Of the parts, in their order.
        labels: Of the parts.
    """
    bars: list[Bar] = []
    headings: list[tuple[float, str]] = []
    seen: set[str] = set()
    y, machine = 0.0, ""
    for comparison in comparisons:
        found = [parts(result) for result in comparison.results]
        longest = max((sum(values.values()) for values in found), default=0.0)
        for result, values in zip(comparison.results, found, strict=True):
            if result.machine != machine:
                machine = result.machine
                y += _HEADING
                headings.append((y - 8, machine))
            segments = tuple(_segments(values, longest, unit, colors, labels))
            seen |= {name for name, value in values.items() if value}
            end = segments[-1].x + segments[-1].width if segments else LABELS
            whole = quantity(sum(values.values()), unit)
            bars.append(Bar(y=y, label=result.workload, segments=segments, end=end, value=whole))
            y += _BAR + _GAP
    return StackedBars(
        legend=tuple(dict.fromkeys((labels[n], color) for n, color in colors.items() if n in seen)),
        headings=tuple(headings),
        bars=tuple(bars),
        ticks=tuple((LABELS + PLOT * i / 4, f"{25 * i} %") for i in range(5)),
        axis=y,
        height=y + 40,
    )


def _segments(
    values: Mapping[str, float],
    longest: float,
    unit: str,
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> list[Segment]:
    whole = sum(values.values())
    found: list[Segment] = []
    x = LABELS
    for name, color in colors.items():
        value = values.get(name, 0.0)
        if not value:
            continue
        width = PLOT * value / longest
        share = percent(value / whole)
        title = f"{labels[name]}: {quantity(value, unit)}, {share}"
        text = share if width > 46 else ""
        found.append(Segment(x=x, width=width, color=color, ink=ink(color), text=text, title=title))
        x += width
    return found
