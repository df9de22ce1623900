"""A model cut where its token counts change, so that what repeats from image to image is run once.

Between two selectors all kernels depend on one count, and only a few about a selector on two.  A
section is a stretch of kernels that depend on the same counts.  Sections are run one after another,
each from the state that the one before has left; what a section did from a state with the same work
ahead is remembered, so that ten thousand images cost little more than their distinct counts.

A section ends at the first kernel that begins with everything before it over, and is told apart by
all that its run has seen: its own tiles, and of those ahead as much as the units have looked at.
The sum over sections is exactly what the whole run gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from ..arch import Accelerator
from ..workloads.extent import Extent, symbols_of
from ..workloads.graph import Workload
from ..workloads.operator import Operator
from ..workloads.packing import joined
from .energy import kernel_energy
from .engine import run_part
from .fusion import Kernel, fuse
from .losses import account_part
from .lower import Lowered, assembled, lower_kernels
from .plan import Plan
from .program import Node, Program, Tile, tiles, total
from .replay import Start, State
from .spans import Spans
from .traffic import UNDER_WAY
from .waterfall import STEPS, add_losses

__all__ = ["Part", "Row", "Sections"]

_AHEAD = UNDER_WAY + 1  # tiles behind a section that its program holds: more than can be seen

_SMALL = 16  # operators that make a section of their own

Row: TypeAlias = tuple[int, ...]
"""An image's kept counts."""

_Keys: TypeAlias = tuple[tuple[Row, ...], ...]


