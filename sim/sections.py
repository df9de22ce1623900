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

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import islice
from typing import NamedTuple, TypeAlias

from ..arch import Accelerator
from ..workloads.graph import Workload
from ..workloads.operator import Operator
from ..workloads.packing import joined
from .array_work import whole
from .cut import Section, cut
from .energy import kernel_energy
from .engine import run_part
from .formats import formats_of
from .fusion import Kernel, fuse
from .losses import account_part
from .lower import Lowered, assembled, lower_kernels
from .plan import Plan
from .program import KernelProgram, Loop, Node, Program, Tile, tiles, total
from .replay import Start, State
from .rows import by_width
from .spans import Spans
from .traffic import UNDER_WAY
from .waterfall import STEPS, add_losses

__all__ = ["Part", "Row", "Sections"]

_AHEAD = UNDER_WAY + 1  # tiles behind a section that its program holds: more than can be seen

Row: TypeAlias = tuple[int, ...]
"""An image's kept counts."""


class Part(NamedTuple):
    """What a run came to.

    Attributes:
        cycles: From its start to its end.
        steps: PE-cycles by cause (`waterfall.STEPS`).
        energy_j, mac_j: Joules, and those of the MACs alone.
        macs: Multiply-accumulates.
    """

    cycles: int
    steps: Mapping[str, Fraction]
    energy_j: float
    mac_j: float
    macs: int


