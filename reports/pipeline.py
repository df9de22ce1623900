"""A pipeline as tables: what it calls, and what that takes on a machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from ..sim.pipeline import CallResult, PipelineResult
from ..workloads.pipeline import Pipeline
from .table import add_row, aligned, energy_table, facts, header, losses_table, noted
from .units import percent, quantity

__all__ = ["pipeline_result_view", "pipeline_view"]

_WIDE = 100  # columns from which on there is room for more
_WEIGHTS = "calls run one after another; each loads its weights from DRAM again"


def pipeline_view(pipeline: Pipeline) -> RenderableType:
    """What a pipeline calls, how often, and its MACs for one image."""
    counts = pipeline.counts()
    pairs = [
        ("what", pipeline.description),
        ("MACs", f"{quantity(counts.macs)} an image ({counts.macs:,})"),
        ("without attention", f"{quantity(counts.macs_without_attention)}"),
        ("parameters", quantity(pipeline.parameters())),
    ]
    table = aligned(["call", "times", "inputs", "MACs of one", "all"])
    for call in pipeline.calls:
        macs = call.counts().macs
        cells = [str(call.count), str(call.inputs), quantity(macs), quantity(call.count * macs)]
        add_row(table, [call.label, *cells])
    lines = [
        f"{call.label}: {call.network} with {_sizes(call.binding(1))}" for call in pipeline.calls
    ]
    lines += [f"not counted: {pipeline.missing}"] if pipeline.missing else []
    return Group(facts(pipeline.name, pairs), "", table, "", *_dim([*lines, _WEIGHTS]), "")


def pipeline_result_view(
    result: PipelineResult, *, given: Collection[str] = (), width: int = 80
) -> RenderableType:
    """Everything about one run of a pipeline.

    Args:
        result: Of the run.
        given: Symbols that the user bound.
        width: Columns of the terminal.
    """
    total = result.total
    bound = {
        name: value
        for call in result.calls
        for name, value in call.result.bindings.items()
        if name in given
    }
    lines = [result.pipeline.description]
    lines += [f"with {_sizes(bound)}"] if bound else []
    lines += [f"calls of different sizes: {result.policy}"] if result.policy != "exact" else []
    lines += [f"not counted: {result.pipeline.missing}"] if result.pipeline.missing else []
    said = _dim([*lines, _WEIGHTS])
    notes = [Text(f"  note: {note}", style="yellow") for note in noted(total.notes)]
    table = _calls(result, width)
    return Group(
        header(total),
        *said,
        *notes,
        "",
        losses_table(total),
        "",
        energy_table(total),
        "",
        table,
        "",
    )


def _calls(result: PipelineResult, width: int) -> RenderableType:
    wide = width >= _WIDE
    columns = ["call", "times", "one", "all", "share", "util.", "MACs"]
    columns += ["DRAM", "energy"] if wide else ["energy"]
    table = aligned(columns)
    for call in result.calls:
        share = call.cycles / result.total.cycles if result.total.cycles else 0.0
        cells = [
            _label(call),
            str(call.count),
            quantity(call.result.latency_s, "s"),
            quantity(call.latency_s, "s"),
            percent(share),
            percent(call.utilization),
            quantity(call.macs),
        ]
        cells += [quantity(call.dram_bytes, "B")] if wide else []
        add_row(table, [*cells, quantity(call.energy_j, "J")])
    table.caption = "one: latency of one call; the rest of all of them, for the whole batch"
    table.caption_justify = "left"
    return table


def _dim(lines: Sequence[str]) -> list[Text]:
    return [Text(f"  {line}", style="dim") for line in lines]


def _label(call: CallResult) -> str:
    return call.label if call.inputs == 1 else f"{call.label} (x{call.inputs})"


def _sizes(binding: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in binding.items())
