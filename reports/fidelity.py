"""The fidelity scatter: the cost model against the engine, and how far it is off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sim.fidelity import METRICS, Fidelity
from .figures import Width, canvas, grid, headline, style, tex_table
from .metric_axes import Scale, scale_of, set_scale
from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "fidelity_figure",
    "fidelity_notes",
    "fidelity_rows",
    "fidelity_tex",
    "fidelity_values",
]

_BAND = 0.05
_GREY = "#DDDDDD"
_LOOKS = ((BLUE, "o"), (VERMILLION, "^"), (GREEN, "s"), (PURPLE, "v"), (ORANGE, "D"))
_NAMES = {"latency_s": "latency", "energy_j": "energy"}


def fidelity_figure(found: Fidelity, *, width: Width = "column", title: str = "") -> Figure:
    """Above the model over the engine, below by how much it is off; grey is within 5 per cent.

    Args:
        found: From `sim.fidelity.fidelity`.
        width: Of the figure.
        title: What the points are of; the machine if empty.
    """
    with style():
        figure = canvas(width, 3.5 if width == "column" else 3.9)
        panels = figure.subplots(2, 2, sharex="col", height_ratios=(1.45, 1))
        for column, metric in enumerate(METRICS):
            engine = found.rows[f"engine_{metric}"].to_numpy(float)
            scale = scale_of(metric, engine)
            _scatter(panels[0][column], found, metric, scale)
            _errors(panels[1][column], found, metric, scale)
        panels[0][0].set_ylabel("cost model")
        panels[1][0].set_ylabel("error (%)")
        headline(figure, f"{title or found.machine}: {_counted(found)}")
        handles, names = panels[0][0].get_legend_handles_labels()
        columns = 6 if width == "page" else 4
        figure.legend(handles, names, loc="outside lower center", ncols=columns)
        drawn: Figure = figure
    return drawn


def fidelity_rows(found: Fidelity) -> list[dict[str, Any]]:
    """Every point: its parameters, both numbers and the errors."""
    from .sweep_table import records

    errors = {f"{metric}_error": found.errors(metric) for metric in METRICS}
    return records(found.rows.assign(**errors))


def fidelity_notes(found: Fidelity) -> list[str]:
    """What a reader of the numbers must know."""
    return [
        f"{found.machine}: {_counted(found)}",
        "error: what the cost model says over what the engine says, less 1; MAPE is the mean of "
        "its absolute value, tau Kendall's tau-b",
        *(f"{_NAMES[metric]}: {_said(found, metric, ', ')}" for metric in METRICS),
    ]


def fidelity_tex(found: Fidelity) -> str:
    """The table for a paper, with booktabs."""
    columns = ["Metric", r"MAPE (\%)", r"p95 (\%)", r"Worst (\%)", r"Kendall's $\tau$"]
    rows: list[list[str]] = []
    for metric in METRICS:
        one = found.agreement(metric)
        percents = [f"{100 * part:.2f}" for part in (one.mean, one.p95, one.worst)]
        rows.append([_NAMES[metric], *percents, _tau(one.tau)])
    caption = f"The cost model against the engine: {found.machine}, {_counted(found)}."
    return tex_table(columns, rows, caption=caption, label="tab:fidelity")


def fidelity_values(found: Fidelity) -> dict[str, Any]:
    """How well both agree, as numbers."""
    values: dict[str, Any] = {"machine": found.machine, "points": len(found.rows)}
    values |= {name: getattr(found, name) for name in ("infeasible", "disagreed", "failed")}
    for metric in METRICS:
        one = found.agreement(metric)
        values[metric] = {
            "mape": one.mean,
            "p95": one.p95,
            "worst": one.worst,
            "kendall_tau": one.tau if math.isfinite(one.tau) else None,
        }
    return values


def _scatter(axes: Any, found: Fidelity, metric: str, scale: Scale) -> None:
    engine = scale.factor * found.rows[f"engine_{metric}"].to_numpy(float)
    cost = scale.factor * found.rows[f"cost_{metric}"].to_numpy(float)
    ends = np.array([min(engine.min(), cost.min()), max(engine.max(), cost.max())])
    ends *= np.array([0.8, 1.25])
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    set_scale(axes, "x", engine)
    set_scale(axes, "y", engine)
    axes.fill_between(
        ends, (1 - _BAND) * ends, (1 + _BAND) * ends, color=_GREY, linewidth=0, label="±5 %"
    )
    axes.plot(ends, ends, color=BLACK, linewidth=0.6)
    for name, rows, color, marker in _groups(found):
        axes.scatter(
            engine[rows], cost[rows], s=7, marker=marker, facecolors="none", edgecolors=color,
            linewidths=0.6, label=name, zorder=3,
        )  # fmt: skip
    axes.set_title(scale.label)
    # Points lie on the diagonal: there is room above it, on the left.
    axes.text(0.04, 0.97, _said(found, metric, "\n"), transform=axes.transAxes, va="top")


def _errors(axes: Any, found: Fidelity, metric: str, scale: Scale) -> None:
    engine = scale.factor * found.rows[f"engine_{metric}"].to_numpy(float)
    off = 100 * found.errors(metric)
    axes.axhspan(-100 * _BAND, 100 * _BAND, color=_GREY, linewidth=0)
    axes.axhline(0, color=BLACK, linewidth=0.6)
    for _, rows, color, marker in _groups(found):
        axes.scatter(
            engine[rows], off[rows], s=7, marker=marker, facecolors="none", edgecolors=color,
            linewidths=0.6, zorder=3,
        )  # fmt: skip
    reach = 1.1 * max(100 * _BAND, float(np.abs(off).max()))
    axes.set_ylim(-reach, reach)
    axes.set_xlabel(f"engine ({scale.unit})")
    grid(axes, "y")


def _groups(found: Fidelity) -> list[tuple[str, Any, str, str]]:
    """Points by dataflow, or by workload where there is no such axis; else all as one."""
    by = next((name for name in ("array.dataflow", "workload") if name in found.rows), "")
    if not by or found.rows[by].nunique() > len(_LOOKS):
        return [("points", slice(None), *_LOOKS[0])]
    groups: list[tuple[str, Any, str, str]] = []
    for name, (color, marker) in zip(sorted(found.rows[by].unique()), _LOOKS, strict=False):
        said = str(name).upper() if by == "array.dataflow" else str(name)
        groups.append((said, (found.rows[by] == name).to_numpy(), color, marker))
    return groups


def _said(found: Fidelity, metric: str, between: str) -> str:
    one = found.agreement(metric)
    parts = (f"MAPE {100 * one.mean:.2f} %", f"p95 {100 * one.p95:.2f} %", f"τ {_tau(one.tau)}")
    return between.join(parts)


def _tau(tau: float) -> str:
    return f"{tau:.3f}" if math.isfinite(tau) else "-"


def _counted(found: Fidelity) -> str:
    said = f"{len(found.rows):,} points"
    said += f"; {found.infeasible:,} infeasible" if found.infeasible else ""
    said += f"; {found.disagreed:,} infeasible by one of the two" if found.disagreed else ""
    return said + (f"; {found.failed:,} failed" if found.failed else "")