class _Ahead(NamedTuple):
    """The first tiles of a section from a kernel on, as numbers that are equal for equal tiles."""

    seen: tuple[int, ...]  # what units have looked at while a tile's inputs are not begun
    whole: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Content:
    """A section for given counts: its kernels, their tiles, and what they cost beside time.

    Attributes:
        timed: A number, equal for contents that behave equally.
        energy_j: Without static power.
    """

    kernels: tuple[Kernel, ...]
    lowered: tuple[Lowered, ...]
    sizes: tuple[int, ...]  # tiles of each kernel
    timed: int
    energy_j: float
    mac_j: float
    macs: int
    begins: dict[int, _Ahead] = field(default_factory=dict[int, _Ahead])


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
    _contents: dict[object, _Content] = field(default_factory=dict[object, _Content])
    _bound: dict[object, tuple[Operator, ...]] = field(
        default_factory=dict[object, tuple[Operator, ...]]
    )
    _known: dict[object, list[_Known]] = field(default_factory=dict[object, list[_Known]])
    _numbers: dict[Hashable, int] = field(default_factory=dict[Hashable, int])

    def run(self, rows: Sequence[Row]) -> Part:
        """Images with these kept counts, side by side, from an idle machine to the last result."""
        contents = [
            self._content(number, section, rows) for number, section in enumerate(self._sections)
        ]
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
    def _sections(self) -> tuple[Section, ...]:
        binding = {**self.others, **dict(zip(self.names, self.largest, strict=True))}
        return cut(self.workload, self.names, binding)

    @cached_property
    def _columns(self) -> tuple[tuple[int, ...], ...]:
        """For each section the columns of the counts on which it depends."""
        return tuple(tuple(map(self.names.index, s.symbols)) for s in self._sections)

    def _number(self, value: Hashable) -> int:
        """The same for what is equal: quicker to compare."""
        return self._numbers.setdefault(value, len(self._numbers))

    def _content(self, number: int, section: Section, rows: Sequence[Row]) -> _Content:
        """A section for the counts of all images, taken in an order of their own."""
        which = self._columns[number]
        key = tuple(sorted((tuple([row[i] for i in which]) for row in rows), reverse=True))
        if (number, key) not in self._contents:
            self._contents[number, key] = self._made(number, section, key)
        return self._contents[number, key]

    def _made(self, number: int, section: Section, key: tuple[Row, ...]) -> _Content:
        images: list[tuple[Operator, ...]] = []
        for values in key:
            if (number, values) not in self._bound:
                binding = {**self.others, **dict(zip(section.symbols, values, strict=True))}
                bound = tuple(operator.bound(binding) for operator in section.operators)
                self._bound[number, values] = bound
            images.append(self._bound[number, values])
        operators, parts = joined(images)
        outputs = tuple(part for name in section.read for part in parts.get(name, (name,)))
        kernels = by_width(fuse(operators, outputs))
        lowered = lower_kernels(kernels, self.machine, self.plan)
        sums = [total(nodes) for nodes, _ in lowered]
        programs = [
            KernelProgram(
                name=kernel.name,
                kind=kernel.lead.kind,
                nodes=nodes,
                formats=formats_of(kernel.lead, kernel.tail),
            )
            for kernel, (nodes, _) in zip(kernels, lowered, strict=True)
        ]
        energy = [kernel_energy(kernel, self.machine, 0) for kernel in programs]
        return _Content(
            kernels=kernels,
            lowered=tuple(lowered),
            sizes=tuple(one.tiles for one in sums),
            timed=self._number(
                tuple((kernel.name, *map(_timed, kernel.nodes)) for kernel in programs)
            ),
            energy_j=sum(sum(parts.values()) for parts in energy),
            mac_j=sum(parts["mac"] for parts in energy),
            macs=sum(one.macs for one in sums),
        )

    def _begins(self, content: _Content, kernel: int) -> _Ahead:
        """The first tiles of a section from a kernel on: as many as can be seen."""
        if kernel not in content.begins:
            glimpses: list[int] = []
            whole: list[int] = []
            for glimpse, tile in islice(_glimpses(content, kernel), _AHEAD):
                glimpses.append(self._number(glimpse))
                whole.append(self._number((glimpse, _timed(tile))))
            content.begins[kernel] = _Ahead(tuple(glimpses), tuple(whole))
        return content.begins[kernel]

    def _find(self, position: _Position, state: State, contents: Sequence[_Content]) -> _Known:
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
        self, end: _Position | None, state: State, contents: Sequence[_Content]
    ) -> tuple[int, ...]:
        """What units have seen of the tiles behind `end`, in a state there."""
        if end is None:
            return ()
        seen: tuple[int, ...] = ()
        section, kernel = end
        while section < len(contents) and len(seen) < len(state.ahead):
            begins = self._begins(contents[section], kernel)
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

    def _simulated(self, position: _Position, state: State, contents: Sequence[_Content]) -> _Known:
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
            while count < len(kernels) and sum(sizes[stop:count]) < _AHEAD:
                count += 1
            program = assembled(kernels[:count], lowered[:count])
            spans, end = run_part(program, self.machine, start, stop)
            if count == len(kernels) or (end and sum(sizes[end.kernel : count]) >= _AHEAD):
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


def _position(section: int, contents: Sequence[_Content], end: Start | None) -> _Position | None:
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


def _timed(node: Node) -> Node:
    """All of a node on which time depends: not what is counted for its energy alone."""
    if isinstance(node, Loop):
        return replace(node, body=tuple(map(_timed, node.body)))
    return replace(node, outputs=0, vector_reads=0, sum_reads=0, sum_writes=0)


def _glimpses(content: _Content, first: int) -> Iterator[tuple[tuple[object, ...], Tile]]:
    """For each tile from kernel `first` on what units look at before its inputs are begun."""
    kernels = zip(content.kernels, content.lowered, content.sizes, strict=True)
    for kernel, (nodes, _), count in islice(kernels, first, None):
        for number, tile in enumerate(tiles(nodes)):
            yield (
                (
                    kernel.name,
                    number == 0,
                    number == count - 1,
                    tile.weight_bytes,
                    tile.weight_loads,
                    tile.input_bytes > 0,
                    tile.work is not None,
                    tile.vector_cycles is not None,
                    tile.store_bytes > 0,
                ),
                tile,
            )
