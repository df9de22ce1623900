"""The zoo's models as a table: sizes, tokens, and what others count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ..workloads.zoo.generate import Graph
from ..workloads.zoo.published import Counted, Published
from .table import aligned

__all__ = ["disagreeing", "graphs_view", "zoo_values", "zoo_view"]

Checked = tuple[Counted, tuple[Published, ...]]

_LABELS = {
    "parameters_m": "parameters",
    "gmacs": "MACs",
    "gmacs_without_attention": "MACs without attention",
}


def disagreeing(models: Sequence[Checked]) -> list[str]:
    """A line for each published number that a model should have and has not."""
    return [
        f"{counted.model}: {_LABELS[quantity]} {difference:+.2%} of {line.values[quantity]:g}, "
        f"{line.provenance} ({line.source})"
        for counted, lines in models
        for line in lines
        if line.gated and not line.agrees(counted)
        for quantity, difference in line.differences(counted).items()
    ]


def zoo_view(models: Sequence[Checked], *, check: bool) -> RenderableType:
    """A line for each model, and with `check` one for each published line below it."""
    table = aligned(
        ["model", "parameters", "GMACs", "no attention", "tokens, stage by stage"],
        left=("tokens, stage by stage",),
    )
    table.columns[0].no_wrap = True  # names are to be copied
    table.columns[4].no_wrap = False
    sources: dict[str, int] = {}
    for counted, lines in models:
        table.add_row(
            Text(counted.model, style="bold", no_wrap=True),
            f"{counted.parameters_m:,.3f} M",
            _giga(counted.gmacs),
            _giga(counted.gmacs_without_attention),
            stages(counted.tokens),
        )
        for line in lines if check else ():
            number = sources.setdefault(line.source, len(sources) + 1)
            table.add_row(*_published_row(line, counted, number))
    listed = [f"[{number}] {source}" for source, number in sources.items()]
    return Group(table, "", *(Text(line) for line in listed), *([""] if listed else []))


def graphs_view(graphs: Sequence[Graph]) -> RenderableType:
    """A line for each graph that is shipped."""
    table = aligned(
        ["graph", "bytes", "opset", "nodes", "symbols", "sha256"], left=("symbols", "sha256")
    )
    for graph in graphs:
        table.add_row(
            graph.name,
            f"{graph.size:,}",
            str(graph.opset),
            f"{graph.nodes:,}",
            graph.symbols,
            graph.sha256[:16],
        )
    total = sum(graph.size for graph in graphs)
    return Group(table, f"{len(graphs)} graphs, {total:,} bytes", "")


def stages(tokens: Sequence[int]) -> str:
    """Token counts stage by stage; one that comes again and again is named once.

    >>> stages((197, 138, 70, 49))
    '197 138 70 49'
    >>> stages((14, 9216) * 5)
    '14 and 9216 in turn'
    """
    if len(tokens) > 3 and len(set(tokens)) == 2:
        return f"{tokens[0]} and {tokens[1]} in turn"
    return " ".join(str(count) for count in tokens) or "none"


def zoo_values(models: Sequence[Checked]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [
        {
            "model": counted.model,
            "parameters_m": counted.parameters_m,
            "gmacs": counted.gmacs,
            "gmacs_without_attention": counted.gmacs_without_attention,
            "tokens": list(counted.tokens),
            "published": [
                {
                    **line.values,
                    "provenance": line.provenance,
                    "source": line.source,
                    "reason": line.reason,
                    "difference": line.differences(counted),
                    "gated": line.gated,
                    "agrees": line.agrees(counted),
                }
                for line in lines
            ],
        }
        for counted, lines in models
    ]


def _published_row(line: Published, counted: Counted, number: int) -> list[Text]:
    off = line.differences(counted)
    wrong = line.gated and not line.agrees(counted)
    style = "red" if wrong else "dim" if line.gated else "yellow"
    cells = [f"{off[quantity]:+.2%}" if quantity in off else "" for quantity in _LABELS]
    said = f"{line.provenance} [{number}]" + (f": {line.reason}" if line.reason else "")
    return [Text(cell, style=style) for cell in ("", *cells, said)]


def _giga(gmacs: float) -> str:
    return f"{gmacs:,.3f}"
