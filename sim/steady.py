"""The exact jump: where tiles repeat and the machine is in a state it was in before, skip ahead.

A run is a clockwork: with the program and the mapping fixed, what happens next depends only on the
machine's state, and shifting the state in time shifts all that follows.  So if the state at the
beginning of a loop's iteration equals the state some iterations ago, the iterations in between will
repeat for as long as the loop lasts.  The engine then takes whole periods off the loop's count and
moves its clock ahead by an offset; nothing on the heap of the event queue is touched.

Recorded times are those of the clock that runs, the *executed* time.  `Repeat` says which rows of
the record stand for more than themselves, and from them every total can be taken without
expanding: an executed cycle counts once for each time that it happens.  Repeats nest as loops do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "Repeat", "multiplicity", "weights"]

_REMEMBERED = 64  # states of one loop; a loop that has not settled by then is run in full


class Repeat(NamedTuple):
    """A stretch of the record that happens again.

    Attributes:
        first_row, last_row: The rows `first_row <= row < last_row`.
        start, end: The stretch in executed cycles.
        times: How often it happens again.
        period: Cycles from one time to the next, nested repeats included.
    """

    first_row: int
    last_row: int
    start: int
    end: int
    times: int
    period: int


class _Visit(NamedTuple):
    iteration: int
    row: int
    executed: int
    true: int


@dataclass(slots=True, eq=False)
class Frame:
    """A loop under way.

    Attributes:
        remaining: Iterations that have not begun.
        begun: Iterations that have.
        first: The first tile that the loop made, by its number in the run.
        visits: The states in which iterations reached the array.
    """

    remaining: int
    first: int
    begun: int = 0
    visits: dict[Hashable, _Visit] = field(default_factory=dict[Hashable, _Visit])

    def visit(
        self, state: Hashable, iteration: int, row: int, executed: int, true: int
    ) -> Repeat | None:
        """Take note of a state; if it was there before, skip what repeats and say so."""
        if len(self.visits) >= _REMEMBERED:
            self.visits.clear()
        before = self.visits.get(state)
        if before is None:
            self.visits[state] = _Visit(iteration, row, executed, true)
            return None
        times = self.remaining // (iteration - before.iteration)
        if not times:
            return None
        self.remaining -= times * (iteration - before.iteration)
        self.visits.clear()
        return Repeat(before.row, row, before.executed, executed, times, true - before.true)


def multiplicity(rows: int, repeats: Sequence[Repeat]) -> NDArray[np.int64]:
    """How often each row of the record happens, `(rows,)`."""
    found = np.ones(rows, dtype=np.int64)
    for repeat in repeats:
        found[repeat.first_row : repeat.last_row] *= 1 + repeat.times
    return found


def weights(times: NDArray[np.int64], repeats: Sequence[Repeat]) -> NDArray[np.int64]:
    """How often each executed cycle happens, at `times` in ascending order."""
    found = np.ones(len(times), dtype=np.int64)
    ends = np.array([(repeat.start, repeat.end) for repeat in repeats]).reshape(-1, 2)
    for repeat, (first, last) in zip(repeats, np.searchsorted(times, ends), strict=True):
        found[first:last] *= 1 + repeat.times
    return found
