"""One kernel on many designs: tiled as is best for each, and its tiles in lockstep."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...workloads.operator import Attention, Convolution, MatMul
from ..lowering import is_decision, loads_parameters
from ..tiling import Candidates
from .attention_tiles import attention_depths, attention_steps, attention_tiles
from .block_mapping import Blocks, choose_blocks, lacking_blocks
from .designs import Designs, alike
from .kernels import Group, Placed, groups
from .lockstep import run
from .nest import Tiled
from .piece_mapping import Pieces, choose_pieces, lacking_pieces
from .product_mapping import choose_tiles, lacking_tiles
from .product_tiles import product_depths, product_steps, product_tiles
from .runs import Ran, State
from .vector_tiles import vector_depths, vector_steps, vector_tiles

__all__ = ["run_kernel"]

Int = NDArray[np.int64]
Flags = NDArray[np.bool_]

_CELLS = 1 << 17  # steps x rows that run in lockstep: as many as stay in the caches
_FEW = 256  # rows of which looking for like ones takes longer than running all of them


def run_kernel(
    placed: Placed, designs: Designs, rate: Fraction, before: State, mapping: Int, mapped: Flags
) -> Ran:
    """The kernel, tiled as is best for each design.

    Args:
        placed: The kernel, alone.
        designs: Machines.
        rate: MACs per PE and cycle.
        before: How the kernel before has left them.
        mapping: How it is tiled, `(axes, designs)`, where that is known.
        mapped: Where it is.
    """
    ran = Ran.blank(before)
    for group in groups(placed, 0, designs, rate):
        own, there = mapping[:, group.rows], mapped[group.rows]
        unknown = np.flatnonzero(~there)
        if len(unknown):
            part = group if len(unknown) == len(there) else group.part(unknown)
            for axis, column in zip(own, _choose(part, rate), strict=False):
                axis[unknown] = column
        ran.mapping[:, group.rows] = own
        steps = _steps(group, own)
        lost = np.flatnonzero(steps == 0)
        ran.infeasible[group.rows[lost]] = _lacking(group.part(lost)) if len(lost) else ""
        # What rows have in common but the capacity of buffers is run once.
        busy = np.flatnonzero(steps)
        examples, case = _alike(group.part(busy), own[:, busy], before)
        examples = busy[examples]
        for which in _chunks(steps[examples], own[:, examples]):
            rows = examples[which]
            part = group.part(rows)
            _run_part(part, _tiled(part, _mapping(part, own[:, rows]), rate), before, ran)
        ran.take(group.rows[busy], ran, group.rows[examples[case]])
    return ran


def _alike(group: Group, mapping: Int, before: State) -> tuple[Int, Int]:
    """Rows whose tiles take the same time: one of each kind, and the kind of each row."""
    count, designs = len(group.rows), group.designs
    if count < _FEW:
        return np.arange(count), np.arange(count)
    pace = [designs.of(part) for part in ("array", "dram", "vector", "host", "clock_hz")]
    cap = designs.buffers.im2col_bytes_per_cycle
    state = before.at(group.rows).columns
    sizes = group.sizes()
    depths = _depths(group, _mapping(group, mapping))
    columns = (*mapping, *(each for part in pace for each in part), *depths, *sizes, *state)
    return alike([*columns, *([] if cap is None else [cap])], count)


def _chunks(steps: Int, mapping: Int) -> Iterator[Int]:
    """Rows with about as many steps, those alike side by side, as many as stay in the caches."""
    order = np.lexsort((*mapping, steps))
    order = order[steps[order] > 0]
    while len(order):
        most = int(np.searchsorted(steps[order] * np.arange(1, len(order) + 1), _CELLS)) or 1
        yield order[:most]
        order = order[most:]


def _run_part(group: Group, tiled: Tiled, before: State, ran: Ran) -> None:
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
    free = times.free - end
    state.first[rows] = np.maximum(np.where(single, before.second[rows], 0) - end, free)
    state.second[rows] = np.maximum(-end, free)
    for name, value in tiled.totals.items():
        ran.sums[name][rows] = value
    ran.sums["host_cycles"][rows] = host


def _choose(group: Group, rate: Fraction) -> Candidates | Blocks | Pieces:
    """How each row is tiled: zeros where no tile fits."""
    count, designs, lowering = len(group.rows), group.designs, group.lowering
    match lowering.kernel.lead:
        case MatMul() | Convolution() as lead:
            return choose_tiles(lowering.product(lead), designs, rate, count)
        case Attention() as lead:
            return choose_blocks(lowering.heads(lead), designs, rate, count)
        case lead:
            return choose_pieces(lowering.rows(lead), designs, count)


def _mapping(group: Group, axes: Int) -> Candidates | Blocks | Pieces:
    """A mapping from its numbers."""
    match group.lowering.kernel.lead:
        case MatMul() | Convolution():
            return Candidates(*axes)
        case Attention():
            return Blocks(*axes[:3])
        case _:
            return Pieces(*axes[:3])


def _steps(group: Group, axes: Int) -> Int:
    """The steps that each row's tiles take; none where no tile fits."""
    lowering, some = group.lowering, _mapping(group, np.maximum(axes, 1))
    match some:
        case Candidates():
            lead: Any = lowering.kernel.lead
            some = some._replace(order=axes[4])
            return np.where(axes[1] > 0, product_steps(lowering.product(lead), some), 0)
        case Blocks():
            lead = lowering.kernel.lead
            return np.where(axes[0] > 0, attention_steps(lowering.heads(lead), some), 0)
        case Pieces():
            return np.where(axes[1] > 0, vector_steps(some), 0)


def _depths(group: Group, mapping: Any) -> tuple[Any, ...]:
    """How many tiles each buffer has room for, and what else depends on its capacity."""
    lowering = group.lowering
    match lowering.kernel.lead:
        case MatMul() | Convolution() as lead:
            return product_depths(lowering.product(lead), group.designs, mapping)
        case Attention() as lead:
            return attention_depths(lowering.heads(lead), group.designs, mapping)
        case lead:
            return vector_depths(lowering.rows(lead), group.designs, mapping)


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
