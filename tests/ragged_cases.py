"""What tests of varying tokens share: a pruned model, machines, drawn counts and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewise.arch import Accelerator, Dataflow, SystolicArray, load_machine
from tilewise.sim.ragged_images import Images
from tilewise.sim.token_tiles import Layout
from tilewise.workloads import zoo
from tilewise.workloads.graph import Workload
from tilewise.workloads.unpruned import kept_symbols

HEATVIT = zoo.load("heatvit-deit-small")


def edge(name: str = "edge-128x128") -> Accelerator:
    machine = load_machine(name)
    assert isinstance(machine, Accelerator)
    return machine


def kept(*row: int) -> Workload:
    return HEATVIT.bind(dict(zip(kept_symbols(HEATVIT), row, strict=True)))


def ratios(base: int, count: int, seed: int) -> NDArray[np.int64]:
    first = np.random.default_rng(seed).integers(base // 3, base + 1, size=count)
    return np.stack([first, first // 2, first // 3], axis=1).astype(np.int64)


def masks_of(
    counts: NDArray[np.int64] | Sequence[Sequence[int]], patches: int, seed: int
) -> NDArray[np.bool_]:
    """Masks that keep so many patches, those of each selector among those of the one before."""
    ranks = np.tile(np.arange(patches), (len(counts), 1))
    shuffled = np.random.default_rng(seed).permuted(ranks, axis=1)
    return shuffled[:, None, :] < np.array(counts)[:, :, None]


def images(counts: NDArray[np.int64], patches: int = 196, **changes: Any) -> Images:
    asked: dict[str, Any] = {"masks": None, "batch": 1, "order": "arrival", "buckets": 3, "tile": 1}
    beside = (2,) * counts.shape[1]
    return Images(
        counts=counts, most=patches, layout=Layout(patches, 1, beside), **(asked | changes)
    )


def stationary(dataflow: Dataflow) -> Accelerator:
    """An edge array of 48 rows and 32 columns; of weights, outputs or inputs."""
    machine = edge("edge-32x32")
    array = SystolicArray(
        rows=48, cols=32, dataflow=dataflow,
        macs_per_pe_cycle=machine.array.macs_per_pe_cycle,
    )  # fmt: skip
    return machine.model_copy(update={"array": array})
