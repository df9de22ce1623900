"""Which operators belong to token selectors, whose work is the price of pruning."""

from __future__ import annotations

import re
from dataclasses import replace

from .graph import Workload
from .operator import Movement, Operator, TokenSelection

__all__ = ["with_selectors"]

_SELECTOR = re.compile(r"(?:^|[./])selectors?(?:[./]|$)")


def with_selectors(workload: Workload) -> Workload:
    """The workload with `selector` set where it is due.

    An operator belongs to a selector if a component of its path is `selector` or `selectors`, if it
    is a token selection, or if its result goes nowhere but into token selections.  Moving the
    chosen tokens is no reason to call what made them a selector.
    """
    readers: dict[str, list[Operator]] = {}
    for operator in workload.operators:
        for operand in operator.operands:
            for source in operand.sources:
                readers.setdefault(source, []).append(operator)
    inner: set[str] = set()
    for operator in reversed(workload.operators):
        read_by = readers.get(operator.name, [])
        if isinstance(operator, TokenSelection) or (
            operator.name not in workload.outputs
            and read_by
            and all(reader.name in inner for reader in read_by)
            and not isinstance(operator, Movement)
        ):
            inner.add(operator.name)
    return replace(
        workload,
        operators=tuple(
            replace(operator, selector=True)
            if operator.name in inner or _SELECTOR.search(operator.name)
            else operator
            for operator in workload.operators
        ),
    )
