"""What a section of a model is for given counts: kernels, tiles, and what they cost beside time.

Each is made once.  Two that behave equally have equal numbers, so that their runs can be shared.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from ..arch import Accelerator
from ..workloads.operator import Operator
from ..workloads.packing import joined
from .cut import Section
from .energy import kernel_energy
from .formats import formats_of
from .fusion import Kernel, fuse
from .lower import Lowered, lower_kernels
from .plan import Plan
from .program import KernelProgram, Loop, Node, Tile, tiles, total
from .rows import by_width
from .traffic import UNDER_WAY

__all__ = ["AHEAD", "Ahead", "Content", "Contents", "Row"]

AHEAD: Final = UNDER_WAY + 1
"""Tiles behind a section that its program holds: more than can be seen."""

Row: TypeAlias = tuple[int, ...]
"""An image's kept counts."""


class Ahead(NamedTuple):
    """The first tiles of a section from a kernel on, as numbers that are equal for equal tiles."""

    seen: tuple[int, ...]  # what units have looked at while a tile's inputs are not begun
    whole: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Content:
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
    begins: dict[int, Ahead] = field(default_factory=dict[int, Ahead])


@dataclass(frozen=True, eq=False)
class Contents:
    """The sections of a model for all counts that were asked for.

    Attributes:
        sections: Of the model, unbound.
        names: Symbols of the kept counts.
        others: Values of its other symbols.
        machine: What it runs on.
        plan: Places of activations, and tiles where they are not chosen for each shape.
    """

    sections: tuple[Section, ...]
    names: tuple[str, ...]
    others: Mapping[str, int]
    machine: Accelerator
    plan: Plan
    _known: dict[object, Content] = field(default_factory=dict[object, Content])
    _bound: dict[object, tuple[Operator, ...]] = field(
        default_factory=dict[object, tuple[Operator, ...]]
    )
    _numbers: dict[Hashable, int] = field(default_factory=dict[Hashable, int])

    def of(self, rows: Sequence[Row]) -> list[Content]:
        """Every section for the counts of all images, taken in an order of their own."""
        found: list[Content] = []
        for number, which in enumerate(self._columns):
            key = tuple(sorted((tuple([row[i] for i in which]) for row in rows), reverse=True))
            if (number, key) not in self._known:
                self._known[number, key] = self._made(number, key)
            found.append(self._known[number, key])
        return found

    def begins(self, content: Content, kernel: int) -> Ahead:
        """The first tiles of a section from a kernel on: as many as can be seen."""
        if kernel not in content.begins:
            glimpses: list[int] = []
            whole: list[int] = []
            for glimpse, tile in islice(_glimpses(content, kernel), AHEAD):
                glimpses.append(self._number(glimpse))
                whole.append(self._number((glimpse, _timed(tile))))
            content.begins[kernel] = Ahead(tuple(glimpses), tuple(whole))
        return content.begins[kernel]

    @cached_property
    def _columns(self) -> tuple[tuple[int, ...], ...]:
        """For each section the columns of the counts on which it depends."""
        return tuple(tuple(map(self.names.index, one.symbols)) for one in self.sections)

    def _number(self, value: Hashable) -> int:
        """The same for what is equal: quicker to compare."""
        return self._numbers.setdefault(value, len(self._numbers))

    def _made(self, number: int, key: tuple[Row, ...]) -> Content:
        section = self.sections[number]
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
        return Content(
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


def _timed(node: Node) -> Node:
    """All of a node on which time depends: not what is counted for its energy alone."""
    if isinstance(node, Loop):
        return replace(node, body=tuple(map(_timed, node.body)))
    return replace(node, outputs=0, vector_reads=0, sum_reads=0, sum_writes=0)


def _glimpses(content: Content, first: int) -> Iterator[tuple[tuple[object, ...], Tile]]:
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
