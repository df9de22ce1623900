"""The cost model: latency and energy of many designs, token counts and bits at once.

The same mapping, closed forms, dependences and energies as the cycle-level engine's, called with
columns instead of numbers: a workload's kernels are placed (`cost_kernels.py`), a tiling is chosen
for each on each design (`cost_mapping.py`), and its tiles run in lockstep (`lockstep.py`).  What
the engine does and this does not: kernels run one after another here, so that of a kernel only its
weights are loaded while the one before it ends; and of a loop's iterations only the first and last
are run.  `make bench` prints how far the two are apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator
from ..arch.formats import FormatError
from ..workloads.batching import repeated
from ..workloads.extent import evaluate, known
from ..workloads.graph import Workload
from ..workloads.operator import Attention, Convolution, MatMul
from .cost_kernels import Group, Placed, groups, kernels_of
from .cost_mapping import choose_blocks, choose_pieces, choose_tiles
from .cost_tiles import Tiled, attention_tiles, product_tiles, vector_tiles
from .designs import Designs
from .energy import energy_of
from .errors import MappingError
from .formats import formats_of
from .lockstep import run
from .lowering import is_decision, loads_parameters
from .shares import split_of

__all__ = ["Columns", "estimated"]

Float = NDArray[np.float64]

_SUMS = (
    "macs", "weight_bytes", "input_bytes", "store_bytes", "vector_cycles", "input_reads",
    "weight_reads", "sum_reads", "sum_writes", "outputs", "host_cycles",
)  # fmt: skip

_CHUNK = 2048  # rows that run in lockstep: as many as stay in the caches


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


@dataclass(eq=False)
class _Ran:
    """A kernel on all designs: cycles, how it leaves them, sums, and what does not fit."""

    cycles: Float
    state: _State
    sums: dict[str, Float]
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
    seen: dict[object, _Ran] = {}
    before: object = None
    state = _State.fresh(count)
    cycles, energy, dram, macs, busy = (np.zeros(count) for _ in range(5))
    infeasible = np.full(count, "", dtype=object)
    for index, kernel in enumerate(kernels):
        rate = _rate(designs.machine, kernel)
        own = placed.signature(index)
        if (own, before) not in seen:
            seen[own, before] = _run(placed, index, designs, rate, state)
        ran = seen[own, before]
        before, state = own, ran.state
        cycles += ran.cycles
        sums = SimpleNamespace(**ran.sums)
        formats = formats_of(kernel.lead, kernel.tail)
        joules = energy_of(sums, formats, designs, ran.cycles)  # type: ignore[arg-type]
        energy += sum(joules.values())
        dram += sums.weight_bytes + sums.input_bytes + sums.store_bytes
        macs += sums.macs
        busy += sums.macs / float(rate)
        infeasible = np.where(infeasible == "", ran.infeasible, infeasible)
    lost = infeasible != ""
    array = designs.array
    pes = np.asarray(array.pes, dtype=float)
    columns = (cycles, energy, dram, macs, busy / np.maximum(pes * cycles, 1))
    return Columns(*(np.where(lost, np.nan, column) for column in columns), infeasible)


def _rate(machine: Accelerator, kernel: Any) -> Fraction:
    formats = formats_of(kernel.lead, kernel.tail)
    try:
        return machine.array.macs_per_pe_cycle.most(formats.weights, formats.activations)
    except FormatError as error:
        raise MappingError(f"{machine.name}: format: {error}") from None


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
        for start in range(0, len(group.rows), _CHUNK):
            part = group.part(slice(start, start + _CHUNK))
            _run_group(part, rate, before, ran)
    return ran


def _run_group(group: Group, rate: Fraction, before: _State, ran: _Ran) -> None:
    kernel = group.lowering.kernel.lead
    designs = group.designs
    tiled, fits = _tiled(group, rate)
    rows = group.rows[fits]
    ran.infeasible[group.rows[~fits]] = f"buffers: too small for a tile of {kernel.name}"
    if not len(rows):
        return
    assert tiled is not None
    some = designs.at(fits)
    early = loads_parameters(kernel)
    times = run(
        tiled.steps,
        latency=some.dram_latency_cycles,
        bus=-before.lead[rows],
        early={0: before.first[rows], 1: before.second[rows]} if early else {},
    )
    host = some.host_cycles if is_decision(kernel) else 0
    ran.cycles[rows] = times.done + host
    state = ran.state
    state.lead[rows] = times.done - times.free
    # In the DMA's queue the weights of a kernel's first two tiles stand before its first input,
    # which waits for what the kernel reads.
    single = tiled.count == 1
    state.first[rows] = np.where(single, before.second[rows], 0) - times.done
    state.second[rows] = -times.done
    for name, value in tiled.totals.items():
        ran.sums[name][rows] = value
    ran.sums["host_cycles"][rows] = host


def _tiled(group: Group, rate: Fraction) -> tuple[Tiled | None, NDArray[np.bool_]]:
    """A kernel's tiles on the designs on which one fits, and which they are."""
    count, designs, lowering = len(group.rows), group.designs, group.lowering
    lead = lowering.kernel.lead
    if isinstance(lead, MatMul | Convolution):
        product = lowering.product(lead)
        tiles = choose_tiles(product, designs, rate, count)
        fits = tiles.m > 0
        if not fits.any():
            return None, fits
        some = group.part(fits) if not fits.all() else group
        return product_tiles(
            some.lowering.product(lead_of(some)), some.designs, rate, tiles.at(fits)
        ), fits
    if isinstance(lead, Attention):
        blocks = choose_blocks(lowering.heads(lead), designs, rate, count)
        fits = blocks.queries > 0
        if not fits.any():
            return None, fits
        some = group.part(fits) if not fits.all() else group
        own = type(blocks)(*(part[fits] for part in blocks))
        return attention_tiles(
            some.lowering.heads(lead_of(some)), some.designs, rate, own
        ), fits
    pieces = choose_pieces(lowering.rows(lead), designs, count)
    fits = pieces.size > 0
    if not fits.any():
        return None, fits
    some = group.part(fits) if not fits.all() else group
    own_pieces = type(pieces)(*(part[fits] for part in pieces))
    return vector_tiles(some.lowering.rows(lead_of(some)), some.designs, own_pieces), fits


def lead_of(group: Group) -> Any:
    """The lead of a group's kernel."""
    return group.lowering.kernel.lead
