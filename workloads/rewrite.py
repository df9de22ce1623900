"""Several operators become one: the bookkeeping that every recogniser of a pattern shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from .graph import FreeNode, Workload
from .operator import Elementwise, Movement, Operand, Operator, Reduction

__all__ = ["Fusion", "Surroundings", "fused", "path_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """A pattern that was found.

    Attributes:
        parts: Its operators; nothing else reads their results, the last one's apart.
        result: What they are together; it stands where the last of them stood.
    """

    parts: tuple[Operator, ...]
    result: Operator


@dataclass(slots=True, eq=False)
class Surroundings:
    """Who made and who reads each result, while patterns are being replaced.

    Attributes:
        operators: By name.
        order: Place of each operator in the workload.
        readers: Name -> names of the operators that read its result; `""` for a graph's output.
        labels: Operator -> a label for each operand; operands with one label hold the same data.
    """

    operators: dict[str, Operator]
    order: dict[str, int] = field(default_factory=dict[str, int])
    readers: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def maker(self, operand: Operand) -> Operator | None:
        """The operator whose whole result the operand is."""
        if len(operand.sources) != 1:
            return None
        operator = self.operators.get(operand.sources[0])
        return operator if operator and operator.elements == operand.elements else None

    def label(self, operator: Operator, index: int) -> str:
        """What data an operand is; the same text for the same data."""
        operand = operator.operands[index]
        if self.maker(operand) is not None:
            return operand.sources[0]
        labels = self.labels.get(operator.name, ())
        return labels[index] if index < len(labels) else f"{operator.name}:{index}"

    def inner(self, part: Operator, parts: Iterable[Operator]) -> bool:
        """True if only `parts` read the result of `part`."""
        return self.readers.get(part.name, set()) <= {other.name for other in parts}


def fused(
    workload: Workload,
    find: Callable[[Surroundings, Operator], Fusion | None],
    labels: Mapping[str, tuple[str, ...]] | None = None,
) -> Workload:
    """The workload with every pattern that `find` sees replaced.

    Args:
        workload: What to look through.
        find: Is asked for each operator, in order, whether it ends a pattern.
        labels: See `Surroundings`.
    """
    around = Surroundings({o.name: o for o in workload.operators}, labels=labels or {})
    around.order.update((o.name, place) for place, o in enumerate(workload.operators))
    for operator in workload.operators:
        for operand in operator.operands:
            for source in operand.sources:
                around.readers.setdefault(source, set()).add(operator.name)
    for output in workload.outputs:
        around.readers.setdefault(output, set()).add("")
    renamed: dict[str, str] = {}
    free = list(workload.free)
    for operator in workload.operators:
        fusion = find(around, operator) if operator.name in around.operators else None
        if fusion is None:
            continue
        gone = [part for part in fusion.parts if part.name != operator.name]
        if not all(around.inner(part, fusion.parts) for part in gone):
            continue
        for part in fusion.parts:
            del around.operators[part.name]
            renamed.pop(part.name, None)
        name = _unused(fusion.result.name, {*around.operators, *renamed.values()})
        free.extend(
            FreeNode(name=p.name, function=_function(p), reason=f"fused into {name}") for p in gone
        )
        # Until all are found, the result keeps the last part's name: others refer to it.
        around.operators[operator.name] = replace(fusion.result, name=operator.name)
        for operand in fusion.result.operands:
            for source in operand.sources:
                around.readers[source] -= {part.name for part in gone}
                around.readers[source].add(operator.name)
        renamed[operator.name] = name
    left = sorted(around.operators.values(), key=lambda operator: around.order[operator.name])
    operators = tuple(_renamed(operator, renamed) for operator in left)
    outputs = tuple(renamed.get(output, output) for output in workload.outputs)
    return replace(workload, operators=operators, outputs=outputs, free=tuple(free))


def path_of(name: str) -> str:
    """The module path in front of an operator's own name, with its slash if there is one."""
    head, slash, _ = name.rpartition("/")
    return head + slash


def _unused(wanted: str, taken: Set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def _function(operator: Operator) -> str:
    if isinstance(operator, (Elementwise, Movement, Reduction)):
        return operator.function
    return operator.kind


def _renamed(operator: Operator, names: Mapping[str, str]) -> Operator:
    operands = tuple(
        replace(operand, sources=tuple(names.get(source, source) for source in operand.sources))
        if any(source in names for source in operand.sources)
        else operand
        for operand in operator.operands
    )
    name = names.get(operator.name, operator.name)
    if operands == operator.operands and name == operator.name:
        return operator
    return replace(operator, operands=operands, name=name)
