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
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import tee
from typing import TypeAlias

import simpy

from ..arch import Accelerator
from .program import Program, Tile, tiles
from .spans import UNITS, Spans

__all__ = ["Bus", "run"]

_WEIGHTS, _INPUTS, _ARRAY, _VECTOR, _STORE, _HOST = range(len(UNITS))
_AHEAD = 2  # tiles whose loads stand before the store of the one that computes

_Process: TypeAlias = Generator[simpy.Event, None, None]


class Bus:
    """How long the DRAM takes, in whole cycles of the machine's clock."""

    def __init__(self, machine: Accelerator) -> None:
        self.latency_cycles = machine.dram_latency_cycles
        self._setup_cycles = machine.dram.setup_cycles
        rate = machine.dram_bytes_per_cycle
        self._bytes, self._cycles = rate.numerator, rate.denominator

    def transfer_cycles(self, size_bytes: int, descriptors: int) -> int:
        """Cycles for which a transfer holds the DMA queue and the bus."""
        return descriptors * self._setup_cycles - (-size_bytes * self._cycles // self._bytes)


class _Flight:
    """A tile on its way through the units, with the events at which they hand it on."""

    __slots__ = ("finished", "first", "inputs", "kernel", "last", "result", "tile", "weights")

    def __init__(self, env: simpy.Environment, kernel: int, tile: Tile, first: bool, last: bool):
        self.kernel = kernel
        self.tile = tile
        self.first = first
        self.last = last
        self.weights = simpy.Event(env) if tile.weight_bytes else None
        self.inputs = simpy.Event(env) if tile.input_bytes else None
        self.result = simpy.Event(env) if tile.work and tile.vector_cycles is not None else None
        self.finished = simpy.Event(env)  # the vector unit is done with it


def run(program: Program, machine: Accelerator) -> Spans:
    """Run `program` on `machine` and return what each unit did when.

    Raises:
        RuntimeError: The program waits for itself, which no program made by `lower` does.
    """
    return _Run(program, machine).spans()


class _Run:
    """One simulation; everything that changes lives and dies with it."""

    def __init__(self, program: Program, machine: Accelerator) -> None:
        self.env = simpy.Environment()
        self.bus = Bus(machine)
        self.program = program
        self.after = _after(program)
        buffers = machine.buffers
        self.weight_buffer = self._buffer(buffers.weight_bytes)
        self.input_buffer = self._buffer(buffers.input_bytes)
        self.accumulators = self._buffer(buffers.accumulator_bytes)
        self.output_buffer = self._buffer(buffers.output_bytes)
        self.done = [simpy.Event(self.env) for _ in program.kernels]
        self.recorded: list[tuple[int, int, int, int, int]] = []

    def spans(self) -> Spans:
        """Run to the end."""
        for_dma, for_array, for_vector = tee(self._flights(), 3)
        processes = [
            self.env.process(self._dma(_queue(for_dma, self.after, self.program))),
            self.env.process(self._array(for_array)),
            self.env.process(self._vector(for_vector)),
        ]
        self.env.run()
        if any(process.is_alive for process in processes):
            raise RuntimeError(f"the program waits for itself from cycle {self.env.now} on")
        return Spans.of(self.recorded)

    def _buffer(self, capacity: int) -> simpy.Container:
        return simpy.Container(self.env, capacity=capacity, init=capacity)

    def _flights(self) -> Iterator[_Flight]:
        for index, kernel in enumerate(self.program.kernels):
            previous: Tile | None = None
            first = True
            for tile in tiles(kernel.nodes):
                if previous is not None:
                    yield _Flight(self.env, index, previous, first, False)
                    first = False
                previous = tile
            if previous is not None:
                yield _Flight(self.env, index, previous, first, True)

    def _record(self, unit: int, kernel: int, start: int, tail: int = 0) -> None:
        self.recorded.append((unit, kernel, start, int(self.env.now), tail))

    def _producers(self, kernel: int) -> Iterator[simpy.Event]:
        return (self.done[index] for index in self.after[kernel] if not self.done[index].processed)

    def _later(self, delay: int, event: simpy.Event) -> None:
        """Let `event` happen `delay` cycles from now, without holding anybody up."""
        if delay:
            later = self.env.timeout(delay)
            later.callbacks.append(event.trigger)  # pyright: ignore[reportUnknownMemberType]
        else:
            event.succeed()

    def _dma(self, queue: Iterator[tuple[int, _Flight]]) -> _Process:
        latency = self.bus.latency_cycles
        for action, flight in queue:
            tile = flight.tile
            if action == _STORE:
                if tile.store_bytes:
                    yield flight.finished
                    yield from self._transfer(_STORE, flight, tile.store_bytes, 1)
                    yield self.output_buffer.put(tile.store_bytes)
                    if flight.last and not tile.host_cycles:
                        self._later(latency, self.done[flight.kernel])
                continue
            if action == _INPUTS or not self.program.kernels[flight.kernel].weights_early:
                yield from self._producers(flight.kernel)
            if action == _WEIGHTS and flight.weights is not None:
                yield self.weight_buffer.get(tile.weight_bytes)
                yield from self._transfer(_WEIGHTS, flight, tile.weight_bytes, tile.weight_loads)
                self._later(latency, flight.weights)
            elif action == _INPUTS and flight.inputs is not None:
                yield self.input_buffer.get(tile.input_bytes)
                yield from self._transfer(_INPUTS, flight, tile.input_bytes, tile.input_loads)
                self._later(latency, flight.inputs)

    def _transfer(self, unit: int, flight: _Flight, size_bytes: int, descriptors: int) -> _Process:
        start = int(self.env.now)
        yield self.env.timeout(self.bus.transfer_cycles(size_bytes, descriptors))
        self._record(unit, flight.kernel, start, self.bus.latency_cycles)

    def _array(self, flights: Iterator[_Flight]) -> _Process:
        history: deque[_Flight] = deque(maxlen=1 + _reach(self.program))
        for flight in flights:
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
            start = int(self.env.now)
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

    def _vector(self, flights: Iterator[_Flight]) -> _Process:
        for flight in flights:
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
            start = int(self.env.now)
            yield self.env.timeout(tile.vector_cycles)
            self._record(_VECTOR, flight.kernel, start)
            if tile.accumulators_freed:
                yield self.accumulators.put(tile.accumulators_freed)
            if tile.vector_frees:
                yield self.input_buffer.put(tile.vector_frees)
            if tile.weights_freed and tile.work is None:
                yield self.weight_buffer.put(tile.weights_freed)
            flight.finished.succeed()
            if tile.host_cycles:
                self.env.process(self._host(flight))
            elif flight.last and not tile.store_bytes:
                self.done[flight.kernel].succeed()

    def _host(self, flight: _Flight) -> _Process:
        start = int(self.env.now)
        yield self.env.timeout(flight.tile.host_cycles)
        self._record(_HOST, flight.kernel, start)
        self.done[flight.kernel].succeed()


def _after(program: Program) -> tuple[tuple[int, ...], ...]:
    """What each kernel waits for, kernels without tiles replaced by what they wait for."""
    found: list[tuple[int, ...]] = []
    for kernel in program.kernels:
        real = {
            index
            for producer in kernel.after
            for index in ((producer,) if program.kernels[producer].nodes else found[producer])
        }
        found.append(tuple(sorted(real)))
    return tuple(found)


def _reach(program: Program) -> int:
    """The largest distance between a tile and one whose vector work it needs."""
    return max((t.after for k in program.kernels for t in _distinct(k.nodes)), default=0)


def _distinct(nodes: Sequence[object]) -> Iterator[Tile]:
    for node in nodes:
        if isinstance(node, Tile):
            yield node
        else:
            yield from _distinct(node.body)  # type: ignore[attr-defined]


def _queue(
    flights: Iterator[_Flight], after: tuple[tuple[int, ...], ...], program: Program
) -> Iterator[tuple[int, _Flight]]:
    """The order in which the DMA serves loads and stores.

    A load that must wait for an earlier kernel's stores is queued right behind them; one that need
    not is queued `_AHEAD` tiles early.
    """
    ahead: deque[_Flight] = deque()  # loads queued, store not yet
    held: deque[_Flight] = deque()  # inputs that wait for the stores of an earlier kernel
    stored = -1  # the last kernel whose stores are all queued

    def ready(flight: _Flight) -> bool:
        producers = after[flight.kernel]
        return not producers or producers[-1] <= stored

    def inputs(flight: _Flight) -> Iterator[tuple[int, _Flight]]:
        if not program.kernels[flight.kernel].weights_early:
            yield _WEIGHTS, flight
        yield _INPUTS, flight

    def store() -> Iterator[tuple[int, _Flight]]:
        nonlocal stored
        flight = ahead.popleft()
        yield _STORE, flight
        if flight.last:
            stored = flight.kernel
            while held and ready(held[0]):
                yield from inputs(held.popleft())

    for flight in flights:
        if program.kernels[flight.kernel].weights_early:
            yield _WEIGHTS, flight
        ahead.append(flight)
        if held or not ready(flight):
            held.append(flight)
        else:
            yield from inputs(flight)
        if len(ahead) > _AHEAD:
            yield from store()
    while ahead:
        yield from store()
