"""Published numbers beside simulated ones, as tables and as values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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


def reproduction_view(
    found: Reproduction, sensitivities: Collection[Sensitivity] = ()
) -> RenderableType:
    """Rows that are compared, their sources and notes; those that are not; other choices.

    Args:
        found: What is published and what is simulated.
        sensitivities: Readings under other choices.
    """
    compared = [row for row in found.rows if row.simulated is not None]
    sources = list(dict.fromkeys(row.line.source for row in compared))
    notes = list(dict.fromkeys(row.note for row in compared if row.note))
    both = any(row.roofline_error is not None for row in compared)
    columns = ["", "published", "simulated", "", "error", "", "from", "note"]
    if both:
        columns[5:5] = ["roofline's"]
    table = aligned(columns, left=("", "from", "note"))
    for row in compared:
        source = ascii_lowercase[sources.index(row.line.source)]
        _add(table, row, source, _number(notes, row.note), both)
    return Group(
        Text(found.title, style="bold"),
        *_hanging("-", found.assumptions),
        "",
        table,
        "",
        *(line for letter, text in zip(ascii_lowercase, sources, strict=False)
          for line in _hanging(letter, [text])),
        *(line for number, text in enumerate(notes, start=1)
          for line in _hanging(str(number), [text])),
        "",
        Text(summary(found), style="bold"),
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


def _add(table: Table, row: Row, source: str, note: str, both: bool) -> None:
    assert row.error is not None
    assert row.simulated is not None
    add_row(
        table,
        [
            f"{row.line.model}: {row.line.what}",
            f"{row.line.published:g}",
            f"{row.simulated:.4g}",
            row.line.unit,
            f"{100 * row.error:+.1f} %",
            *([_percent(row.roofline_error)] if both else []),
            row.kind,
            f"{row.line.provenance} {source}",
            note,
        ],
        style="" if row.kind == "predicted" else "dim",
        wrap=True,
    )


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
