"""The latency-sparsity table: what a block takes when a part of the patches is kept.

HeatViT's training looks up in such a table what a keep ratio is worth on the hardware it is trained
for (Dong et al., "HeatViT: Hardware-Efficient Adaptive Token Pruning for Vision Transformers",
HPCA 2023; that paper measures its table, this one is simulated).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from ..arch import Accelerator, Gpu
from ..workloads.block import TOKENS, besides, block
from ..workloads.graph import BindingError, Workload
from .cliff import Staircase, staircase

__all__ = ["RATIOS", "Kept", "Sparsity", "sparsity"]

RATIOS = tuple(Fraction(tenths, 10) for tenths in range(10, 0, -1))
"""1.0, 0.9 ... 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One row.

    Attributes:
        keep_ratio: Part of the patches that is kept.
        patches: Kept of an image, rounded up.
        tokens: That the block runs over: patches, CLS, and a package token if any patch went.
        latency_s: Of one block inside a model, for all images.
        speed_up: Over the block that keeps all.
        mac_ratio: MACs of that block over this one's.
        utilization: MACs done over MACs possible.
    """

    keep_ratio: float
    patches: int
    tokens: int
    latency_s: float
    speed_up: float
    mac_ratio: float
    utilization: float


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """The table of one block on one machine.

    `model` and `engine` say how a GPU was modelled, as of `Result`.
    """

    workload: str
    machine: str
    format: str
    images: int
    rows: tuple[Kept, ...]
    model: str = ""
    engine: str = ""


def sparsity(
    workload: Workload,
    machine: Accelerator | Gpu,
    ratios: Sequence[Fraction | float] = RATIOS,
    *,
    images: int = 1,
    format: str | None = None,
    bind: Mapping[str, int] | None = None,
    engine: str | None = None,
    model: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Sparsity:
    """Run one block at every keep ratio; the selectors' own time is not in it.

    Where a model has token selectors, what is kept are patches, and CLS and package token come on
    top; elsewhere it is any of the tokens.

    Args:
        workload: A vision transformer, pruned or not.
        machine: What it runs on.
        ratios: Parts of the patches, above 0 and at most 1.
        images: That run side by side.
        format: Number format; the machine's own if None.
        bind: Values for symbols other than kept counts.
        engine: What runs it on a GPU, as of `simulate`.
        model: How a GPU is modelled, as of `simulate`.
        progress: Told what comes next.

    Raises:
        BindingError: A ratio is out of range, or the model is not made of blocks.
        MappingError: As of `staircase`.
    """
    for ratio in ratios:
        if not 0 < ratio <= 1:
            raise BindingError(f"keep ratio {float(ratio):g}: wanted above 0 and at most 1")
    whole = int(block(workload, bind).binding()[TOKENS])
    others = besides(workload)
    # Without pruning there is a token less: the package.
    patches = whole - (others - 1 if others else 0)
    kept = [ceil(Fraction(ratio) * patches) for ratio in ratios]
    tokens = [
        whole if ratio == 1 else count + others for ratio, count in zip(ratios, kept, strict=True)
    ]
    counts = sorted({*tokens, whole})
    steps = staircase(
        workload,
        machine,
        counts,
        images=images,
        format=format,
        bind=bind,
        engine=engine,
        model=model,
        progress=progress,
    )
    rows = [
        _row(steps, float(ratio), count, length)
        for ratio, count, length in zip(ratios, kept, tokens, strict=True)
    ]
    return Sparsity(
        workload=workload.name,
        machine=machine.name,
        format=steps.format,
        images=images,
        rows=tuple(rows),
        model=steps.model,
        engine=steps.engine,
    )


def _row(steps: Staircase, ratio: float, patches: int, tokens: int) -> Kept:
    at = int(steps.tokens.searchsorted(tokens))
    whole = int(steps.tokens.searchsorted(steps.whole))
    cycles = steps.own.cycles
    return Kept(
        keep_ratio=ratio,
        patches=patches,
        tokens=tokens,
        latency_s=float(steps.seconds(cycles)[at]),
        speed_up=float(cycles[whole] / cycles[at]),
        mac_ratio=float(steps.macs[whole] / steps.macs[at]),
        utilization=float(steps.utilization(cycles)[at]),
    )
