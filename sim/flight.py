"""A tile on its way through the machine, and the loops that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import simpy

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
    """What is loaded for a tile: its size, and when it is there (None before it begins)."""

    __slots__ = ("descriptors", "size_bytes", "there", "there_at")

    def __init__(self, env: simpy.Environment, size_bytes: int, descriptors: int) -> None:
        self.size_bytes = size_bytes
        self.descriptors = descriptors
        self.there = simpy.Event(env)
        self.there_at: int | None = None


class Flight:
    """A tile on its way through the units, with the events at which they hand it on."""

    __slots__ = (
        "finished", "first", "inputs", "kernel", "last", "number", "opens", "over", "result",
        "result_at", "started", "stored_at", "tile", "vector_at", "weights",
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
        self.result = simpy.Event(env) if tile.work and tile.vector_cycles is not None else None
        self.finished = simpy.Event(env)  # the vector unit is done with it
        # When what has begun will be there, for comparing states; None before it begins.
        self.result_at: int | None = None
        self.vector_at: int | None = None
        self.stored_at: int | None = None
        self.started = False
        self.over = False

    @property
    def loads(self) -> tuple[Load | None, Load | None]:
        """Its weights and its inputs."""
        return self.weights, self.inputs

    def loading(self, now: int) -> tuple[int, int]:
        """When its weights and its inputs will be there, as seen from `now`; -1: not begun."""
        weights, inputs = (_seen(load.there_at if load else None, now) for load in self.loads)
        return weights, inputs

    def state(self, now: int) -> tuple[int, ...]:
        """How far it is, as seen from `now`; -1 for what has not begun."""
        times = (self.result_at, self.vector_at, self.stored_at)
        return (self.started, *self.loading(now), *(_seen(time, now) for time in times))


def _seen(time: int | None, now: int) -> int:
    return -1 if time is None else max(time - now, 0)


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
