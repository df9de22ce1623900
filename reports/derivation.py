"""How the cycles of one GEMM come about, as a reader with a pencil would write it down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..sim.cross_check import Count, OnMachine
from ..sim.derivation import Derivation, Side, Term
from .style import CAUSE_LABELS
from .units import duration, percent, quantity

__all__ = ["counts_view", "derivation_values", "derivation_view", "machine_view"]

_DAY_S = 86400  # nobody waits longer
_STAYS = {"ws": "weights stay in the PEs", "os": "outputs stay", "is": "inputs stay"}
_PARTS = {
    "useful": "MACs: M x K x N",
    "partial_rows": "edge: rows that a ragged fold idles",
    "partial_columns": "edge: columns that a ragged fold idles",
    "between_folds": "all PEs for (F - 1) (I - {stream})",
    "fill_drain": "all PEs for {last} - {stream}",
}
_WAYS = {
    "closed form": "what simulations use and tilewise gemm prints",
    "engine": "ideal memory, one fold a tile, {folds} in all",
}
_ADDED = {
    "edge": "more folds are ragged",
    "fill_drain": "the array fills, drains and reloads between tiles",
    "memory": "the array waits for DRAM",
    "vector": "the array waits for the vector unit",
}


def derivation_view(derivation: Derivation) -> RenderableType:
    """The folds, the terms with their numbers, their sum, and where the PE-cycles went."""
    d = derivation
    title = Text.assemble(
        (f"({d.m} x {d.k}) @ ({d.k} x {d.n})", "bold"), f"  M = {d.m}, K = {d.k}, N = {d.n}"
    )
    array = d.array
    about = Text(
        f"  on {array.rows} x {array.cols} PEs, {array.dataflow}: {_STAYS[array.dataflow]}; "
        f"overlap {array.overlap}",
        style="dim",
    )
    return Group(
        title, about, "",
        _head("folds"), _folds(d), "",
        _head("interval", "from the beginning of a fold to that of the next"), *_interval(d), "",
        _head("latency", "from a fold's first word in to its last result out"), *_latency(d), "",
        _head("all folds"), *_sum_of_all(d), "",
        *_pe_cycles(d), "",
    )  # fmt: skip


def _head(title: str, rest: str = "") -> Text:
    return Text.assemble((title, "bold"), f"  {rest}" if rest else "")


def _folds(d: Derivation) -> Table:
    table = _grid("left", "left", "left", "left", "left")
    for side, what, pes, count in ((d.rows, "rows", "R", "P"), (d.cols, "columns", "C", "B")):
        table.add_row(
            f"  {what}", f"{side.name} = {side.size:,}", f"over {pes} = {side.pes:,}",
            f"{count} = {side.folds:,}", _sizes(side),
        )  # fmt: skip
    table.add_row("  stream", f"{d.stream_name} = {d.stream:,}", "words in each fold")
    table.add_row("  all", "F = P x B", f"{d.rows.folds:,} x {d.cols.folds:,}", f"F = {d.folds:,}")
    return table


def _sizes(side: Side) -> str:
    full = f"{side.full:,} full" if side.full else "none full"
    return f"{full}, the last uses {side.ragged:,}" if side.ragged else full


def _interval(d: Derivation) -> Iterable[RenderableType]:
    sums = d.interval_terms
    written, numbers = [_symbols(terms) for terms in sums], [_numbers(terms) for terms in sums]
    if len(sums) > 1:
        yield Text(f"  I = max({', '.join(written)})")
        yield Text(f"    = max({', '.join(numbers)})")
    else:
        yield Text(f"  I = {written[0]}")
        yield Text(f"    = {numbers[0]}")
    yield Text(f"    = {d.interval:,} cycles")
    yield _terms(term for terms in sums for term in terms)


def _latency(d: Derivation) -> Iterable[RenderableType]:
    by_columns = _by_columns(d)
    if by_columns:
        yield Text(
            f"  s(c) = {_symbols(d.latency_terms)}, with c = {d.cols.last:,} in the last block"
        )
    else:
        yield Text(f"  s = {_symbols(d.latency_terms)}")
    indent = " " * (7 if by_columns else 4)
    yield Text(f"{indent}= {_numbers(d.latency_terms)}")
    yield Text(f"{indent}= {d.last_latency:,} cycles")
    yield _terms(d.latency_terms)


def _by_columns(d: Derivation) -> bool:
    return any("c" in term.symbol for term in d.latency_terms)


def _terms(terms: Iterable[Term]) -> Table:
    table = _grid("left", "right", "left")
    for term in terms:
        table.add_row(f"      {term.symbol}", f"{term.cycles:,}", Text(term.what, style="dim"))
    return table


def _sum_of_all(d: Derivation) -> Iterable[Text]:
    less = " - 1" if d.cycles < d.elapsed else ""
    ending = f"{d.folds - 1:,} x {d.interval:,} + {d.last_latency:,}"
    if d.wider is None or not _by_columns(d):
        yield Text(f"  T = (F - 1) I + {'s(c)' if _by_columns(d) else 's'}{less}")
        yield Text(f"    = {ending}{less}")
    else:
        before = d.folds - 1 - d.rows.folds
        yield Text("  T = max((F - 1) I + s(c), (F - 1 - P) I + s(C))")
        yield Text(f"    = max({ending}, {before:,} x {d.interval:,} + {d.full_latency:,})")
        yield Text(f"    = max({d.ending:,}, {d.wider:,})")
    yield Text.assemble("    = ", (f"{d.cycles:,} cycles", "bold"))
    if less:
        text = f"  the number of the last cycle, counted from zero: there are {d.elapsed:,}"
        yield Text(text, style="dim")


def _pe_cycles(d: Derivation) -> Iterable[RenderableType]:
    pes = d.array.rows * d.array.cols
    yield _head("PE-cycles", f"{pes:,} PEs x {d.elapsed:,} cycles = {pes * d.elapsed:,}")
    table = _grid("left", "right", "right", "left")
    latency = "s(c)" if _by_columns(d) else "s"
    last = latency if d.elapsed == d.ending else "T - (F - 1) I"
    for part, count in d.pe_cycles.items():
        why = _PARTS[part].format(stream=d.stream_name, last=last)
        share = percent(count / (pes * d.elapsed))
        name = part.replace("_", " ").replace("fill drain", "fill, drain")
        table.add_row(f"  {name}", f"{count:,}", share, Text(why if count else "", style="dim"))
    yield table
    yield Text.assemble("  utilization ", (percent(d.utilization), "bold"))


def counts_view(derivation: Derivation, counts: Sequence[Count]) -> RenderableType:
    """The same number by other ways, and whether all are equal."""
    table = _grid("left", "right", "left")
    table.add_row("  terms", f"{derivation.cycles:,}", Text("T, above", style="dim"))
    for count in counts:
        cycles = "-" if count.cycles is None else f"{count.cycles:,}"
        table.add_row(f"  {count.way}", cycles, Text(_how(derivation, count), style="dim"))
    parts: list[RenderableType] = [_head("counted again", "in cycles"), table]
    for count in counts:
        if 0 < count.all_folds_s <= _DAY_S:
            needs = duration(count.all_folds_s)
            cure = f"--patience {math.ceil(count.all_folds_s)}"
            text = f"  all folds in the {count.way} take about {needs}: {cure}"
            parts.append(Text(text, style="dim"))
    wrong = [count.way for count in counts if not count.agrees(derivation.cycles)]
    if wrong:
        parts.append(Text(f"  NOT EQUAL: {', '.join(wrong)}", style="bold red"))
    else:
        ran = 1 + sum(count.cycles is not None for count in counts)
        whole = "all equal" if ran == 1 + len(counts) else f"equal in the {ran} ways that were run"
        parts.append(Text(f"  {whole}: {derivation.cycles:,} cycles", style="bold green"))
    return Group(*parts, "")


def _how(d: Derivation, count: Count) -> str:
    if count.not_run:
        return f"not run: {count.not_run}"
    if count.way in _WAYS:
        return _WAYS[count.way].format(folds=f"{count.folds:,}")
    product = "product right" if count.product_right else "product WRONG"
    if count.folds == d.folds:
        return f"all folds; {product}"
    others = f"{d.folds - count.folds:,} x I"
    return f"{count.folds:,} of {d.folds:,} folds: {count.run_cycles:,}, + {others}; {product}"


def machine_view(on: OnMachine, clock_hz: float) -> RenderableType:
    """What a machine's memory and vector unit add, cause by cause.

    Args:
        on: The run.
        clock_hz: Of the machine.
    """
    table = _grid("left", "right", "left")
    table.add_row("  ideal memory", f"{on.ideal_cycles:,}")
    for cause, cycles in on.added.items():
        sign = "+" if cycles > 0 else "-"
        why = Text(_ADDED.get(cause, ""), style="dim")
        table.add_row(f"  {sign} {CAUSE_LABELS[cause]}", f"{abs(float(cycles)):,.12g}", why)
    moved = f"{quantity(on.dram_bytes, 'B')} from and to DRAM"
    table.add_row(
        "  = whole run", Text(f"{on.cycles:,}", style="bold"),
        Text(f"{quantity(on.cycles / clock_hz, 's')}, {moved}", style="dim"),
    )  # fmt: skip
    rest = f"{on.format}, in tiles of {on.mapping} (M x K x N)"
    notes = [Text(f"  note: {note}", style="yellow") for note in on.notes]
    return Group(_head(f"on {on.machine}", rest), table, *notes, "")


def derivation_values(
    derivation: Derivation, counts: Sequence[Count], on: OnMachine | None
) -> Mapping[str, Any]:
    """Every number of the three views, for JSON; times in cycles unless named otherwise."""
    d = derivation
    return {
        "m": d.m,
        "k": d.k,
        "n": d.n,
        "array": f"{d.array.rows}x{d.array.cols}",
        "dataflow": d.array.dataflow,
        "overlap": d.array.overlap,
        "rows": _side_values(d.rows),
        "columns": _side_values(d.cols),
        "stream": {"dimension": d.stream_name, "words": d.stream},
        "folds": d.folds,
        "interval": d.interval,
        "interval_terms": [_term_values(terms) for terms in d.interval_terms],
        "latency": d.last_latency,
        "latency_terms": _term_values(d.latency_terms),
        "cycles": d.cycles,
        "utilization": d.utilization,
        "pe_cycles": d.pe_cycles,
        "all_equal": all(count.agrees(d.cycles) for count in counts),
        "counts": [
            {
                "way": count.way,
                "cycles": count.cycles,
                "folds_run": count.folds,
                "run_cycles": count.run_cycles,
                "product_right": count.product_right,
                "not_run": count.not_run,
            }
            for count in counts
        ],
        "machine": on and {
            "name": on.machine,
            "format": on.format,
            "mapping": on.mapping,
            "dram_bytes": on.dram_bytes,
            "ideal_cycles": on.ideal_cycles,
            "cycles": on.cycles,
            "added_cycles": {cause: float(cycles) for cause, cycles in on.added.items()},
            "notes": list(on.notes),
        },
    }  # fmt: skip


def _side_values(side: Side) -> dict[str, Any]:
    return {
        "dimension": side.name,
        "size": side.size,
        "pes": side.pes,
        "folds": side.folds,
        "full": side.full,
        "ragged": side.ragged,
    }


def _term_values(terms: Iterable[Term]) -> list[dict[str, Any]]:
    return [{"term": t.symbol, "cycles": t.cycles, "what": t.what} for t in terms]


def _symbols(terms: Sequence[Term]) -> str:
    return " + ".join(term.symbol for term in terms).replace("+ -", "- ")


def _numbers(terms: Sequence[Term]) -> str:
    return " + ".join(f"{term.cycles:,}" for term in terms).replace("+ -", "- ")


def _grid(*justify: Any) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in justify:
        table.add_column(justify=each, no_wrap=True)
    table.columns[-1].no_wrap = False  # where room is short, explanations give way
    return table
