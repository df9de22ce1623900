"""The tornado: which numbers of a machine matter, each moved by 10 per cent, the most first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..sim.sensitivity import SHARE, Moved, Sensitivity
from .figures import Width, canvas, grid, headline, label, style, tex_table
from .metric_axes import short_names
from .style import BLACK, ORANGE, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "sensitivity_figure",
    "sensitivity_notes",
    "sensitivity_rows",
    "sensitivity_tex",
    "sensitivity_values",
]

_MOST = 14
"""Fields that are drawn; all are in the CSV."""

_LEAST = 0.001
"""Changes below are none: they are drawn as no bar would be."""

_NAMES = {
    "latency_s": "latency",
    "energy_j": "energy",
    "edp_js": "energy-delay product",
    "dram_bytes": "DRAM traffic",
}


def sensitivity_figure(
    found: Sensitivity, metric: str = "latency_s", *, width: Width = "column"
) -> Figure:
    """Two bars for each number of the machine that matters.

    Args:
        found: From `sim.sensitivity.sensitivity`.
        metric: Whose change is drawn: latency_s, energy_j, edp_js or dram_bytes.
        width: Of the figure.
    """
    with style():
        order = _order(found, metric)
        names = short_names([moved.field for moved in found.moved])
        figure = canvas(width, 1.0 + 0.19 * max(1, len(order)))
        axes = figure.subplots()
        looks = {"less": (SKY, "", -0.2), "more": (ORANGE, "////", 0.2)}
        for way, (color, hatch, off) in looks.items():
            own = [one for one in found.moved if one.way == way and one.metrics]
            bars = {one.field: found.change(one, metric) for one in own}
            at = [place for place, field in enumerate(order) if field in bars]
            axes.barh(
                [place + off for place in at], [100 * bars[order[place]] for place in at],
                height=0.4, color=color, edgecolor=BLACK, linewidth=0.5, hatch=hatch,
                label=f"{100 * SHARE:.0f} % {way}",
            )  # fmt: skip
        axes.axvline(0, color=BLACK, linewidth=0.8)
        axes.set_yticks(range(len(order)), [names[field] for field in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.05)
        axes.set_xlabel(f"change of {_NAMES[metric]} (%)")
        grid(axes, "x")
        headline(figure, label(found.workload, found.machine, found.format, found.images))
        figure.legend(loc="outside lower center", ncols=2)
        drawn: Figure = figure
    return drawn


def sensitivity_rows(found: Sensitivity) -> list[dict[str, Any]]:
    """A row for each number and way; empty where the machine cannot run it."""
    return [
        {
            "field": one.field,
            "way": one.way,
            "base": one.base,
            "value": one.value,
            **{f"{name}_change": _finite(found.change(one, name)) for name in _NAMES},
            **{name: one.metrics.get(name) for name in _NAMES},
            "infeasible": one.infeasible,
        }
        for one in found.moved
    ]


def sensitivity_notes(found: Sensitivity) -> list[str]:
    """What a reader of the numbers must know."""
    notes = [
        label(found.workload, found.machine, found.format, found.images),
        f"each number of the machine alone {100 * SHARE:.0f} per cent less or more, by the cost "
        "model; whole numbers move to the nearest whole one",
    ]
    if found.still:
        notes.append(f"not moved, being 0 or small whole numbers: {', '.join(found.still)}")
    return notes


def sensitivity_tex(found: Sensitivity, metric: str = "latency_s") -> str:
    """The table for a paper, with booktabs, of what is drawn."""
    order = _order(found, metric)
    changes = {(one.field, str(one.way)): found.change(one, metric) for one in found.moved}

    def cell(field: str, way: str) -> str:
        change = changes.get((field, way), math.nan)
        return f"{100 * change:+.2f}" if math.isfinite(change) else "-"

    rows = [[field, cell(field, "less"), cell(field, "more")] for field in order]
    share = f"{100 * SHARE:.0f}"
    columns = ["Field", rf"$-{share}\,\%$", rf"$+{share}\,\%$"]
    what = label(found.workload, found.machine, found.format, found.images)
    caption = f"Change of {_NAMES[metric]} in per cent: {what} (cost model)."
    return tex_table(columns, rows, caption=caption, label="tab:sensitivity")


def sensitivity_values(found: Sensitivity) -> dict[str, Any]:
    """Everything as numbers."""
    return {
        "workload": found.workload,
        "machine": found.machine,
        "format": found.format,
        "images": found.images,
        "metrics": dict(found.metrics),
        "notes": sensitivity_notes(found)[1:],
        "rows": sensitivity_rows(found),
    }


def _order(found: Sensitivity, metric: str) -> list[str]:
    """The fields that matter, the most first."""
    most: dict[str, float] = {}
    for one in found.moved:
        most[one.field] = max(most.get(one.field, 0.0), _size(found, one, metric))
    fields = [field for field in most if most[field] >= _LEAST]
    return sorted(fields, key=lambda field: -most[field])[:_MOST]


def _size(found: Sensitivity, one: Moved, metric: str) -> float:
    change = abs(found.change(one, metric))
    return change if math.isfinite(change) else 0.0


def _finite(change: float) -> float | None:
    return change if math.isfinite(change) else None
