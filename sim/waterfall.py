"""From the speed-up that MACs promise to the one there is, cause by cause.

PE-cycles add up by cause (`losses.py`), so the ratio of two runs can be taken after each cause: of
the useful work alone it is the reduction in MACs, with everything it is the speed-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from .losses import CAUSES, Losses
from .result import KernelResult

__all__ = ["STEPS", "Step", "add_losses", "by_step", "waterfall"]

STEPS: Mapping[str, str] = {
    "useful": "what MACs promise",
    "selector": "the selectors' own work",
    "gather": "moving kept tokens together",
    "padding": "tokens that only fill a shape",
    "edge": "ragged folds",
    "fill_drain": "fill, drain and reload",
    "memory": "waiting for memory",
    "vector": "waiting for the vector unit",
    "wait": "waiting for decisions",
    "imbalance": "arrays without work",
}
"""Causes in the order of the waterfall, and what they mean."""


class _Kernel(Protocol):
    """A kernel before or after it ran."""

    @property
    def selector(self) -> bool: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Step:
    """The speed-up with all causes up to this one."""

    cause: str
    speedup: float


def by_step(operators: Sequence[KernelResult]) -> dict[str, Fraction]:
    """PE-cycles of a run by step.

    All that a selector's kernels cost, their waiting included, is the selector's; of them those
    that move tokens are the gather.
    """
    found = dict.fromkeys(STEPS, Fraction(0))
    for operator in operators:
        add_losses(found, operator, operator.losses)
    return found


def add_losses(steps: dict[str, Fraction], kernel: _Kernel, losses: Losses) -> None:
    """Add what a kernel lost to the steps that it belongs to."""
    if kernel.selector:
        steps["gather" if kernel.kind == "movement" else "selector"] += losses.total
        return
    for cause in CAUSES:
        steps[cause] += getattr(losses, cause)


def waterfall(base: Mapping[str, Fraction], run: Mapping[str, Fraction]) -> tuple[Step, ...]:
    """The speed-up of `run` over `base` as causes are added, each given by `by_step`.

    The first step is the ratio of useful work, the last the ratio of all PE-cycles.  On one machine
    that is the ratio of times.
    """
    steps: list[Step] = []
    above = below = Fraction(0)
    for cause in STEPS:
        above += base[cause]
        below += run[cause]
        steps.append(Step(cause, float(above / below) if below else 1.0))
    return tuple(steps)
