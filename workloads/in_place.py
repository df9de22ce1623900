"""A pruned model that leaves its tokens where they are: nobody moves the kept ones together."""

from __future__ import annotations

from dataclasses import replace

from .graph import Workload
from .operator import Movement, Operator, TokenSelection
from .pruning_insertion import with_sources

__all__ = ["in_place"]


def in_place(workload: Workload) -> Workload:
    """The same work without the movements that gather chosen tokens.

    Who reads from them reads what they read.  Kept counts are then tokens that are computed,
    wherever they lie, and how they are addressed costs nothing.

    >>> from tilewise.workloads import zoo
    >>> heatvit = zoo.load("heatvit-deit-small")
    >>> len(heatvit.operators) - len(in_place(heatvit).operators)
    3
    """
    chosen: set[str] = set()  # indices of tokens, as selectors find them and reshape them
    made: dict[str, tuple[str, ...]] = {}
    operators: list[Operator] = []
    for before in workload.operators:
        operator = with_sources(before, made)
        reads = {source for operand in operator.operands for source in operand.sources}
        tokens = tuple(
            source
            for operand in operator.operands
            for source in operand.sources
            if source not in chosen
        )
        if isinstance(operator, Movement) and tokens and reads & chosen:
            made[operator.name] = tuple(dict.fromkeys(tokens))
            continue
        if isinstance(operator, TokenSelection) or (reads and reads <= chosen):
            chosen.add(operator.name)
        operators.append(operator)
    outputs = dict.fromkeys(new for name in workload.outputs for new in made.get(name, (name,)))
    return replace(workload, operators=tuple(operators), outputs=tuple(outputs))
