"""The pruning cliff: what one block takes and how busy it keeps the machine, by token count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..sim.cliff import Curve, Staircase
from .figures import Width, canvas, grid, headline, label, style, time_unit
from .gpu import gpu_notes
from .style import BLACK, BLUE, GREEN, VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cliff_figure", "cliff_notes", "cliff_rows"]

_LOOKS = {
    "ws": (BLUE, "-", "o"),
    "os": (VERMILLION, "--", "s"),
    "is": (GREEN, "-.", "^"),
    "": (BLACK, "-", "o"),
}
"""Colour, line and marker by dataflow."""

_MOST_TICKS = 4
"""On an axis; of more multiples of an array's side every other has a number, or every fourth."""


def cliff_figure(
    steps: Staircase, *, width: Width = "column", marked: Sequence[int] = ()
) -> Figure:
    """Latency above, utilization below; the arrays alone on the left, the machine on the right.

    Vertical lines are multiples of the array's sides.  For a GPU there is the machine alone.

    Args:
        steps: From `sim.cliff.staircase`.
        width: Of the figure.
        marked: Token counts that the model runs with; they are marked on the machine's own curve.
    """
    with style():
        figure = canvas(width, 3.2)
        longest = max(int(curve.cycles.max()) for curve in steps.curves) / steps.clock_hz
        scale, unit = time_unit(longest)
        alone = steps.own.compute_cycles is not None
        panels = figure.subplots(2, 1 + alone, sharex=True, sharey="row", squeeze=False)
        for column, title in enumerate(("arrays alone", "whole machine")[not alone :]):
            upper, lower = panels[0][column], panels[1][column]
            upper.set_title(title)
            lower.set_xlabel("tokens")
            for axes in (upper, lower):
                _mark_multiples(axes, steps)
                grid(axes, "y")
            for curve in steps.curves:
                cycles = curve.cycles
                if curve.compute_cycles is not None and column == 0:
                    cycles = curve.compute_cycles
                look = _look(curve, steps)
                upper.plot(steps.tokens, scale * steps.seconds(cycles), **look)
                lower.plot(steps.tokens, 100 * steps.utilization(cycles), **look)
        upper, lower = panels[0][-1], panels[1][-1]
        lower.set_xlim(0, 1.03 * int(steps.tokens[-1]))
        chosen = [at for at, count in enumerate(steps.tokens) if count in marked]
        own = steps.own.cycles
        look = {
            "linestyle": "",
            "marker": "D",
            "color": BLACK,
            "markersize": 4,
            "zorder": 5,
            "clip_on": False,
        }
        look |= {"markerfacecolor": "white", "label": "the model's counts"}
        if chosen:
            upper.plot(steps.tokens[chosen], scale * steps.seconds(own)[chosen], **look)
            lower.plot(steps.tokens[chosen], 100 * steps.utilization(own)[chosen], **look)
        panels[0][0].set_ylim(0, 1.08 * scale * longest)
        panels[1][0].set_ylim(0, 106)
        panels[1][0].set_yticks(range(0, 101, 25))
        panels[0][0].set_ylabel(f"{unit} per block")
        panels[1][0].set_ylabel("utilization (%)")
        headline(figure, label(steps.workload, steps.machine, steps.format, steps.images))
        if len(steps.curves) > 1 or chosen:
            handles, names = upper.get_legend_handles_labels()
            place = "outside lower center"
            columns = min(len(names), 2 if width == "column" else 4)
            figure.legend(handles, names, loc=place, ncols=columns)
        drawn: Figure = figure
    return drawn


def cliff_rows(steps: Staircase) -> list[dict[str, Any]]:
    """What is plotted: a row for each dataflow and token count."""
    return [
        {
            "dataflow": curve.dataflow or "-",
            "overlap": curve.overlap or "-",
            "tokens": int(count),
            "macs": int(steps.macs[at]),
            **_measures(steps, curve, at),
        }
        for curve in steps.curves
        for at, count in enumerate(steps.tokens)
    ]


def cliff_notes(steps: Staircase, marked: Sequence[int] = ()) -> list[str]:
    """What a reader of the numbers must know."""
    notes = [
        label(steps.workload, steps.machine, steps.format, steps.images),
        "one transformer block inside a model; tokens of one image, CLS and package included",
    ]
    if steps.sides:
        notes += [
            f"array of {' x '.join(map(str, steps.sides))}; as built: {steps.own.dataflow}, "
            f"{steps.own.overlap}; the other dataflows with their default overlap",
            "compute: the block's products on the arrays alone, without waiting",
        ]
    notes += gpu_notes(steps)
    if marked:
        notes.append(f"counts of the model: {', '.join(map(str, marked))}")
    return notes


def _measures(steps: Staircase, curve: Curve, at: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cycles in (("compute_", curve.compute_cycles), ("", curve.cycles)):
        if cycles is not None:
            found[f"{name}cycles"] = int(cycles[at])
            found[f"{name}latency_s"] = float(steps.seconds(cycles)[at])
            found[f"{name}utilization"] = float(steps.utilization(cycles)[at])
    return found


def _look(curve: Curve, steps: Staircase) -> dict[str, Any]:
    color, line, marker = _LOOKS[curve.dataflow]
    every = max(1, len(steps.tokens) // 6)
    first = list(_LOOKS).index(curve.dataflow) * every // 3  # so that markers do not hide another
    flow = curve.dataflow.upper() or steps.machine
    return {
        "color": color,
        "linestyle": line,
        "marker": marker,
        "markevery": (first, every),
        "label": f"{flow}, as built" if curve.own and steps.sides else flow,
    }


def _mark_multiples(axes: Any, steps: Staircase) -> None:
    """Lines where an array is filled, and numbers on some of them."""
    if not steps.sides:
        return
    last = int(steps.tokens[-1])
    for side in set(steps.sides):
        for count in range(side, last + 1, side):
            axes.axvline(count, color="#999999", linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=0)
    step = max(steps.sides)
    while last // step > _MOST_TICKS:
        step *= 2
    while last // step < 2 and step % 2 == 0:
        step //= 2
    axes.set_xticks(range(0, last + 1, step))
