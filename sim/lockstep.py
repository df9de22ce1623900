"""Many kernels in lockstep: the engine's dependences, one tile after another for all at once.

A kernel on a design is a row; its tiles are steps.  At every step the units of all rows take their
share of it, each as soon as what it waits for is there: the bus, the operands, room in a buffer,
the sums.  Those are the waits of `units.py`, in the DMA's order (`dma_queue.py`).  A loop's
iterations in its middle are alike, so only the first and last of them are run, and the clocks jump
over the others by the pace of those before (`Jump`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEVER", "Jump", "Steps", "Times", "run"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

NEVER = -1
"""A step that nobody waits for."""

_LONG_AGO = -1e15  # cycles; finite, so that differences are numbers
_AHEAD = 2  # tiles whose loads stand before a store, as in the DMA's queue


class Jump(NamedTuple):
    """Iterations that are not run, `(steps, rows)` each.

    Attributes:
        skipped: How many are left out before a step; 0 where there is no jump.
        since: The step from which the pace is measured.
        iterations: That lie between.
        with_bus, with_vector: Whether the bus and the vector unit have part in them.
    """

    skipped: Float
    since: Int
    iterations: int
    with_bus: NDArray[np.bool_]
    with_vector: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Tiles of many kernels, `(steps, rows)` each, in cycles or as the numbers of earlier steps.

    Attributes:
        weights, inputs: For which their loads hold the bus; 0 for none.
        work, latency: For which the array's port is held, and until the last result is out.
        vector: Of the vector unit.
        closes: Whether the vector unit has part in the tile.
        store: For which the store holds the bus.
        weight_room, input_room, sum_room, output_room: The step that makes room for the tile.
        by_vector: Whether the inputs' room is free when the vector unit is done, `(rows,)`.
        after: The step whose vector work this one's array work needs.
        jumps: Iterations that are left out.
    """

    weights: Float
    inputs: Float
    work: Float
    latency: Float
    vector: Float
    closes: NDArray[np.bool_]
    store: Float
    weight_room: Int | None = None
    input_room: Int | None = None
    sum_room: Int | None = None
    output_room: Int | None = None
    by_vector: Any = False
    after: Int | None = None
    jumps: tuple[Jump, ...] = ()


class Times(NamedTuple):
    """When a kernel is over, `(rows,)` each, from when it could begin.

    Attributes:
        done: Its last result is where its readers look for it.
        free: The bus can load the next kernel's weights, if it does before all else what it has
            still to store.
    """

    done: Float
    free: Float


def run(steps: Steps, *, latency: Any, bus: Float, early: Mapping[int, Float]) -> Times:
    """Run all rows.

    Args:
        steps: Their tiles.
        latency: Of the DRAM, in cycles.
        bus: When the bus is free, before or after 0, at which inputs can be loaded.
        early: Of steps whose weights can be loaded before that, from when on.
    """
    count, rows = steps.work.shape
    rank = np.arange(rows)
    # One entry more than steps: the first stands for what nobody waits for.
    array_end, vector_end, stored, freed, began = (
        np.full((count + 1, rows), _LONG_AGO) for _ in range(5)
    )
    bus_busy, lanes_busy = (np.zeros((count + 1, rows)) for _ in range(2))
    moved, computed = np.zeros(rows), np.zeros(rows)
    port, there, lanes_free = np.zeros(rows), np.full(rows, _LONG_AGO), np.full(rows, _LONG_AGO)
    free, done = bus, np.zeros(rows)
    jumps = [(jump, jump.skipped.any(axis=1)) for jump in steps.jumps]

    def at(history: Float, which: Int | None, step: int | None) -> Float:
        if which is None:
            return history[0]
        of = which if step is None else which[step]
        return history.reshape(-1).take((of + 1) * rows + rank)

    def jumped(jump: Jump, step: int, start: Float, bus: Float, lanes_free: Float) -> Any:
        """The clocks behind the iterations that are left out: each unit at its own pace.

        A unit that has more to do than the others sets theirs from the time on when buffers are
        full; the bus may then have been ahead for a while.
        """
        since, times = np.maximum(jump.since[step], 0), jump.skipped[step] / jump.iterations
        pace = start - at(began, since, None)
        if jump.with_vector:
            pace = np.maximum(pace, computed - at(lanes_busy, since - 1, None))
        gone = times * pace
        loaded = bus + times * (moved - at(bus_busy, since, None))
        jumps_bus = jump.with_bus & (times > 0)
        gone = np.where(jumps_bus, np.maximum(gone, loaded + latency - start), gone)
        bus = np.where(jumps_bus, np.maximum(loaded, bus + gone), bus)
        return start + gone, bus, lanes_free + gone * jump.with_vector

    for step in range(count + _AHEAD):
        if step < count:
            for held, room, history, earliest in (
                (steps.weights[step], steps.weight_room, array_end, early.get(step, 0)),
                (steps.inputs[step], steps.input_room, freed, 0),
            ):
                if not held.any():
                    continue
                start = np.maximum(np.maximum(bus, earliest), at(history, room, step))
                loads = held > 0
                bus = np.where(loads, start + held, bus)
                there = np.where(loads, bus + latency, there)
                moved = moved + held
        if step >= _AHEAD:
            held = steps.store[step - _AHEAD]
            end = np.maximum(bus, vector_end[step - _AHEAD + 1]) + held
            bus = np.where(held > 0, end, bus)
            stored[step - _AHEAD + 1] = bus
            done = np.where(held > 0, bus + latency, done)
            moved = moved + held
        if step == count - 1:
            free = bus + steps.store[-_AHEAD:].sum(axis=0)
        if step >= count:
            continue
        bus_busy[step + 1] = moved
        start = np.maximum(port, there)
        if steps.sum_room is not None:
            start = np.maximum(start, at(vector_end, steps.sum_room, step))
        if steps.after is not None:
            start = np.maximum(start, at(vector_end, steps.after, step))
        for jump, anywhere in jumps:
            if anywhere[step]:
                start, bus, lanes_free = jumped(jump, step, start, bus, lanes_free)
        began[step + 1] = start
        port = start + steps.work[step]
        array_end[step + 1] = port
        closes = steps.closes[step]
        begin = np.maximum(lanes_free, start + steps.latency[step])
        begin = np.maximum(begin, at(stored, steps.output_room, step))
        lanes_free = np.where(closes, begin + steps.vector[step], lanes_free)
        computed = computed + steps.vector[step]
        lanes_busy[step + 1] = computed
        vector_end[step + 1] = lanes_free
        freed[step + 1] = np.where(steps.by_vector & closes, lanes_free, port)
    return Times(np.maximum(done, lanes_free), free)
