"""One policy over all images: each distinct batch is simulated once, and the costs are added."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator, Gpu
from ..workloads.extent import evaluate
from ..workloads.graph import Workload
from ..workloads.in_place import in_place
from ..workloads.packing import side_by_side
from ..workloads.quantization import in_format
from ..workloads.unpruned import static
from ..workloads.varying import Varying
from .gpu.how import How
from .lower import plan
from .policies import Counts, Policy
from .ragged_images import Images
from .ragged_result import PolicyRun
from .result import by_confidence, sure_cycles
from .section_content import Row
from .sections import Part, Sections
from .simulate import execute
from .waterfall import STEPS, by_step

__all__ = ["READY", "SWITCH_S", "Case", "run_policy"]

READY = 16
"""Shapes that `respecialise` has ready, the least recently used going first; assumed."""

SWITCH_S = 10e-6
"""Seconds for which a machine loads another program; assumed."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on a machine, and what was simulated of it so far.

    `chosen` says how a GPU is modelled; None is its default.
    """

    varying: Varying
    machine: Accelerator | Gpu
    format: str
    bind: Mapping[str, int]
    chosen: How | None = None
    known: dict[object, Part] = field(default_factory=dict[object, Part])
    sections: dict[object, Sections] = field(default_factory=dict[object, Sections])

    def unmoved(self) -> Case:
        """The same for a model that leaves its tokens where they are."""
        varying = replace(self.varying, workload=in_place(self.varying.workload))
        return replace(self, varying=varying, known={}, sections={})

    @property
    def pruned(self) -> Workload:
        """The model with its symbols."""
        return self.varying.workload

    @property
    def names(self) -> tuple[str, ...]:
        """The symbols that differ from image to image."""
        return self.varying.names

    def bound(self, row: Row) -> Workload:
        """The pruned model for one image."""
        return self.pruned.bind({**self.bind, **dict(zip(self.names, row, strict=True))})

    def ran(self, policy: Policy, rows: tuple[Row, ...]) -> Part:
        """Images side by side, simulated unless they were before."""
        key = policy.shape == "dense", policy.known, policy.mapping, rows
        if key not in self.known:
            self.known[key] = self._ran(policy, rows)
        return self.known[key]

    def _ran(self, policy: Policy, rows: tuple[Row, ...]) -> Part:
        machine = self.machine
        if policy.many and isinstance(machine, Accelerator) and machine.dram.order == "program":
            return self._cut(policy, len(rows), machine).run(rows)
        if policy.shape == "dense":
            images = [self.varying.whole] * len(rows)
        else:
            images = [self.bound(row) for row in rows]
            images = [static(image) for image in images] if policy.known else images
        ran = execute(side_by_side(images), machine, self.format, chosen=self.chosen)
        return Part(
            cycles=ran.spans.cycles,
            steps=by_step(ran.operators),
            energy_j=sum(sum(o.energy_j.values()) for o in ran.operators),
            mac_j=sum(o.energy_j.get("mac", 0.0) for o in ran.operators),
            macs=sum(o.macs for o in ran.operators),
            sure_cycles=tuple(sure_cycles(ran.operators).items()),
        )

    def _cut(self, policy: Policy, images: int, machine: Accelerator) -> Sections:
        """The model in sections, placed for the largest batch of so many images."""
        key = images, policy.mapping, policy.known
        if key not in self.sections:
            largest = self.varying.largest
            model = static(self.pruned) if policy.known else self.pruned
            placed = plan(side_by_side([self.bound(largest)] * images), machine, self.format)
            self.sections[key] = Sections(
                workload=in_format(model, self.format),
                names=self.names,
                others=self.varying.others(self.bind),
                machine=machine,
                plan=placed if policy.mapping == "one" else placed.without_tiles(),
                largest=largest,
            )
        return self.sections[key]

    def macs(self, counts: Counts, *, selectors: bool) -> NDArray[np.int64]:
        """MACs of the selectors or of all else, by image, `(images,)`."""
        names = {name: counts[:, i] for i, name in enumerate(self.names)}
        binding = self.pruned.binding({**self.bind, **names})
        macs = sum((o.macs for o in self.pruned.operators if o.selector == selectors), 0)
        return np.broadcast_to(evaluate(macs, binding), len(counts)).astype(np.int64)


class _Ready:
    """Shapes whose program is at hand, the least recently used going first."""

    def __init__(self) -> None:
        self._shapes: dict[object, None] = {}

    def take(self, shape: object) -> bool:
        """Use a shape; False if its program had to be loaded."""
        had = shape in self._shapes
        self._shapes.pop(shape, None)
        self._shapes[shape] = None
        if len(self._shapes) > READY:
            del self._shapes[next(iter(self._shapes))]
        return had


def run_policy(case: Case, policy: Policy, images: Images) -> PolicyRun:
    """All images under a policy, batch after batch.

    Raises:
        PolicyError: The policy lacks what it needs to know.
    """
    case = case if policy.moves else case.unmoved()
    counts, batches = images.counts, images.batches(policy)
    shape = images.executed(policy, batches)
    padding = np.zeros(len(counts), dtype=np.int64)
    if policy.pads:
        padding = case.macs(shape, selectors=False) - case.macs(counts, selectors=False)
    switch_cycles = math.ceil(SWITCH_S * float(case.machine.clock_hz))
    cycles = np.zeros(len(counts), dtype=np.int64)
    steps = dict.fromkeys(STEPS, Fraction(0))
    total_cycles = macs = switches = 0
    energy_j = 0.0
    sure: dict[str, int] = defaultdict(int)
    ready, shapes = _Ready(), set[object]()
    for members in batches:
        taken = 0
        for group in [members] if policy.grouping == "batch" else members[:, None]:
            rows = tuple(tuple(int(kept) for kept in row) for row in shape[group])
            ran = case.ran(policy, rows)
            taken += ran.cycles
            macs += ran.macs
            padded = int(padding[group].sum())
            energy_j += ran.energy_j - policy.gated * ran.mac_j * padded / max(ran.macs, 1)
            for cause, pe_cycles in ran.steps.items():
                steps[cause] += pe_cycles
            for label, count in ran.sure_cycles:
                sure[label] += count
            if policy.switches and not ready.take(rows):
                switches += 1
                taken += switch_cycles
                pes = sum(ran.steps.values(), Fraction(0)) / ran.cycles
                steps["wait"] += switch_cycles * pes
            shapes.add(rows)
        cycles[members] = taken
        total_cycles += taken
    executed_macs = macs - _selector_macs(case, policy, shape)
    if executed_macs:
        fills = steps["useful"] * Fraction(int(padding.sum()), executed_macs)
        steps["useful"] -= fills
        steps["padding"] += fills
    return PolicyRun(
        policy=policy,
        executed=shape,
        latency_s=cycles / float(case.machine.clock_hz),
        busy_s=total_cycles / float(case.machine.clock_hz),
        energy_j=energy_j,
        macs=macs,
        useful_macs=macs - int(padding.sum()),
        steps=steps,
        switches=switches,
        shapes=len(shapes),
        confidence=by_confidence(sure),
    )


def _selector_macs(case: Case, policy: Policy, shape: Counts) -> int:
    return 0 if policy.shape == "dense" else int(case.macs(shape, selectors=True).sum())
