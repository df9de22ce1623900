"""One result, or several side by side, as tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..sim.result import Result
from .compare import Comparison, row
from .groups import Row, by_kernel, by_module
from .style import CAUSE_COLORS, CAUSE_LABELS, series_colors
from .units import percent, quantity

__all__ = ["as_text", "comparison_table", "result_view"]

_WIDE = 100  # columns from which on there is room for more


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
    return Group(header(result, given), "", parts, "", kernel_table(rows, result, width), "")


def header(result: Result, given: Collection[str] = ()) -> RenderableType:
    """What ran on what, and the headline numbers."""
    title = Text.assemble((result.workload, "bold"), " on ", (result.machine, "bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    facts.add_row("run", run_line(result))
    if result.bindings:
        facts.add_row("bindings", bindings_line(result, given))
    images = f"{quantity(result.images_per_s)} images/s"
    if result.batch > 1:
        images = f"{quantity(result.latency_per_image_s, 's')} an image, {images}"
    cycles = f"{result.cycles:,} cycles at {quantity(result.clock_hz, 'Hz')}"
    facts.add_row(
        "latency", Text.assemble((quantity(result.latency_s, "s"), "bold"), f"  {images}; {cycles}")
    )
    facts.add_row("utilization", Text(percent(result.utilization), style="bold"))
    facts.add_row("energy", Text(quantity(result.energy_j, "J"), style="bold"))
    without = quantity(result.macs_without_attention, "MACs")
    facts.add_row(
        "work",
        f"{quantity(result.macs, 'MACs')} ({without} without attention), "
        f"{quantity(result.parameters)} parameters",
    )
    facts.add_row("DRAM", f"{quantity(result.dram_bytes, 'B')} moved")
    return Group(title, Padding(facts, (0, 0, 0, 2)))


def run_line(result: Result) -> str:
    """Format, batch and what identifies the run."""
    seed = "" if result.seed is None else f", seed {result.seed}"
    return (
        f"{result.format}, batch {result.batch}{seed}, config {result.config_hash[:12]}, "
        f"tilewise {result.version}"
    )


def bindings_line(result: Result, given: Collection[str]) -> str:
    """Every symbol's value, and which of them nobody asked for."""
    return ", ".join(
        f"{name}={value}" + ("" if name in given else " (default)")
        for name, value in result.bindings.items()
    )


def losses_table(result: Result) -> Table:
    """Where each PE-cycle went; causes without a share are left out."""
    shares = result.losses.shares()
    present = [(CAUSE_LABELS[c], share, CAUSE_COLORS[c]) for c, share in shares.items() if share]
    return _bars("Where the PE-cycles went", present)


def energy_table(result: Result) -> Table:
    """Joules by component, the largest first."""
    parts = sorted(result.energy_by_component_j.items(), key=lambda item: -item[1])
    colors = series_colors(tuple(result.energy_by_component_j))
    whole = result.energy_j
    present = [
        (name.replace("_", " "), joules / whole, colors[name]) for name, joules in parts if joules
    ]
    return _bars("Energy", present, [quantity(joules, "J") for _, joules in parts if joules])


def kernel_table(rows: Sequence[Row], result: Result, width: int = 80) -> Table:
    """Kernels, or groups of them, with their part of the run."""
    wide = width >= _WIDE
    several = any(row.kernels > 1 for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=False)
    table.add_column("module" if several else "kernel", no_wrap=True, overflow="ellipsis", ratio=1)
    if several:
        table.add_column("kernels", justify="right", no_wrap=True)
    if wide and not several:
        table.add_column("kind", no_wrap=True)
    names = ("time", "share", "MACs", "util.", *(("DRAM", "energy") if wide else ()))
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("main loss", no_wrap=True)
    for entry in rows:
        cells = [entry.name]
        if several:
            cells.append(str(entry.kernels))
        if wide and not several:
            cells.append(", ".join(entry.kinds))
        cells += [quantity(entry.time_s, "s"), percent(entry.share)]
        cells += [quantity(entry.macs) if entry.macs else "-"]
        cells += [percent(entry.utilization) if entry.macs else "-"]
        if wide:
            cells += [quantity(entry.dram_bytes, "B"), quantity(entry.energy_j, "J")]
        cause, share = entry.main_loss
        cells.append(f"{CAUSE_LABELS[cause]} {percent(share)}" if share else "-")
        table.add_row(*(Text(cell) for cell in cells))
    if len(rows) < len(result.operators):
        table.caption = f"{len(result.operators)} kernels; --all lists each"
        table.caption_justify = "left"
    return table


def comparison_table(*comparisons: Comparison) -> Table:
    """Results beside their bases; each comparison is a section."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    machines = {result.machine for c in comparisons for result in c.results}
    table.add_column("workload", no_wrap=True, overflow="ellipsis", ratio=1)
    if len(machines) > 1:
        table.add_column("machine", no_wrap=True)
    for name in ("latency", "util.", "energy", "MACs"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("MACs\nfewer", "latency\nless", "energy\nless"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = None
    for comparison in comparisons:
        if previous is not None and previous != comparison.base.machine:
            table.add_section()
        previous = comparison.base.machine
        for index, (result, gain) in enumerate(
            zip(comparison.results, comparison.gains, strict=True)
        ):
            cells = row(result, gain)
            if len(machines) == 1:
                del cells["machine"]
            if index == 0:  # nothing is gained over itself
                cells |= dict.fromkeys(("mac_ratio", "speed_up", "energy_ratio"), "")
            table.add_row(*(Text(cell) for cell in cells.values()))
    return table


def as_text(view: RenderableType, width: int = 100) -> str:
    """What a terminal of `width` columns would show, without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(view)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().rstrip("\n")


def _bars(
    title: str, parts: Sequence[tuple[str, float, str]], values: Iterable[str] = ()
) -> Table:
    """A bar for each part, as long as its share."""
    table = Table.grid(padding=(0, 1))
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    table.add_column(min_width=14)
    table.add_column(justify="right", min_width=7)
    texts = list(values)
    if texts:
        table.add_column(justify="right", min_width=8)
    table.add_column(width=_BAR)
    for index, (label, share, color) in enumerate(parts):
        cells: list[RenderableType] = [f"  {label}", percent(share)]
        if texts:
            cells.append(texts[index])
        table.add_row(*cells, Text(_bar(share), style=color))
    return table


_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _bar(share: float) -> str:
    """Full blocks and one eighth; something is never shown as nothing."""
    eighths = max(1, round(share * _BAR * 8)) if share > 0 else 0
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")
