"""The cycle-level model: DMA, arrays, vector unit and host as SimPy processes over a program.

Each unit takes its share of every tile in program order; what one unit hands to another is an
event, and a buffer is a container of bytes.  Inside a tile the closed forms hold, so an event is
spent on a tile and never on a cycle.

The DRAM is served from one DMA queue in program order.  The loads of a tile stand two tiles ahead
of the stores of the tile that computes, which is double buffering; the inputs of a kernel stand
behind the last store of the kernels that make them, while its weights may be loaded before.  A
transfer holds the bus for its set-up and its bytes; latency comes on top and is pipelined.

With the mapping fixed this is a max-plus linear system: every start is a maximum of earlier ends.
Hence no faster part ever makes it slower.  The engine records spans and nothing else.

Where tiles repeat it jumps (see `steady.py`): it compares the state in which iterations of a loop
reach the unit that leads the kernel, and skips what is bound to repeat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import simpy

from ..arch import Accelerator
from .bus import Bus
from .dma_queue import Action, dma_queue, waits_for
from .flight import Flight, Step, steps
from .program import Node, Program, Tile
from .spans import UNITS, Row, Spans
from .steady import Repeat

__all__ = ["run"]

_WEIGHTS, _INPUTS, _ARRAY, _VECTOR, _STORE, _HOST = range(len(UNITS))
_UNDER_WAY = (
    32  # tiles that may be begun and not over; assumed: 256 ran no faster where it was tried
)

_Process: TypeAlias = Generator[simpy.Event, None, None]


def run(program: Program, machine: Accelerator, *, jump: bool = True) -> Spans:
    """Run `program` on `machine` and return what each unit did when.

    Args:
        program: Kernels as tiles in loops.
        machine: What they run on.
        jump: False runs every tile as events of its own; the times are the same.

    Raises:
        RuntimeError: The program waits for itself, which no program made by `lower` does.
    """
    return _Run(program, machine, jump).spans()


class _Run:
    """One simulation; everything that changes lives and dies with it."""

    def __init__(self, program: Program, machine: Accelerator, jump: bool) -> None:
        self.env = simpy.Environment()
        self.bus = Bus(machine)
        self.program = program
        self.after = waits_for(program)
        buffers = machine.buffers
        self.weight_buffer = self._buffer(buffers.weight_bytes)
        self.input_buffer = self._buffer(buffers.input_bytes)
        self.accumulators = self._buffer(buffers.accumulator_bytes)
        self.output_buffer = self._buffer(buffers.output_bytes)
        self.done = [simpy.Event(self.env) for _ in program.kernels]
        self.recorded: list[Row] = []
        self.jump = jump
        self.repeats: list[Repeat] = []
        self.offset = 0  # cycles that were skipped so far
        self.air: deque[Flight] = deque()  # tiles under way, in order
        self.landed = simpy.Event(self.env)  # the next time that there is room for one more
        self.flights = self._flights()
        self.handed: tuple[deque[Flight], ...] = (deque(), deque(), deque())
        self.made = 0
        self.bus_until = self.vector_until = self.drained_at = 0
        self.late = [0 for _ in program.kernels]  # when all that each has begun will be there

    def spans(self) -> Spans:
        """Run to the end."""
        dma, array, vector = self.handed
        processes = [
            self.env.process(self._dma(dma_queue(self._taken(dma), self.after, self.program))),
            self.env.process(self._array(self._taken(array))),
            self.env.process(self._vector(self._taken(vector))),
        ]
        self.env.run()
        if any(process.is_alive for process in processes):
            raise RuntimeError(f"the program waits for itself from cycle {self.env.now} on")
        return Spans.of(self.recorded, self.repeats)

    def _buffer(self, capacity: int) -> simpy.Container:
        return simpy.Container(self.env, capacity=capacity, init=capacity)

    def _flights(self) -> Iterator[Flight]:
        for index, kernel in enumerate(self.program.kernels):
            previous: Step | None = None
            for step in steps(kernel.nodes):
                if previous is not None:
                    yield self._flight(index, previous, last=False)
                previous = step
            if previous is not None:
                yield self._flight(index, previous, last=True)

    def _flight(self, kernel: int, step: Step, last: bool) -> Flight:
        for frame, iteration in step.opens:
            if iteration == 0:
                frame.first = self.made
        flight = Flight(self.env, kernel, step, self.made, last)
        self.made += 1
        self.air.append(flight)
        for queue in self.handed:
            queue.append(flight)
        return flight

    def _taken(self, queue: deque[Flight]) -> Iterator[Flight | None]:
        """A unit's tiles in program order; None while too many are under way to begin another."""
        while True:
            if queue:
                yield queue.popleft()
            elif len(self.air) >= _UNDER_WAY:
                yield None
            elif next(self.flights, None) is None:
                return

    def _over(self, flight: Flight) -> None:
        """Nobody works on the tile any more."""
        flight.over = True
        if self.air[0].over:
            while self.air and self.air[0].over:
                self.air.popleft()
            self.landed.succeed()
            self.landed = simpy.Event(self.env)

    def _record(self, unit: int, kernel: int, start: int, tail: int = 0) -> None:
        self.recorded.append(Row(unit, kernel, start, int(self.env.now), tail, self.offset))

    def _lead(self, flight: Flight) -> None:
        """The unit that leads the kernel takes a tile: if it opens an iteration, try to jump."""
        if not self.jump or not flight.opens:
            return
        now = int(self.env.now)
        if max(self.late[: flight.kernel], default=0) > now:
            return  # a result of an earlier kernel is still on its way, and will not repeat
        state: tuple[object, ...] | None = None
        for frame, iteration in flight.opens:
            if not frame.remaining or self.air[0].number < frame.first:
                continue  # the loop ends, or what was there before it is not over yet
            if state is None:
                state = self._state(flight, now)
            row = len(self.recorded)
            repeat = frame.visit(state, iteration, row, now, now + self.offset)
            if repeat is not None:
                self.repeats.append(repeat)
                self.offset += repeat.times * repeat.period

    def _state(self, flight: Flight, now: int) -> tuple[object, ...]:
        """All that the future depends on, as seen from a tile and from now."""
        return (
            self.made - flight.number,
            self.air[0].number - flight.number,
            max(self.bus_until - now, 0),
            max(self.bus_until + self.bus.latency_cycles - now, 0),
            max(self.drained_at - now, 0),
            max(self.vector_until - now, 0),
            self.weight_buffer.level,
            self.input_buffer.level,
            self.accumulators.level,
            self.output_buffer.level,
            tuple(other.state(now) for other in self.air),
        )

    def _producers(self, kernel: int) -> Iterator[simpy.Event]:
        return (self.done[index] for index in self.after[kernel] if not self.done[index].processed)

    def _later(self, delay: int, event: simpy.Event) -> None:
        """Let `event` happen `delay` cycles from now, without holding anybody up."""
        if delay:
            later = self.env.timeout(delay)
            later.callbacks.append(event.trigger)  # pyright: ignore[reportUnknownMemberType]
        else:
            event.succeed()

    def _dma(self, queue: Iterator[tuple[Action, Flight | None]]) -> _Process:
        latency = self.bus.latency_cycles
        for action, flight in queue:
            if flight is None:
                yield self.landed
                continue
            tile = flight.tile
            if action is Action.STORE:
                if tile.store_bytes:
                    yield flight.finished
                    flight.stored_at = self._until(tile.store_bytes, 1)
                    yield from self._transfer(_STORE, flight)
                    yield self.output_buffer.put(tile.store_bytes)
                    self._over(flight)
                    if flight.last and not tile.host_cycles:
                        self._later(latency, self.done[flight.kernel])
                continue
            if action is Action.INPUTS or not self.program.kernels[flight.kernel].weights_early:
                yield from self._producers(flight.kernel)
            if action is Action.WEIGHTS and flight.weights is not None:
                yield self.weight_buffer.get(tile.weight_bytes)
                until = self._until(tile.weight_bytes, tile.weight_loads)
                flight.weights_at = until + latency
                yield from self._transfer(_WEIGHTS, flight)
                self._later(latency, flight.weights)
            elif action is Action.INPUTS and flight.inputs is not None:
                yield self.input_buffer.get(tile.input_bytes)
                until = self._until(tile.input_bytes, tile.input_loads)
                flight.inputs_at = until + latency
                yield from self._transfer(_INPUTS, flight)
                self._later(latency, flight.inputs)

    def _until(self, size_bytes: int, descriptors: int) -> int:
        """Take the bus for a transfer, and say until when."""
        self.bus_until = int(self.env.now) + self.bus.transfer_cycles(size_bytes, descriptors)
        return self.bus_until

    def _is_late(self, kernel: int, until: int) -> None:
        self.late[kernel] = max(self.late[kernel], until)

    def _transfer(self, unit: int, flight: Flight) -> _Process:
        start = int(self.env.now)
        self._is_late(flight.kernel, self.bus_until + self.bus.latency_cycles)
        yield self.env.timeout(self.bus_until - start)
        self._record(unit, flight.kernel, start, self.bus.latency_cycles)

    def _array(self, flights: Iterator[Flight | None]) -> _Process:
        history: deque[Flight] = deque(maxlen=1 + _reach(self.program))
        for flight in flights:
            if flight is None:
                yield self.landed
                continue
            tile = flight.tile
            history.append(flight)
            work = tile.work
            if work is None:
                continue
            if flight.first:
                yield from self._producers(flight.kernel)
            if flight.weights is not None:
                yield flight.weights
            if flight.inputs is not None:
                yield flight.inputs
            if tile.after:
                yield history[-1 - tile.after].finished
            if tile.accumulator_bytes:
                yield self.accumulators.get(tile.accumulator_bytes)
            self._lead(flight)
            start = int(self.env.now)
            flight.started = True
            flight.result_at = start + work.latency
            self.drained_at = max(self.drained_at, flight.result_at)
            self._is_late(flight.kernel, start + max(work.latency, work.cycles))
            if flight.result is not None:
                self._later(work.latency, flight.result)
            yield self.env.timeout(work.cycles)
            self._record(_ARRAY, flight.kernel, start, work.latency - work.cycles)
            if tile.weights_freed:
                yield self.weight_buffer.put(tile.weights_freed)
            if tile.inputs_freed:
                yield self.input_buffer.put(tile.inputs_freed)
            if tile.scores_freed:
                yield self.accumulators.put(tile.scores_freed)
            if tile.vector_cycles is None:
                self._over(flight)

    def _vector(self, flights: Iterator[Flight | None]) -> _Process:
        for flight in flights:
            if flight is None:
                yield self.landed
                continue
            tile = flight.tile
            if tile.vector_cycles is None:
                continue
            if flight.result is not None:
                yield flight.result
            else:
                if flight.first:
                    yield from self._producers(flight.kernel)
                if flight.weights is not None:
                    yield flight.weights
                if flight.inputs is not None:
                    yield flight.inputs
            if tile.store_bytes:
                yield self.output_buffer.get(tile.store_bytes)
            if tile.work is None:
                self._lead(flight)
            start = int(self.env.now)
            flight.started = True
            self.vector_until = flight.vector_at = start + tile.vector_cycles
            self._is_late(flight.kernel, self.vector_until + tile.host_cycles)
            yield self.env.timeout(tile.vector_cycles)
            self._record(_VECTOR, flight.kernel, start)
            if tile.accumulators_freed:
                yield self.accumulators.put(tile.accumulators_freed)
            if tile.vector_frees:
                yield self.input_buffer.put(tile.vector_frees)
            if tile.weights_freed and tile.work is None:
                yield self.weight_buffer.put(tile.weights_freed)
            flight.finished.succeed()
            if not tile.store_bytes:
                self._over(flight)
            if tile.host_cycles:
                self.env.process(self._host(flight))
            elif flight.last and not tile.store_bytes:
                self.done[flight.kernel].succeed()

    def _host(self, flight: Flight) -> _Process:
        start = int(self.env.now)
        yield self.env.timeout(flight.tile.host_cycles)
        self._record(_HOST, flight.kernel, start)
        self.done[flight.kernel].succeed()


def _reach(program: Program) -> int:
    """The largest distance between a tile and one whose vector work it needs."""
    return max((t.after for k in program.kernels for t in _distinct(k.nodes)), default=0)


def _distinct(nodes: Sequence[Node]) -> Iterator[Tile]:
    for node in nodes:
        if isinstance(node, Tile):
            yield node
        else:
            yield from _distinct(node.body)
