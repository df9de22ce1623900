"""The latency-sparsity table: ms per block by keep ratio, as a figure, as TeX and as values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..sim.sparsity import Sparsity
from .figures import Width, canvas, grid, headline, label, style, tex_table, time_unit
from .gpu import gpu_notes, gpu_values
from .style import BLACK, LIGHT, SKY
from .units import ratio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "sparsity_figure",
    "sparsity_notes",
    "sparsity_rows",
    "sparsity_tex",
    "sparsity_values",
]


def sparsity_figure(table: Sparsity, *, width: Width = "column") -> Figure:
    """A bar for each keep ratio, and beside it what it would be if time fell as MACs do.

    Args:
        table: From `sim.sparsity.sparsity`.
        width: Of the figure.
    """
    with style():
        figure = canvas(width, 2.3)
        axes = figure.subplots()
        times = [row.latency_s for row in table.rows]
        scale, unit = time_unit(max(times))
        places = range(len(times))
        whole = table.rows[0].latency_s * table.rows[0].speed_up
        ideal = [scale * whole / row.mac_ratio for row in table.rows]
        axes.bar(
            [place - 0.2 for place in places],
            [scale * time for time in times],
            width=0.4, color=SKY, edgecolor=BLACK, linewidth=0.5, label="simulated",
        )  # fmt: skip
        axes.bar(
            [place + 0.2 for place in places],
            ideal,
            width=0.4, color=LIGHT, edgecolor=BLACK, linewidth=0.5, hatch="////",
            label="in proportion to MACs",
        )  # fmt: skip
        axes.set_xticks(places, [str(round(row.keep_ratio, 3)) for row in table.rows])
        axes.set_xlabel("keep ratio")
        axes.set_ylabel(f"{unit} per block")
        grid(axes, "y")
        headline(figure, label(table.workload, table.machine, table.format, table.images))
        figure.legend(loc="outside lower center", ncols=2)
        drawn: Figure = figure
    return drawn


def sparsity_rows(table: Sparsity) -> list[dict[str, Any]]:
    """What is plotted and what belongs to it."""
    return [
        {
            **asdict(row),
            "latency_ms": 1e3 * row.latency_s,
            "proportional_ms": 1e3 * row.latency_s * row.speed_up / row.mac_ratio,
        }
        for row in table.rows
    ]


def sparsity_notes(table: Sparsity) -> list[str]:
    """What a reader of the numbers must know."""
    return [
        label(table.workload, table.machine, table.format, table.images),
        "one transformer block inside a model, simulated; without the token selectors' own time",
        "tokens: kept patches, CLS, and a package token where patches were pruned",
        *gpu_notes(table),
    ]


def sparsity_tex(table: Sparsity) -> str:
    """The table for a paper, with booktabs."""
    columns = ["Keep ratio", "Tokens", r"Latency (ms)", "Speed-up", "MACs promise", r"Util.\ (\%)"]
    rows = [
        [
            str(round(row.keep_ratio, 3)),
            str(row.tokens),
            f"{1e3 * row.latency_s:.4g}",
            ratio(row.speed_up),
            ratio(row.mac_ratio),
            f"{100 * row.utilization:.1f}",
        ]
        for row in table.rows
    ]
    what = label(table.workload, table.machine, table.format, table.images)
    caption = f"Latency of one block by keep ratio: {what} (simulated, selectors not included)."
    return tex_table(columns, rows, caption=caption, label="tab:sparsity")


def sparsity_values(table: Sparsity) -> dict[str, Any]:
    """What training looks up: `latency_ms` by `keep_ratio`, and the rest beside it."""
    return {
        "workload": table.workload,
        "machine": table.machine,
        "format": table.format,
        **gpu_values(table),
        "images": table.images,
        "notes": sparsity_notes(table)[1:],
        "rows": sparsity_rows(table),
    }
