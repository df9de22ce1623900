"""Latency and energy of a workload on many designs, for many token counts at once.

The same mapping, closed forms, dependences and energies as the cycle-level engine's, called with
columns instead of numbers: a workload's kernels are placed (`kernels.py`), a tiling is chosen
for each on each design (`*_mapping.py`), and its tiles run in lockstep (`lockstep.py`).  What
the engine does and this does not: kernels run one after another here, so that of a kernel only its
weights are loaded while the one before it ends; and of a loop's iterations only the first and last
are run.  `bench/cost.py` prints how far the two are apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...workloads.batching import repeated
from ...workloads.extent import evaluate
from ...workloads.graph import Workload
from ..energy import energy_of
from ..errors import MappingError
from ..formats import formats_of, macs_per_pe_cycle
from ..fusion import Kernel
from ..shares import split_of
from .designs import Designs, alike
from .kernels import Placed, kernels_of
from .one_kernel import run_kernel
from .runs import Known, Ran, State

__all__ = ["Columns", "estimated"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]


class Columns(NamedTuple):
    """What designs come to, `(designs,)` each.

    Attributes:
        cycles: Of the run.
        energy_j: Joules.
        dram_bytes: To and from DRAM.
        macs: Multiply-accumulates.
        utilization: Share of the PE-cycles that MACs use.
        infeasible: What a design lacks; empty for nothing.
    """

    cycles: Float
    energy_j: Float
    dram_bytes: Float
    macs: Float
    utilization: Float
    infeasible: NDArray[np.object_]


def estimated(
    workload: Workload,
    designs: Designs,
    count: int,
    *,
    binding: Mapping[str, Any],
    format: str,
    batch: int = 1,
) -> Columns:
    """A workload on so many designs.

    Args:
        workload: With its symbols.
        designs: Machines.
        count: How many.
        binding: For each symbol a number, or a column of one for each design.
        format: Number format of what has none.
        batch: Images, for a graph that takes one.

    Raises:
        MappingError: The machine does not compute in a format, or its arrays share work in a way
            that only the engine knows.
    """
    if split_of(designs.machine.array) != "tile" or designs.machine.dram.order != "program":
        raise MappingError(
            f"{designs.machine.name}: the cost model knows array.split: tile and dram.order: "
            "program; the engine knows the others"
        )
    workload = repeated(workload, batch)
    kernels = kernels_of(workload, binding, format)
    images = int(np.ravel(evaluate(workload.images, binding))[0])
    placed = Placed.of(kernels, workload.outputs, designs, count, images)
    _, design = alike(list(designs.columns.values()), count)
    seen: dict[object, Ran] = {}
    known: defaultdict[object, Known] = defaultdict(Known)
    state = State.fresh(count)
    cycles, energy, dram, macs, busy = (np.zeros(count) for _ in range(5))
    infeasible = np.full(count, "", dtype=object)
    chain: Counter[object] = Counter()
    example: dict[object, Kernel] = {}
    for index, kernel in enumerate(kernels):
        key: object = (placed.signature(index), state.signature)
        if key not in seen:
            like = known[placed.sizes_of(index)]
            seen[key] = _ran(placed, index, designs, design, state, like)
            example[key] = kernel
        chain[key] += 1
        state = seen[key].state
    for case, times in chain.items():
        ran, kernel = seen[case], example[case]
        sums = SimpleNamespace(**ran.sums)
        formats = formats_of(kernel.lead, kernel.tail)
        joules = energy_of(sums, formats, designs, ran.cycles)  # type: ignore[arg-type]
        cycles += times * ran.cycles
        energy += times * sum(joules.values())
        dram += times * (sums.weight_bytes + sums.input_bytes + sums.store_bytes)
        macs += times * sums.macs
        rate = macs_per_pe_cycle(designs.machine, kernel.lead, formats)
        busy += times * sums.macs / float(rate or 1)
        infeasible = np.where(infeasible == "", ran.infeasible, infeasible)
    lost = infeasible != ""
    array = designs.array
    pes = np.asarray(array.pes, dtype=float)
    used = busy / np.maximum(pes * cycles, 1)
    for column in (cycles, energy, dram, macs, used):
        column[lost] = np.nan
    return Columns(cycles, energy, dram, macs, used, infeasible)


def _ran(
    placed: Placed, index: int, designs: Designs, design: Int, before: State, known: Known
) -> Ran:
    """One kernel on all designs."""
    kernel = placed.kernels[index]
    rate = macs_per_pe_cycle(designs.machine, kernel.lead, formats_of(kernel.lead, kernel.tail))

    def run(rows: Int, mapping: Int, mapped: NDArray[np.bool_]) -> Ran:
        alone = placed.alone(index, rows)
        return run_kernel(alone, designs.at(rows), rate, before.at(rows), mapping, mapped)

    return known.run(design, placed.places(index), placed.columns(index), before, run)
