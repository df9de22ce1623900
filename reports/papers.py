"""Published numbers beside simulated ones, as tables and as values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from string import ascii_lowercase
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..sim.papers import Published, Reproduction, Row, Sensitivity
from .table import add_row, aligned

__all__ = ["CLOSE", "reproduction_values", "reproduction_view"]

CLOSE: Final = 0.15
"""The error within which a row counts as met."""

COUNTED: Final = 0.01
"""The same for what is counted, where there are no predictions."""


_WIDE: Final = 100
"""Columns from which on numbers stand further apart."""


def reproduction_view(
    found: Reproduction, sensitivities: Collection[Sensitivity] = (), width: int = _WIDE
) -> RenderableType:
    """Rows that are compared, their sources and notes; those that are not; other choices.

    Args:
        found: What is published and what is simulated.
        sensitivities: Readings under other choices.
        width: Columns of the terminal.
    """
    compared = _compared(found)
    sources = list(dict.fromkeys(row.line.source for row in compared))
    notes = list(dict.fromkeys(row.note for row in compared if row.note))
    provenances = {row.line.provenance for row in compared}
    said = f" ({provenances.pop()})" if len(provenances) == 1 else ""
    return Group(
        Text(found.title, style="bold"),
        *_hanging("-", found.assumptions),
        "",
        _table(compared, sources, notes, width),
        "",
        *(line for letter, text in zip(ascii_lowercase, sources, strict=False)
          for line in _hanging(letter, [f"{text}{said}"])),
        *(line for number, text in enumerate(notes, start=1)
          for line in _hanging(str(number), [text])),
        "",
        Text(summary(found), style="bold"),
        *_mean_errors(found),
        *_not_compared(found),
        *(part for each in sensitivities for part in ("", _varied(each))),
        "",
    )  # fmt: skip


def summary(found: Reproduction) -> str:
    """How many rows were predicted, and how many of them are close.

    Rows that something was fixed on, and those that no machine is needed for, are not counted; but
    of a paper with no others the latter are.
    """
    if not found.of("predicted") and not found.of("fixed"):
        rows = found.of("counted")
        close = sum(abs(row.error or 0.0) <= COUNTED for row in rows)
        return f"counted within {100 * COUNTED:.0f} %: {close} of {len(rows)}"
    parts: list[str] = []
    for provenance in ("seen", "recalled"):
        rows = found.of("predicted", provenance)
        close = sum(abs(row.error or 0.0) <= CLOSE for row in rows)
        if rows:
            parts.append(f"{close} of {len(rows)} {provenance}")
    fixed = len(found.of("fixed"))
    others = f"{fixed} other{'s' if fixed != 1 else ''}" if fixed else "none"
    return (
        f"predicted within {100 * CLOSE:.0f} %: {', '.join(parts)}; something was fixed on "
        f"{others}{_beside_the_roofline(found)}"
    )


def _beside_the_roofline(found: Reproduction) -> str:
    """Mean errors of the kernels' model and of the plain roofline, if both were asked."""
    both = [row for row in found.rows if row.roofline_error is not None]
    if not both:
        return ""
    errors = [[abs(error or 0.0) for error in (row.error, row.roofline_error)] for row in both]
    own, plain = (100 * sum(column) / len(both) for column in zip(*errors, strict=True))
    return f"; mean error {own:.0f} %, the roofline's {plain:.0f} %"


def reproduction_values(
    found: Reproduction, sensitivities: Collection[Sensitivity] = ()
) -> dict[str, Any]:
    """Everything of `reproduction_view`, for JSON."""
    return {
        "paper": found.paper,
        "title": found.title,
        "assumptions": list(found.assumptions),
        "rows": [_values(row) for row in found.rows],
        **_mean_values(found),
        "sensitivities": [
            {
                "title": each.title,
                "readings": list(each.readings),
                "published": list(each.published),
                "variants": [
                    {"choice": name, "values": list(values)} for name, values in each.variants
                ],
            }
            for each in sensitivities
        ],
    }


def _values(row: Row) -> dict[str, Any]:
    said = {"kind": row.kind, "simulated": row.simulated, "note": row.note, "error": row.error}
    if row.claim and row.claim.roofline is not None:
        said |= {"roofline": row.claim.roofline, "roofline_error": row.roofline_error}
    return row.line._asdict() | said


def _compared(found: Reproduction) -> list[Row]:
    return [row for row in found.rows if row.simulated is not None]


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.line.model, []).append(row)
    return groups


