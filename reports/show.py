"""What a machine or a workload is, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text

from ..arch import Accelerator, Gpu
from ..arch.gpu_own import OwnCalibrations
from ..arch.value import Value
from ..workloads import BindingError, Operator, Size, Workload
from .table import add_row, aligned, facts
from .units import binary, percent, quantity

__all__ = ["machine_view", "workload_view"]

Number = int | float | Fraction


def machine_view(machine: Accelerator | Gpu, sources: Mapping[str, str]) -> RenderableType:
    """Every number of a machine with its unit and its source.

    Args:
        machine: To be shown.
        sources: By dotted key, as `arch.sources` gives them.
    """
    title = Text.assemble((machine.name, "bold"), f": {machine.description}")
    table = aligned(["", "value", "source"], left=("source",))
    table.columns[0].no_wrap, table.columns[2].no_wrap = True, False
    part, previous = "", ""
    for key, value in _leaves(machine):
        head, _, rest = key.partition(".")
        if rest and head.partition("[")[0] != part:
            part = head.partition("[")[0]
            table.add_row(Text(part, style="bold"))
        source = sources.get(key, "") if isinstance(value, str) else sources.get(key, "not stated")
        repeated = bool(source) and source == previous
        previous = source
        assumed = source.startswith("assumed")
        table.add_row(
            Text(f"  {rest}" if rest else key),
            Text(value if isinstance(value, str) else _with_unit(key, value), no_wrap=True),
            Text("same" if repeated else source, style="yellow" if assumed else ""),
        )
    return Group(title, "", table, "")


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, Number | str]]:
    """Dotted keys and what stands there; names and descriptions are told elsewhere."""
    if isinstance(value, OwnCalibrations):
        if value.kinds:
            yield key, ", ".join(value.kinds)
    elif isinstance(value, Value):
        for name in type(value).model_fields:
            if name not in ("name", "description"):
                yield from _leaves(getattr(value, name), f"{key}.{name}".lstrip("."))
    elif isinstance(value, tuple):
        for index, inner in enumerate(cast("tuple[object, ...]", value)):
            yield from _leaves(inner, f"{key}[{index}]")
    elif isinstance(value, bool):  # before the numbers, among which Python counts it
        yield key, "yes" if value else "no"
    elif isinstance(value, int | float | Fraction | str):
        yield key, value


def _plain(unit: str) -> Callable[[Number], str]:
    return lambda value: f"{float(value):.6g} {unit}"


def _scaled(unit: str) -> Callable[[Number], str]:
    return lambda value: quantity(float(value), unit)


_BY_ENDING: Mapping[str, Callable[[Number], str]] = {
    "_hz": _scaled("Hz"),
    "bytes_per_s": _scaled("B/s"),
    "_flops": _scaled("FLOP/s"),
    "bytes_per_cycle": _plain("B/cycle"),
    "_bytes": lambda value: binary(int(value)),
    "pj_per_byte": _plain("pJ/B"),
    "pj_per_bit": _plain("pJ/bit"),
    "pj_per_flop": _plain("pJ/FLOP"),
    "_pj": _plain("pJ"),
    "_nm": _plain("nm"),
    "_w": _plain("W"),
    "_s": _scaled("s"),
    "macs_per_pe_cycle": _plain("MACs/PE/cycle"),
    "setup_cycles": _plain("cycles"),
    "_cycles": _plain("cycles/element"),
}
"""How a number is written, by the end of its name; the first that fits."""


def _with_unit(key: str, value: Number) -> str:
    for part in reversed(key.split(".")):  # `mac_pj.int8` has its unit one step up
        for ending, written in _BY_ENDING.items():
            if part.endswith(ending):
                return written(value)
    return f"{float(value):g}"


def workload_view(workload: Workload) -> RenderableType:
    """Symbols, work by kind of operator, and what costs nothing, under the default binding."""
    bound, said = _bound(workload)
    summary = facts(
        workload.name,
        [
            ("MACs", _size(bound.macs)),
            ("without attention", _size(bound.macs_without_attention)),
            ("parameters", f"{quantity(workload.parameters)} ({workload.parameters:,})"),
            ("inputs", ", ".join(f"{n} ({_shape(shape)})" for n, shape in workload.inputs)),
        ],
    )
    parts: list[RenderableType] = [summary, *said, ""]
    if workload.symbols:
        parts += [_symbols(workload), ""]
    parts += [_kinds(bound), ""]
    if workload.free:
        parts += [_free(workload), ""]
    parts += [Text(f"note: {note}") for note in workload.notes]
    return Group(*parts)


def _bound(workload: Workload) -> tuple[Workload, list[Text]]:
    """By its defaults, or for one image if only `batch` lacks one, or else as formulas."""
    unbound = [symbol.name for symbol in workload.symbols if symbol.default is None]
    try:
        if unbound == ["batch"]:
            return workload.bind({"batch": 1}), [Text("  values are for batch=1", style="dim")]
        return workload.bind(), []
    except BindingError:
        return workload, []


def _symbols(workload: Workload) -> RenderableType:
    table = aligned(["symbol", "least", "most", "default"])
    for symbol in workload.symbols:
        most = "any" if symbol.upper is None else str(symbol.upper)
        default = "to be bound" if symbol.default is None else str(symbol.default)
        add_row(table, [symbol.name, str(symbol.lower), most, default])
    return table


def _kinds(workload: Workload) -> RenderableType:
    table = aligned(["kind of operator", "number", "MACs", "share", "elements made"])
    kinds: dict[str, list[Operator]] = {}
    for operator in workload.operators:
        kinds.setdefault(operator.kind, []).append(operator)
    for kind, members in kinds.items():
        macs = sum((operator.macs for operator in members), cast("Size", 0))
        made = sum((operator.elements for operator in members), cast("Size", 0))
        share = ""
        if isinstance(macs, int) and isinstance(workload.macs, int) and macs:
            share = percent(macs / workload.macs)
        add_row(table, [kind, str(len(members)), _brief(macs), share, _brief(made)])
    return table


def _free(workload: Workload) -> RenderableType:
    because = "nodes that cost nothing, because"
    table = aligned([because, "number", "operations"], left=("operations",))
    table.columns[2].no_wrap = False
    # Reasons that differ only in the node they name are one reason.
    names = {operator.name for operator in workload.operators}
    names |= {node.name for node in workload.free}
    reasons: dict[str, list[str]] = {}
    for node in workload.free:
        words = ("another node" if word in names else word for word in node.reason.split())
        reasons.setdefault(" ".join(words), []).append(node.function)
    for reason, functions in sorted(reasons.items(), key=lambda item: -len(item[1])):
        table.add_row(Text(reason), str(len(functions)), Text(", ".join(sorted(set(functions)))))
    return table


def _size(size: Size) -> str:
    return f"{quantity(size)} ({size:,})" if isinstance(size, int) else str(size)


def _brief(size: Size) -> str:
    if not isinstance(size, int):
        return "by symbols"
    return quantity(size) if size else "-"


def _shape(shape: tuple[Size, ...]) -> str:
    return " x ".join(str(size) for size in shape)
