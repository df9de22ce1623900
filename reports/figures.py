"""Figures for papers: their size, their type, their colours, and the files they are written to.

A figure is as wide as a column or a page of a two-column paper, all its text is 8 points, its fonts
are embedded as TrueType, and nothing depends on colour alone.  The same numbers give the same
bytes: no file holds a date.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast, get_args

from .files import json_text, write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "INCHES",
    "Drawn",
    "Rows",
    "Width",
    "beside",
    "canvas",
    "csv_text",
    "grid",
    "headline",
    "label",
    "paths",
    "save_figure",
    "style",
    "tex_table",
    "time_unit",
    "wrapped",
]

Width: TypeAlias = Literal["column", "page"]
Rows: TypeAlias = Sequence[Mapping[str, Any]]
"""A table: the keys of a row are the names of the columns, units included."""


class Drawn(NamedTuple):
    """A figure, what is written with it, and what is said on the way."""

    figure: Figure
    rows: Rows
    notes: Sequence[str]
    tex: str | None = None
    values: Any = None
    said: str = ""


INCHES: Mapping[Width, float] = {"column": 3.5, "page": 7.16}
"""Of the columns and pages of IEEE's and ACM's two-column papers."""

_POINTS = 8
_LINE_INCHES = 0.14
"""A line of text."""

_DPI = 300

_STYLE: Mapping[str, Any] = {
    "pdf.fonttype": 42,  # TrueType; many conferences refuse the default, Type 3
    "ps.fonttype": 42,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": _POINTS,
    "axes.titlesize": _POINTS,
    "axes.labelsize": _POINTS,
    "xtick.labelsize": _POINTS,
    "ytick.labelsize": _POINTS,
    "legend.fontsize": _POINTS,
    "figure.titlesize": _POINTS,
    "figure.labelsize": _POINTS,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.borderaxespad": 0.0,
    "axes.unicode_minus": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.05,
}


def style() -> Any:
    """The context in which figures are drawn and written."""
    import matplotlib

    return cast("Any", matplotlib).rc_context(_STYLE)


def canvas(width: Width, height: float) -> Any:
    """An empty `Figure` that lays itself out; draw in it inside of `style()`.

    Its type is Any because matplotlib's own types leave keyword arguments unknown.

    Args:
        width: Of the paper.
        height: In inches.

    Raises:
        ValueError: There is no such width.
    """
    from matplotlib.figure import Figure

    if width not in INCHES:
        raise ValueError(f"width: wanted {' or '.join(get_args(Width))}, got {width!r}")
    return Figure(figsize=(INCHES[width], height), layout="constrained")


def headline(figure: Any, text: str) -> None:
    """What ran on what, above everything; in as many lines as it needs, each making it higher."""
    title = figure.suptitle("", x=0.01, ha="left", fontweight="bold")
    room = 0.97 * figure.get_figwidth() * figure.dpi

    def fits(line: str) -> bool:
        title.set_text(line)
        return bool(title.get_window_extent().width <= room)

    lines = wrapped(text, fits)
    title.set_text("\n".join(lines))
    figure.set_figheight(figure.get_figheight() + _LINE_INCHES * (len(lines) - 1))


def wrapped(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Lines that fit, broken between words, and inside of a word only if it fits in no line.

    >>> wrapped("deit-small on edge-32x32, int8", lambda line: len(line) <= 9)
    ['deit-smal', 'l on', 'edge-32x3', '2, int8']
    """
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and fits(f"{line} {word}"):
            line = f"{line} {word}"
            continue
        lines += [line] if line else []
        line = word
        while len(line) > 1 and not fits(line):
            cut = next((n for n in range(len(line) - 1, 1, -1) if fits(line[:n])), 1)
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line]


def label(workload: str, machine: str, format: str, images: int = 1, tokens: str = "") -> str:
    """What ran on what.

    >>> label("deit-small", "edge-32x32", "int8", 8, "digits16")
    'deit-small on edge-32x32, int8, batch 8, digits16'
    """
    more = [f"batch {images}"] * (images > 1) + [tokens] * bool(tokens)
    return ", ".join([f"{workload} on {machine}, {format}", *more])


def time_unit(longest_s: float) -> tuple[float, str]:
    """What seconds are multiplied with, and the unit, so that an axis has short numbers.

    >>> time_unit(4.2e-5), time_unit(0.5)
    ((1000000.0, 'µs'), (1000.0, 'ms'))
    """
    return (1e3, "ms") if longest_s >= 1e-3 else (1e6, "µs")


def grid(axes: Any, axis: Literal["x", "y"]) -> None:
    """Light lines behind the data, across one axis."""
    axes.set_axisbelow(True)
    axes.grid(axis=axis, color="#DDDDDD", linewidth=0.5)


def beside(axes: Any, x: float, y: float, text: str, **look: Any) -> None:
    """Text to the right of the end of a bar."""
    axes.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center_baseline", **look)


def csv_text(rows: Rows, notes: Sequence[str] = ()) -> str:
    """The rows as CSV under comments that begin with `#`; floats come back as they were."""
    out = io.StringIO()
    for note in notes:
        out.write(f"# {' '.join(note.split())}\n")
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def tex_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, label: str
) -> str:
    """A table as booktabs draws it, the first column to the left and numbers to the right.

    `columns` and `caption` are TeX already; the cells are text.
    """
    body = "\n".join(" & ".join(map(_tex, row)) + r" \\" for row in rows)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"\toprule",
            " & ".join(columns) + r" \\",
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def paths(folder: Path, name: str, *, table: bool = False) -> list[Path]:
    """The files that `save_figure` writes."""
    return [folder / f"{name}.{ending}" for ending in _endings(table)]


def save_figure(
    figure: Figure,
    rows: Rows,
    folder: Path,
    name: str,
    *,
    notes: Sequence[str] = (),
    tex: str | None = None,
    values: Any = None,
) -> list[Path]:
    """Write a figure as PDF and PNG, and the plotted numbers as CSV.

    Args:
        figure: From one of the functions that draw.
        rows: The plotted numbers.
        folder: That holds the files.
        name: Of the files, without ending.
        notes: What a reader must know; they stand above the CSV and in the metadata.
        tex: A table; with it comes `values` as JSON.
        values: Everything as numbers.

    Returns:
        The files.

    Raises:
        OutputError: One of them cannot be written; what was there is whole.
    """
    contents: list[str | bytes] = [
        _drawn(figure, "pdf", notes),
        _drawn(figure, "png", notes),
        csv_text(rows, notes),
    ]
    if tex is not None:
        contents += [tex, json_text(values)]
    written = paths(folder, name, table=tex is not None)
    for path, content in zip(written, contents, strict=True):
        if isinstance(content, bytes):
            write_bytes(path, content)
        else:
            write_text(path, content)
    return written


def _endings(table: bool) -> Sequence[str]:
    return ("pdf", "png", "csv", "tex", "json") if table else ("pdf", "png", "csv")


def _drawn(figure: Figure, kind: Literal["pdf", "png"], notes: Sequence[str]) -> bytes:
    out = io.BytesIO()
    text = "; ".join(notes)
    metadata = {"CreationDate": None, "Subject": text} if kind == "pdf" else {"Description": text}
    with style():
        cast("Any", figure).savefig(out, format=kind, dpi=_DPI, metadata=metadata)
    return out.getvalue()


_SPECIAL = {character: f"\\{character}" for character in "%&#_$"} | {"µ": r"\textmu{}"}


def _tex(text: str) -> str:
    """Plain text as TeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)
