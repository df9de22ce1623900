"""Many images whose token counts differ, on one machine, under a policy.

Images are put into batches (`batches.py`); a policy says what is executed for each (`policies.py`),
and each distinct batch is simulated once, in sections where shapes are many (`sections.py`).  The
latency of an image is the time its batch takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator, Gpu
from ..workloads.extent import evaluate
from ..workloads.graph import BindingError, Workload
from ..workloads.in_place import in_place
from ..workloads.packing import side_by_side
from ..workloads.unpruned import static
from ..workloads.varying import Varying
from .batches import Order
from .lower import plan
from .policies import POLICIES, Counts, Policy, PolicyError
from .ragged_images import Images
from .ragged_result import PolicyRun, RaggedRun
from .sections import Part, Row, Sections
from .simulate import execute
from .token_tiles import layout, token_tile
from .waterfall import STEPS, by_step

__all__ = ["BUCKETS", "READY", "SWITCH_S", "run_policies"]

BUCKETS = 4
"""Sizes at each selector that `bucket` has ready; assumed."""

READY = 16
"""Shapes that `respecialise` has ready, the least recently used going first; assumed."""

SWITCH_S = 10e-6
"""Seconds for which a machine loads another program; assumed."""


def run_policies(
    workload: Workload,
    machine: Accelerator | Gpu,
    counts: Counts,
    *,
    masks: NDArray[np.bool_] | None = None,
    policies: Sequence[Policy] | None = None,
    batch: int = 1,
    order: Order = "arrival",
    format: str | None = None,
    bind: Mapping[str, int] | None = None,
    buckets: int = BUCKETS,
    tile: int | None = None,
    symbols: Sequence[str] = (),
    most: int | None = None,
    progress: Callable[[Policy], None] = lambda policy: None,
) -> RaggedRun:
    """Run every image of a trace under every policy.

    Args:
        workload: A model with token selectors; with `symbols`, any.
        machine: What it runs on.
        counts: Patches that each image keeps after each selector, `(images, selectors)`.
        masks: Which patches that are, `(images, selectors, patches)`; None if it is not known.
        policies: Which; all by default, but for those that need masks if there are none.  `dense`
            is added if it is missing, being the base of comparison.
        batch: Images that run together; the last ones may be fewer.
        order: How images are put into batches.  Where all images are executed alike, `dense` among
            them, it is always `arrival`.
        format: Number format; the machine's own if None.
        bind: Values for other symbols than the kept counts.
        buckets: Sizes at each selector for `bucket`, and queues for `queue`, chosen so that they
            pad least.
        tile: Tokens that are skipped together by `tile-skip` and that `top-k-fit` fills whole; by
            default what the array holds at once.
        symbols: What the columns of `counts` are, if no kept counts: sizes known before the run.
        most: The most that one of `symbols` may be.
        progress: Told each policy before it is run.

    Raises:
        BindingError: The model has no selectors, or not as many as the trace, or a count is out of
            range.
        MappingError: The machine does not compute in `format`, or cannot hold a tile.
        PolicyError: A policy needs what is not there.
    """
    case = _Case(
        varying=Varying.of(workload, bind or {}, symbols, most),
        machine=machine,
        format=format or machine.default_format,
        bind=dict(bind or {}),
    )
    selectors = counts.shape[1]
    if selectors != len(case.names):
        raise BindingError(
            f"{workload.name} has {len(case.names)} selectors, the trace has {selectors}"
        )
    tile = token_tile(machine) if tile is None else tile
    for name, value in (("batch", batch), ("buckets", buckets), ("tile", tile)):
        if value < 1:
            raise PolicyError(f"{name}={value} is out of range: it must be at least 1")
    images = Images(
        counts=counts,
        masks=masks,
        batch=batch,
        order=order,
        buckets=buckets,
        tile=tile,
        most=case.varying.most,
        layout=None if symbols else layout(workload, case.bind),
    )
    left_out: dict[str, str] = {}
    if policies is None:
        left_out = {one.name: why for one in POLICIES if (why := images.lacks(one))}
        policies = [one for one in POLICIES if one.name not in left_out]
    if POLICIES[0] not in policies:
        policies = (POLICIES[0], *policies)
    unmoved = case.unmoved()
    runs: list[PolicyRun] = []
    for one in policies:
        progress(one)
        runs.append(_run(unmoved if one.shape == "tiles" else case, one, images))
    return RaggedRun(
        workload=workload.name,
        machine=machine.name,
        format=case.format,
        batch=batch,
        order=order,
        tile=tile,
        patches=case.varying.most,
        counts=counts,
        policies=tuple(runs),
        left_out=left_out,
    )


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A model on a machine, and what was simulated of it so far."""

    varying: Varying
    machine: Accelerator | Gpu
    format: str
    bind: Mapping[str, int]
    known: dict[object, Part] = field(default_factory=dict[object, Part])
    sections: dict[object, Sections] = field(default_factory=dict[object, Sections])

    def unmoved(self) -> _Case:
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
        # Shapes are many, so that parts of them come again.
        many = policy.shape in ("own", "batch", "tiles")
        if many and isinstance(machine, Accelerator) and machine.dram.order == "program":
            return self._cut(policy, len(rows), machine).run(rows)
        if policy.shape == "dense":
            images = [self.varying.whole] * len(rows)
        else:
            images = [self.bound(row) for row in rows]
            images = [static(image) for image in images] if policy.known else images
        ran = execute(side_by_side(images), machine, self.format)
        return Part(
            cycles=ran.spans.cycles,
            steps=by_step(ran.operators),
            energy_j=sum(sum(o.energy_j.values()) for o in ran.operators),
            mac_j=sum(o.energy_j.get("mac", 0.0) for o in ran.operators),
            macs=sum(o.macs for o in ran.operators),
        )

    def _cut(self, policy: Policy, images: int, machine: Accelerator) -> Sections:
        """The model in sections, placed for the largest batch of so many images."""
        key = images, policy.mapping, policy.known
        if key not in self.sections:
            largest = self.varying.largest
            placed = plan(side_by_side([self.bound(largest)] * images), machine, self.format)
            self.sections[key] = Sections(
                workload=static(self.pruned) if policy.known else self.pruned,
                names=self.names,
                others=self.varying.others(self.bind),
                machine=machine,
                format=self.format,
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


def _run(case: _Case, policy: Policy, images: Images) -> PolicyRun:
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
    )


def _selector_macs(case: _Case, policy: Policy, shape: Counts) -> int:
    return 0 if policy.shape == "dense" else int(case.macs(shape, selectors=True).sum())
