"""Many kernels in lockstep: the engine's dependences, one tile after another for all at once.

A kernel on a design is a row; its tiles are steps.  At every step the units of all rows take their
share of it, each as soon as what it waits for is there: the bus, the operands, room in a buffer,
the sums.  Those are the waits of `units.py`, in the DMA's order (`dma_queue.py`).  A loop's
iterations in its middle are alike, so only the first and last of them are run, and the clocks jump
over the others by the pace of those before (`Jump`).
"""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

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


class Room(NamedTuple):
    """What makes room for each tile: the step before a span of steps that is so far behind it.

    Attributes:
        begins: Where the span of the tile begins, `(steps, nests)`.
        behind: By how much that is ahead of the steps that must be over, `(rows,)`.
        later: How many steps after those the one is whose end makes room.
    """

    begins: Int
    behind: Int
    later: int = 0


class Jump(NamedTuple):
    """Iterations that are not run.

    Attributes:
        skipped: How many are left out before a step; 0 where there is no jump; `(steps, nests)`.
        since: The step from which the pace is measured, `(steps, nests)`.
        iterations: That lie between.
        with_bus: Whether the bus has part in them, `(rows,)`.
        with_vector: Whether the vector unit has.
    """

    skipped: Float
    since: Int
    iterations: int
    with_bus: NDArray[np.bool_]
    with_vector: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Tiles of many kernels: those of a kind are alike, and many kernels have the same nest.

    Attributes:
        kinds: Of what kind each step is, 0 for none, `(steps, nests)`.
        nest: Of each row.
        weights, inputs: Cycles for which their loads hold the bus, 0 for none, `(kinds, rows)`.
        work, latency: For which the array's port is held, and until the last result is out.
        vector: Of the vector unit.
        closes: Whether the vector unit has part in the tile.
        store: For which the store holds the bus.
        weight_room, input_room, sum_room, output_room: What makes room for the tile.
        by_vector: Whether the inputs' room is free when the vector unit is done.
        after: The step whose vector work a step's array work needs, `(steps,)`.
        jumps: Iterations that are left out.
    """

    kinds: Int
    nest: Int
    weights: Float
    inputs: Float
    work: Float
    latency: Float
    vector: Float
    closes: NDArray[np.bool_]
    store: Float
    weight_room: Room | None = None
    input_room: Room | None = None
    sum_room: Room | None = None
    output_room: Room | None = None
    by_vector: bool = False
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
    return _Lockstep(steps, latency, bus, early).times()


class _Lockstep:
    """The units' clocks, `(rows,)` each, and when steps began and were over.

    Histories have one entry more than there are steps: the first stands for what nobody waits for.
    """

    _bus: Float
    _moved: Float
    _computed: Float
    _port: Float
    _done: Float
    _there: Float
    _lanes_free: Float

    def __init__(self, steps: Steps, latency: Any, bus: Float, early: Mapping[int, Float]) -> None:
        self._steps, self._latency, self._early = steps, latency, early
        self._count, self._rows = len(steps.kinds), len(steps.nest)
        self._rank = np.arange(self._rows)
        columns = (
            steps.weights, steps.inputs, steps.work, steps.latency, steps.vector, steps.closes,
            steps.store,
        )  # fmt: skip
        # Side by side, so that a tile is found at once.
        self._tiles = np.stack(columns, axis=-1, dtype=float).reshape(-1, len(columns))
        self._array_end, self._vector_end, self._stored, self._freed, self._began = (
            self._history(_LONG_AGO) for _ in range(5)
        )
        self._bus_busy, self._lanes_busy = self._history(0), self._history(0)
        self._moved, self._computed, self._port, self._done = (
            np.zeros(self._rows) for _ in range(4)
        )
        self._there, self._lanes_free = (np.full(self._rows, _LONG_AGO) for _ in range(2))
        self._bus = bus
        self._jumps = [(jump, _anywhere(jump.skipped)) for jump in steps.jumps]
        # Where any row has something to load, to store, or for the vector unit.
        self._loads_weights, self._loads_inputs, self._stores, self._closes = (
            _anywhere(np.asarray(_anywhere(table))[steps.kinds])
            for table in (steps.weights, steps.inputs, steps.store, steps.closes)
        )

    def _history(self, before: float) -> Float:
        history = np.empty((self._count + 1, self._rows))
        history[0] = before
        return history

    def times(self) -> Times:
        """Run all rows."""
        kinds, free = self._steps.kinds, self._bus
        lasts = self._count - 1 - (kinds[::-1] > 0).argmax(axis=0).take(self._steps.nest)
        over = set(lasts.tolist())
        stores: list[Float] = []
        array_and_vector: list[Float] = []
        for step in range(self._count + _AHEAD):
            if step < self._count:
                which = kinds[step].take(self._steps.nest) * self._rows + self._rank
                weights, inputs, *array_and_vector, store = self._tiles.take(which, axis=0).T
                stores.append(store)
                if self._loads_weights[step]:
                    earliest = self._early.get(step, 0)
                    room = self._steps.weight_room
                    self._load(step, weights, earliest, room, self._array_end)
                if self._loads_inputs[step]:
                    self._load(step, inputs, 0, self._steps.input_room, self._freed)
            if step >= _AHEAD:
                self._store(step - _AHEAD, stores[step - _AHEAD])
            if step in over:
                free = np.where(lasts == step, self._bus + sum(stores[-_AHEAD:]), free)
            if step < self._count:
                self._work(step, *array_and_vector)
        return Times(np.maximum(self._done, self._lanes_free), free)

    def _load(
        self, step: int, held: Float, earliest: Any, room: Room | None, history: Float
    ) -> None:
        start = self._after_room(np.maximum(self._bus, earliest), history, room, step)
        loads = held > 0
        self._bus = np.where(loads, start + held, self._bus)
        self._there = np.where(loads, self._bus + self._latency, self._there)
        self._moved = self._moved + held

    def _store(self, step: int, held: Float) -> None:
        if self._stores[step]:
            stores = held > 0
            end = np.maximum(self._bus, self._vector_end[step + 1]) + held
            self._bus = np.where(stores, end, self._bus)
            self._done = np.where(stores, end + self._latency, self._done)
            self._moved = self._moved + held
        self._stored[step + 1] = self._bus

    def _work(self, step: int, work: Float, latency: Float, vector: Float, closes: Float) -> None:
        steps = self._steps
        start = np.maximum(self._port, self._there)
        start = self._after_room(start, self._vector_end, steps.sum_room, step)
        if steps.after is not None and steps.after[step] != NEVER:
            start = np.maximum(start, self._vector_end[steps.after[step] + 1])
        if self._jumps:
            self._bus_busy[step + 1] = self._moved
            for jump, anywhere in self._jumps:
                if anywhere[step]:
                    start = self._jumped(jump, step, start)
            self._began[step + 1] = start
        self._port = np.add(start, work, out=self._array_end[step + 1])
        freed = self._port
        if self._closes[step]:
            begin = np.maximum(self._lanes_free, start + latency)
            begin = self._after_room(begin, self._stored, steps.output_room, step)
            ends = closes > 0
            self._lanes_free = np.where(ends, begin + vector, self._lanes_free)
            self._computed = self._computed + vector
            if steps.by_vector:
                freed = np.where(ends, self._lanes_free, freed)
        if self._jumps:
            self._lanes_busy[step + 1] = self._computed
        self._vector_end[step + 1] = self._lanes_free
        self._freed[step + 1] = freed

    def _after_room(self, start: Float, history: Float, room: Room | None, step: int) -> Float:
        """When there is room too."""
        if room is None:
            return start
        which = room.begins[step].take(self._steps.nest)
        which -= room.behind
        if room.later:
            which += room.later * (which > 0)
        np.maximum(which, 0, out=which)
        return np.maximum(start, self._at(history, which))

    def _at(self, history: Float, entries: Int) -> Float:
        """Of a history each row's entry."""
        return history.reshape(-1).take(entries * self._rows + self._rank)

    def _jumped(self, jump: Jump, step: int, start: Float) -> Float:
        """Set the clocks behind the iterations that are left out: each unit at its own pace.

        A unit that has more to do than the others sets theirs from the time on when buffers are
        full; the bus may then have been ahead for a while.
        """
        since = np.maximum(jump.since[step], 0).take(self._steps.nest)
        times = jump.skipped[step].take(self._steps.nest) / jump.iterations
        pace = start - self._at(self._began, since + 1)
        if jump.with_vector:
            pace = np.maximum(pace, self._computed - self._at(self._lanes_busy, since))
        gone = times * pace
        loaded = self._bus + times * (self._moved - self._at(self._bus_busy, since + 1))
        jumps_bus = jump.with_bus & (times > 0)
        gone = np.where(jumps_bus, np.maximum(gone, loaded + self._latency - start), gone)
        self._bus = np.where(jumps_bus, np.maximum(loaded, self._bus + gone), self._bus)
        self._lanes_free = self._lanes_free + gone * jump.with_vector
        after: Float = start + gone
        return after


def _anywhere(table: Any) -> list[bool]:
    """Whether anything in each of its rows is not 0."""
    return [bool(each) for each in np.any(table, axis=1)]
