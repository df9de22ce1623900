"""The rows of a sweep, and how far it is, for a terminal and for other programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..arch.explain import nearest
from ..sim.errors import SweepError
from ..sim.sweep import Status
from ..sim.sweep.chunk_rows import Tally
from .units import quantity

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["best", "came_out", "records", "roomy", "rows_table", "status_facts", "telling"]

_UNITS = {"bytes_per_s": "B/s", "per_s": "", "_s": "s", "_js": "J s", "_j": "J", "_hz": "Hz"}
_FOLLOWS = ("cycles", "edp_js", "macs")  # from other columns, or known to who chose the point
_FROM = ("seed", "fidelity", "version", "config_hash", "machine", "infeasible", "error")


def best(
    frame: pd.DataFrame, sort: str | None, head: int | None, columns: Sequence[str] | None
) -> pd.DataFrame:
    """Rows in the order of a column, the first of them, and some of their columns.

    Args:
        frame: Rows of a sweep.
        sort: A column, smallest first; with `-` before it, largest first.  Rows without a value
            come last.
        head: How many rows; all if None.
        columns: Which columns; all if None.

    Raises:
        SweepError: There is no such column; the text names the nearest.
    """
    known = [str(name) for name in frame.columns]
    for name in (*(columns or ()), *([sort.removeprefix("-")] if sort else [])):
        if name not in known:
            hint = nearest(name, known) or f"; there are {', '.join(known)}"
            raise SweepError(f"no column is called {name}{hint}")
    if sort:
        down = sort.startswith("-")
        frame = frame.sort_values(
            sort.removeprefix("-"), ascending=not down, kind="stable", na_position="last"
        )
    if head is not None:
        frame = frame.head(head)
    return frame if columns is None else frame[list(columns)]


def telling(frame: pd.DataFrame) -> list[str]:
    """The columns without those that say the same in every row, or where it comes from."""
    return [name for name in map(str, frame.columns) if _tells(name, frame)]


def roomy(frame: pd.DataFrame, names: Sequence[str], first: Sequence[str], width: int) -> list[str]:
    """Of columns those for which there is room, in their order.

    Args:
        frame: The rows.
        names: Columns, of which the earlier ones are taken rather than the later ones.
        first: Those of them that are taken before all others, whether there is room or not.
        width: Of the terminal, in characters.
    """
    from rich.console import Console
    from rich.measure import Measurement

    endless, taken = Console(width=10_000), {name for name in names if name in first}
    for name in names:
        tried = [one for one in names if one in {*taken, name}]
        table = rows_table(frame[tried], short=True)
        if Measurement.get(endless, endless.options, table).maximum <= width:
            taken.add(name)
    return [name for name in names if name in taken]


def rows_table(frame: pd.DataFrame, *, short: bool = False) -> Table:
    """Rows as a table.

    Args:
        frame: The rows.
        short: Whether a dotted name is its last part where no other column ends so.
    """
    names = [str(name) for name in frame.columns]
    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        text = frame[name].dtype.kind not in "iufb"
        head = _short(name, names) if short else name
        wraps = name in ("infeasible", "error")
        table.add_column(Text(head), justify="left" if text else "right", no_wrap=not wraps)
    for row in _rows(frame[names]):
        table.add_row(*(Text(_shown(name, one)) for name, one in zip(names, row, strict=True)))
    return table


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows ready for JSON: what is empty is None, and a whole number stays one."""
    return [dict(zip(map(str, frame.columns), row, strict=True)) for row in _rows(frame)]


def status_facts(status: Status) -> list[tuple[str, str]]:
    """How far a sweep is, name by name."""
    manifest, tally = status.manifest, status.tally
    space = manifest.space
    return [
        ("machine", str(space["machine"])),
        *([("device", str(space["device"]))] if "device" in space else []),
        ("fidelity", str(space["fidelity"])),
        ("points", f"{manifest.points:,} before constraints"),
        ("chunks", f"{status.done:,} of {manifest.chunks:,}, of {manifest.chunk:,} points"),
        ("rows", came_out(tally)),
        ("version", manifest.version),
    ]


def came_out(tally: Tally) -> str:
    """How points came out, in words.

    >>> came_out(Tally(points=100, excluded=10, infeasible=5, failed=1))
    '90 rows: 84 with metrics, 5 infeasible, 1 failed; 10 points excluded by constraints'
    """
    good = tally.rows - tally.infeasible - tally.failed
    parts = [f"{good:,} with metrics"]
    parts += [f"{tally.infeasible:,} infeasible"] if tally.infeasible else []
    parts += [f"{tally.failed:,} failed"] if tally.failed else []
    text = f"{tally.rows:,} rows: {', '.join(parts)}"
    if tally.excluded:
        text += f"; {tally.excluded:,} points excluded by constraints"
    return text


def _short(name: str, names: Sequence[str]) -> str:
    """The last part of a dotted name, if no other column ends so."""
    last = name.rpartition(".")[2]
    return last if [one.rpartition(".")[2] for one in names].count(last) == 1 else name


def _tells(name: str, frame: pd.DataFrame) -> bool:
    if name in ("infeasible", "error"):
        return bool(frame[name].notna().any())
    if name in _FOLLOWS:
        return False
    return name not in _FROM and (len(frame) < 2 or name == "point" or frame[name].nunique() > 1)


def _rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Rows as plain values of Python; what is empty is None."""
    filled = frame.astype(object).where(frame.notna(), None)
    yield from zip(*(filled[name].tolist() for name in filled), strict=True)


def _shown(name: str, one: Any) -> str:
    if one is None:
        return ""
    unit = next((u for end, u in _UNITS.items() if name.endswith(end)), None)
    if name == "dram_bytes":
        unit = "B"
    if unit is not None and isinstance(one, int | float) and math.isfinite(one):
        return quantity(float(one), unit)
    if isinstance(one, float):
        return f"{one:,.0f}" if one.is_integer() and abs(one) >= 1000 else f"{one:.4g}"
    return f"{one:,}" if isinstance(one, int) and not isinstance(one, bool) else str(one)