def _table(
    compared: Sequence[Row], sources: Sequence[str], notes: Sequence[str], width: int
) -> Table:
    """The rows, under their models' names if these are few; what never changes has no column.

    Where all rows of a model have the same unit, or the same source and note, its heading has it.
    """
    groups = _by_model(compared)
    headed = 2 * len(groups) <= len(compared)
    both = any(row.roofline_error is not None for row in compared)
    kinds = len({row.kind for row in compared}) > 1
    several = len({row.line.provenance for row in compared}) > 1
    units = not headed or any(len({r.line.unit for r in rows}) > 1 for rows in groups.values())

    def see(row: Row) -> str:
        letter = ascii_lowercase[sources.index(row.line.source)]
        parts = [row.line.provenance if several else "", letter, _number(notes, row.note)]
        return " ".join(part for part in parts if part)

    columns: dict[str, Callable[[Row], str]] = {
        "": lambda row: row.line.what if headed else f"{row.line.model}: {row.line.what}",
        "published": lambda row: f"{row.line.published:g}",
        "simulated": lambda row: f"{row.simulated:.4g}",
        **({"unit": lambda row: row.line.unit} if units else {}),
        "error": lambda row: _percent(row.error),
        **({"roofline": lambda row: _percent(row.roofline_error)} if both else {}),
        **({"kind": lambda row: row.kind} if kinds else {}),
        "see": see,
    }
    table = aligned(list(columns), left=("unit", "kind", "see"))
    if width < _WIDE:
        table.padding = 0  # the names need the room more
    for model, rows in groups.items():
        shared = {see(row) for row in rows}
        alike = headed and not several and len(shared) == 1
        if headed:
            name = model if units else f"{model}, {rows[0].line.unit}"
            between = [""] * (len(columns) - 2)
            add_row(table, [name, *between, shared.pop() if alike else ""], "bold", wrap=True)
        for row in rows:
            cells = [cell(row) for cell in columns.values()]
            if alike:
                cells[-1] = ""
            style = "" if row.kind == "predicted" else "dim"
            add_row(table, cells, style, wrap=True, indent=int(headed))
    return table


def _mean_errors(found: Reproduction) -> Iterator[RenderableType]:
    """Both models' mean errors of each network, if both were asked."""
    means = _means(found)
    if not means:
        return
    table = aligned(["mean of absolute errors", "rows", "simulated", "roofline"])
    for model, (rows, own, plain) in means.items():
        add_row(table, [model, str(rows), f"{100 * own:.0f} %", f"{100 * plain:.0f} %"], wrap=True)
    yield from ("", table)


def _means(found: Reproduction) -> dict[str, tuple[int, float, float]]:
    """By model: rows that have both errors, and the means of their magnitudes."""
    both = [row for row in found.rows if row.roofline_error is not None]
    return {
        model: (
            len(rows),
            sum(abs(row.error or 0.0) for row in rows) / len(rows),
            sum(abs(row.roofline_error or 0.0) for row in rows) / len(rows),
        )
        for model, rows in _by_model(both).items()
    }


def _mean_values(found: Reproduction) -> dict[str, Any]:
    means = _means(found)
    if not means:
        return {}
    return {
        "mean_errors": [
            {"model": model, "rows": rows, "error": own, "roofline_error": plain}
            for model, (rows, own, plain) in means.items()
        ]
    }


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:+.1f} %"


def _number(notes: Sequence[str], note: str) -> str:
    return str(notes.index(note) + 1) if note else ""


def _hanging(sign: str, texts: Collection[str]) -> Iterator[RenderableType]:
    """Each text behind its sign, its further lines under its first."""
    for text in texts:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(min_width=2)
        grid.add_column()
        grid.add_row(sign, Text(text))
        yield Padding(grid, (0, 0, 0, 1))


def _not_compared(found: Reproduction) -> Iterator[RenderableType]:
    lines = [row.line for row in found.of("not comparable")]
    if lines:
        yield from ("", "not compared:", *_hanging("-", _left_out(lines)))


def _left_out(lines: Collection[Published]) -> list[str]:
    """A line for each reason, with what has it."""
    return [
        f"{reason}: " + "; ".join(
            f"{line.model}, {line.what}, {line.published:g} {line.unit} ({line.provenance})"
            for line in lines
            if line.reason == reason
        )
        for reason in dict.fromkeys(line.reason for line in lines)
    ]  # fmt: skip


def _varied(each: Sensitivity) -> RenderableType:
    table = aligned([each.title, *each.readings])
    for number, (name, values) in enumerate(each.variants):
        add_row(
            table,
            [name, *(f"{value:.2f}" for value in values)],
            style="" if number else "bold",
            wrap=True,
        )
    printed = ["-" if value is None else f"{value:g}" for value in each.published]
    add_row(table, ["published", *printed], style="dim")
    return table
