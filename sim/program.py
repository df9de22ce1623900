"""What a machine is told to do: tiles in loops, one kernel after another.

A `Tile` is what one double-buffer slot holds: what is loaded for it, how long the array and the
vector unit work on it, and what is stored.  Tiles that repeat stand in a `Loop`, so that a program
stays small however large the layer is.  A program depends on the machine through the mapping that
was chosen, but holds no time except inside the array and the vector unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from .array_work import ArrayWork
from .formats import INT8, Formats

__all__ = ["KernelProgram", "Loop", "Node", "Program", "Tile", "Totals", "repeat", "tiles", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One step of a kernel.

    Attributes:
        weight_bytes, input_bytes: Loaded from DRAM into the weight and the input buffer; 0 if the
            operand is there already.
        weight_loads, input_loads: DMA descriptors of those loads.
        weights_freed, inputs_freed: Bytes of those buffers that nobody reads after the array has
            taken this tile.
        work: The arrays' share; None if the tile needs no array.
        accumulator_bytes: Partial sums the tile opens.
        vector_cycles: Work of the vector unit once the last result is out; None if the sums stay
            in the accumulators because more will be added.
        accumulators_freed: Bytes of partial sums that are gone after that work.
        scores_freed: Bytes of partial sums that the array was the last to read, as the operand of
            the second product of attention.
        vector_frees: Bytes of the input buffer that the vector unit was the last to read.
        store_bytes: Written to DRAM after that; 0 if the result stays on chip.
        host_cycles: Time until the host has set the bounds of what follows.
        after: How many tiles back the one lies whose vector work this one needs; 0 for none.
        vector_reads: Elements that the vector unit reads from the input buffer.
        sum_reads, sum_writes: Partial sums that it reads from, and writes to, the accumulators.
        outputs: Elements that leave the vector unit for a buffer.
    """

    weight_bytes: int = 0
    input_bytes: int = 0
    weight_loads: int = 0
    input_loads: int = 0
    weights_freed: int = 0
    inputs_freed: int = 0
    work: ArrayWork | None = None
    accumulator_bytes: int = 0
    vector_cycles: int | None = None
    accumulators_freed: int = 0
    scores_freed: int = 0
    vector_frees: int = 0
    store_bytes: int = 0
    host_cycles: int = 0
    after: int = 0
    vector_reads: int = 0
    sum_reads: int = 0
    sum_writes: int = 0
    outputs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """`body`, `count` times over."""

    count: int
    body: tuple[Node, ...]


Node: TypeAlias = "Tile | Loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProgram:
    """The tiles of one kernel and what they wait for.

    Attributes:
        name, kind: Of the kernel's lead operator.
        fused: Names of the operators that ride on its way out.
        selector: True if it belongs to a token selector.
        nodes: Its tiles, in loops.
        after: Kernels (by position) whose results it reads, or whose decision it waits for.
        weights_early: True if what goes to the weight buffer are parameters, which may be loaded
            before the kernels in `after` are done.
        formats: Of what it multiplies, and of what it makes.
        mapping: How it was tiled, for people.
    """

    name: str
    kind: str
    fused: tuple[str, ...] = ()
    selector: bool = False
    nodes: tuple[Node, ...]
    after: tuple[int, ...] = ()
    weights_early: bool = True
    formats: Formats = INT8
    mapping: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Kernels in the order in which they run."""

    kernels: tuple[KernelProgram, ...]

    @property
    def reach(self) -> int:
        """The largest distance between a tile and one whose vector work it needs."""
        return max((t.after for k in self.kernels for t in _distinct(k.nodes)), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over tiles, named as in `Tile` and `ArrayWork`."""

    tiles: int = 0
    macs: int = 0
    weight_bytes: int = 0
    input_bytes: int = 0
    store_bytes: int = 0
    array_cycles: int = 0
    vector_cycles: int = 0
    useful: Fraction | int = 0
    streamed: int = 0
    throttled: int = 0
    idle: int = 0
    input_reads: int = 0
    weight_reads: int = 0
    sum_reads: int = 0
    sum_writes: int = 0
    outputs: int = 0
    host_cycles: int = 0

    @property
    def dram_bytes(self) -> int:
        """Bytes loaded and stored."""
        return self.weight_bytes + self.input_bytes + self.store_bytes


def total(nodes: tuple[Node, ...]) -> Totals:
    """The sums over every tile of `nodes`, without expanding a loop."""
    sums: list[Any] = [0] * len(_SUMMED)
    _add(nodes, 1, sums)
    return Totals(**dict(zip(_SUMMED, sums, strict=True)))


_SUMMED = tuple(Totals.__dataclass_fields__)

_NO_WORK = ArrayWork(**dict.fromkeys(ArrayWork.__dataclass_fields__, 0))


def _add(nodes: tuple[Node, ...], times: int, sums: list[Any]) -> None:
    """Add every tile of `nodes`, so many times, to sums in the order of `_SUMMED`."""
    for node in nodes:
        if isinstance(node, Loop):
            _add(node.body, times * node.count, sums)
            continue
        for position, value in enumerate(_terms(node)):
            if value:
                sums[position] += value * times


def _terms(tile: Tile) -> tuple[Fraction | int, ...]:
    work = tile.work or _NO_WORK
    return (
        1,
        work.macs,
        tile.weight_bytes,
        tile.input_bytes,
        tile.store_bytes,
        work.cycles,
        tile.vector_cycles or 0,
        work.useful,
        work.streamed,
        work.throttled,
        work.idle,
        tile.vector_reads + work.input_reads,
        work.weight_reads,
        tile.sum_reads + work.sum_reads,
        tile.sum_writes + work.sum_writes,
        tile.outputs,
        tile.host_cycles,
    )


def tiles(nodes: tuple[Node, ...]) -> Iterator[Tile]:
    """Every tile in order, loops expanded one at a time."""
    for node in nodes:
        if isinstance(node, Tile):
            yield node
        else:
            for _ in range(node.count):
                yield from tiles(node.body)


def _distinct(nodes: tuple[Node, ...]) -> Iterator[Tile]:
    """Every tile once, however often it repeats."""
    for node in nodes:
        if isinstance(node, Tile):
            yield node
        else:
            yield from _distinct(node.body)


def repeat(count: int, body: tuple[Node, ...]) -> tuple[Node, ...]:
    """`body`, `count` times, as the smallest tree: nothing, itself, or one loop."""
    if count == 0 or not body:
        return ()
    if len(body) == 1 and isinstance(body[0], Loop):
        return (Loop(count=count * body[0].count, body=body[0].body),)
    return body if count == 1 else (Loop(count=count, body=body),)
