"""One colour and one label for each cause, unit and component, the same in every report.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any
common colour vision tell apart, and two greys.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "CAUSE_COLORS",
    "CAUSE_LABELS",
    "ENERGY_COLORS",
    "ENERGY_LABELS",
    "UNIT_COLORS",
    "UNIT_LABELS",
    "cause_labels",
    "ink",
]

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


def cause_labels(*gpu: bool) -> Mapping[str, str]:
    """By cause, for machines that each are a GPU or not: a GPU's wait is launches and read-backs.

    >>> cause_labels(True)["wait"], cause_labels(False, True)["wait"]
    ('launches', 'wait, launches')
    """
    names = [name for name, there in (("wait", False), ("launches", True)) if there in gpu]
    return {**CAUSE_LABELS, "wait": ", ".join(names)}


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

ENERGY_COLORS: Mapping[str, str] = {
    "mac": GREEN,
    "compute": GREEN,
    "registers": PURPLE,
    "input_buffer": SKY,
    "weight_buffer": YELLOW,
    "accumulators": ORANGE,
    "output_buffer": LIGHT,
    "vector": VERMILLION,
    "dram": BLUE,
    "host": BLACK,
    "static": DARK,
    "running": DARK,
}
"""By component of accelerators and GPUs; what is the same in both looks the same.

Arithmetic, vector unit and DRAM also look like the causes they belong to (useful, vector, memory);
the palette has too few colours for the others to differ from every cause.
"""

ENERGY_LABELS: Mapping[str, str] = {
    "mac": "arithmetic",
    "compute": "arithmetic",
    "registers": "registers",
    "input_buffer": "input buffer",
    "weight_buffer": "weight buffer",
    "accumulators": "accumulators",
    "output_buffer": "output buffer",
    "vector": "vector unit",
    "dram": "DRAM",
    "host": "host",
    "static": "static",
    "running": "static",
}


def ink(background: str) -> str:
    """The colour of text on `background`: black on light colours, white on dark ones."""
    red, green, blue = (int(background[at : at + 2], 16) for at in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#FFFFFF"
