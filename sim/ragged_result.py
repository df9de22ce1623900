"""What many images came to under each policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .batches import Order
from .policies import POLICIES, Counts, Policy
from .result import by_confidence
from .waterfall import Step, waterfall

__all__ = ["PolicyRun", "RaggedRun"]


@dataclass(frozen=True, kw_only=True)
class PolicyRun:
    """All images under one policy.

    Attributes:
        policy: Which.
        executed: Patches kept as executed, `(images, selectors)`.
        latency_s: Of each image, `(images,)`.
        busy_s: Of all batches one after another.
        energy_j: Of all images.
        macs: Executed, selectors' included.
        useful_macs: Of them those that are not spent on tokens that are masked or fill a shape.
        steps: PE-cycles by cause (`waterfall.STEPS`).
        switches: How often another program was loaded.
        shapes: Distinct batches.
        confidence: Shares of the kernels' time on a GPU by how far they are from what was measured,
            in the order of `result.CONFIDENCES`; empty where the model does not say.
    """

    policy: Policy
    executed: Counts = field(repr=False)
    latency_s: NDArray[np.float64] = field(repr=False)
    busy_s: float
    energy_j: float
    macs: int
    useful_macs: int
    steps: Mapping[str, Fraction]
    switches: int
    shapes: int
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def images(self) -> int:
        """How many."""
        return len(self.latency_s)

    @property
    def images_per_s(self) -> float:
        """Throughput, batch after batch."""
        return self.images / self.busy_s

    @property
    def energy_per_image_j(self) -> float:
        """Joules."""
        return self.energy_j / self.images

    @property
    def utilization(self) -> float:
        """Useful part of all PE-cycles, selectors not counted."""
        return float(self.steps["useful"] / sum(self.steps.values(), Fraction(0)))

    @property
    def padding(self) -> float:
        """Part of the MACs that is spent on tokens nobody keeps."""
        return 1 - self.useful_macs / self.macs

    def percentile_s(self, percent: float) -> float:
        """A percentile of the images' latencies."""
        return float(np.percentile(self.latency_s, percent))


@dataclass(frozen=True, kw_only=True)
class RaggedRun:
    """Policies beside each other.

    Attributes:
        workload, machine, format: What ran, on what.
        batch: Images of a batch.
        order: How images were put into batches, where they are not all executed alike.
        tile: Tokens that `tile-skip` skips together and `top-k-fit` fills whole.
        patches: Of an image.
        counts: Patches that each image keeps, `(images, selectors)`.
        policies: `dense` among them.
        left_out: Names of policies that were not run, and why.
        sizes: The symbols that differ from image to image, if they are not kept counts.
        gpu: Whether the machine is one, where to wait is to launch kernels and to read back.
        model: How a GPU was modelled: `kernels` or `roofline`; empty for an accelerator.
        engine: What ran the workload on a GPU; empty where the model knows of none.
    """

    workload: str
    machine: str
    format: str
    batch: int
    order: Order = "arrival"
    tile: int = 1
    patches: int
    counts: Counts = field(repr=False)
    policies: tuple[PolicyRun, ...]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    sizes: tuple[str, ...] = ()
    gpu: bool = False
    model: str = ""
    engine: str = ""

    @cached_property
    def base(self) -> PolicyRun:
        """The run without pruning."""
        return next(run for run in self.policies if run.policy == POLICIES[0])

    @property
    def confidence(self) -> dict[str, float]:
        """As of a `PolicyRun`, of the time of all policies."""
        found: dict[str, float] = {}
        for run in self.policies:
            for label, share in run.confidence.items():
                found[label] = found.get(label, 0.0) + share * run.busy_s
        return by_confidence(found)

    @property
    def base_is(self) -> str:
        """What `dense` is, in words."""
        return "the largest size" if self.sizes else "no pruning"

    def speedup(self, run: PolicyRun) -> float:
        """Throughput over that of the run without pruning."""
        return self.base.busy_s / run.busy_s

    def waterfall(self, run: PolicyRun) -> tuple[Step, ...]:
        """From the promise of the MACs to the speed-up in PE-cycles."""
        return waterfall(self.base.steps, run.steps)
