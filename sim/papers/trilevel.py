"""Tri-Level's training time of DeiT-S, relative to the dense one.

Kong et al., "Peeling the Onion", AAAI 2023, arXiv:2211.10801.  The schedule is that of its code
(`workloads.zoo.trilevel`); the times are read off a figure of its repository, which names no GPU.
Nothing is fixed on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from statistics import fmean
from typing import Final, cast

import numpy as np

from ...arch import Accelerator, Gpu, load_machine
from ...workloads.extent import evaluate
from ...workloads.zoo import load
from ...workloads.zoo.trilevel import EXAMPLES, kept, ratios, step
from ..simulate import simulate
from .rows import Claim, Reproduction, Sensitivity, published, rows_of

__all__ = ["relative_macs", "relative_time", "reproduction", "sensitivities"]

MACHINE: Final = "a100-80gb"
BATCH: Final = 256
TARGETS: Final = (0.9, 0.8, 0.7)
_STEP: Final = 0.05  # of the ratios that are simulated


def relative_time(
    machine: Accelerator | Gpu, target: float, *, batch: int = BATCH, examples: float = EXAMPLES
) -> float:
    """Time of an epoch, in the mean over the schedule, over that of a dense epoch.

    Training steps are simulated at ratios from 1 down in steps of 0.05 and at the target; an
    epoch's ratio lies between two of these, and so does its time.

    Args:
        machine: What trains.
        target: The keep ratio at the schedule's end.
        batch: Images of a step.
        examples: The share of the examples that is trained on.

    Raises:
        ValueError: The target is not above 0 and at most 1.
    """
    wanted = ratios(target)
    grid = [target, *(r for r in (1 - _STEP * k for k in range(20, -1, -1)) if r > target)]
    times = [_step_s(machine, batch, ratio) for ratio in grid]
    mean_s = fmean(np.interp(wanted, grid, times).tolist())
    return examples * mean_s / _dense_s(machine, batch)


def relative_macs(target: float, *, examples: float = EXAMPLES) -> float:
    """The same of multiply-accumulates, every epoch at its own token counts.

    Raises:
        ValueError: The target is not above 0 and at most 1.
    """
    counts = [kept(ratio) for ratio in ratios(target)]
    columns = {name: np.array([each[name] for each in counts]) for name in counts[0]}
    of_all = cast(int, load("train-deit-small").bind().macs)
    each = np.asarray(evaluate(step().macs, {"batch": 1, **columns}))
    return examples * fmean(each.tolist()) / of_all


def reproduction() -> Reproduction:
    """The three times that are printed of DeiT-S; what cannot be compared, with its reason."""
    return Reproduction(
        paper="tri-level",
        title="Tri-Level E-ViT (Kong et al., AAAI 2023, arXiv:2211.10801), training of DeiT-S",
        assumptions=(
            f"machine: {MACHINE}, FP16 with FP32 master weights and moments; the paper's is not "
            f"known; {BATCH} images a step, which its code names beside 384",
            "time: that of the training steps; data loading, evaluation, averaging of weights and "
            "communication between GPUs are left out of both runs",
            "left out of Tri-Level's run alone: making masks of whole attention maps in three "
            "blocks, applying them in FP32 in all, and its statistic of each example, a loop on "
            "the host with several read-backs a turn",
            "schedule: as in the code: 80 % of the examples in each of 300 epochs; r is 1 for 10, "
            "falls over 100; r, r^2, r^3 of the patches behind blocks 4, 7, 10",
        ),
        rows=rows_of("tri-level", dict(_claims())),
    )


def sensitivities() -> tuple[Sensitivity, ...]:
    """MACs alone, and other shares of examples, batches and machines."""
    here = load_machine(MACHINE)
    variants = (
        (f"{MACHINE}, {BATCH} images, 80 % of the examples", _times(here)),
        ("MACs alone", tuple(100 * relative_macs(target) for target in TARGETS)),
        ("90 % of the examples", _times(here, examples=0.9)),
        ("all examples", _times(here, examples=1.0)),
        ("64 images", _times(here, batch=64)),
        (f"h200, {BATCH} images", _times(load_machine("h200"))),
        ("edge-128x128, int8, 1 image", _times(load_machine("edge-128x128"), batch=1)),
    )
    return (
        Sensitivity(
            title="training time, % of the dense run",
            readings=tuple(f"target {target}" for target in TARGETS),
            published=tuple(line.published for line in published("tri-level") if not line.reason),
            variants=variants,
        ),
    )


def _times(
    machine: Accelerator | Gpu, *, batch: int = BATCH, examples: float = EXAMPLES
) -> tuple[float, ...]:
    return tuple(
        100 * relative_time(machine, target, batch=batch, examples=examples) for target in TARGETS
    )


def _claims() -> Iterator[tuple[str, Claim]]:
    machine = load_machine(MACHINE)
    published_of = {line.key: line.published for line in published("tri-level")}
    ranking = _step_s(machine, BATCH, 1.0) / _dense_s(machine, BATCH) - 1
    for target, time in zip(TARGETS, _times(machine), strict=True):
        note = (
            f"MACs alone: {100 * relative_macs(target):.1f} %; with all examples "
            f"{time / EXAMPLES:.1f} %. Ranking patches takes {100 * ranking:.1f} % of a step here, "
            "and whatever else the code does is missing."
        )
        least = (
            f" Fewer examples alone leave {100 * EXAMPLES:.0f} %, so that what is printed has "
            "costs beside its MACs, or kept more of the examples."
        )
        above = published_of[f"tri-level-{target}-time"] > 100 * EXAMPLES
        yield f"tri-level-{target}-time", Claim(time, note + (least if above else ""))


@cache
def _dense_s(machine: Accelerator | Gpu, batch: int) -> float:
    return simulate(load("train-deit-small"), machine, batch=batch, model=_model(machine)).latency_s


@cache
def _step_s(machine: Accelerator | Gpu, batch: int, ratio: float) -> float:
    return simulate(step(), machine, batch=batch, bind=kept(ratio), model=_model(machine)).latency_s


def _model(machine: Accelerator | Gpu) -> str | None:
    # The kernels' model has seen no training: its backward products have other layouts.
    return "roofline" if isinstance(machine, Gpu) else None
