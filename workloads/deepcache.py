"""DeepCache: steps of a denoising UNet that take its deep features from an earlier step.

Ma, Fang and Wang, "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024
(arXiv:2312.00858), and its code, github.com/horseee/DeepCache.  A UNet joins what comes up from
below with what it made on the way down, at one skip connection after another.  A full step runs all
of it and keeps what comes up to one of these connections; the steps that follow take that from DRAM
and run only what their output needs besides.  Both are cut out of one graph here, by who reads
what.

Branches are counted from 1, the shallowest connection, which brings the result of the first
convolution, as the paper's tables count them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from .graph import Workload
from .operator import Convolution, Normalization, Operand, Operator

__all__ = [
    "CACHED",
    "CutError",
    "Skip",
    "average",
    "full_step",
    "full_steps",
    "partial_step",
    "skips",
    "uneven_steps",
]

CACHED: Final = "cached"
"""The input of a partial step: what an earlier step kept."""


class CutError(ValueError):
    """A workload that has no such skip connection, or a schedule that is none."""


class Skip(NamedTuple):
    """A place where a UNet joins what comes up with what it made on the way down.

    Attributes:
        deep: Who makes what comes up: what is kept.
        kept: Who made what it is joined with.
    """

    deep: str
    kept: tuple[str, ...]


def skips(workload: Workload) -> tuple[Skip, ...]:
    """The skip connections of a UNet, the shallowest first.

    One is where a convolution or a norm reads images side by side, one of which was computed from
    the others.

    >>> from .zoo import load
    >>> skips(load("sd15-unet"))[0].kept, len(skips(load("sd15-unet")))
    (('conv_in/Conv',), 12)
    """
    before = _ancestors(workload)
    place = {operator.name: at for at, operator in enumerate(workload.operators)}
    images = {operator.name for operator in workload.operators if len(operator.shape) >= 4}
    found: dict[str, Skip] = {}
    for operator in workload.operators:
        if isinstance(operator, Convolution | Normalization):
            for operand in operator.operands:
                if len(operand.sources) > 1 and images.issuperset(operand.sources):
                    *rest, deep = sorted(operand.sources, key=place.__getitem__)
                    if before[deep].issuperset(rest):
                        found.setdefault(deep, Skip(deep, tuple(rest)))
    return tuple(reversed(found.values()))


@lru_cache(maxsize=16)  # a run asks for it again and again
def full_step(workload: Workload, branch: int) -> Workload:
    """The UNet, which also leaves in DRAM what comes up to a skip connection.

    Args:
        workload: A UNet.
        branch: Which connection, from 1.

    Raises:
        CutError: It has no such connection.
    """
    deep = _skip(workload, branch).deep
    outputs = dict.fromkeys([*workload.outputs, deep])
    return replace(workload, name=f"{workload.name}, full", outputs=tuple(outputs))


@lru_cache(maxsize=16)
def partial_step(workload: Workload, branch: int) -> Workload:
    """What a UNet runs if what comes up to a skip connection is known from an earlier step.

    That is its input `cached`, and what nothing needs any more is left out.  The symbols are those
    of the UNet.

    Args:
        workload: A UNet.
        branch: Which connection, from 1.

    Raises:
        CutError: It has no such connection.
    """
    deep = _skip(workload, branch).deep
    needed = _needed(workload, deep)
    kept = tuple(_reading(o, deep) for o in workload.operators if o.name in needed)
    shape = next(o.shape for o in workload.operators if o.name == deep)
    gone = [o for o in workload.operators if o.name not in needed]
    return replace(
        workload,
        name=f"{workload.name}, partial",
        operators=kept,
        inputs=(*(i for i in workload.inputs if i[0] in needed), (CACHED, shape)),
        free=(),  # nodes of the whole graph
        parameters=workload.parameters - sum(operator.parameters for operator in gone),
    )


def full_steps(steps: int, interval: int) -> tuple[int, ...]:
    """Which of the steps run in full: every `interval`-th from 0, ceil(steps / interval) of them.

    >>> full_steps(10, 4)
    (0, 4, 8)

    Raises:
        CutError: There are no steps, or no interval.
    """
    if steps < 1 or interval < 1:
        raise CutError(f"wanted 1 step and an interval of 1 at least, got {steps} and {interval}")
    return tuple(range(0, steps, interval))


def uneven_steps(steps: int, interval: int, center: int, power: float = 1.2) -> tuple[int, ...]:
    """As many full steps, dense around `center`: the paper's non-uniform schedule.

    Of k full steps, the i-th is `trunc(z^p) + c` for z on a line from `(-c)^(1/p)` to
    `(T - c)^(1/p)` in k parts.  As in its code, roots of negative numbers are the principal ones,
    of z^p the real part is taken, and where two steps fall together a smaller power is tried, 0.02
    less each time; if none does, the steps are even.

    >>> uneven_steps(50, 5, center=15)
    (0, 5, 10, 14, 18, 22, 27, 32, 38, 44)

    Args:
        steps: T.
        interval: N, of which k = ceil(T/N) follows.
        center: c.
        power: p, more than 1.

    Raises:
        CutError: As of `full_steps`.
    """
    even = full_steps(steps, interval)
    while power > 1:
        first, last = complex(-center) ** (1 / power), complex(steps - center) ** (1 / power)
        line = (first + (last - first) * at / len(even) for at in range(len(even) + 1))
        places = sorted({int((z**power).real) for z in line})
        found = (0, *(place + center for place in places[1:-1]))
        if len(found) == len(even):
            return found
        power -= 0.02
    return even


def average(full: float, partial: float, steps: int, interval: int) -> float:
    """What a step takes in the mean: `(k full + (T - k) partial) / T` with k = ceil(T/N).

    Raises:
        CutError: As of `full_steps`.
    """
    count = len(full_steps(steps, interval))
    return (count * full + (steps - count) * partial) / steps


def _skip(workload: Workload, branch: int) -> Skip:
    found = skips(workload)
    if not found:
        raise CutError(f"{workload.name} has no skip connections: it is no UNet")
    if not 1 <= branch <= len(found):
        raise CutError(f"{workload.name} has skip connections 1 to {len(found)}, not {branch}")
    return found[branch - 1]


def _ancestors(workload: Workload) -> dict[str, set[str]]:
    """For each operator, everything that its result depends on."""
    found: dict[str, set[str]] = {}
    for operator in workload.operators:
        sources = _sources(operator)
        found[operator.name] = sources.union(*(found.get(source, set()) for source in sources))
    return found


def _needed(workload: Workload, without: str) -> Collection[str]:
    """Operators and inputs that the outputs depend on if what `without` makes is given."""
    needed = set(workload.outputs)
    for operator in reversed(workload.operators):
        if operator.name in needed and operator.name != without:
            needed |= _sources(operator)
    return needed - {without}


def _sources(operator: Operator) -> set[str]:
    return {source for operand in operator.operands for source in operand.sources}


def _reading(operator: Operator, deep: str) -> Operator:
    """The operator as it reads the cached result."""

    def renamed(sources: Sequence[str]) -> tuple[str, ...]:
        return tuple(CACHED if source == deep else source for source in sources)

    operands: tuple[Operand, ...] = tuple(
        replace(operand, sources=renamed(operand.sources)) for operand in operator.operands
    )
    return replace(operator, operands=operands)
