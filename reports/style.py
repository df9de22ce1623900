"""What things look like: one colour and one label for each cause and unit, in every report.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any
common colour vision tell apart, and two greys.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CAUSE_COLORS", "CAUSE_LABELS", "UNIT_COLORS", "UNIT_LABELS", "series_colors"]

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
DARK, LIGHT = "#555555", "#BBBBBB"

CAUSE_COLORS: Mapping[str, str] = {
    "useful": GREEN,
    "selector": SKY,
    "padding": YELLOW,
    "edge": ORANGE,
    "fill_drain": PURPLE,
    "memory": BLUE,
    "vector": VERMILLION,
    "wait": DARK,
    "imbalance": LIGHT,
}
"""By cause, in the order of `sim.losses.CAUSES`."""

CAUSE_LABELS: Mapping[str, str] = {
    "useful": "useful",
    "selector": "selector",
    "padding": "padding",
    "edge": "edge",
    "fill_drain": "fill/drain",
    "memory": "memory",
    "vector": "vector",
    "wait": "wait",
    "imbalance": "imbalance",
}

UNIT_COLORS: Mapping[str, str] = {
    "weights": SKY,
    "inputs": BLUE,
    "array": GREEN,
    "vector": VERMILLION,
    "store": ORANGE,
    "host": DARK,
}
"""By unit, in the order of `sim.spans.UNITS`."""

UNIT_LABELS: Mapping[str, str] = {
    "weights": "load weights",
    "inputs": "load inputs",
    "array": "arrays",
    "vector": "vector unit",
    "store": "store",
    "host": "host",
}

_SERIES = (GREEN, SKY, BLUE, YELLOW, ORANGE, LIGHT, VERMILLION, PURPLE, DARK)


def series_colors(names: tuple[str, ...]) -> dict[str, str]:
    """A colour for each of `names`, whatever they are; from the tenth on they repeat."""
    return {name: _SERIES[index % len(_SERIES)] for index, name in enumerate(names)}
