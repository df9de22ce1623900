"""Several operators become one: the bookkeeping that every recogniser of a pattern shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from .graph import FreeNode, Workload
from .operator import Elementwise, Movement, Operand, Operator, Reduction

__all__ = ["Finder", "Fusion", "Reading", "Surroundings", "fused", "fusing", "path_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """A pattern that was found.

    Attributes:
        parts: Its operators; nothing else reads their results, the last one's apart.
        result: What they are together; it stands where the last of them stood.
    """

    parts: tuple[Operator, ...]
    result: Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How operators read their operands, where the operators themselves do not tell.

    Attributes:
        labels: Operator -> a label for each operand; operands with one label hold the same data.
        crooked: Matrix products that read their first operand across its rows.
    """

    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    crooked: Set[str] = frozenset()


@dataclass(slots=True, eq=False)
class Surroundings:
    """Who made and who reads each result, while patterns are being replaced.

    Attributes:
        operators: By name.
        reading: How they read.
        order: Place of each operator in the workload.
        readers: Name -> names of the operators that read its result; `""` for a graph's output.
    """

    operators: dict[str, Operator]
    reading: Reading
    order: dict[str, int] = field(default_factory=dict[str, int])
    readers: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

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
        labels = self.reading.labels.get(operator.name, ())
        return labels[index] if index < len(labels) else f"{operator.name}:{index}"

    def inner(self, part: Operator, parts: Iterable[Operator]) -> bool:
        """True if only `parts` read the result of `part`."""
        return self.readers.get(part.name, set()) <= {other.name for other in parts}


Finder: TypeAlias = Callable[[Surroundings, Operator], Fusion | None]
"""Is asked for each operator, in order, whether it ends a pattern."""


def fused(
    workload: Workload, finders: Sequence[Finder], reading: Reading | None = None
) -> Workload:
    """The workload with every pattern that a finder sees replaced.

    Names that were numbered, as `Mul_3`, are numbered anew without those that were fused away, so
    that they do not depend on how something else was written out.
    """
    return fusing(workload, finders, reading or Reading())[0]


def fusing(
    workload: Workload, finders: Sequence[Finder], reading: Reading
) -> tuple[Workload, Mapping[str, str]]:
    """What `fused` gives, and the operator that stood where each of its operators stands.

    Where there was a pattern, that is the last of its parts.
    """
    around = _surroundings(workload, reading)
    renamed: dict[str, str] = {}
    into: dict[str, str] = {}
    for operator in workload.operators:
        fusion = _first(around, finders, operator)
        if fusion is None:
            continue
        gone = [part.name for part in fusion.parts if part.name != operator.name]
        for name in (*gone, operator.name):
            del around.operators[name]
            renamed.pop(name, None)
        into |= dict.fromkeys(gone, operator.name)
        renamed[operator.name] = _unused(fusion.result.name, {*around.operators, *renamed.values()})
        # Until all are found, the result keeps the last part's name: others refer to it.
        around.operators[operator.name] = replace(
            fusion.result, name=operator.name, format=operator.format
        )
        for operand in fusion.result.operands:
            for source in operand.sources:
                around.readers[source] -= set(gone)
                around.readers[source].add(operator.name)
    renamed |= _renumbered(workload, {*into, *renamed})
    left = sorted(around.operators.values(), key=lambda operator: around.order[operator.name])
    result = replace(
        workload,
        operators=tuple(_renamed(operator, renamed) for operator in left),
        outputs=tuple(renamed.get(output, output) for output in workload.outputs),
        free=(*workload.free, *_fused_away(workload, into, renamed)),
    )
    return result, {renamed.get(operator.name, operator.name): operator.name for operator in left}


def _surroundings(workload: Workload, reading: Reading) -> Surroundings:
    around = Surroundings({o.name: o for o in workload.operators}, reading)
    for place, operator in enumerate(workload.operators):
        around.order[operator.name] = place
        for operand in operator.operands:
            for source in operand.sources:
                around.readers.setdefault(source, set()).add(operator.name)
    for output in workload.outputs:
        around.readers.setdefault(output, set()).add("")
    return around


def _first(around: Surroundings, finders: Sequence[Finder], operator: Operator) -> Fusion | None:
    """The first pattern that ends with the operator and whose parts nobody else reads."""
    if operator.name not in around.operators:
        return None
    operator = around.operators[operator.name]
    for find in finders:
        fusion = find(around, operator)
        if fusion is not None and all(
            part.name == operator.name or around.inner(part, fusion.parts) for part in fusion.parts
        ):
            return fusion
    return None


def _fused_away(
    workload: Workload, into: Mapping[str, str], renamed: Mapping[str, str]
) -> Iterator[FreeNode]:
    for operator in workload.operators:
        if operator.name in into:
            last = into[operator.name]
            while last in into:
                last = into[last]
            reason = f"fused into {renamed[last]}"
            yield FreeNode(name=operator.name, function=_function(operator), reason=reason)


def _renumbered(workload: Workload, gone: Set[str]) -> dict[str, str]:
    """Numbered names without the gaps that `gone` leaves: `x/Mul_2` is `x/Mul` without the first.

    Numbers that begin otherwise than `x/Mul`, `x/Mul_2` are not the reader's, and stay.
    """
    groups: dict[str, list[int]] = {}
    for operator in workload.operators:
        base, number = _numbered(operator.name)
        groups.setdefault(base, []).append(number)
    first = {operator.name for operator in workload.operators} | {n.name for n in workload.free}
    new: dict[str, str] = {}
    for base, numbers in groups.items():
        if "/" not in base or base not in first or numbers != sorted(set(numbers)):
            continue
        missing = 0
        for number in numbers:
            name = base if number == 1 else f"{base}_{number}"
            if name in gone:
                missing += 1
            elif missing:
                new[name] = base if number - missing == 1 else f"{base}_{number - missing}"
    return new


def _numbered(name: str) -> tuple[str, int]:
    base, _, number = name.rpartition("_")
    ours = base and number.isdecimal() and int(number) > 1 and not number.startswith("0")
    return (base, int(number)) if ours else (name, 1)


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
