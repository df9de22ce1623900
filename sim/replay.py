"""The second exact jump: what followed a state once follows it whenever the same work is ahead.

Layers come in blocks, and blocks come again.  When a kernel's first tile is taken with everything
before it over, the machine's future depends on little: what is being loaded ahead, and the tiles to
come.  If both were the same at an earlier such moment, all that happened between that moment and
the next one happens again, and nothing of it need be executed.  The run is then taken up at that
next moment's state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from .program import Node, Program, Tile, tiles, total
from .record import Stretch

__all__ = ["Memory", "Start", "State"]


class State(NamedTuple):
    """A machine about to begin a kernel, everything before it over; cycles as seen from now.

    Nothing but what is loaded ahead is in the buffers then: a kernel gives back what it takes.

    Attributes:
        ahead: For each tile that is under way, when its weights and its inputs will be there; -1
            for what has not begun.
        bus: Until when the bus is taken.
        transferring: Whether a transfer is under way; its end may be now.
        held: For how long it has been.
    """

    ahead: tuple[tuple[int, int], ...] = ()
    bus: int = 0
    transferring: bool = False
    held: int = 0


class Start(NamedTuple):
    """Where a run begins: at a kernel, in a state; true time is `offset` ahead of executed."""

    kernel: int = 0
    executed: int = 0
    offset: int = 0
    state: State = State()


class _Known(NamedTuple):
    begun: tuple[int, ...]
    content: tuple[object, ...]
    start: Start
    end: Start
    stretch: Stretch


class Memory:
    """What followed each state so far."""

    def __init__(self, program: Program, after: Sequence[Sequence[int]]) -> None:
        self._kernels = program.kernels
        self._after = after
        self._numbers: dict[tuple[Node, ...], int] = {}
        self._number_of: dict[int, int] = {}  # by kernel; most are never asked for
        self._tiles_of: dict[int, int] = {}  # by number
        self._prefixes: dict[tuple[int, int], tuple[Tile, ...]] = {}
        self._known: dict[tuple[State, int], list[_Known]] = {}

    def learn(
        self, start: Start, end: Start, ahead: Sequence[int], ended: bool, stretch: Stretch
    ) -> None:
        """From `start` the run came to `end`.

        It had then begun all tiles before `end` and those `ahead`, given by their kernels.  Of
        what stands behind them it has seen nothing, or, if it has `ended`, that there is nothing.
        """
        counts = Counter(ahead)
        last = len(self._kernels) if ended else ahead[-1]
        begun = tuple(
            counts[kernel] if kernel >= end.kernel else self._tiles(self._number(kernel), kernel)
            for kernel in range(start.kernel, last + 1)
        )
        key = start.state, self._number(start.kernel)
        known = _Known(begun, self._content(start.kernel, begun), start, end, stretch)
        self._known.setdefault(key, []).append(known)

    def next(self, start: Start) -> tuple[Start, Stretch] | None:
        """What follows `start` and where that leads to; None if it is not known."""
        key = start.state, self._number(start.kernel)
        for known in self._known.get(key, ()):
            if known.content == self._content(start.kernel, known.begun):
                kernels = start.kernel - known.start.kernel
                executed = start.executed - known.start.executed
                offset = start.offset - known.start.offset
                end = Start(
                    kernel=known.end.kernel + kernels,
                    executed=known.end.executed + executed,
                    offset=known.end.offset + offset,
                    state=known.end.state,
                )
                return end, known.stretch._replace(
                    kernels=kernels, executed=executed, offset=offset
                )
        return None

    def _number(self, kernel: int) -> int:
        """The same for kernels that do the same."""
        if kernel not in self._number_of:
            nodes = self._kernels[kernel].nodes
            self._number_of[kernel] = self._numbers.setdefault(nodes, len(self._numbers))
        return self._number_of[kernel]

    def _tiles(self, number: int, kernel: int) -> int:
        """Tiles of a kernel of that number."""
        if number not in self._tiles_of:
            self._tiles_of[number] = total(self._kernels[kernel].nodes).tiles
        return self._tiles_of[number]

    def _content(self, first: int, begun: Sequence[int]) -> tuple[object, ...]:
        """What the tiles that are `begun` of the kernels from `first` on do and wait for."""
        return tuple(self._part(first, first + i, count) for i, count in enumerate(begun))

    def _part(self, first: int, kernel: int, count: int) -> object:
        if kernel >= len(self._kernels):
            return "the end"
        number = self._number(kernel)
        waits = tuple(other - first for other in self._after[kernel] if other >= first)
        early = self._kernels[kernel].weights_early
        if count >= self._tiles(number, kernel):
            return early, waits, number
        if (number, count) not in self._prefixes:
            begun = islice(tiles(self._kernels[kernel].nodes), count)
            self._prefixes[number, count] = tuple(begun)
        return early, waits, self._prefixes[number, count]
