"""Many images whose token counts differ, on one machine, under every policy.

Images are put into batches (`batches.py`); a policy says what is executed for each (`policies.py`),
and each distinct batch is simulated once, in sections where shapes are many (`sections.py`).  The
latency of an image is the time its batch takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator, Gpu
from ..workloads.graph import BindingError, Workload
from ..workloads.quantization import formats_used
from ..workloads.varying import Varying
from .batches import Order
from .gpu.how import how
from .policies import POLICIES, Counts, Policy, PolicyError
from .policy_runs import Case, run_policy
from .ragged_images import Images
from .ragged_result import PolicyRun, RaggedRun
from .token_tiles import layout, token_tile

__all__ = ["BUCKETS", "run_policies"]

BUCKETS = 4
"""Sizes at each selector that `bucket` has ready; assumed."""

Progress: TypeAlias = Callable[[Policy], None]


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
    base: Workload | None = None,
    workers: int = 1,
    engine: str | None = None,
    model: str | None = None,
    progress: Progress = lambda policy: None,
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
        base: With `symbols`, the model before anybody pruned it, which `dense` runs.
        workers: Processes.  What they give does not depend on how many there are; policies that
            share what they have simulated run in the same.  A script with more than one calls this
            under `if __name__ == "__main__":`, as they import it.
        engine: What runs it on a GPU, as of `simulate`.
        model: How a GPU is modelled, as of `simulate`.
        progress: Told each policy before it is run; with several workers, when it is done.

    Raises:
        BindingError: The model has no selectors, or not as many as the trace, or a count is out of
            range.
        MappingError: The machine does not compute in `format`, or cannot hold a tile.
        PolicyError: A policy needs what is not there; or a process died.
    """
    chosen = how(machine, model, engine)
    case = Case(
        varying=Varying.of(workload, bind or {}, symbols, most, base),
        machine=machine,
        format=format or machine.default_format,
        bind=dict(bind or {}),
        chosen=chosen,
    )
    selectors = counts.shape[1]
    if selectors != len(case.names):
        raise BindingError(
            f"{workload.name} has {len(case.names)} selectors, the trace has {selectors}"
        )
    tile = token_tile(machine) if tile is None else tile
    whole = {"batch": batch, "buckets": buckets, "tile": tile, "workers": workers}
    for name, value in whole.items():
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
    runs = _in_parallel if workers > 1 else _one_by_one
    return RaggedRun(
        workload=workload.name,
        machine=machine.name,
        format=formats_used(case.varying.whole, case.format) or case.format,
        batch=batch,
        order=order,
        tile=tile,
        patches=case.varying.most,
        counts=counts,
        policies=tuple(runs(case, policies, images, workers, progress)),
        left_out=left_out,
        sizes=tuple(symbols),
        gpu=isinstance(machine, Gpu),
        model=chosen.model if chosen else "",
        engine=chosen.engine.name if chosen and chosen.engine else "",
    )


def _one_by_one(
    case: Case, policies: Sequence[Policy], images: Images, workers: int, progress: Progress
) -> Iterator[PolicyRun]:
    for one in policies:
        progress(one)
        yield run_policy(case, one, images)


def _in_parallel(
    case: Case, policies: Sequence[Policy], images: Images, workers: int, progress: Progress
) -> Iterator[PolicyRun]:
    groups: dict[object, list[Policy]] = {}
    for one in policies:
        groups.setdefault(_shared(one, images), []).append(one)
    # Those of many shapes take longest, so they come first.
    longest = sorted(groups.values(), key=lambda group: not group[0].many)
    found: dict[str, PolicyRun] = {}
    # Spawned, not forked: a fork copies locks that other threads of this process hold.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(longest)), mp_context=context) as pool:
        running = [pool.submit(_runs, case, group, images) for group in longest]
        try:
            for done in as_completed(running):
                for run in done.result():
                    progress(run.policy)
                    found[run.policy.name] = run
        except BrokenProcessPool:
            raise PolicyError(
                "workers: a process died or could not be started (killed, out of memory, or a "
                'script without if __name__ == "__main__":); workers=1 needs none'
            ) from None
    for one in policies:
        yield found[one.name]


def _runs(case: Case, policies: Sequence[Policy], images: Images) -> list[PolicyRun]:
    return [run_policy(case, one, images) for one in policies]


def _shared(policy: Policy, images: Images) -> object:
    """The same for policies of which one knows what another has simulated."""
    alone = policy.grouping == "image" or images.batch == 1
    return policy.many, policy.many and (policy.known, policy.mapping, policy.moves, alone)
