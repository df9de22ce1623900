"""The waterfall: from the speed-up that MACs promise to the one there is, cause by cause."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..sim.ragged_result import PolicyRun, RaggedRun
from ..sim.waterfall import STEPS
from .figures import Width, beside, canvas, grid, headline, label, style
from .gpu import gpu_notes
from .style import BLACK, BLUE, DARK, GREEN, ORANGE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["READ_ITS_ENDS", "waterfall_figure", "waterfall_notes", "waterfall_rows"]

READ_ITS_ENDS = (
    "selectors' launches count as the selectors', so on a GPU a waterfall dips and recovers: "
    "read its ends"
)


def waterfall_figure(
    run: RaggedRun, policy: PolicyRun, *, width: Width = "column", tokens: str = ""
) -> Figure:
    """Bars from top to bottom: the promise, what each cause takes or gives, what is left.

    Args:
        run: From `sim.ragged.run_policies`.
        policy: Which of its policies.
        width: Of the figure.
        tokens: The name of the token trace, for the title.
    """
    with style():
        rows = waterfall_rows(run, policy)
        figure = canvas(width, 0.75 + 0.21 * len(rows))
        axes = figure.subplots()
        longest = max(max(row["from"], row["to"]) for row in rows)
        for place, row in enumerate(rows):
            start, end = row["from"], row["to"]
            color, hatch = _look(row)
            axes.barh(
                place, end - start, left=start, height=0.62, color=color, hatch=hatch,
                edgecolor=BLACK, linewidth=0.5,
            )  # fmt: skip
            weight = "bold" if row["whole"] else "normal"
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            beside(axes, max(start, end), place, _change(row), fontweight=weight, bbox=behind)
            if place + 1 < len(rows):
                axes.plot([end, end], [place - 0.31, place + 1.31], color=BLACK, linewidth=0.5)
        grid(axes, "x")
        axes.axvline(1, color=DARK, linewidth=0.8, linestyle="--", zorder=0.9)
        axes.set_yticks(range(len(rows)), [row["what"] for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, (1.28 if width == "column" else 1.1) * longest)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"speed-up over {run.base_is}")
        if run.gpu:
            figure.supxlabel("selectors' launches come first: read its ends", x=0.01, ha="left")
        title = label(run.workload, run.machine, run.format, run.batch, tokens)
        headline(figure, f"{title}: {policy.policy.name}")
        drawn: Figure = figure
    return drawn


def waterfall_rows(run: RaggedRun, policy: PolicyRun) -> list[dict[str, Any]]:
    """What is plotted: a bar in each row; causes that change nothing are left out.

    A bar runs `from` one speed-up `to` another; where it is the `whole` speed-up it begins at 0.
    """
    steps = run.waterfall(policy)
    meanings = {**STEPS, "measured": "simulated"}
    if run.gpu:
        meanings["wait"] = "launches and decisions"

    def row(cause: str, start: float, end: float, *, whole: bool) -> dict[str, Any]:
        what = meanings[cause]
        return {"cause": cause, "what": what, "from": start, "to": end, "whole": whole}

    rows = [row("useful", 0.0, steps[0].speedup, whole=True)]
    for before, after in pairwise(steps):
        if after.speedup != before.speedup:
            rows.append(row(after.cause, before.speedup, after.speedup, whole=False))
    return [*rows, row("measured", 0.0, steps[-1].speedup, whole=True)]


def waterfall_notes(run: RaggedRun, policy: PolicyRun, tokens: str) -> list[str]:
    """What a reader of the numbers must know; `tokens` says where the counts come from."""
    return [
        label(run.workload, run.machine, run.format, run.batch),
        f"policy {policy.policy.name}: {policy.policy.practice}",
        f"tokens: {tokens}",
        f"speed-up over {run.base_is}, with each cause added to those above it",
        *gpu_notes(run),
        *([READ_ITS_ENDS] if run.gpu else []),
    ]


def _change(row: dict[str, Any]) -> str:
    """A whole speed-up, or by how much a cause changes it."""
    if row["whole"]:
        return f"{row['to']:.2f}x"
    change = f"{row['to'] - row['from']:+.2f}".replace("-", "\u2212")
    return change if change.strip("+\u22120.") else "0.00"


def _look(row: dict[str, Any]) -> tuple[str, str]:
    """Colour and hatch: what is promised, what is left, what is lost, what is won back."""
    if row["whole"]:
        return (GREEN, "") if row["cause"] == "useful" else (BLUE, "")
    return (VERMILLION, "////") if row["to"] < row["from"] else (ORANGE, "....")
