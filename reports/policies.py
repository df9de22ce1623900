"""Policies beside each other: how latency is spread, and what throughput and energy gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..sim.batches import ORDERS
from ..sim.ragged_result import PolicyRun, RaggedRun
from .figures import Width, beside, canvas, grid, headline, label, style, tex_table, time_unit
from .gpu import gpu_notes
from .ragged import run_values
from .style import BLACK, GREEN, LIGHT, ORANGE, SKY
from .units import ratio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "policies_figure",
    "policies_notes",
    "policies_rows",
    "policies_tex",
    "policies_values",
]

_MARKS = {50: ("o", "white", -0.25), 95: ("^", ORANGE, 0.0), 99: ("s", BLACK, 0.25)}
"""Marker, its filling and its height in a row by percentile, such that none hides another."""

_MARK_POINTS = 3.2

_BAR = 0.72


def policies_figure(run: RaggedRun, *, width: Width = "column", tokens: str = "") -> Figure:
    """A bar for each policy, as high at a latency as the share of images that take longer.

    So the end of a bar is the distribution: upright where all images take the same time, slanted
    where they differ.  Beside it stands throughput over that of `dense`, on a page energy too.

    Args:
        run: From `sim.ragged.run_policies`.
        width: Of the figure.
        tokens: The name of the token trace, for the title.
    """
    with style():
        figure = canvas(width, 0.95 + 0.21 * len(run.policies))
        ratios = (2.6, 1) if width == "column" else (3, 1, 1)
        panels = figure.subplots(1, len(ratios), sharey=True, width_ratios=ratios)
        _latencies(panels[0], run)
        gains = [run.speedup(one) for one in run.policies]
        _bars(panels[1], "throughput\nover dense", gains, GREEN)
        if width == "page":
            joules = [one.energy_per_image_j / run.base.energy_per_image_j for one in run.policies]
            _bars(panels[2], "energy\nover dense", joules, LIGHT, hatch="////")
        panels[0].set_yticks(range(len(run.policies)), [one.policy.name for one in run.policies])
        panels[0].invert_yaxis()
        for axes in panels:
            axes.tick_params(axis="y", length=0)
            grid(axes, "x")
        headline(figure, label(run.workload, run.machine, run.format, run.batch, tokens))
        handles, names = panels[0].get_legend_handles_labels()
        place = "outside lower center"
        figure.legend(handles, names, loc=place, ncols=len(names), handlelength=1)
        drawn: Figure = figure
    return drawn


def policies_rows(run: RaggedRun) -> list[dict[str, Any]]:
    """What is plotted: a row for each policy and latency at which its bar gets lower.

    `taking_longer` is the share of images that take longer than `latency_s`; the rest of a row is
    the policy's.
    """
    return [
        {**_summary(run, one), "latency_s": latency_s, "taking_longer": share}
        for one in run.policies
        for latency_s, share in zip(*_steps(one), strict=True)
    ]


def policies_notes(run: RaggedRun, tokens: str) -> list[str]:
    """What a reader of the numbers must know; `tokens` says where the counts come from."""
    left_out = [f"{name} is left out: {why}" for name, why in run.left_out.items()]
    return [
        label(run.workload, run.machine, run.format, run.batch),
        f"tokens: {tokens}; {_images(run)}",
        f"latency of an image: until its batch is done; dense: {run.base_is}",
        *gpu_notes(run),
        *left_out,
    ]


def policies_tex(run: RaggedRun, tokens: str) -> str:
    """The percentiles for a paper, with booktabs."""
    columns = ["Policy", "p50 (ms)", "p95 (ms)", "p99 (ms)", "Images/s", "Energy (mJ)", "Speed-up"]
    rows = [
        [
            one.policy.name,
            *(f"{1e3 * one.percentile_s(percent):.4g}" for percent in _MARKS),
            f"{one.images_per_s:.0f}",
            f"{1e3 * one.energy_per_image_j:.3g}",
            ratio(run.speedup(one)),
        ]
        for one in run.policies
    ]
    what = label(run.workload, run.machine, run.format, run.batch)
    caption = f"Policies for varying token counts: {what}, {_images(run)}, {tokens}."
    return tex_table(columns, rows, caption=caption, label="tab:policies")


def policies_values(run: RaggedRun, tokens: str) -> dict[str, Any]:
    """Everything as numbers."""
    return run_values(run) | {
        "tokens": tokens,
        "images": len(run.counts),
        "policies": [
            {**_summary(run, one), "latency_s": one.latency_s.tolist()} for one in run.policies
        ],
    }


def _images(run: RaggedRun) -> str:
    return f"{len(run.counts):,} image{'s' * (len(run.counts) > 1)} {ORDERS[run.order]}"


def _summary(run: RaggedRun, one: PolicyRun) -> dict[str, Any]:
    return {
        "policy": one.policy.name,
        **{f"p{percent}_s": one.percentile_s(percent) for percent in _MARKS},
        "images_per_s": one.images_per_s,
        "throughput_over_dense": run.speedup(one),
        "energy_per_image_j": one.energy_per_image_j,
        "energy_over_dense": one.energy_per_image_j / run.base.energy_per_image_j,
    }


def _steps(one: PolicyRun) -> tuple[list[float], list[float]]:
    """Latencies, ascending, and the share of images that take longer than each."""
    latencies, images = np.unique(one.latency_s, return_counts=True)
    longer = 1 - np.cumsum(images) / one.images
    longer[-1] = 0.0
    return [0.0, *latencies.tolist()], [1.0, *longer.tolist()]


def _latencies(axes: Any, run: RaggedRun) -> None:
    scale, unit = time_unit(max(float(one.latency_s.max()) for one in run.policies))
    for place, one in enumerate(run.policies):
        latencies, longer = (np.array(values) for values in _steps(one))
        floor = place + _BAR / 2
        axes.fill_between(
            scale * latencies, floor, floor - _BAR * longer, step="post",
            facecolor=SKY, edgecolor=BLACK, linewidth=0.5,
        )  # fmt: skip
    for percent, (marker, color, height) in _MARKS.items():
        times = [scale * one.percentile_s(percent) for one in run.policies]
        heights = [place + height for place in range(len(times))]
        axes.plot(
            times, heights, linestyle="", marker=marker, markersize=_MARK_POINTS, clip_on=False,
            markerfacecolor=color, markeredgecolor=BLACK, markeredgewidth=0.5, label=f"p{percent}",
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"latency of\nan image ({unit})")


def _bars(axes: Any, title: str, values: list[float], color: str, hatch: str = "") -> None:
    axes.barh(
        range(len(values)), values, height=_BAR, color=color, hatch=hatch,
        edgecolor=BLACK, linewidth=0.5,
    )  # fmt: skip
    for place, value in enumerate(values):
        beside(axes, value, place, f"{value:.2f}")
    axes.set_xlim(0, 1.5 * max(values))
    axes.locator_params(axis="x", nbins=3)
    axes.set_xlabel(title)
