"""One result, or several side by side, as tables for a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..sim.result import CONFIDENCES, Result
from .bars import bars
from .compare import Comparison, factor
from .gpu import INITIALS, SHORT, gpu_line
from .groups import Row, by_kernel, by_module
from .style import CAUSE_COLORS, ENERGY_COLORS, ENERGY_LABELS, cause_labels
from .units import percent, plain, quantity

__all__ = [
    "add_row",
    "aligned",
    "as_text",
    "bindings_line",
    "comparison_table",
    "comparison_view",
    "facts",
    "noted",
    "result_view",
    "run_line",
]

_WIDE = 100  # columns from which on there is room for more
_NOTES = 10  # that are shown; a foreign graph may give hundreds


def result_view(
    result: Result, *, given: Collection[str] = (), all_kernels: bool = False, width: int = 80
) -> RenderableType:
    """Everything about one run.

    Args:
        result: Of the run.
        given: Symbols that the user bound; the others are marked as defaults.
        all_kernels: List every kernel instead of modules.
        width: Columns of the terminal.
    """
    losses, energy = losses_table(result), energy_table(result)
    parts: RenderableType = Group(losses, "", energy)
    if width >= _WIDE:
        parts = Table.grid(padding=(0, 6))
        parts.add_row(losses, energy)
    rows = by_kernel(result) if all_kernels else by_module(result)
    notes = [Text(f"  note: {note}", style="yellow") for note in noted(result.notes)]
    head = Group(header(result, given), *notes)
    return Group(head, "", parts, "", kernel_table(rows, result, width), "")


def header(result: Result, given: Collection[str] = ()) -> RenderableType:
    """What ran on what, and the headline numbers."""
    title = Text.assemble((result.workload, "bold"), " on ", (result.machine, "bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    facts.add_row("run", run_line(result))
    if result.gpu:
        facts.add_row("GPU model", gpu_line(result, result.confidence))
    if result.bindings:
        facts.add_row("bindings", bindings_line(result, given))
    images = f"{plain(result.images_per_s)} images/s"
    if result.batch > 1:
        images = f"{quantity(result.latency_per_image_s, 's')} an image, {images}"
    cycles = f"{result.cycles:,} cycles at {quantity(result.clock_hz, 'Hz')}"
    facts.add_row(
        "latency", Text.assemble((quantity(result.latency_s, "s"), "bold"), f"  {images}; {cycles}")
    )
    facts.add_row("utilization", Text(percent(result.utilization), style="bold"))
    joules = quantity(result.energy_j, "J")
    facts.add_row("energy", Text.assemble((joules, "bold"), f"  {_energy_facts(result)}"))
    without = quantity(result.macs_without_attention, "MACs")
    facts.add_row(
        "work",
        f"{quantity(result.macs, 'MACs')} ({without} without attention), "
        f"{quantity(result.parameters)} parameters",
    )
    facts.add_row("DRAM", f"{quantity(result.dram_bytes, 'B')} moved")
    return Group(title, Padding(facts, (0, 0, 0, 2)))


def _energy_facts(result: Result) -> str:
    """Average power and energy-delay product; of an image where there are several."""
    image = " an image" if result.batch > 1 else ""
    each = f"{quantity(result.energy_per_image_j, 'J')}{image}, " if image else ""
    product = quantity(result.edp_per_image_js, "J s")
    return f"{each}{quantity(result.power_w, 'W')} on average, EDP {product}{image}"


def noted(notes: Iterable[str]) -> list[str]:
    """Notes, each once, and how many were left out."""
    distinct = list(dict.fromkeys(notes))
    more = [f"{len(distinct) - _NOTES} more like these"] if len(distinct) > _NOTES else []
    return distinct[:_NOTES] + more


def run_line(result: Result) -> str:
    """Format, batch and what identifies the run."""
    seed = "" if result.seed is None else f", seed {result.seed}"
    return (
        f"{result.bits or result.format}, batch {result.batch}{seed}, "
        f"config {result.config_hash[:12]}, "
        f"tilewise {result.version}"
    )


def bindings_line(result: Result, given: Collection[str]) -> str:
    """Every symbol's value, and which of them nobody asked for."""
    return ", ".join(
        f"{name}={value}" + ("" if name in given else " (default)")
        for name, value in result.bindings.items()
    )


