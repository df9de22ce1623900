"""Parallel coordinates: a line for each design through all that varied, its colour an objective.

The coordinates lie below each other, not beside: the names of twenty parameters are readable in a
column of a paper that way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..sim.errors import SweepError
from .figures import Width, canvas, headline, style
from .metric_axes import plain_decades, scale_of, short_names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Parallel", "parallel", "parallel_figure", "parallel_notes", "parallel_rows"]

_MOST = 400
"""Lines that an eye can follow; of more, every n-th by the objective is drawn, and the best."""

_BEST = 0.05
"""The part of the designs that is drawn over the others."""

_LINE = 0.29
"""Inches from one coordinate to the next."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parallel:
    """Designs that can be drawn as lines.

    Attributes:
        title: What they are of.
        objective: The column that colours them, less being better.
        parameters: The columns that differ, in order.
        rows: The feasible designs, the best first.
        left_out: Rows that are infeasible or failed.
    """

    title: str
    objective: str
    parameters: tuple[str, ...]
    rows: pd.DataFrame
    left_out: int


def parallel(frame: pd.DataFrame, parameters: list[str], objective: str, title: str) -> Parallel:
    """Rows as a sweep or a search keeps them, ready to be drawn.

    Raises:
        SweepError: No row has a value, or no parameter differs.
    """
    good: NDArray[np.bool_] = np.isfinite(frame[objective].to_numpy(np.float64, na_value=np.nan))
    for name in ("infeasible", "error"):
        if name in frame:
            good &= np.array([not (isinstance(one, str) and one) for one in frame[name]])
    if not good.any():
        raise SweepError(f"{title}: none of {len(frame)} rows has a {objective}")
    rows: pd.DataFrame = (
        frame.loc[good].sort_values([objective, "point"], kind="stable").reset_index(drop=True)
    )
    names = tuple(name for name in parameters if rows[name].nunique() > 1)
    if not names:
        raise SweepError(f"{title}: no parameter differs; there is nothing to compare")
    return Parallel(
        title=title,
        objective=objective,
        parameters=names,
        rows=rows,
        left_out=int((~good).sum()),
    )


def parallel_figure(found: Parallel, *, width: Width = "column") -> Figure:
    """A line for each design; dark lines over light ones are the best."""
    with style():
        import matplotlib as mpl
        from matplotlib import colors
        from matplotlib.cm import ScalarMappable
        from matplotlib.collections import LineCollection

        figure = canvas(width, 1.15 + _LINE * len(found.parameters))
        axes = figure.subplots()
        places = [_Coordinate.of(name, found.rows[name]) for name in found.parameters]
        chosen = _drawn(len(found.rows))
        values = found.rows[found.objective].to_numpy(np.float64)
        scale = scale_of(found.objective, values)
        shown = values * scale.factor
        low, high = float(shown.min()), float(shown.max())
        wide = low > 0 and high / low > 10
        norm: Any = (colors.LogNorm if wide else colors.Normalize)(low, high)
        palette: Any = mpl.colormaps["cividis"]  # told apart with any colour vision, and in grey
        across = np.stack([place.shares for place in places], axis=1)
        down = np.arange(len(places))
        order = chosen[::-1]  # the best are drawn last, over the others
        best = order < max(1, round(_BEST * len(found.rows)))
        lines: Any = LineCollection(
            [np.stack((across[at], down), axis=1) for at in order],
            colors=palette(norm(shown[order])),
            linewidths=np.where(best, 1.0, 0.5),
            alpha=np.where(best, 1.0, 0.55),
        )
        lines.set_clip_on(False)
        axes.hlines(down, 0, 1, color="#BBBBBB", linewidth=0.6, zorder=0)
        axes.add_collection(lines)
        names = short_names(list(found.parameters))
        texts = [f"{names[place.name]}\n{place.ends}" for place in places]
        axes.set_yticks(down, texts, linespacing=0.95)
        axes.set_ylim(len(places) - 0.7, -0.3)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks([0, 1], ["least", "most"])
        for tick, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
            tick.set_horizontalalignment(side)
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        bar = figure.colorbar(
            ScalarMappable(norm, palette), ax=axes, location="bottom", aspect=30,
            pad=0.02, label=scale.label,
        )  # fmt: skip
        if wide:
            plain_decades(bar.ax, "x")
        headline(figure, f"{found.title}: {_counted(found, len(chosen))}")
        drawn: Figure = figure
    return drawn


def parallel_rows(found: Parallel) -> list[dict[str, Any]]:
    """The designs, and which of them are drawn."""
    from .sweep_table import records

    chosen = np.zeros(len(found.rows), dtype=np.bool_)
    chosen[_drawn(len(found.rows))] = True
    columns = ["point", *found.parameters, found.objective]
    return records(found.rows[columns].assign(drawn=chosen))


def parallel_notes(found: Parallel) -> list[str]:
    """What a reader of the numbers must know."""
    return [
        f"{found.title}: {_counted(found, len(_drawn(len(found.rows))))}",
        f"coloured by {found.objective}, less being better and drawn last; the best "
        f"{100 * _BEST:.0f} per cent are thicker",
        "numbers from the least to the most, on a scale of factors where they span more than ten; "
        "words in the order of the alphabet",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coordinate:
    """A parameter: where each design is on it, from 0 to 1, and what its ends are."""

    name: str
    shares: NDArray[np.float64]
    ends: str

    @classmethod
    def of(cls, name: str, column: pd.Series[Any]) -> _Coordinate:
        if column.dtype.kind not in "iufb":
            words = list(dict.fromkeys(sorted(column.astype(str))))
            places = np.array([words.index(one) for one in column.astype(str)], dtype=np.float64)
            return cls(name=name, shares=places / max(1, len(words) - 1), ends=_words(words))
        values = column.to_numpy(np.float64, na_value=np.nan)
        low, high = np.nanmin(values), np.nanmax(values)
        scale = scale_of(name, values)
        if low > 0 and high / low > 10:
            shares = np.log(values / low) / np.log(high / low)
        else:
            shares = (values - low) / (high - low or 1.0)
        ends = f"{_number(name, low, scale)} to {_number(name, high, scale)}"
        return cls(name=name, shares=shares, ends=ends)


def _words(words: list[str]) -> str:
    text = ", ".join(words)
    return text if len(text) <= 22 else f"{words[0]} … ({len(words)})"


def _number(name: str, value: float, scale: Any) -> str:
    from .units import binary

    if name.endswith("_bytes"):
        return binary(int(value))
    return f"{value:,g}" if not scale.unit else scale.text(value)


def _drawn(rows: int) -> NDArray[np.int64]:
    """Which rows are drawn, of those in the order of the objective: the best, and every n-th."""
    if rows <= _MOST:
        return np.arange(rows)
    best = np.arange(round(_MOST * _BEST))
    others = np.linspace(len(best), rows - 1, _MOST - len(best)).round().astype(np.int64)
    return np.unique(np.concatenate((best, others)))


def _counted(found: Parallel, lines: int) -> str:
    said = f"{len(found.rows):,} designs" + (f", {lines:,} drawn" * (lines < len(found.rows)))
    return said + (f"; {found.left_out:,} infeasible or failed" if found.left_out else "")
