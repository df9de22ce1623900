"""Which token counts are worth reaching: the nearest step below on a machine's staircase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from ..arch import Accelerator, Gpu
from ..workloads.block import Place, places
from ..workloads.extent import known
from ..workloads.graph import Workload
from ..workloads.packing import side_by_side
from ..workloads.unpruned import kept_symbols, unpruned
from .cliff import Staircase, staircase
from .gpu.how import How, how
from .simulate import execute

__all__ = ["ALIKE", "WORTH", "Advice", "Point", "Report", "Verdict", "Whole", "advice", "advise"]

WORTH = 1.05
"""A count is worth reaching if time falls by so much more than MACs do; assumed."""

ALIKE = 1.01
"""Counts whose times differ by no more cost the same; assumed."""

FOLLOWS = 0.8
"""Time follows the MACs if half the tokens save at least such a part of what MACs say; assumed."""

Verdict: TypeAlias = Literal["cliff", "follows", "flat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One block at a token count, compared with the model before pruning.

    Attributes:
        tokens: CLS and package token included.
        speed_up: Over the block with all tokens.
        promise: MACs of that block over this one's.
    """

    tokens: int
    speed_up: float
    promise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do about one token count.

    Attributes:
        place: Whose count it is.
        now: The block as it is.
        target: The largest smaller count at which time has fallen by `WORTH` more than MACs; None
            if there is none.
        free: The largest count that costs the same, to within `ALIKE`.
        half: Half as many tokens.
        verdict: `cliff` if there is a target; else whether time `follows` the MACs, or `flat`.
    """

    place: Place
    now: Point
    target: Point | None
    free: Point
    half: Point
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The whole model with the counts that are worth reaching, selectors and all else included.

    Attributes:
        kept: A count for every selector.
        now, then: Speed-up over the model before pruning, as it is and with `kept`.
        promise_now, promise: MACs of the model before pruning over those, selectors included.
    """

    kept: Mapping[str, int]
    now: float
    then: float
    promise_now: float
    promise: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Advice for every count that can be chosen; `whole` is None if no kept count is to change."""

    workload: str
    machine: str
    format: str
    images: int
    steps: Staircase
    advice: tuple[Advice, ...]
    whole: Whole | None


def advise(
    workload: Workload,
    machine: Accelerator | Gpu,
    *,
    bind: Mapping[str, int] | None = None,
    images: int = 1,
    format: str | None = None,
    engine: str | None = None,
    model: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Look for cliffs below the counts of a model, and run it with those that are worth reaching.

    Args:
        workload: A vision transformer, pruned or not.
        machine: What it runs on, as it is.
        bind: The counts as they are; the model's defaults otherwise.
        images: That run side by side, all with those counts.
        format: Number format; the machine's own if None.
        engine: What runs it on a GPU, as of `simulate`.
        model: How a GPU is modelled, as of `simulate`.
        progress: Told what comes next.

    Raises:
        BindingError: The model is not made of blocks, or a count is out of range.
        MappingError: As of `staircase`.
    """
    every = places(workload, bind)
    # Where there are selectors, what runs before the first of them is nobody's choice.
    found = tuple(place for place in every if place.symbol) or every
    most = max(place.tokens for place in found)
    chosen = how(machine, model, engine)
    progress("one block at every token count")
    counted = partial(
        staircase, workload, machine,
        images=images, format=format, bind=bind, engine=engine, model=model,
    )  # fmt: skip
    steps = counted()
    if most > steps.whole:  # with a package token there may be one more than before pruning
        steps = counted(range(1, most + 1))
    advices = tuple(advice(steps, place) for place in found)
    kept = _targets(workload, advices)
    if kept:
        progress("the whole model")
    return Report(
        workload=workload.name,
        machine=machine.name,
        format=steps.format,
        images=images,
        steps=steps,
        advice=advices,
        whole=_whole(workload, machine, steps, bind or {}, kept, chosen) if kept else None,
    )


def advice(steps: Staircase, place: Place) -> Advice:
    """What the staircase, which holds every count from 1 on, says about one of them."""
    now = place.tokens - 1
    cycles, macs = steps.own.cycles, steps.macs
    below = np.arange(now)
    gains = (cycles[now] / cycles[below]) / (macs[now] / macs[below])
    worth = np.flatnonzero(gains >= WORTH)
    alike = np.flatnonzero(cycles <= ALIKE * cycles[now])
    half = max(now // 2, 0)
    target = _point(steps, int(worth[-1])) if len(worth) else None
    saved, promised = 1 - cycles[half] / cycles[now], 1 - macs[half] / macs[now]
    verdict: Verdict = "follows" if saved >= FOLLOWS * promised else "flat"
    return Advice(
        place=place,
        now=_point(steps, now),
        target=target,
        free=_point(steps, int(alike[-1])),
        half=_point(steps, half),
        verdict="cliff" if target else verdict,
    )


def _point(steps: Staircase, at: int) -> Point:
    cycles, macs, whole = steps.own.cycles, steps.macs, steps.whole - 1
    return Point(
        tokens=at + 1,
        speed_up=float(cycles[whole] / cycles[at]),
        promise=float(macs[whole] / macs[at]),
    )


def _targets(workload: Workload, advices: tuple[Advice, ...]) -> dict[str, int]:
    """Kept counts with every target reached, which never grow; empty if no selector has one."""
    selectors = [one for one in advices if one.place.symbol]
    if not any(one.target for one in selectors):
        return {}
    kept: dict[str, int] = {}
    least = max(one.place.tokens for one in selectors)
    for one in selectors:
        tokens = one.target.tokens if one.target else one.place.tokens
        least = min(least, max(tokens - one.place.besides, 0))
        kept[one.place.symbol] = least
    return kept


def _whole(
    workload: Workload,
    machine: Accelerator | Gpu,
    steps: Staircase,
    bind: Mapping[str, int],
    kept: Mapping[str, int],
    chosen: How | None,
) -> Whole:
    dense = unpruned(workload)
    symbols = kept_symbols(workload)
    bounds = (
        dense.bind({name: value for name, value in bind.items() if name not in symbols}),
        workload.bind(bind),
        workload.bind({**bind, **kept}),
    )
    cycles = [
        execute(
            side_by_side([bound] * steps.images), machine, steps.format, chosen=chosen
        ).spans.cycles
        for bound in bounds
    ]
    macs = [known(bound.macs) for bound in bounds]
    return Whole(
        kept=dict(kept),
        now=cycles[0] / cycles[1],
        then=cycles[0] / cycles[2],
        promise_now=macs[0] / macs[1],
        promise=macs[0] / macs[2],
    )