def losses_table(result: Result) -> Table:
    """Where the time of the arrays went; causes without a share are left out."""
    shares, labels = result.losses.shares(), cause_labels(result.gpu)
    present = [(labels[c], share, CAUSE_COLORS[c]) for c, share in shares.items() if share]
    return bars("Where the time went", present)


def energy_table(result: Result) -> Table:
    """Joules by component, the largest first."""
    parts = sorted(result.energy_by_component_j.items(), key=lambda item: -item[1])
    present = [(name, joules) for name, joules in parts if joules]
    shares = [
        (ENERGY_LABELS[name], joules / result.energy_j, ENERGY_COLORS[name])
        for name, joules in present
    ]
    return bars("Energy", shares, [quantity(joules, "J") for _, joules in present])


def kernel_table(rows: Sequence[Row], result: Result, width: int = 80) -> Table:
    """Kernels, or groups of them, with their part of the run."""
    wide, labels = width >= _WIDE, cause_labels(result.gpu)
    several = any(row.kernels > 1 for row in rows)
    sure = any(row.confidence for row in rows) and not several
    said, short = "sure" if wide else "", SHORT if wide else INITIALS
    columns: dict[str, Callable[[Row], str]] = {
        "module" if several else "kernel": lambda row: _label(row.name),
        "kernels": lambda row: str(row.kernels),
        "kind": lambda row: ", ".join(row.kinds),
        "time": lambda row: quantity(row.time_s, "s"),
        said: lambda row: short.get(row.confidence, "-"),
        "share": lambda row: percent(row.share),
        "MACs": lambda row: quantity(row.macs) if row.macs else "-",
        _SHARE if several else "util.": lambda row: _utilization(row, several),
        "DRAM": lambda row: quantity(row.dram_bytes, "B"),
        "energy": lambda row: quantity(row.energy_j, "J"),
        "main loss": lambda row: _main_loss(row, labels),
    }
    dropped = {"kind"} if several else {"kernels"}
    dropped |= set() if sure else {said}
    dropped |= set() if wide else {"kernels", "kind", "share", "DRAM"}
    kept = {name: cell for name, cell in columns.items() if name not in dropped}
    table = aligned(list(kept), left=("kind", said, "main loss"))
    for row in rows:
        add_row(table, [cell(row) for cell in kept.values()])
    if several:
        table.caption = (
            "module util.: MACs done over MACs possible in a module's time\n"
            f"{len(result.operators)} kernels; --all lists each from its start to its end"
        )
        table.caption_justify = "left"
    elif sure:
        found = {row.confidence for row in rows}
        known = ", ".join(f"{short[label]} = {label}" for label in CONFIDENCES if label in found)
        table.caption = f"how sure a time is, beside sizes that were measured: {known}"
        table.caption_justify = "left"
    return table


def _label(name: str) -> str:
    """A kernel's name; if it has the rows of one width, without the operation, for want of room.

    >>> _label("blocks.10.mlp.fc1/MatMul:int8"), _label("blocks.10.mlp.fc1/MatMul")
    ('blocks.10.mlp.fc1:int8', 'blocks.10.mlp.fc1/MatMul')
    """
    return re.sub(r"/[^/:]*(?=:\w+$)", "", name)


_SHARE = "module\nutil."


def _utilization(row: Row, several: bool) -> str:
    share = row.window_utilization if several or row.utilization is None else row.utilization
    return percent(share) if row.macs else "-"


def _main_loss(row: Row, labels: Mapping[str, str]) -> str:
    cause, share = row.main_loss
    return f"{labels[cause]} {percent(share)}" if share else "-"


