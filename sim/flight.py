"""A tile on its way through the machine, and the loops that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import simpy

from .moment import Moment
from .program import Loop, Node, Tile
from .steady import Frame

__all__ = ["Flight", "Load", "Step", "steps"]

_Opened: TypeAlias = "tuple[tuple[Frame, int], ...]"  # iterations, outermost first


class Step(NamedTuple):
    """A tile in its kernel: whether it is the first, and the iterations it opens."""

    tile: Tile
    first: bool
    opens: _Opened


class Load:
    """What is loaded for a tile: its size, and when it is there, known from its beginning on."""

    __slots__ = ("descriptors", "size_bytes", "there")

    def __init__(self, env: simpy.Environment, size_bytes: int, descriptors: int) -> None:
        self.size_bytes = size_bytes
        self.descriptors = descriptors
        self.there = Moment(env)


class Flight:
    """A tile on its way through the units, with the moments at which they hand it on.

    Attributes:
        kernel: To which it belongs.
        number: In the order in which tiles are begun.
        first, last: Of its kernel.
        opens: Iterations that begin with it.
        weights, inputs: What is loaded for it.
        result: Its last sum has left the array; known from the array's start on.
        finished: The vector unit is done with it; known from that unit's start on.
        stored_at: When its store leaves the bus; None before that begins.
        started: Whether the first unit has begun to work on it.
        over: Whether nobody will any more.
    """

    __slots__ = (
        "finished", "first", "inputs", "kernel", "last", "number", "opens", "over", "result",
        "started", "stored_at", "tile", "weights",
    )  # fmt: skip

    def __init__(self, env: simpy.Environment, kernel: int, step: Step, number: int, last: bool):
        tile = step.tile
        self.kernel = kernel
        self.tile = tile
        self.opens = step.opens
        self.number = number
        self.first = step.first
        self.last = last
        self.weights = (
            Load(env, tile.weight_bytes, tile.weight_loads) if tile.weight_bytes else None
        )
        self.inputs = Load(env, tile.input_bytes, tile.input_loads) if tile.input_bytes else None
        self.result = Moment(env)
        self.finished = Moment(env)
        self.stored_at: int | None = None
        self.started = False
        self.over = False

    @property
    def loads(self) -> tuple[Load | None, Load | None]:
        """Its weights and its inputs."""
        return self.weights, self.inputs

    def loading(self, now: int) -> tuple[int, int]:
        """When its weights and its inputs will be there, as seen from `now`; -1: not begun."""
        weights, inputs = (load.there.left(now) if load else -1 for load in self.loads)
        return weights, inputs

    def state(self, now: int) -> tuple[int, ...]:
        """How far it is, as seen from `now`; -1 for what has not begun."""
        stored = -1 if self.stored_at is None else max(self.stored_at - now, 0)
        moments = self.result.left(now), self.finished.left(now)
        return (self.started, *self.loading(now), *moments, stored)


def steps(nodes: Sequence[Node]) -> Iterator[Step]:
    """The tiles of a kernel, loops run as frames whose count may shrink on the way."""
    first = True
    for tile, opens in _walk(nodes):
        yield Step(tile, first, opens)
        first = False


def _walk(nodes: Sequence[Node]) -> Iterator[tuple[Tile, _Opened]]:
    for node in nodes:
        if isinstance(node, Loop):
            yield from _iterations(node)
        else:
            yield node, ()


def _iterations(loop: Loop) -> Iterator[tuple[Tile, _Opened]]:
    frame = Frame(remaining=loop.count, first=0)
    while frame.remaining:
        frame.remaining -= 1
        opening: _Opened = ((frame, frame.begun),)
        frame.begun += 1
        for tile, opens in _walk(loop.body):
            yield tile, (*opening, *opens)
            opening = ()
