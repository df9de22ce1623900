"""The zoo's models as a table: sizes, tokens, and what others count."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
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
    last = "tokens; differences" if check else "tokens, stage by stage"
    table = aligned(["model", "parameters", "GMACs", "no attention", last], left=(last,))
    table.columns[0].no_wrap = True  # names are to be copied
    table.columns[4].no_wrap = False
    sources: dict[tuple[str, str], int] = {}
    for counted, lines in models:
        table.add_row(
            Text(counted.model, style="bold", no_wrap=True),
            f"{counted.parameters_m:,.3f} M",
            _giga(counted.gmacs),
            _giga(counted.gmacs_without_attention),
            stages(counted.tokens),
        )
        for line in lines if check else ():
            number = sources.setdefault((line.source, line.reason), len(sources) + 1)
            table.add_row(*_published_row(line, counted, number))
    listed = [
        f"[{number}] {source}" + (f". Not held to it: {reason}" if reason else "")
        for (source, reason), number in sources.items()
    ]
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
    """Token counts stage by stage; what comes again and again is named once.

    >>> stages((197, 138, 70, 49))
    '197 138 70 49'
    >>> stages((9216, 14, 9216, 14, 2304, 14))
    '9216 2304, each then 14'
    """
    then = set(tokens[1::2])
    if len(tokens) > 3 and len(set(tokens)) == 2:
        return f"{tokens[0]} and {tokens[1]} in turn"
    if len(tokens) > 3 and len(then) == 1 and len(tokens) % 2 == 0:
        return f"{stages([count for count, _ in groupby(tokens[::2])])}, each then {then.pop()}"
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
    """What is published, in the columns of what is counted, then what that is off it, in turn."""
    off = line.differences(counted)
    wrong = line.gated and not line.agrees(counted)
    style = "red" if wrong else "dim" if line.gated else "yellow"
    values = [f"{line.values[name]:,.7g}" if name in off else "" for name in _LABELS]
    values[0] += " M" if values[0] else ""
    said = " ".join(f"{difference:+.2%}" for difference in off.values())
    cells = [f"  {line.provenance} [{number}]", *values, said]
    return [Text(cell, style=style) for cell in cells]


def _giga(gmacs: float) -> str:
    return f"{gmacs:,.3f}"
