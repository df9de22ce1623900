"""A model cut where its token counts change: kernels in a row that depend on the same counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..workloads.extent import Extent, symbols_of
from ..workloads.graph import Workload
from ..workloads.operator import Operator
from .fusion import fuse

__all__ = ["Section", "cut"]


@dataclass(frozen=True, eq=False)
class Section:
    """Kernels of a model, one after another, that depend on the same symbols.

    Attributes:
        operators: Unbound.
        read: Names of those that others read, or that leave the model.
        symbols: On which the sizes of the operators depend, of those that vary.
    """

    operators: tuple[Operator, ...]
    read: tuple[str, ...]
    symbols: tuple[str, ...]


def cut(
    workload: Workload, names: Sequence[str], binding: Mapping[str, int]
) -> tuple[Section, ...]:
    """The model's kernels in order, a new section wherever they depend on other symbols.

    A kernel that depends on none of them goes with those before it.  A selector is a section of
    its own: what stands before it does not see what its decision changes.

    Args:
        workload: A model, unbound.
        names: The symbols that vary.
        binding: Values for all symbols, with which the operators are fused into kernels.
    """
    groups = list(_groups(workload, frozenset(names), binding))
    readers: dict[str, set[int]] = {name: {-1} for name in workload.outputs}
    for number, (_, members) in enumerate(groups):
        for operator in members:
            for operand in operator.operands:
                for source in operand.sources:
                    readers.setdefault(source, set()).add(number)
    return tuple(
        Section(
            operators=tuple(members),
            read=tuple(o.name for o in members if readers.get(o.name, set()) - {number}),
            symbols=tuple(name for name in names if name in symbols),
        )
        for number, (symbols, members) in enumerate(groups)
    )


def _groups(
    workload: Workload, names: frozenset[str], binding: Mapping[str, int]
) -> Iterator[tuple[frozenset[str], list[Operator]]]:
    by_name = {operator.name: operator for operator in workload.operators}
    bound = tuple(operator.bound(binding) for operator in workload.operators)
    symbols, group = frozenset[str](), list[Operator]()
    for kernel in fuse(bound, workload.outputs):
        members = [by_name[operator.name] for operator in kernel.operators]
        those = frozenset[str]().union(*map(_symbols, members)) & names
        other = bool(those) and those != symbols
        if group and (other or kernel.lead.selector != group[-1].selector):
            yield symbols, group
            group = []
        symbols = symbols if group else those
        group += members
    if group:
        yield symbols, group


def _symbols(operator: Operator) -> frozenset[str]:
    sizes: list[Any] = [getattr(operator, f.name) for f in fields(operator)]
    sizes += [operand.elements for operand in operator.operands]
    found: set[str] = set()
    for size in sizes:
        several: Any = size
        if not isinstance(size, tuple):
            several = (size,)
        for each in several:
            if isinstance(each, Extent):
                found |= symbols_of(each)
    return frozenset(found)
