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
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .steps import NEVER, Jump, Room, Steps

__all__ = ["Times", "run"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_LONG_AGO = -1e15  # cycles; finite, so that differences are numbers
_AHEAD = 2  # tiles whose loads stand before a store, as in the DMA's queue


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
    Rows with few steps come first, so that those with steps left are the last ones: `live`.
    """

    def __init__(self, steps: Steps, latency: Any, bus: Float, early: Mapping[int, Float]) -> None:
        self._steps, self._early = steps, early
        self._count, self._rows = len(steps.kinds), len(steps.nest)
        self._rank = np.arange(self._rows)
        self._latency = np.broadcast_to(latency, (self._rows,))
        self._array_end, self._vector_end, self._stored, self._freed, self._began = (
            self._history(_LONG_AGO) for _ in range(5)
        )
        self._bus_busy, self._lanes_busy = self._history(0), self._history(0)
        self._moved, self._computed, self._port, self._done = (
            np.zeros(self._rows) for _ in range(4)
        )
        self._there, self._lanes_free = (np.full(self._rows, _LONG_AGO) for _ in range(2))
        self._bus = np.array(np.broadcast_to(bus, (self._rows,)), dtype=float)
        self._jumps = [(jump, _anywhere(jump.skipped)) for jump in steps.jumps]
        self._weights, self._inputs, self._store, self._closes, self._vector = (
            _Held(table, steps.kinds)
            for table in (steps.weights, steps.inputs, steps.store, steps.closes, steps.vector)
        )
        self._work, self._latencies = (
            _Held(table, steps.kinds) for table in (steps.work, steps.latency)
        )

    def _history(self, before: float) -> Float:
        history = np.empty((self._count + 1, self._rows))
        history[0] = before
        return history

    def times(self) -> Times:
        """Run all rows."""
        kinds, nest, free = self._steps.kinds, self._steps.nest, self._bus.copy()
        lasts = self._count - 1 - (kinds[::-1] > 0).argmax(axis=0).take(nest)
        over = set(lasts.tolist())
        begins = np.searchsorted(np.maximum.accumulate(lasts), np.arange(self._count)).tolist()
        stores: list[Float] = []
        for step in range(self._count + _AHEAD):
            live = slice(begins[step], None) if step < self._count else slice(0)
            which = self._rank[:0]
            if step < self._count:
                which = kinds[step].take(nest[live]) * self._rows + self._rank[live]
                stores.append(self._store.at(step, which))
                self._load(step, live, self._weights, which, self._early.get(step))
                self._load(step, live, self._inputs, which, None)
            if step >= _AHEAD:
                ago = step - _AHEAD
                self._leave(ago, slice(begins[ago], None), stores[ago])
            if step in over:
                ends = np.flatnonzero(lasts[live] == step)
                still = sum(held[len(held) - len(which) :][ends] for held in stores[-_AHEAD:])
                ends += live.start
                free[ends] = self._bus[ends] + still
            if step < self._count:
                self._compute(step, live, which)
        return Times(np.maximum(self._done, self._lanes_free), free)

    def _load(self, step: int, live: slice, column: _Held, which: Int, earliest: Any) -> None:
        if not column.any[step]:
            return
        weights = column is self._weights
        room = self._steps.weight_room if weights else self._steps.input_room
        history = self._array_end if weights else self._freed
        bus, there = self._bus[live], self._there[live]
        held = column.at(step, which)
        start = np.maximum(bus, 0 if earliest is None else earliest[live])
        self._after_room(start, history, room, step, live)
        start += held
        everywhere = column.all[step] or held > 0
        np.copyto(bus, start, where=everywhere)
        np.add(bus, self._latency[live], out=there, where=everywhere)
        self._moved[live] += held

    def _leave(self, step: int, live: slice, held: Float) -> None:
        """Store what a step has made."""
        bus = self._bus[live]
        if self._store.any[step]:
            everywhere = self._store.all[step] or held > 0
            end = np.maximum(bus, self._vector_end[step + 1, live])
            end += held
            np.copyto(bus, end, where=everywhere)
            np.add(end, self._latency[live], out=self._done[live], where=everywhere)
            self._moved[live] += held
        self._stored[step + 1, live] = bus

    def _compute(self, step: int, live: slice, which: Int) -> None:
        """The array's work and the vector unit's."""
        steps = self._steps
        start = np.maximum(self._port[live], self._there[live])
        self._after_room(start, self._vector_end, steps.sum_room, step, live)
        if steps.after is not None and steps.after[step] != NEVER:
            np.maximum(start, self._vector_end[steps.after[step] + 1, live], out=start)
        if self._jumps:
            self._bus_busy[step + 1, live] = self._moved[live]
            for jump, anywhere in self._jumps:
                if anywhere[step]:
                    start = self._jumped(jump, step, start, live)
            self._began[step + 1, live] = start
        port = self._array_end[step + 1, live]
        np.add(start, self._work.at(step, which), out=port)
        self._port[live] = port
        freed, lanes_free = port, self._lanes_free[live]
        if self._closes.any[step]:
            start += self._latencies.at(step, which)
            begin = np.maximum(lanes_free, start, out=start)
            self._after_room(begin, self._stored, steps.output_room, step, live)
            vector = self._vector.at(step, which)
            begin += vector
            everywhere = self._closes.all[step] or self._closes.at(step, which) > 0
            np.copyto(lanes_free, begin, where=everywhere)
            self._computed[live] += vector
            if steps.by_vector:
                freed = np.where(everywhere, lanes_free, freed)
        if self._jumps:
            self._lanes_busy[step + 1, live] = self._computed[live]
        self._vector_end[step + 1, live] = lanes_free
        self._freed[step + 1, live] = freed

    def _after_room(
        self, start: Float, history: Float, room: Room | None, step: int, live: slice
    ) -> None:
        """Wait until there is room too."""
        if room is None:
            return
        which = room.begins[step].take(self._steps.nest[live])
        which -= room.behind[live]
        if room.later:
            which += room.later * (which > 0)
        np.maximum(which, 0, out=which)
        np.maximum(start, self._at(history, which, live), out=start)

    def _at(self, history: Float, entries: Int, live: slice) -> Float:
        """Of a history each row's entry."""
        return history.reshape(-1).take(entries * self._rows + self._rank[live])

    def _jumped(self, jump: Jump, step: int, start: Float, live: slice) -> Float:
        """Set the clocks behind the iterations that are left out: each unit at its own pace.

        A unit that has more to do than the others sets theirs from the time on when buffers are
        full; the bus may then have been ahead for a while.
        """
        nest = self._steps.nest[live]
        since = np.maximum(jump.since[step], 0).take(nest)
        times = jump.skipped[step].take(nest) / jump.iterations
        pace = start - self._at(self._began, since + 1, live)
        if jump.with_vector:
            done = self._computed[live] - self._at(self._lanes_busy, since, live)
            pace = np.maximum(pace, done)
        gone = times * pace
        bus = self._bus[live]
        moved = self._moved[live] - self._at(self._bus_busy, since + 1, live)
        loaded = bus + times * moved
        jumps_bus = jump.with_bus[live] & (times > 0)
        waited = np.maximum(gone, loaded + self._latency[live] - start)
        np.copyto(gone, waited, where=jumps_bus)
        np.copyto(bus, np.maximum(loaded, bus + gone), where=jumps_bus)
        if jump.with_vector:
            self._lanes_free[live] += gone
        after: Float = start + gone
        return after


class _Held:
    """For how long a unit is held, or whether it is: of each kind on each row.

    Attributes:
        any: Whether it is at all at each step, on any row.
        all: Whether it is on all rows that have the step.
    """

    def __init__(self, table: Any, kinds: Int) -> None:
        table = np.asarray(table)
        self._flat = np.ascontiguousarray(table, dtype=float).reshape(-1)
        self.any = _anywhere((table > 0).any(axis=1)[kinds])
        everywhere = (table > 0).all(axis=1)
        everywhere[0] = False
        self.all: list[bool] = everywhere[kinds].all(axis=1).tolist()

    def at(self, step: int, which: Int) -> Float:
        """At a step, of kinds and rows as places in the table."""
        return self._flat.take(which) if self.any[step] else np.zeros(len(which))


def _anywhere(table: Any) -> list[bool]:
    """Whether anything in each of its rows is not 0."""
    return [bool(each) for each in np.any(table, axis=1)]
