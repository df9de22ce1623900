"""Kernels: an operator together with the elementwise work that rides on its way out.

Every machine runs an activation, a scale or a residual addition on results that are passing through
its vector unit anyway, so the unit of scheduling is not the operator but the kernel: one lead and
the elementwise operators fused behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..workloads.extent import known
from ..workloads.operator import (
    Elementwise,
    Movement,
    Operand,
    Operator,
    Reduction,
    TokenSelection,
)

__all__ = ["Kernel", "fuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What is scheduled as one piece.

    Attributes:
        lead: The operator that sets the loop nest.
        epilogue: Elementwise operators on its output, in order.
        extra: Operands that the epilogue reads besides the lead's output, such as a residual.
        rows: Which rows of the lead's output it makes, by the format of their weights; empty for
            all.
    """

    lead: Operator
    epilogue: tuple[Elementwise, ...] = ()
    extra: tuple[Operand, ...] = ()
    rows: str = ""

    @property
    def name(self) -> str:
        """The lead's name; the kernel's output is known by its last operator's."""
        return f"{self.lead.name}:{self.rows}" if self.rows else self.lead.name

    @property
    def tail(self) -> Operator:
        """The operator whose output the kernel leaves behind."""
        return self.epilogue[-1] if self.epilogue else self.lead

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Lead and epilogue."""
        return (self.lead, *self.epilogue)

    @property
    def sources(self) -> frozenset[str]:
        """Every operator or input whose output the kernel reads from outside itself."""
        operands = (*self.lead.operands, *self.extra)
        return frozenset(source for operand in operands for source in operand.sources)


def fuse(operators: tuple[Operator, ...], outputs: tuple[str, ...]) -> tuple[Kernel, ...]:
    """Group bound `operators` into kernels, in an order in which they can run.

    An elementwise operator joins the kernel that makes one of its operands if it is that output's
    only reader, keeps its shape, and the output is none of the graph's.  The kernel then runs where
    its last operator stood, so that whatever the epilogue reads besides is there.
    """
    readers: dict[str, int] = dict.fromkeys(outputs, 1)
    for operator in operators:
        for operand in operator.operands:
            for source in operand.sources:
                readers[source] = readers.get(source, 0) + 1
    kernels: dict[str, Kernel] = {}  # by the name of their tail; insertion order is run order
    for operator in operators:
        host = _host(operator, kernels, readers)
        if host is None or not isinstance(operator, Elementwise):
            kernels[operator.name] = Kernel(lead=operator)
            continue
        before = kernels.pop(host)
        rest = tuple(operand for operand in operator.operands if operand.sources != (host,))
        kernels[operator.name] = Kernel(
            lead=before.lead, epilogue=(*before.epilogue, operator), extra=before.extra + rest
        )
    return tuple(kernels.values())


def _host(operator: Operator, kernels: dict[str, Kernel], readers: dict[str, int]) -> str | None:
    """The kernel that `operator` can join, by its tail; a matrix product before anything else."""
    if not isinstance(operator, Elementwise):
        return None
    candidates = [
        operand.sources[0]
        for operand in operator.operands
        if len(operand.sources) == 1
        and operand.sources[0] in kernels
        and readers[operand.sources[0]] == 1
        and kernels[operand.sources[0]].tail.elements == operator.elements == operand.elements
        and kernels[operand.sources[0]].lead.selector == operator.selector
        and not isinstance(kernels[operand.sources[0]].lead, Movement | Reduction | TokenSelection)
    ]
    return max(candidates, key=lambda name: known(kernels[name].lead.macs) > 0, default=None)
