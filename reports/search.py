"""What a search found: its front as a table, how good it was, and the files it is kept in.

DIR/points.parquet   a row for each design that was evaluated
DIR/front.csv        those that nothing beats
DIR/confirmed.csv    some of these with the engine's numbers beside the model's
DIR/search.json      what was searched for, how, and how good it was
DIR/priced           what is priced so far, until all of the above is there
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ..sim.errors import SweepError
from ..sim.search import Found
from ..sim.search.memory import forget
from ..sim.spaces.space import differences
from ..sim.sweep.parquet import encoded, frame, read, table
from .files import check_writable, json_text, made, write_bytes, write_text
from .sweep_table import roomy, rows_table
from .units import percent

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

__all__ = [
    "PRICED",
    "Kept",
    "confirmed_line",
    "front_table",
    "is_search",
    "kept",
    "lines",
    "refuse_folder",
    "summary",
    "write",
]

PRICED: Final = "priced"
_SUMMARY: Final = "search.json"
_POINTS: Final = "points.parquet"
_FORMAT: Final = "tilewise-search/1"
_MOST_ROWS: Final = 20


class Kept(NamedTuple):
    """A search as it was kept.

    Attributes:
        points: A row for each design.
        summary: What `summary` says.
    """

    points: pd.DataFrame
    summary: Mapping[str, Any]


def front_table(found: Found, width: int = 100) -> Table:
    """The front: objectives, and of the axes that differ those for which there is room.

    Args:
        found: By a search.
        width: Columns of the terminal.

    Returns:
        At most 20 rows, spread over the front.
    """
    import numpy as np

    front = found.front
    if len(front) > _MOST_ROWS:
        front = front.iloc[np.linspace(0, len(front) - 1, _MOST_ROWS).round().astype(int)]
    axes = [one.name for one in found.problem.study.axes]
    differing = [name for name in axes if front[name].nunique(dropna=False) > 1]
    first = ["point", *found.problem.objectives]
    names = roomy(front, [*first, *differing], first, width)
    return rows_table(front[names], short=True)


def lines(found: Found) -> list[str]:
    """What a person must know of a search, line by line."""
    points = found.points
    feasible, first = int(points["feasible"].sum()), ", ".join(found.problem.objectives)
    said = [
        f"{found.method}: {len(points):,} designs evaluated, {feasible:,} feasible, "
        f"{len(found.front):,} on the front of {first}"
    ]
    if not feasible:
        return [*said, *_why(points)]
    own, other = found.trace.hypervolume[-1], found.random.hypervolume[-1]
    said.append(f"knee: point {found.knee}")
    if found.method == "random":
        return [*said, f"hypervolume {own:.4f}"]
    gain = f"{own / other:.3f} times" if other else "where random search has none"
    said.append(
        f"hypervolume {own:.4f}, random search with the same budget and seed {other:.4f}: {gain}"
    )
    if (reached := _reached(found)) is not None:
        said.append(f"what random search has at the end it had after {reached:,} evaluations")
    return said


def confirmed_line(found: Found) -> str:
    """How far the model is from the engine on the front."""
    rows = found.confirmed
    parts = [
        f"{name} off by {percent(off.mean())} in the mean, {percent(off.max())} at most"
        for name in ("latency_s", "energy_j")
        if len(off := rows[f"{name}_off"].dropna().abs().to_numpy(float))
    ]
    refused = int((rows["engine_says"] != "").sum())
    parts += [f"{refused} that the engine cannot run"] if refused else []
    return f"engine, {len(rows)} designs of the front: {'; '.join(parts)}"


def summary(found: Found) -> dict[str, Any]:
    """What was searched for, how, and how good it was, ready for JSON."""
    from .. import __version__

    return {
        "format": _FORMAT,
        "version": __version__,
        "problem": found.problem.as_dict(),
        "method": found.method,
        "seed": found.seed,
        "population": found.population,
        "evaluations": len(found.points),
        "feasible": int(found.points["feasible"].sum()),
        "knee": found.knee,
        "reference": dict(found.reference),
        "hypervolume": _steps(found.trace),
        "hypervolume_random": _steps(found.random),
        "front": _records(found.front),
        "confirmed": _records(found.confirmed),
    }


def refuse_folder(folder: Path, problem: Mapping[str, Any] | None = None) -> None:
    """Make a folder, and refuse it if it holds anything else than the search of that problem.

    Raises:
        SweepError: It holds a sweep, or another search; the message says the difference.
        OutputError: It cannot be written.
    """
    if (folder / "manifest.json").exists():
        raise SweepError(f"{folder} holds a sweep; give the search a folder of its own (--out)")
    if problem is not None and is_search(folder):
        before = kept(folder).summary["problem"]
        changed = differences(before, problem)
        if changed:
            raise SweepError(
                f"{folder} holds the search of another problem: {changed[0]}; "
                "give another folder (--out)"
            )
    check_writable(_paths(made(folder)))


def write(found: Found, folder: Path) -> list[Path]:
    """Keep a search; the summary, which says that all is there, comes last.

    Raises:
        OutputError: A file cannot be written; what was there is whole.
    """
    written = _paths(folder)
    columns = {str(name): (_type(found.points[name]), found.points[name]) for name in found.points}
    write_bytes(written[0], encoded(table(columns), {"points": len(found.points)}))
    write_text(written[1], str(found.front.to_csv(index=False)))
    write_text(written[2], str(found.confirmed.to_csv(index=False)))
    write_text(written[3], json_text(summary(found)))
    forget(folder / PRICED)
    return written


def is_search(folder: Path) -> bool:
    """Whether a folder holds a search."""
    return (folder / _SUMMARY).is_file()


def kept(folder: Path) -> Kept:
    """The search in a folder.

    Raises:
        SweepError: It cannot be read as one.
    """
    try:
        said = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        if not isinstance(said, dict) or cast("dict[str, Any]", said).get("format") != _FORMAT:
            raise SweepError(f"{folder / _SUMMARY}: wanted a search in format {_FORMAT}")
        points = frame([read(folder / _POINTS)])
    except OSError as error:
        raise SweepError(f"{folder}: wanted a search, got {error.strerror}") from None
    except ValueError as error:  # also what pyarrow and json raise
        text = " ".join(str(error).split())
        raise SweepError(f"{folder}: wanted a search, got files that say none: {text}") from None
    return Kept(points, cast("dict[str, Any]", said))


def _paths(folder: Path) -> list[Path]:
    return [folder / name for name in (_POINTS, "front.csv", "confirmed.csv", _SUMMARY)]


def _reached(found: Found) -> int | None:
    """After how many evaluations the search was as good as random search at its end."""
    goal = found.random.hypervolume[-1]
    steps = zip(found.trace.evaluations, found.trace.hypervolume, strict=True)
    return next((count for count, volume in steps if volume >= goal), None)


def _why(points: pd.DataFrame) -> list[str]:
    """What forbids most designs."""
    reasons = points["infeasible"].where(points["infeasible"] != "", points["error"])
    counts = reasons[reasons != ""].value_counts()
    if not len(counts):
        return []
    return [f"no design is feasible; most often ({counts.iloc[0]:,} times): {counts.index[0]}"]


def _steps(trace: Any) -> list[dict[str, float]]:
    pairs = zip(trace.evaluations, trace.hypervolume, strict=True)
    return [{"evaluations": count, "hypervolume": volume} for count, volume in pairs]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    from .sweep_table import records

    return [
        {key: None if isinstance(one, float) and not math.isfinite(one) else one
         for key, one in row.items()}
        for row in records(rows)
    ]  # fmt: skip


def _type(column: pd.Series[Any]) -> type:
    return {"i": int, "u": int, "f": float, "b": bool}.get(column.dtype.kind, str)
