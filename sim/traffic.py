"""The tiles that are under way: begun in program order, and kept until nobody works on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

import simpy

from .flight import Flight, Step, steps
from .program import Program

__all__ = ["UNDER_WAY", "Queue", "Traffic"]

UNDER_WAY = 32
"""Tiles that may be begun and not over; assumed: 256 ran no faster where it was tried."""

Queue: TypeAlias = Iterator[Flight | None]
"""A unit's tiles in program order; None while too many are under way to begin another."""


class Traffic:
    """Tiles as the units take them.

    Attributes:
        air: Tiles that are begun and not over, in order.
        made: How many were begun.
        ended: Whether none is left that is not begun.
    """

    def __init__(self, env: simpy.Environment, program: Program, first_kernel: int) -> None:
        self.air: deque[Flight] = deque()
        self.made = 0
        self.ended = False
        self._landing: simpy.Event | None = None
        self._env = env
        self._program = program
        self._flights = self._begun(first_kernel)
        self._queues: list[deque[Flight]] = []

    def queue(self) -> Queue:
        """A further unit's queue, which must be asked for before a tile is begun."""
        queue: deque[Flight] = deque()
        self._queues.append(queue)
        return self._taken(queue)

    def next(self) -> Flight:
        """Begin a tile, for whoever will take it."""
        return next(self._flights)

    def over(self, flight: Flight) -> None:
        """Nobody works on the tile any more."""
        flight.over = True
        if self.air[0].over:
            while self.air and self.air[0].over:
                self.air.popleft()
            if self._landing is not None:
                self._landing.succeed()
                self._landing = None

    def landing(self) -> simpy.Event:
        """Happens the next time that there is room for one more."""
        if self._landing is None:
            self._landing = simpy.Event(self._env)
        return self._landing

    def _taken(self, queue: deque[Flight]) -> Queue:
        while True:
            if queue:
                yield queue.popleft()
            elif len(self.air) >= UNDER_WAY:
                yield None
            elif next(self._flights, None) is None:
                self.ended = True
                return

    def _begun(self, kernel: int) -> Iterator[Flight]:
        for index in range(kernel, len(self._program.kernels)):
            previous: Step | None = None
            for step in steps(self._program.kernels[index].nodes):
                if previous is not None:
                    yield self._flight(index, previous, last=False)
                previous = step
            if previous is not None:
                yield self._flight(index, previous, last=True)

    def _flight(self, kernel: int, step: Step, last: bool) -> Flight:
        for frame, iteration in step.opens:
            if iteration == 0:
                frame.first = self.made
        flight = Flight(self._env, kernel, step, self.made, last)
        self.made += 1
        self.air.append(flight)
        for queue in self._queues:
            queue.append(flight)
        return flight
