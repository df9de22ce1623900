"""The Pareto front of two objectives: every design, those that nothing beats, and the knee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..sim.errors import SweepError
from ..sim.search.front import Values, knee, nondominated
from .figures import Width, canvas, grid, headline, style
from .metric_axes import scale_of, set_scale
from .style import BLACK, BLUE, VERMILLION

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Pareto", "pareto", "pareto_figure", "pareto_notes", "pareto_rows"]

_MANY = 2000
"""Points from which on they are drawn as a picture: a PDF of a million marks opens in no viewer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pareto:
    """Designs by two objectives.

    Attributes:
        title: What they are of.
        objectives: Two columns, less of each being better.
        rows: The feasible designs, with `front`, whether nothing beats it, and `knee`.
        infeasible: Designs that are none, and are not drawn.
        failed: Designs whose evaluation failed.
    """

    title: str
    objectives: tuple[str, str]
    rows: pd.DataFrame
    infeasible: int
    failed: int

    @property
    def values(self) -> Values:
        """`(designs, 2)`."""
        return self.rows[list(self.objectives)].to_numpy(np.float64)

    @property
    def front(self) -> pd.DataFrame:
        """Those that nothing beats, in the order of the first objective."""
        return self.rows[self.rows["front"]].sort_values(list(self.objectives), kind="stable")


def pareto(frame: pd.DataFrame, objectives: tuple[str, str], title: str) -> Pareto:
    """Find the front of rows, as a sweep or a search keeps them.

    Raises:
        SweepError: No row is feasible.
    """
    failed = _stated(frame, "error")
    numbers = frame[list(objectives)].to_numpy(np.float64, na_value=np.nan)
    good: NDArray[np.bool_] = (
        ~failed & ~_stated(frame, "infeasible") & np.isfinite(numbers).all(axis=1)
    )
    if not good.any():
        raise SweepError(f"{title}: none of {len(frame)} rows is feasible; there is no front")
    rows: pd.DataFrame = frame.loc[good].reset_index(drop=True)
    values = numbers[good]
    front = nondominated(values)
    places = np.flatnonzero(front)
    marked = np.zeros(len(rows), dtype=np.bool_)
    marked[places[knee(values[places])]] = True
    return Pareto(
        title=title,
        objectives=objectives,
        rows=rows.assign(front=front, knee=marked),
        infeasible=int((~good & ~failed).sum()),
        failed=int(failed.sum()),
    )


def pareto_figure(found: Pareto, *, width: Width = "column") -> Figure:
    """Dots for designs, a staircase for the front, a diamond for its knee."""
    with style():
        figure = canvas(width, 2.9)
        axes = figure.subplots()
        values, front = found.values, found.front[list(found.objectives)].to_numpy(np.float64)
        scales = [scale_of(name, values[:, at]) for at, name in enumerate(found.objectives)]
        factors = np.array([scale.factor for scale in scales])
        shown, best = values * factors, front * factors
        axes.margins(0.12)
        axes.scatter(
            *shown[~found.rows["front"].to_numpy()].T, s=5, color="#999999", alpha=0.55,
            linewidths=0, label="dominated", rasterized=len(shown) > _MANY,
        )  # fmt: skip
        axes.plot(
            *best.T, drawstyle="steps-post", color=BLUE, marker="o", markersize=3, label="front",
            zorder=3,
        )  # fmt: skip
        at = knee(front)
        axes.plot(
            *best[at], marker="D", linestyle="", color=VERMILLION, markeredgecolor=BLACK,
            markeredgewidth=0.5, markersize=6, zorder=4, label=_knee(found),
        )  # fmt: skip
        # Whatever lies below and to the left of the front would be on it: there is room.
        axes.annotate("knee", best[at], (4, -6), textcoords="offset points", ha="right", va="top")
        ways: tuple[tuple[Literal["x", "y"], int], ...] = (("x", 0), ("y", 1))
        for which, place in ways:
            set_scale(axes, which, shown[:, place])
            getattr(axes, f"set_{which}label")(scales[place].label)
            grid(axes, which)
        # Room for the label also where the knee is the lowest point of all.
        below = axes.transData.inverted().transform(axes.transAxes.transform((0, -0.06)))
        axes.set_ylim(bottom=below[1])
        headline(figure, f"{found.title}: {_counted(found)}")
        handles, names = axes.get_legend_handles_labels()
        order = [name for name in ("front", "dominated") if name in names] + [_knee(found)]
        figure.legend(
            [handles[names.index(name)] for name in order], order,
            loc="outside lower center", ncols=3 if width == "page" else 1,
        )  # fmt: skip
        drawn: Figure = figure
    return drawn


def pareto_rows(found: Pareto) -> list[dict[str, Any]]:
    """Every design that is drawn."""
    from .sweep_table import records

    return records(found.rows)


def pareto_notes(found: Pareto) -> list[str]:
    """What a reader of the numbers must know."""
    x, y = found.objectives
    return [
        f"{found.title}: {_counted(found)}",
        f"front: no design has less {x} and no more {y}, or less {y} and no more {x}",
        "knee: farthest from the line through the ends of the front, both objectives scaled to it "
        "(I. Das, Structural Optimization 18, 1999)",
    ]


def _knee(found: Pareto) -> str:
    row = found.rows[found.rows["knee"]].iloc[0]
    values = {name: float(row[name]) for name in found.objectives}
    scales = {name: scale_of(name, np.array([value])) for name, value in values.items()}
    said = ", ".join(
        scale.text(values[name]) if scale.unit else f"{values[name]:g} {scale.label}"
        for name, scale in scales.items()
    )
    return f"knee: point {row['point']}, {said}"


def _counted(found: Pareto) -> str:
    front = found.front.drop_duplicates(list(found.objectives))
    said = f"{len(found.rows):,} designs, {len(front):,} on the front"
    said += f"; {found.infeasible:,} infeasible not drawn" if found.infeasible else ""
    return said + (f"; {found.failed:,} failed" if found.failed else "")


def _stated(frame: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    if name not in frame:
        return np.zeros(len(frame), dtype=np.bool_)
    return np.array([isinstance(one, str) and one != "" for one in frame[name]], dtype=np.bool_)
