"""The cycle-level model: a program on a machine, every tile as events or what repeats skipped.

By default the DRAM is served from one DMA queue in program order.  The loads of a tile stand two
tiles ahead of the stores of the tile that computes, which is double buffering; the inputs of a
kernel stand behind the last store of the kernels that make them, while its weights may be loaded
before.  With the mapping fixed this is a max-plus linear system: every start is a maximum of
earlier ends.  Hence no faster part ever makes it slower.  `contention.py` has orders without that
law.

What the units do stands in `units.py`; here stands when their work is known already.  The tiles of
a loop repeat (`steady.py`), and so do whole kernels (`replay.py`): the engine compares the states
in which iterations and kernels reach the unit that leads them, and skips what is bound to repeat.
It records spans and nothing else.
"""

from __future__ import annotations

from ..arch import Accelerator
from .contention import ContendingUnits
from .dma_queue import waits_for
from .flight import Flight
from .program import Program
from .record import Record
from .replay import Memory, Start
from .spans import Spans
from .units import Units

__all__ = ["run", "run_part"]


def run(program: Program, machine: Accelerator, *, jump: bool = True) -> Spans:
    """Run `program` on `machine` and return what each unit did when.

    Args:
        program: Kernels as tiles in loops.
        machine: What they run on.
        jump: False runs every tile as events of its own; the times are the same.  Only a DRAM
            that serves in the order of the program can be jumped over; others never are.

    Raises:
        RuntimeError: The program waits for itself, which no program made by `lower` does.
    """
    jump = jump and machine.dram.order == "program"
    return _run(program, machine, Start(), None, jump)[0]


def run_part(
    program: Program, machine: Accelerator, start: Start, stop: int | None
) -> tuple[Spans, Start | None]:
    """Run from `start` until kernel `stop`, or one behind it, begins with all before it over.

    Returns:
        What each unit did, and where that led to; None at the end of the program.

    Raises:
        ValueError: The machine's DRAM does not serve in the order of the program, or `stop` is not
            behind `start`.
    """
    if stop is not None and stop <= start.kernel:
        raise ValueError(f"stop: wanted a kernel behind {start.kernel}, got {stop}")
    if machine.dram.order != "program":
        raise ValueError(f"dram.order: only the program's can be cut, got {machine.dram.order!r}")
    return _run(program, machine, start, stop, jump=True)


def _run(
    program: Program, machine: Accelerator, start: Start, stop: int | None, jump: bool
) -> tuple[Spans, Start | None]:
    after = waits_for(program)
    record = Record()
    memory = Memory(program, after)
    here = start
    while True:
        while jump and not _is_past(here, stop) and (known := memory.next(here)):
            here, stretch = known
            record.append(stretch)
        if _is_past(here, stop):
            return record.spans(), here
        leg = _Leg(program, after, machine, record, memory if jump else None, here, stop)
        reached = leg.end()
        if reached is None:
            return record.spans(), None
        here = reached


def _is_past(here: Start, stop: int | None) -> bool:
    return stop is not None and here.kernel >= stop


class _Reached(Exception):  # noqa: N818, it is none
    """The run has come to a start from which it is known how it goes on."""


class _Leg:
    """The part of a run from one start to where it is known how it goes on, or to the end."""

    def __init__(
        self,
        program: Program,
        after: tuple[tuple[int, ...], ...],
        machine: Accelerator,
        record: Record,
        memory: Memory | None,
        start: Start,
        stop: int | None,
    ) -> None:
        self.stop = stop
        self.record = record
        self.memory = memory
        self.start = start
        self.mark = record.mark
        units = Units if machine.dram.order == "program" else ContendingUnits
        self.units = units(program, after, machine, record, start, self.lead)

    def end(self) -> Start | None:
        """Run; the start at which it stopped, None at the program's end."""
        try:
            self.units.run()
        except _Reached as reached:
            start: Start = reached.args[0]
            return start
        self.record.append(self.record.since(self.mark))
        return None

    def lead(self, flight: Flight) -> None:
        """The unit that leads the kernel takes a tile: look whether it opens what is known."""
        units, memory = self.units, self.memory
        if memory is None or not (flight.first or flight.opens):
            return
        if flight.first and flight is units.traffic.air[0] and units.is_fresh():
            self._arrive(flight.kernel, memory)
        self._iterate(flight)

    def _arrive(self, kernel: int, memory: Memory) -> None:
        """At a kernel's beginning: learn what led here, and stop if what follows is known."""
        units = self.units
        here = Start(kernel, units.now, units.offset, units.state())
        if kernel > self.start.kernel:
            stretch = self.record.since(self.mark)
            ahead = [tile.kernel for tile in units.traffic.air]
            memory.learn(self.start, here, ahead, units.traffic.ended, stretch)
            self.record.append(stretch)
            self.start, self.mark = here, self.record.mark
            if _is_past(here, self.stop) or memory.next(here):
                raise _Reached(here)

    def _iterate(self, flight: Flight) -> None:
        """At the beginning of iterations: skip those that are bound to repeat."""
        units, record = self.units, self.record
        if max(units.late[: flight.kernel], default=0) > units.now:
            return  # a result of an earlier kernel is still on its way, and will not repeat
        state: tuple[object, ...] | None = None
        for frame, iteration in flight.opens:
            if not frame.remaining or units.traffic.air[0].number < frame.first:
                continue  # the loop ends, or what was there before it is not over yet
            if state is None:
                state = self._state(flight)
            executed = units.now
            row = len(record.rows)
            repeat = frame.visit(state, iteration, row, executed, executed + units.offset)
            if repeat is not None:
                record.repeats.append(repeat)
                units.offset += repeat.times * repeat.period

    def _state(self, flight: Flight) -> tuple[object, ...]:
        """All that the future depends on, as seen from a tile and from now."""
        units, now = self.units, self.units.now
        return (
            units.traffic.made - flight.number,
            units.traffic.air[0].number - flight.number,
            max(units.bus_until - now, 0),
            max(units.bus_until + units.bus.latency_cycles - now, 0),
            max(units.drained_at - now, 0),
            max(units.vector_until - now, 0),
            # A unit may be done just now and not know it: its span is then not recorded yet.
            *units.busy,
            units.levels,
            tuple(other.state(now) for other in units.traffic.air),
        )
