"""Where each PE-cycle went, exactly.

Everything that the arrays could have done is `PEs x makespan` PE-cycles.  Each of them takes the
first cause that applies: useful MACs, a selector's MACs, padded tokens, the ragged edge of a fold,
filling, draining and reloading the array, waiting for memory, for the vector unit, for a decision
(barrier and host), and arrays without a share of the work.  The parts are rational numbers that add
up exactly; none is negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator
from .program import KernelProgram, Program, total
from .replay import Start
from .spans import UNITS, Row, Spans
from .steady import weights

__all__ = ["CAUSES", "Losses", "account", "account_part"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """PE-cycles by cause.

    Attributes:
        useful: MACs of the model itself.
        selector: MACs of token selectors.
        padding: MACs on tokens that are only there to fill a shape.
        edge: Rows, columns or words of a fold that its ragged operand leaves empty.
        fill_drain: Filling, draining and reloading the array.
        memory: Waiting for DRAM, or for the input buffer's read rate.
        vector: Waiting for the vector unit.
        wait: Waiting for a decision and the host.
        imbalance: Arrays without a share of a tile.
    """

    useful: Fraction = Fraction(0)
    selector: Fraction = Fraction(0)
    padding: Fraction = Fraction(0)
    edge: Fraction = Fraction(0)
    fill_drain: Fraction = Fraction(0)
    memory: Fraction = Fraction(0)
    vector: Fraction = Fraction(0)
    wait: Fraction = Fraction(0)
    imbalance: Fraction = Fraction(0)

    @property
    def total(self) -> Fraction:
        """All PE-cycles."""
        return sum((getattr(self, cause) for cause in CAUSES), Fraction(0))

    def shares(self) -> dict[str, float]:
        """Each cause's part of the whole; zeros if there is nothing to share."""
        whole = self.total
        return {c: float(getattr(self, c) / whole) if whole else 0.0 for c in CAUSES}

    @staticmethod
    def sum(parts: Iterable[Losses]) -> Losses:
        """The losses of all parts together.

        >>> halves, third = Losses(useful=Fraction(3, 2)), Losses(useful=Fraction(1, 3))
        >>> Losses.sum([halves, third, halves]).useful
        Fraction(10, 3)
        """
        every = tuple(parts)
        return Losses(**{cause: _sum(getattr(one, cause) for one in every) for cause in CAUSES})


def _sum(numbers: Iterable[Fraction]) -> Fraction:
    """Numerators of one denominator as whole numbers, which takes a tenth of the time."""
    numerators: dict[int, int] = {}
    for number in numbers:
        numerator, denominator = number.as_integer_ratio()
        numerators[denominator] = numerators.get(denominator, 0) + numerator
    return sum((Fraction(top, below) for below, top in numerators.items()), Fraction(0))


CAUSES: tuple[str, ...] = tuple(field.name for field in fields(Losses))

_MEMORY = UNITS.index("weights")

# While the arrays idle, the first of these that is under way is the cause.
_GAP_CAUSES = ("fill_drain", "memory", "vector", "wait")


def account(program: Program, spans: Spans, machine: Accelerator) -> tuple[Losses, ...]:
    """The losses of every kernel; their sum is the whole run's.

    Time in which the arrays idle belongs to the kernel in whose window it lies: from the end of all
    earlier kernels to its own end.
    """
    pes = machine.array.pes
    kernels = len(program.kernels)
    busy = _busy(spans, kernels)
    gaps = _gaps(spans, kernels)
    found: list[Losses] = []
    for index, kernel in enumerate(program.kernels):
        sums = total(kernel.nodes)
        useful = Fraction(sums.useful)
        filling = int(busy[index]) * pes - sums.streamed - sums.throttled - sums.idle
        idle = {
            cause: int(gaps[position, index]) * pes for position, cause in enumerate(_GAP_CAUSES)
        }
        found.append(
            Losses(
                useful=Fraction(0) if kernel.selector else useful,
                selector=useful if kernel.selector else Fraction(0),
                edge=sums.streamed - useful,
                fill_drain=Fraction(filling + idle["fill_drain"]),
                memory=Fraction(sums.throttled + idle["memory"]),
                vector=Fraction(idle["vector"]),
                wait=Fraction(idle["wait"]),
                imbalance=Fraction(sums.idle),
            )
        )
    return tuple(found)


