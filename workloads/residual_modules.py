"""The modules of transformer blocks: a norm, work that it feeds, and the sum with what it read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .extent import Size
from .graph import Workload
from .operator import Attention, Convolution, Elementwise, Normalization, Operator

__all__ = ["Kind", "Module", "blocks_of"]

Kind: TypeAlias = Literal["self", "cross", "mlp"]
"""What a module does: self-attention, attention to something else, or neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module, `total = stream + work(norm(stream))`, by the names of its operators.

    Attributes:
        kind: What it does.
        stream: What it reads.
        norm: Its norm.
        inside: Its work, in order.
        total: The sum.
        tokens: Queries of its attention; None without one.
    """

    kind: Kind
    stream: str
    norm: str
    inside: tuple[str, ...]
    total: str
    tokens: Size | None = None


def blocks_of(workload: Workload) -> tuple[tuple[Module, ...], ...]:
    """The transformer blocks of a workload: each begins with a self-attention.

    A module belongs to the block of the module that it reads.  What convolves is no module.
    """
    modules = {module.stream: module for module in _modules(workload)}
    blocks: list[tuple[Module, ...]] = []
    for module in modules.values():
        if module.kind != "self":
            continue
        block = [module]
        while (after := modules.get(block[-1].total)) and after.kind != "self":
            block.append(after)
        blocks.append(tuple(block))
    return tuple(blocks)


def _modules(workload: Workload) -> Iterator[Module]:
    readers: dict[str, list[Operator]] = {}
    for operator in workload.operators:
        for source in {s for operand in operator.operands for s in operand.sources}:
            readers.setdefault(source, []).append(operator)
    order = {operator.name: place for place, operator in enumerate(workload.operators)}
    for norm in workload.operators:
        if isinstance(norm, Normalization) and len(norm.operands) == 1:
            sources = norm.operands[0].sources
            if len(sources) == 1 and (module := _module(norm, sources[0], readers, order)):
                yield module


def _module(
    norm: Normalization,
    stream: str,
    readers: Mapping[str, list[Operator]],
    order: Mapping[str, int],
) -> Module | None:
    """The module that begins with a norm, if one does."""
    inside: dict[str, Operator] = {}
    totals: set[str] = set()
    waiting = [norm.name]
    while waiting:
        for reader in readers.get(waiting.pop(), ()):
            if isinstance(reader, Convolution | Normalization):
                return None
            if (
                isinstance(reader, Elementwise)
                and reader.function == "add"
                and _reads(reader, stream)
            ):
                totals.add(reader.name)
            elif reader.name not in inside:
                inside[reader.name] = reader
                waiting.append(reader.name)
    attention = [operator for operator in inside.values() if isinstance(operator, Attention)]
    if len(totals) != 1 or not inside or len(attention) > 1:
        return None
    kind: Kind = "mlp"
    for one in attention:
        kind = "self" if set(one.operands[1].sources) <= inside.keys() else "cross"
    return Module(
        kind=kind,
        stream=stream,
        norm=norm.name,
        inside=tuple(sorted(inside, key=order.__getitem__)),
        total=totals.pop(),
        tokens=attention[0].queries if attention else None,
    )


def _reads(operator: Operator, source: str) -> bool:
    return any(source in operand.sources for operand in operator.operands)
