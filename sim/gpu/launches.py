"""What an engine launches: bound operators grouped into kernels, and what each reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby

from ...arch.formats import bits
from ...workloads.extent import known
from ...workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
    Softmax,
    TokenSelection,
)
from ..formats import format_of, parameter_size_bits, size_bits
from ..plan import layer
from .engines import Engine

__all__ = ["Launch", "launches", "numbered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel as it is launched.

    Attributes:
        name: Of its lead.
        lead: The operator that says what kind of kernel it is.
        operators: All that run in it, in order, the lead among them.
        reads: Operands that come from memory.
        writes: Operators whose results are left in memory.
        macs: Multiply-accumulates.
        read_bytes: Of every operand and parameter, once.
        written_bytes: Of every result that is left.
        issued: False for a kernel that a library launches with another, at no call of its own.
        alike: The same number for all kernels of a workload that do the same work.
    """

    name: str
    lead: Operator
    operators: tuple[Operator, ...]
    reads: tuple[Operand, ...]
    writes: tuple[Operator, ...]
    macs: int
    read_bytes: int
    written_bytes: int
    issued: bool = True
    alike: int = 0

    @classmethod
    def of(
        cls,
        lead: Operator,
        operators: Sequence[Operator],
        reads: Sequence[Operand],
        writes: Sequence[Operator],
        *,
        name: str = "",
        issued: bool = True,
    ) -> Launch:
        """A kernel, and what it moves: of a trained table, only the rows that are gathered."""
        read_bits = sum(size_bits(operand) for operand in reads)
        if not isinstance(lead, Movement):
            read_bits += sum(parameter_size_bits(o) for o in operators if o.parameters)
        written_bits = sum(known(o.elements) * bits(format_of(o)) for o in writes)
        return cls(
            name=name or lead.name,
            lead=lead,
            operators=tuple(operators),
            reads=tuple(reads),
            writes=tuple(writes),
            macs=sum(known(operator.macs) for operator in operators),
            read_bytes=-(-read_bits // 8),
            written_bytes=-(-written_bits // 8),
            issued=issued,
        )

    @property
    def dram_bytes(self) -> int:
        """Read and written."""
        return self.read_bytes + self.written_bytes

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.macs and not any(known(o.elements) for o in self.operators)

    @property
    def waits(self) -> bool:
        """Whether the host must read its result before it can go on."""
        return isinstance(self.lead, TokenSelection) and self.lead.data_dependent


@dataclass(eq=False)
class _Group:
    lead: Operator
    operators: list[Operator] = field(default_factory=list[Operator])
    read: bool = False  # by an operator of another kernel
    at: int = 0  # where its last operator stands


def launches(
    operators: Sequence[Operator], outputs: Sequence[str], engine: Engine
) -> tuple[Launch, ...]:
    """Group bound operators, whose formats are known, in an order in which they can run.

    An operator joins the kernel that makes one of its operands if the engine can do that, the
    operand is read whole and nothing outside of the kernel has read from it, so that it can run
    where its new last operator stands.  Attention of images of several sizes is one kernel, as the
    libraries' kernels for sequences of varying length are.
    """
    readers: dict[str, int] = dict.fromkeys(outputs, 1)
    for operator in operators:
        for operand in operator.operands:
            for source in operand.sources:
                readers[source] = readers.get(source, 0) + 1
    owners: dict[str, _Group] = {}
    groups: list[_Group] = []
    for at, operator in enumerate(operators):
        group = _host(operator, owners, readers, engine)
        if group is None:
            group = _Group(operator)
            groups.append(group)
        elif isinstance(operator, Normalization | Softmax):
            group.lead = operator
        group.operators.append(operator)
        group.at = at
        owners[operator.name] = group
        for operand in operator.operands:
            for source in operand.sources:
                if (made_by := owners.get(source)) is not None and made_by is not group:
                    made_by.read = True
    groups.sort(key=lambda group: group.at)
    elements = {operator.name: operator.elements for operator in operators}
    outside = _read_outside(groups, outputs)
    made = [_launch(group, elements, outside) for group in groups]
    return tuple(_varying(made))


def _host(
    operator: Operator, owners: dict[str, _Group], readers: dict[str, int], engine: Engine
) -> _Group | None:
    """The kernel that an operator joins; a product before anything else, then the latest."""
    if not isinstance(operator, Elementwise | Normalization | Softmax):
        return None
    found: list[_Group] = []
    for operand in operator.operands:
        if len(operand.sources) != 1 or (group := owners.get(operand.sources[0])) is None:
            continue
        source = next(o for o in group.operators if o.name == operand.sources[0])
        if group.read or not source.elements == operator.elements == operand.elements:
            continue
        if group.lead.selector == operator.selector and _may_join(
            operator, group, readers[source.name] == 1, engine
        ):
            found.append(group)
    return max(found, key=lambda g: (isinstance(g.lead, MatMul | Convolution), g.at), default=None)


def _may_join(operator: Operator, group: _Group, only_reader: bool, engine: Engine) -> bool:
    if isinstance(group.lead, MatMul | Convolution):
        return engine.into_products and only_reader and isinstance(operator, Elementwise)
    if isinstance(group.lead, Normalization | Softmax):
        return engine.chains and isinstance(operator, Elementwise)
    return engine.chains and isinstance(group.lead, Elementwise)


def _read_outside(groups: Sequence[_Group], outputs: Sequence[str]) -> set[str]:
    """Results that kernels other than their own read, or that are the graph's."""
    found = set(outputs)
    for group in groups:
        own = {operator.name for operator in group.operators}
        for operator in group.operators:
            for operand in operator.operands:
                found.update(source for source in operand.sources if source not in own)
    return found


def _launch(group: _Group, elements: Mapping[str, object], outside: set[str]) -> Launch:
    own = {operator.name for operator in group.operators}
    reads: list[Operand] = []
    whole: set[tuple[str, ...]] = set()
    for operator in group.operators:
        for operand in operator.operands:
            if own.issuperset(operand.sources) or operand.sources in whole:
                continue
            if len(operand.sources) == 1 and elements.get(operand.sources[0]) == operand.elements:
                whole.add(operand.sources)  # what is read whole is read once
            reads.append(operand)
    last = group.operators[-1]
    writes = [o for o in group.operators if o.name in outside or o is last]
    return Launch.of(group.lead, group.operators, reads, writes)


def _varying(made: Sequence[Launch]) -> Iterator[Launch]:
    """Attention of several sizes, one size after another, as one kernel."""
    for _, same in groupby(made, lambda one: (layer(one.name), isinstance(one.lead, Attention))):
        parts = list(same)
        first = parts[0]
        if len(parts) == 1 or not isinstance(first.lead, Attention):
            yield from parts
            continue
        yield Launch.of(
            first.lead,
            [operator for part in parts for operator in part.operators],
            [operand for part in parts for operand in part.reads],
            [operator for part in parts for operator in part.writes],
            name=layer(first.name),
        )


def numbered(made: Iterable[Launch]) -> Iterator[Launch]:
    """Kernels that have something to do, numbered by what; blocks are alike, and timed once."""
    numbers: dict[object, int] = {}
    for one in made:
        if one.is_empty:
            continue
        work = tuple(_work(o) for o in one.operators), one.read_bytes, one.written_bytes
        yield replace(one, alike=numbers.setdefault(work, len(numbers)))


def _work(operator: Operator) -> tuple[object, ...]:
    """What an operator does, without its name and those of what it reads."""
    sizes = [
        getattr(operator, field.name)
        for field in fields(operator)
        if field.name not in ("name", "operands")
    ]
    return type(operator), *sizes, *((o.elements, o.format) for o in operator.operands)