class Part(NamedTuple):
    """What a stretch of a run, or all of it, came to.

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

    def __add__(self, other: object) -> Part:
        assert isinstance(other, Part)
        return Part(
            self.cycles + other.cycles,
            {cause: self.steps[cause] + other.steps[cause] for cause in STEPS},
            self.energy_j + other.energy_j,
            self.mac_j + other.mac_j,
            self.macs + other.macs,
        )


_NOTHING = Part(0, dict.fromkeys(STEPS, Fraction(0)), 0.0, 0.0, 0)


class _Seen(NamedTuple):
    """What units have looked at of a tile whose inputs are not begun."""

    layer: str
    first: bool
    last: bool
    weight_bytes: int
    weight_loads: int
    loads: bool
    array: bool
    vector: bool
    stores: bool


@dataclass(frozen=True, eq=False)
class _Content:
    """A section for given counts: its kernels, and their tiles."""

    kernels: tuple[Kernel, ...]
    lowered: tuple[Lowered, ...]
    _begins: dict[int, tuple[tuple[_Seen, ...], tuple[Tile, ...]]] = field(
        default_factory=dict[int, tuple[tuple[_Seen, ...], tuple[Tile, ...]]]
    )

    def begins(self, kernel: int) -> tuple[tuple[_Seen, ...], tuple[Tile, ...]]:
        """Its first tiles from a kernel on, as seen and in full."""
        if kernel not in self._begins:
            from_there = (found for found in self._tiles() if found[0] >= kernel)
            first = list(islice(from_there, _AHEAD))
            self._begins[kernel] = tuple(t[1] for t in first), tuple(t[2] for t in first)
        return self._begins[kernel]

    def _tiles(self) -> Iterator[tuple[int, _Seen, Tile]]:
        for index, (kernel, (nodes, _)) in enumerate(zip(self.kernels, self.lowered, strict=True)):
            count = _count(nodes)
            for number, tile in enumerate(tiles(nodes)):
                yield index, _seen(kernel, tile, number == 0, number == count - 1), tile


def _seen(kernel: Kernel, tile: Tile, first: bool, last: bool) -> _Seen:
    return _Seen(
        layer=kernel.name,
        first=first,
        last=last,
        weight_bytes=tile.weight_bytes,
        weight_loads=tile.weight_loads,
        loads=tile.input_bytes > 0,
        array=tile.work is not None,
        vector=tile.vector_cycles is not None,
        stores=tile.store_bytes > 0,
    )


class _Position(NamedTuple):
    """A kernel of a section."""

    section: int
    kernel: int


class _Known(NamedTuple):
    keys: _Keys  # of the sections that were run through
    ahead: tuple[object, ...]  # what was seen behind the end
    end: _Position | None
    state: State
    part: Part


@dataclass(frozen=True)
class Sections:
    """A model with token counts on a machine, and what is known of its runs.

    Attributes:
        workload: The model, unbound.
        names: Symbols of the kept counts.
        others: Values of its other symbols.
        machine, format: What it runs on.
        plan: Places of activations, and tiles where they are not chosen for each shape.
        largest: Values of the kept counts that make the largest shape.
    """

    workload: Workload
    names: tuple[str, ...]
    others: Mapping[str, int]
    machine: Accelerator
    format: str
    plan: Plan
    largest: Row
    _contents: dict[object, _Content] = field(default_factory=dict[object, _Content])
    _bound: dict[object, tuple[Operator, ...]] = field(
        default_factory=dict[object, tuple[Operator, ...]]
    )
    _known: dict[object, list[_Known]] = field(default_factory=dict[object, list[_Known]])

    def run(self, rows: Sequence[Row]) -> Part:
        """Images with these kept counts, side by side, from an idle machine to the last result."""
        keys = tuple(self._key(section, rows) for section in range(len(self._sections)))
        position: _Position | None = _Position(0, 0)
        state, whole = State(), _NOTHING
        while position is not None:
            known = self._find(position, state, keys)
            whole += known.part
            position, state = known.end, known.state
        return whole

    @cached_property
    def _sections(
        self,
    ) -> tuple[tuple[tuple[Operator, ...], tuple[str, ...], tuple[str, ...]], ...]:
        """For each section its operators, what others read of it, and its symbols."""
        binding = {**self.others, **dict(zip(self.names, self.largest, strict=True))}
        by_name = {operator.name: operator for operator in self.workload.operators}
        bound = tuple(operator.bound(binding) for operator in self.workload.operators)
        alike: list[tuple[frozenset[str], list[Operator]]] = []
        for kernel in fuse(bound, self.workload.outputs):
            members = [by_name[operator.name] for operator in kernel.operators]
            symbols = frozenset[str]().union(*map(_symbols, members)).intersection(self.names)
            if not alike or alike[-1][0] != symbols:
                alike.append((symbols, []))
            alike[-1][1].extend(members)
        groups = list(_gathered(alike))
        readers: dict[str, set[int]] = {name: {-1} for name in self.workload.outputs}
        for number, (_, members) in enumerate(groups):
            for operator in members:
                for operand in operator.operands:
                    for source in operand.sources:
                        readers.setdefault(source, set()).add(number)
        return tuple(
            (
                tuple(members),
                tuple(o.name for o in members if readers.get(o.name, set()) - {number}),
                tuple(name for name in self.names if name in symbols),
            )
            for number, (symbols, members) in enumerate(groups)
        )

    def _key(self, section: int, rows: Sequence[Row]) -> tuple[Row, ...]:
        """The counts on which a section depends, of all images in an order of their own."""
        symbols = self._sections[section][2]
        which = [self.names.index(symbol) for symbol in symbols]
        return tuple(sorted((tuple(row[i] for i in which) for row in rows), reverse=True))

    def _content(self, section: int, key: tuple[Row, ...]) -> _Content:
        if (section, key) not in self._contents:
            self._contents[section, key] = self._made(section, key)
        return self._contents[section, key]

    def _made(self, section: int, key: tuple[Row, ...]) -> _Content:
        members, read, symbols = self._sections[section]
        images: list[tuple[Operator, ...]] = []
        for values in key:
            if (section, values) not in self._bound:
                binding = {**self.others, **dict(zip(symbols, values, strict=True))}
                self._bound[section, values] = tuple(o.bound(binding) for o in members)
            images.append(self._bound[section, values])
        operators, parts = joined(images)
        outputs = tuple(part for name in read for part in parts.get(name, (name,)))
        kernels = fuse(operators, outputs)
        lowered = lower_kernels(kernels, self.machine, self.format, self.plan)
        return _Content(kernels, tuple(lowered))

    def _find(self, position: _Position, state: State, keys: _Keys) -> _Known:
        found = self._known.setdefault((position, state, keys[position.section]), [])
        for known in found:
            through = slice(position.section, position.section + len(known.keys))
            same = keys[through] == known.keys
            if same and self._ahead(known.end, known.state, keys) == known.ahead:
                return known
        known = self._simulated(position, state, keys)
        found.append(known)
        return known

    def _ahead(self, end: _Position | None, state: State, keys: _Keys) -> tuple[object, ...]:
        """What units have seen of the tiles behind `end`, in a state there."""
        if end is None:
            return ()
        seen: tuple[object, ...] = ()
        section, kernel = end
        while section < len(self._sections) and len(seen) < len(state.ahead):
            looked_at, whole = self._content(section, keys[section]).begins(kernel)
            loading = state.ahead[len(seen) : len(seen) + len(whole)]
            if any(inputs >= 0 for _, inputs in loading):
                some = zip(loading, looked_at, whole, strict=False)
                seen += tuple(tile if inputs >= 0 else glance for (_, inputs), glance, tile in some)
            else:
                seen += looked_at[: len(loading)]
            section, kernel = section + 1, 0
        return seen if len(seen) == len(state.ahead) else (*seen, "the end")

    def _simulated(self, position: _Position, state: State, keys: _Keys) -> _Known:
        """Run a section, and as far as it takes until everything is over."""
        sections = range(position.section, len(self._sections))
        contents = [self._content(section, keys[section]) for section in sections]
        pairs = [
            pair
            for content in contents
            for pair in zip(content.kernels, content.lowered, strict=True)
        ]
        sizes = [_count(nodes) for _, (nodes, _) in pairs]
        stop = len(contents[0].kernels) if len(contents) > 1 else None
        start = Start(kernel=position.kernel, state=state)
        # Only as much behind it as can be seen; more if it takes longer until all is over.
        count = stop or len(pairs)
        while True:
            while count < len(pairs) and sum(sizes[stop:count]) < _AHEAD:
                count += 1
            program = assembled(
                [kernel for kernel, _ in pairs[:count]], [lowered for _, lowered in pairs[:count]]
            )
            spans, end = run_part(program, self.machine, start, stop)
            if count == len(pairs) or (end and sum(sizes[end.kernel : count]) >= _AHEAD):
                break
            count = min(2 * count, len(pairs))
        reached = self._position(position.section, contents, end)
        left = end.state if end else State()
        through = len(self._sections) if reached is None else reached.section + (reached.kernel > 0)
        return _Known(
            keys=keys[position.section : through],
            ahead=self._ahead(reached, left, keys),
            end=reached,
            state=left,
            part=self._part(program, start, end, spans),
        )

    def _position(
        self, section: int, contents: Sequence[_Content], end: Start | None
    ) -> _Position | None:
        """Where in the sections a start in their program is."""
        if end is None:
            return None
        kernel = end.kernel
        for content in contents:
            if kernel < len(content.kernels):
                break
            kernel -= len(content.kernels)
            section += 1
        return _Position(section, kernel)

    def _part(self, program: Program, start: Start, end: Start | None, spans: Spans) -> Part:
        """What was done from `start` to `end`, and what that cost."""
        machine = self.machine
        last = len(program.kernels) if end is None else end.kernel
        done = program.kernels[start.kernel : last]
        cycles = spans.cycles if end is None else end.executed + end.offset
        steps = dict.fromkeys(STEPS, Fraction(0))
        losses = account_part(program, spans, machine, start, end)
        for kernel, lost in zip(program.kernels, losses, strict=False):
            add_losses(steps, kernel, lost)
        energy = [kernel_energy(kernel, machine, self.format, 0) for kernel in done]
        return Part(
            cycles=cycles,
            steps=steps,
            energy_j=sum(sum(parts.values()) for parts in energy)
            + machine.static_w * cycles / machine.clock_hz,
            mac_j=sum(parts["mac"] for parts in energy),
            macs=sum(total(kernel.nodes).macs for kernel in done),
        )


def _count(nodes: tuple[Node, ...]) -> int:
    """Tiles of a kernel."""
    return sum(1 if isinstance(node, Tile) else node.count * _count(node.body) for node in nodes)


def _gathered(
    groups: Iterable[tuple[frozenset[str], list[Operator]]],
) -> Iterator[tuple[frozenset[str], list[Operator]]]:
    """Sections worth their name: small neighbours are one, and go with what depends on as much."""
    small: tuple[frozenset[str], list[Operator]] = frozenset(), []
    for symbols, members in groups:
        if len(members) < _SMALL:
            small = small[0] | symbols, [*small[1], *members]
            continue
        if small[1] and not small[0] <= symbols:
            yield small
            small = frozenset(), []
        yield symbols, [*small[1], *members]
        small = frozenset(), []
    if small[1]:
        yield small


def _symbols(operator: Operator) -> frozenset[str]:
    sizes: list[Any] = [getattr(operator, f.name) for f in fields(operator)]
    sizes += [operand.elements for operand in operator.operands]
    found: set[str] = set()
    for size in sizes:
        several: Any = size
        if not isinstance(size, tuple):
            several = (size,)
        for each in several:
            if isinstance(each, Extent):
                found |= symbols_of(each)
    return frozenset(found)
