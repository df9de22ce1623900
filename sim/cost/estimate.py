"""Latency and energy of a workload on many designs, for many token counts at once.

The same mapping, closed forms, dependences and energies as the cycle-level engine's, called with
columns instead of numbers: a workload's kernels are placed (`kernels.py`), a tiling is chosen
for each on each design (`*_mapping.py`), and its tiles run in lockstep (`lockstep.py`).  What
the engine does and this does not: kernels run one after another here, so that of a kernel only its
weights are loaded while the one before it ends; and of a loop's iterations only the first and last
are run.  `bench/cost.py` prints how far the two are apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...workloads.batching import repeated
from ...workloads.extent import evaluate
from ...workloads.graph import Workload
from ...workloads.operator import Attention, Convolution, MatMul
from ..energy import energy_of
from ..errors import MappingError
from ..formats import formats_of, macs_per_pe_cycle
from ..fusion import Kernel
from ..lowering import is_decision, loads_parameters
from ..shares import split_of
from ..tiling import Candidates
from .attention_tiles import attention_steps, attention_tiles
from .block_mapping import Blocks, choose_blocks, lacking_blocks
from .designs import Designs, alike
from .kernels import Group, Placed, groups, kernels_of
from .lockstep import run
from .nest import Tiled
from .piece_mapping import Pieces, choose_pieces, lacking_pieces
from .product_mapping import choose_tiles, lacking_tiles
from .product_tiles import product_steps, product_tiles
from .vector_tiles import vector_steps, vector_tiles

__all__ = ["Columns", "estimated"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_SUMS = (
    "macs", "weight_bytes", "input_bytes", "store_bytes", "vector_cycles", "input_reads",
    "weight_reads", "sum_reads", "sum_writes", "outputs", "host_cycles",
)  # fmt: skip

_CELLS = 1 << 17  # steps x rows that run in lockstep: as many as stay in the caches


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


@dataclass(eq=False)
class _State:
    """How a kernel leaves the machine, `(designs,)`.

    Attributes:
        lead: Cycles before its end from which the bus is free.
        first, second: When the weights of the next kernel's first and second tile can be loaded at
            the earliest, counted from its end: 0 or less.
    """

    lead: Float
    first: Float
    second: Float

    @classmethod
    def fresh(cls, count: int) -> _State:
        """Of a machine that has not begun."""
        return cls(*(np.zeros(count) for _ in range(3)))

    @property
    def signature(self) -> tuple[bytes, ...]:
        """Equal for equal states."""
        return tuple(column.tobytes() for column in (self.lead, self.first, self.second))

    def at(self, rows: Int) -> _State:
        """Of some designs."""
        return _State(self.lead[rows], self.first[rows], self.second[rows])


@dataclass(eq=False)
class _Ran:
    """A kernel on all designs: cycles, how it leaves them, sums, and what does not fit."""

    cycles: Float
    state: _State
    sums: dict[str, Float]
    infeasible: NDArray[np.object_]

    def at(self, rows: Int) -> _Ran:
        """On some designs."""
        sums = {name: column[rows] for name, column in self.sums.items()}
        return _Ran(self.cycles[rows], self.state.at(rows), sums, self.infeasible[rows])


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
    seen: dict[object, _Ran] = {}
    state = _State.fresh(count)
    cycles, energy, dram, macs, busy = (np.zeros(count) for _ in range(5))
    infeasible = np.full(count, "", dtype=object)
    chain: Counter[object] = Counter()
    example: dict[object, Kernel] = {}
    for index, kernel in enumerate(kernels):
        key: object = (placed.signature(index), state.signature)
        if key not in seen:
            seen[key] = _run_alike(placed, index, designs, design, state)
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


def _run_alike(placed: Placed, index: int, designs: Designs, design: Int, before: _State) -> _Ran:
    """One kernel on all designs, each different case once.

    Args:
        placed: The kernels.
        index: Which of them.
        designs: Machines.
        design: A number for each, the same for equal ones.
        before: How the kernel before has left them.
    """
    kernel = placed.kernels[index]
    formats = formats_of(kernel.lead, kernel.tail)
    count, rate = len(design), macs_per_pe_cycle(designs.machine, kernel.lead, formats)
    columns = (before.lead, before.first, before.second, *placed.columns(index))
    examples, case = alike((design, *columns), count)
    if len(examples) > count // 2:
        return _run(placed, index, designs, rate, before)
    some = placed.alone(index, examples)
    return _run(some, 0, designs.at(examples), rate, before.at(examples)).at(case)


def _run(placed: Placed, index: int, designs: Designs, rate: Fraction, before: _State) -> _Ran:
    """One kernel on all designs, tiled as is best for each."""
    count = len(before.lead)
    ran = _Ran(
        np.zeros(count),
        _State(before.lead.copy(), before.first.copy(), before.second.copy()),
        {name: np.zeros(count) for name in _SUMS},
        np.full(count, "", dtype=object),
    )
    for group in groups(placed, index, designs, rate):
        mapping, steps = _mapped(group, rate)
        lost = np.flatnonzero(steps == 0)
        ran.infeasible[group.rows[lost]] = _lacking(group.part(lost)) if len(lost) else ""
        for which in _chunks(steps, mapping):
            part = group.part(which)
            own = type(mapping)(*(column[which] for column in mapping))
            _run_part(part, _tiled(part, own, rate), before, ran)
    return ran


def _chunks(steps: Int, mapping: tuple[Int, ...]) -> Iterator[Int]:
    """Rows with about as many steps, those alike side by side, as many as stay in the caches."""
    order = np.lexsort((*mapping, steps))
    order = order[steps[order] > 0]
    while len(order):
        most = int(np.searchsorted(steps[order] * np.arange(1, len(order) + 1), _CELLS)) or 1
        yield order[:most]
        order = order[most:]


def _run_part(group: Group, tiled: Tiled, before: _State, ran: _Ran) -> None:
    """Run some rows, and note how they leave the machine."""
    rows, lead, designs = group.rows, group.lowering.kernel.lead, group.designs
    early = loads_parameters(lead)
    times = run(
        tiled.steps,
        latency=designs.dram_latency_cycles,
        bus=-before.lead[rows],
        early={0: before.first[rows], 1: before.second[rows]} if early else {},
    )
    host = designs.host_cycles if is_decision(lead) else 0
    end = times.done + host
    ran.cycles[rows] = end
    state = ran.state
    state.lead[rows] = end - times.free
    # In the DMA's queue the weights of a kernel's first two tiles stand before its first input,
    # which waits for what the kernel reads.
    single = tiled.count == 1
    state.first[rows] = np.where(single, before.second[rows], 0) - end
    state.second[rows] = -end
    for name, value in tiled.totals.items():
        ran.sums[name][rows] = value
    ran.sums["host_cycles"][rows] = host


def _mapped(group: Group, rate: Fraction) -> tuple[Candidates | Blocks | Pieces, Int]:
    """How each row is tiled, and the steps that takes; none where no tile fits."""
    count, designs, lowering = len(group.rows), group.designs, group.lowering
    mapping: Candidates | Blocks | Pieces
    match lowering.kernel.lead:
        case MatMul() | Convolution() as lead:
            product = lowering.product(lead)
            mapping = choose_tiles(product, designs, rate, count)
            fits = mapping.m > 0
            steps = product_steps(
                product,
                mapping._replace(
                    **{a: np.maximum(getattr(mapping, a), 1) for a in ("groups", "m", "k", "n")}
                ),
            )
        case Attention() as lead:
            heads = lowering.heads(lead)
            mapping = choose_blocks(heads, designs, rate, count)
            fits = mapping.queries > 0
            steps = attention_steps(heads, Blocks(*(np.maximum(c, 1) for c in mapping)))
        case lead:
            mapping = choose_pieces(lowering.rows(lead), designs, count)
            fits = mapping.size > 0
            steps = vector_steps(Pieces(*(np.maximum(c, 1) for c in mapping)))
    return mapping, np.where(fits, steps, 0)


def _tiled(group: Group, mapping: Any, rate: Fraction) -> Tiled:
    """The tiles of a kernel under a mapping."""
    lowering = group.lowering
    match lowering.kernel.lead:
        case MatMul() | Convolution() as lead:
            return product_tiles(lowering.product(lead), group.designs, rate, mapping)
        case Attention() as lead:
            return attention_tiles(lowering.heads(lead), group.designs, rate, mapping)
        case lead:
            return vector_tiles(lowering.rows(lead), group.designs, mapping)


def _lacking(group: Group) -> NDArray[np.object_]:
    """The buffers that do not hold the smallest tile, `(rows,)`; all, if none lacks room alone."""
    lowering = group.lowering
    rest: Any = group.designs, lowering.room, len(group.rows)
    match lowering.kernel.lead:
        case MatMul() | Convolution() as lead:
            return lacking_tiles(lowering.product(lead), *rest)
        case Attention() as lead:
            return lacking_blocks(lowering.heads(lead), *rest)
        case lead:
            return lacking_pieces(lowering.rows(lead), *rest)
