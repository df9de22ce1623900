"""The units of a machine as SimPy processes: DMA, arrays, vector unit and host.

Each unit takes its share of every tile in program order, and waits for moments and for room in
buffers (`moment.py`).  Inside a tile the closed forms hold, so an event is
spent on a tile and never on a cycle.

A transfer holds the bus for its set-up and its bytes; latency comes on top and is pipelined.  The
inputs of a kernel wait for the last store of the kernels that make them, while its weights may be
loaded before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import simpy

from ..arch import Accelerator
from .bus import Bus
from .dma_queue import Action, dma_queue
from .flight import Flight, Load
from .moment import Buffer, Moment, Process
from .program import Program
from .record import Record
from .replay import Start, State
from .spans import UNITS, Row
from .traffic import Queue, Traffic

__all__ = ["Units"]

_WEIGHTS, _INPUTS, _ARRAY, _VECTOR, _STORE, _HOST = range(len(UNITS))


class Units:
    """One machine at work on a program, from a start on; everything in it changes.

    Attributes:
        busy: How much each unit has in hand.
        env: SimPy's; its clock counts executed cycles.
        bus: The DRAM.
        traffic: The tiles that are under way.
        offset: Cycles by which true time is ahead of the clock.
        late: For each kernel, when all that has begun of it will be there.
    """

    def __init__(
        self,
        program: Program,
        after: Sequence[Sequence[int]],
        machine: Accelerator,
        record: Record,
        start: Start,
        lead: Callable[[Flight], None],
    ) -> None:
        self.env = simpy.Environment(initial_time=start.executed)
        self.bus = Bus(machine)
        self.traffic = Traffic(self.env, program, start.kernel)
        self.offset = start.offset
        self.late = [0 for _ in program.kernels]
        self.bus_from = self.bus_until = start.executed
        self.vector_until = self.drained_at = start.executed
        self.busy = [0 for _ in UNITS]
        self._resumed: Load | None = None  # was on the bus at the start
        self._program = program
        self._after = after
        self._record = record
        self._first_kernel = start.kernel
        self._lead = lead
        self._done = [Moment(self.env) for _ in program.kernels]
        sizes = machine.buffers
        self._weight_buffer = Buffer(self.env, sizes.weight_bytes)
        self._input_buffer = Buffer(self.env, sizes.input_bytes)
        self._output_buffer = Buffer(self.env, sizes.output_bytes)
        self._accumulators = Buffer(self.env, sizes.accumulator_bytes)
        processes = (
            *self._memory(),
            self._array(self.traffic.queue()),
            self._vector(self.traffic.queue()),
        )
        self._processes = [self.env.process(process) for process in processes]
        self._take_up(start.state)

    def run(self) -> None:
        """Runs to the end.

        Raises:
            RuntimeError: The program waits for itself.
        """
        self.env.run()
        if any(process.is_alive for process in self._processes):
            raise RuntimeError(f"the program waits for itself from cycle {self.env.now} on")

    @property
    def now(self) -> int:
        """The executed cycle."""
        return int(self.env.now)

    @property
    def levels(self) -> tuple[int, ...]:
        """Bytes that are free in the weight, input, output and accumulator buffers."""
        buffers = self._weight_buffer, self._input_buffer, self._output_buffer, self._accumulators
        return tuple(buffer.free_bytes for buffer in buffers)

    def is_fresh(self) -> bool:
        """Whether all tiles that were worked on are over, and nothing of them is on its way."""
        first = self.traffic.air[0]
        return (
            not any(flight.started for flight in self.traffic.air)
            and not self.busy[_ARRAY]
            and not self.busy[_VECTOR]
            and not self.busy[_HOST]
            and max(self.late[: first.kernel], default=0) <= self.now
        )

    def state(self) -> State:
        """What a fresh machine is about."""
        return State(
            ahead=tuple(flight.loading(self.now) for flight in self.traffic.air),
            bus=max(self.bus_until - self.now, 0),
            transferring=self.is_transferring,
            held=self.now - self.bus_from if self.is_transferring else 0,
        )

    @property
    def is_transferring(self) -> bool:
        """Whether the bus is taken; at the last cycle of a transfer it is, until that is noted."""
        return bool(self.busy[_WEIGHTS] or self.busy[_INPUTS] or self.busy[_STORE])

    def _take_up(self, state: State) -> None:
        """Let what was under way in `state` be under way."""
        self.bus_from = self.now - state.held
        self.bus_until = self.now + state.bus
        buffers = self._weight_buffer, self._input_buffer
        for seen in state.ahead:
            flight = self.traffic.next()
            for load, left, buffer in zip(flight.loads, seen, buffers, strict=True):
                if load is None or left < 0:
                    continue
                buffer.free_bytes -= load.size_bytes
                load.there.set(self.now + left)
                self._is_late(flight.kernel, self.now + left)
                if state.transferring and left == state.bus + self.bus.latency_cycles:
                    self._resumed = load

    # What happens when

    def _work(self, unit: int, kernel: int, start: int, until: int, tail: int = 0) -> Process:
        """Hold a unit until a cycle, then note it."""
        self.busy[unit] += 1
        yield self.env.timeout(until - self.now)
        self.busy[unit] -= 1
        self._record.rows.append(Row(unit, kernel, start, until, tail, self.offset))

    def _is_late(self, kernel: int, until: int) -> None:
        self.late[kernel] = max(self.late[kernel], until)

    def _producers(self, kernel: int) -> Process:
        for index in self._after[kernel]:
            if index >= self._first_kernel:
                yield from self._done[index].wait()

    def _operands(self, flight: Flight) -> Process:
        if flight.first:
            yield from self._producers(flight.kernel)
        for load in flight.loads:
            if load is not None:
                yield from load.there.wait()

    # The units

    def _memory(self) -> Iterator[Process]:
        """The DRAM's one queue, in the order of the program."""
        yield self._dma(
            dma_queue(self.traffic.queue(), self._after, self._program, self._first_kernel)
        )

    def _dma(self, queue: Iterator[tuple[Action, Flight | None]]) -> Process:
        for action, flight in queue:
            if flight is None:
                yield self.traffic.landing()
            elif action is Action.STORE:
                yield from self._store(flight)
            elif action is Action.WEIGHTS:
                if not self._program.kernels[flight.kernel].weights_early:
                    yield from self._producers(flight.kernel)
                yield from self._fetch(_WEIGHTS, flight, flight.weights, self._weight_buffer)
            else:
                yield from self._producers(flight.kernel)
                yield from self._fetch(_INPUTS, flight, flight.inputs, self._input_buffer)

    def _fetch(self, unit: int, flight: Flight, load: Load | None, buffer: Buffer) -> Process:
        """Load what a tile needs, or see a load through that was begun before the start."""
        if load is None:
            return
        cycles = self.bus.transfer_cycles(load.size_bytes, load.descriptors)
        if load.there.at is None:
            yield from buffer.take(load.size_bytes)
            yield from self._transfer(unit, flight, load, cycles)
        elif load is self._resumed:
            yield from self._hold_bus(unit, flight, self.bus_until - cycles)

    def _store(self, flight: Flight) -> Process:
        size_bytes = flight.tile.store_bytes
        if not size_bytes:
            return
        yield from flight.finished.wait()
        yield from self._transfer(_STORE, flight, None, self.bus.transfer_cycles(size_bytes, 1))
        self._output_buffer.give(size_bytes)
        self.traffic.over(flight)
        if flight.last and not flight.tile.host_cycles:
            self._done[flight.kernel].set(self.now + self.bus.latency_cycles)

    def _transfer(self, unit: int, flight: Flight, load: Load | None, cycles: int) -> Process:
        """Take the bus for a load, or for a store."""
        self.bus_from = start = self.now
        self.bus_until = start + cycles
        there_at = self.bus_until + self.bus.latency_cycles
        if load is None:
            flight.stored_at = self.bus_until
        else:
            load.there.set(there_at)
        self._is_late(flight.kernel, there_at)
        yield from self._hold_bus(unit, flight, start)

    def _hold_bus(self, unit: int, flight: Flight, start: int) -> Process:
        yield from self._work(unit, flight.kernel, start, self.bus_until, self.bus.latency_cycles)

    def _array(self, flights: Queue) -> Process:
        history: deque[Flight] = deque(maxlen=1 + self._program.reach)
        for flight in flights:
            if flight is None:
                yield self.traffic.landing()
                continue
            tile = flight.tile
            history.append(flight)
            work = tile.work
            if work is None:
                continue
            yield from self._operands(flight)
            if tile.after:
                yield from history[-1 - tile.after].finished.wait()
            if tile.accumulator_bytes:
                yield from self._accumulators.take(tile.accumulator_bytes)
            self._lead(flight)
            start = self.now
            flight.started = True
            flight.result.set(start + work.latency)
            self.drained_at = max(self.drained_at, start + work.latency)
            self._is_late(flight.kernel, start + max(work.latency, work.cycles))
            port = start + work.cycles
            yield from self._work(_ARRAY, flight.kernel, start, port, work.latency - work.cycles)
            if tile.weights_freed:
                self._weight_buffer.give(tile.weights_freed)
            if tile.inputs_freed:
                self._input_buffer.give(tile.inputs_freed)
            if tile.scores_freed:
                self._accumulators.give(tile.scores_freed)
            if tile.vector_cycles is None:
                self.traffic.over(flight)

    def _vector(self, flights: Queue) -> Process:
        for flight in flights:
            if flight is None:
                yield self.traffic.landing()
                continue
            tile = flight.tile
            if tile.vector_cycles is None:
                continue
            if tile.work is not None:
                yield from flight.result.wait()
            else:
                yield from self._operands(flight)
            if tile.store_bytes:
                yield from self._output_buffer.take(tile.store_bytes)
            if tile.work is None:
                self._lead(flight)
            start = self.now
            flight.started = True
            self.vector_until = start + tile.vector_cycles
            flight.finished.set(self.vector_until)
            self._is_late(flight.kernel, self.vector_until + tile.host_cycles)
            yield from self._work(_VECTOR, flight.kernel, start, self.vector_until)
            if tile.accumulators_freed:
                self._accumulators.give(tile.accumulators_freed)
            if tile.vector_frees:
                self._input_buffer.give(tile.vector_frees)
            if tile.weights_freed and tile.work is None:
                self._weight_buffer.give(tile.weights_freed)
            if not tile.store_bytes:
                self.traffic.over(flight)
            if tile.host_cycles:
                self.env.process(self._host(flight))
            elif flight.last and not tile.store_bytes:
                self._done[flight.kernel].set(self.now)

    def _host(self, flight: Flight) -> Process:
        until = self.now + flight.tile.host_cycles
        yield from self._work(_HOST, flight.kernel, self.now, until)
        self._done[flight.kernel].set(self.now)