def comparison_table(*comparisons: Comparison) -> Table:
    """Results beside their bases, image for image, under the machines' names."""
    several = any(result.batch > 1 for comparison in comparisons for result in comparison.results)
    each = "\n/image" if several else ""
    columns = ["workload", f"latency{each}", "util.", f"energy{each}", f"MACs{each}"]
    table = aligned([*columns, *(f"{what}\nchange" for what in ("MACs", "latency", "energy"))])
    machine = ""
    for comparison in comparisons:
        pairs = zip(comparison.results, comparison.gains, strict=True)
        for index, (result, gain) in enumerate(pairs):
            if result.machine != machine:
                machine = result.machine
                add_row(table, [machine], style="bold")
            # Nothing is gained over itself.
            ratios = (gain.mac_ratio, gain.speed_up, gain.energy_ratio) if index else ()
            add_row(
                table,
                [
                    f"  {result.workload}",
                    quantity(result.latency_per_image_s, "s"),
                    percent(result.utilization),
                    quantity(result.energy_per_image_j, "J"),
                    quantity(result.macs / result.batch),
                    *(_arrow(value) for value in ratios),
                ],
            )
    return table


def _arrow(value: float) -> str:
    """A gain that is right both ways, in little room: down is less of it, up is more."""
    text = factor(value, "↓", "↑")
    if text == "not comparable":
        return "-"
    number, _, arrow = text.partition(" ")
    return f"{arrow}{number}"


def aligned(columns: Sequence[str], left: Collection[str] = ()) -> Table:
    """A table whose first column gives way when the terminal is narrow, and no other does."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index == 0 or name in left else "right"
        table.add_column(name, justify=justify, no_wrap=index > 0)
    return table


def add_row(
    table: Table, cells: Sequence[str], style: str = "", *, wrap: bool = False, indent: int = 0
) -> None:
    """Add a row, and make room for it: only the first column may be cut, or wrapped.

    All lines of its first cell are indented by `indent` columns.
    """
    texts = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells]
    texts[0].no_wrap = not wrap
    for column, text in zip(table.columns[1:], texts[1:], strict=False):
        column.min_width = max(column.min_width or 0, text.cell_len)
    first = Padding(texts[0], (0, 0, 0, indent)) if indent else texts[0]
    table.add_row(first, *texts[1:], style=style)


def comparison_view(
    comparisons: Sequence[Comparison], given: Collection[str] = ()
) -> RenderableType:
    """Comparisons, what was bound in them, and each in a sentence."""
    results = [result for comparison in comparisons for result in comparison.results]
    bound = dict.fromkeys(
        f"{result.workload}: {line}" for result in results if (line := _bound_line(result, given))
    )
    sentences = [sentence for comparison in comparisons for sentence in comparison.sentences]
    notes = noted(note for comparison in comparisons for note in comparison.notes)
    lines = [Text(line, style="dim") for line in (*_modelled(results), *bound)]
    lines += [Text(line) for line in sentences]
    lines += [Text(f"note: {note}", style="yellow") for note in notes]
    return Group(comparison_table(*comparisons), *lines, "")


def _modelled(results: Sequence[Result]) -> list[str]:
    """How each GPU was modelled; with the machines' names if there are several."""
    several = len({result.machine for result in results}) > 1
    lines = dict.fromkeys(
        f"GPU model of {result.workload}{f' on {result.machine}' if several else ''}: "
        f"{gpu_line(result, result.confidence)}"
        for result in results
        if result.gpu
    )
    return list(lines)


def _bound_line(result: Result, given: Collection[str]) -> str:
    """Every symbol's value, and the batch if no symbol stands for it."""
    besides = result.batch > 1 and "batch" not in result.bindings
    parts = [f"batch {result.batch}"] * besides + [bindings_line(result, given)]
    return ", ".join(part for part in parts if part)


def facts(title: str, pairs: Sequence[tuple[str, object]]) -> Table:
    """Names and values under a title."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in pairs:
        table.add_row(f"  {name.replace('_', ' ')}", Text(str(value)))
    return table


def as_text(view: RenderableType, width: int = 100) -> str:
    """What a terminal of `width` columns would show, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(view)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().rstrip("\n")