def account_part(
    program: Program, spans: Spans, machine: Accelerator, start: Start, end: Start | None
) -> tuple[Losses, ...]:
    """The losses of the kernels that ran between two starts, and of the one that `end` begins.

    What was under way at either start is memory's for as long as it is: the sum over all parts of a
    run is what `account` says of the whole.

    Args:
        program: Of which a part was run.
        spans: What each unit did from `start` on, before `end`.
        machine: What it ran on.
        start: Where it began, at executed cycle 0.
        end: Where it stopped; None at the program's end.
    """
    last = len(program.kernels) - 1 if end is None else end.kernel
    arriving = max((left for loads in start.state.ahead for left in loads), default=0)
    rows = [Row(_MEMORY, last, 0, 0, max(arriving, 0))]
    until = int((spans.end + spans.tail).max(initial=0))
    if end is not None:
        until = end.executed
        rows.append(Row(_MEMORY, last, until - end.state.held, until, 0, end.offset))
    columns = spans.and_rows(rows)
    bounded = replace(
        columns,
        kernel=np.minimum(columns.kernel, last),
        tail=np.minimum(columns.end + columns.tail, until) - columns.end,
    )
    kernels = tuple(
        kernel if start.kernel <= index and (end is None or index < end.kernel) else _idle(kernel)
        for index, kernel in enumerate(program.kernels[: last + 1])
    )
    return account(Program(kernels=kernels), bounded, machine)


def _idle(kernel: KernelProgram) -> KernelProgram:
    return replace(kernel, nodes=())


def _busy(spans: Spans, kernels: int) -> NDArray[np.int64]:
    """Cycles for which each kernel holds the arrays' ports, `(kernels,)`."""
    array = spans.is_of("array")
    # A port that is held longer than the last result needs is held beyond the end of time.
    held = (np.minimum(spans.end + spans.offset, spans.cycles) - spans.offset - spans.start)[array]
    cycles = np.zeros(kernels, dtype=np.int64)
    np.add.at(cycles, spans.kernel[array], held * spans.counts[array])
    return cycles


def window_ends(spans: Spans, late: NDArray[np.int64], kernels: int) -> NDArray[np.int64]:
    """When each kernel and all before it are over, `(kernels,)`; `late` is when each span is."""
    ends = np.zeros(kernels, dtype=np.int64)
    np.maximum.at(ends, spans.kernel, late)
    return np.maximum.accumulate(ends)


def _gaps(spans: Spans, kernels: int) -> NDArray[np.int64]:
    """Cycles in which the arrays idle, by cause and kernel, `(causes, kernels)`."""
    windows = window_ends(spans, spans.end + spans.tail, kernels)
    makespan = int(windows[-1]) if kernels else 0
    array, vector = spans.is_of("array"), spans.is_of("vector")
    memory = spans.is_of("weights", "inputs", "store")
    start, end, late = spans.start, spans.end, spans.end + spans.tail
    # Under way, in the order of precedence: the port itself, the drain behind it, and so on.
    under_way = [
        (start[array], end[array]),
        (end[array], late[array]),
        (start[memory], late[memory]),
        (start[vector], end[vector]),
    ]
    jumps = np.array([time for repeat in spans.repeats for time in (repeat.start, repeat.end)])
    edges = [*(time for pair in under_way for time in pair), windows, jumps, np.zeros(1)]
    times = np.sort(np.clip(np.concatenate(edges).astype(np.int64), 0, makespan))
    times = times[np.diff(times, prepend=-1) > 0]  # faster than np.unique on long runs
    lengths = np.diff(times) * weights(times[:-1], spans.repeats)
    cause = np.full(len(lengths), len(under_way))
    for position in reversed(range(len(under_way))):
        cause[_covered(times, *under_way[position])] = position
    window = np.searchsorted(windows, times[:-1], side="right")
    found = np.zeros((len(under_way) + 1, kernels), dtype=np.int64)
    np.add.at(found, (cause, window), lengths)
    return found[1:]


def _covered(
    times: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of the stretches between `times` lie in one of the intervals."""
    real = ends > starts
    steps = np.zeros(len(times), dtype=np.int64)
    last = times[-1] if len(times) else 0
    np.add.at(steps, np.searchsorted(times, np.minimum(starts[real], last)), 1)
    np.add.at(steps, np.searchsorted(times, np.minimum(ends[real], last)), -1)
    return np.cumsum(steps)[:-1] > 0
