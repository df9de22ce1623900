"""A model run in sections, so that what repeats from image to image is run once.

Between two selectors all kernels depend on one count, and only a few about a selector on two
(`cut.py`).  Sections are run one after another, each from the state that the one before has left;
what a section did from a state with the same work ahead is remembered, so that ten thousand images
cost little more than their distinct counts.

A section ends at the first kernel that begins with everything before it over, and is told apart by
all that its run has seen: its own tiles, and of those ahead as much as the units have looked at.
The sum over sections is exactly what the whole run gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from ..arch import Accelerator
from ..workloads.graph import Workload
from .array_work import whole
from .cut import cut
from .engine import run_part
from .losses import account_part
from .lower import assembled
from .plan import Plan
from .program import Program
from .replay import Start, State
from .section_content import AHEAD, Content, Contents, Row
from .spans import Spans
from .waterfall import STEPS, add_losses

__all__ = ["Part", "Sections"]


class Part(NamedTuple):
    """What a run came to.

    Attributes:
        cycles: From its start to its end.
        steps: PE-cycles by cause (`waterfall.STEPS`).
        energy_j, mac_j: Joules, and those of the MACs alone.
        macs: Multiply-accumulates.
        sure_cycles: Of a GPU's kernels, by how far they are from what was measured.
    """

    cycles: int
    steps: Mapping[str, Fraction]
    energy_j: float
    mac_j: float
    macs: int
    sure_cycles: tuple[tuple[str, int], ...] = ()


class _Position(NamedTuple):
    """A kernel of a section."""

    section: int
    kernel: int


class _Known(NamedTuple):
    timed: tuple[int, ...]  # of the sections that were run through
    ahead: tuple[int, ...]  # what was seen behind the end
    end: _Position | None
    state: State
    cycles: int
    steps: tuple[tuple[str, Fraction | int], ...]  # whole numbers as such: they add up faster


@dataclass(frozen=True)
class Sections:
    """A model with token counts on a machine, and what is known of its runs.

    Attributes:
        workload: The model, unbound, every number in a format.
        names: Symbols of the kept counts.
        others: Values of its other symbols.
        machine: What it runs on.
        plan: Places of activations, and tiles where they are not chosen for each shape.
        largest: Values of the kept counts that make the largest shape.
    """

    workload: Workload
    names: tuple[str, ...]
    others: Mapping[str, int]
    machine: Accelerator
    plan: Plan
    largest: Row
    _known: dict[object, list[_Known]] = field(default_factory=dict[object, list[_Known]])

    def run(self, rows: Sequence[Row]) -> Part:
        """Images with these kept counts, side by side, from an idle machine to the last result."""
        contents = self._contents.of(rows)
        position: _Position | None = _Position(0, 0)
        state, cycles = State(), 0
        steps: dict[str, Fraction | int] = dict.fromkeys(STEPS, 0)
        while position is not None:
            known = self._find(position, state, contents)
            cycles += known.cycles
            for cause, pe_cycles in known.steps:
                steps[cause] += pe_cycles
            position, state = known.end, known.state
        static_j = self.machine.static_w * cycles / self.machine.clock_hz
        return Part(
            cycles=cycles,
            steps={cause: Fraction(pe_cycles) for cause, pe_cycles in steps.items()},
            energy_j=sum(content.energy_j for content in contents) + static_j,
            mac_j=sum(content.mac_j for content in contents),
            macs=sum(content.macs for content in contents),
        )

    @cached_property
    def _contents(self) -> Contents:
        binding = {**self.others, **dict(zip(self.names, self.largest, strict=True))}
        sections = cut(self.workload, self.names, binding)
        return Contents(sections, self.names, self.others, self.machine, self.plan)

    def _find(self, position: _Position, state: State, contents: Sequence[Content]) -> _Known:
        first = position.section
        found = self._known.setdefault((position, state, contents[first].timed), [])
        for known in found:
            same = len(known.timed) == 1 or all(
                content.timed == timed
                for content, timed in zip(contents[first:], known.timed, strict=False)
            )
            if same and self._ahead(known.end, known.state, contents) == known.ahead:
                return known
        known = self._simulated(position, state, contents)
        found.append(known)
        return known

    def _ahead(
        self, end: _Position | None, state: State, contents: Sequence[Content]
    ) -> tuple[int, ...]:
        """What units have seen of the tiles behind `end`, in a state there."""
        if end is None:
            return ()
        seen: tuple[int, ...] = ()
        section, kernel = end
        while section < len(contents) and len(seen) < len(state.ahead):
            begins = self._contents.begins(contents[section], kernel)
            loading = state.ahead[len(seen) : len(seen) + len(begins.seen)]
            if any(inputs >= 0 for _, inputs in loading):
                some = zip(loading, begins.seen, begins.whole, strict=False)
                seen += tuple(
                    whole if inputs >= 0 else glance for (_, inputs), glance, whole in some
                )
            else:
                seen += begins.seen[: len(loading)]
            section, kernel = section + 1, 0
        return seen if len(seen) == len(state.ahead) else (*seen, -1)  # the end was seen

    def _simulated(self, position: _Position, state: State, contents: Sequence[Content]) -> _Known:
        """Run a section, and as far as it takes until everything is over."""
        rest = contents[position.section :]
        kernels = [kernel for content in rest for kernel in content.kernels]
        lowered = [one for content in rest for one in content.lowered]
        sizes = [size for content in rest for size in content.sizes]
        stop = len(rest[0].kernels) if len(rest) > 1 else None
        start = Start(kernel=position.kernel, state=state)
        # Only as much behind it as can be seen; more if it takes longer until all is over.
        count = stop or len(kernels)
        while True:
            while count < len(kernels) and sum(sizes[stop:count]) < AHEAD:
                count += 1
            program = assembled(kernels[:count], lowered[:count])
            spans, end = run_part(program, self.machine, start, stop)
            if count == len(kernels) or (end and sum(sizes[end.kernel : count]) >= AHEAD):
                break
            count = min(2 * count, len(kernels))
        reached = _position(position.section, rest, end)
        left = end.state if end else State()
        through = len(contents) if reached is None else reached.section + (reached.kernel > 0)
        return _Known(
            timed=tuple(content.timed for content in contents[position.section : through]),
            ahead=self._ahead(reached, left, contents),
            end=reached,
            state=left,
            cycles=spans.cycles if end is None else end.executed + end.offset,
            steps=self._steps(program, start, end, spans),
        )

    def _steps(
        self, program: Program, start: Start, end: Start | None, spans: Spans
    ) -> tuple[tuple[str, Fraction | int], ...]:
        """PE-cycles from `start` to `end` by cause."""
        steps = dict.fromkeys(STEPS, Fraction(0))
        losses = account_part(program, spans, self.machine, start, end)
        for kernel, lost in zip(program.kernels, losses, strict=False):
            add_losses(steps, kernel, lost)
        return tuple((cause, whole(pe_cycles)) for cause, pe_cycles in steps.items() if pe_cycles)


def _position(section: int, contents: Sequence[Content], end: Start | None) -> _Position | None:
    """Where in the sections, from one on, a start in their program is."""
    if end is None:
        return None
    kernel = end.kernel
    for content in contents:
        if kernel < len(content.kernels):
            break
        kernel -= len(content.kernels)
        section += 1
    return _Position(section, kernel)
