"""The order in which the DMA serves loads and stores: the program's, loads two tiles ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from .flight import Flight
from .program import Program

__all__ = ["Action", "dma_queue", "waits_for"]

_AHEAD = 2  # tiles whose loads stand before the store of the one that computes


class Action(Enum):
    """What the DMA does for a tile."""

    WEIGHTS = auto()
    INPUTS = auto()
    STORE = auto()
    WAIT = auto()


def waits_for(program: Program) -> tuple[tuple[int, ...], ...]:
    """What each kernel waits for, kernels without tiles replaced by what they wait for."""
    found: list[tuple[int, ...]] = []
    for kernel in program.kernels:
        real = {
            index
            for producer in kernel.after
            for index in ((producer,) if program.kernels[producer].nodes else found[producer])
        }
        found.append(tuple(sorted(real)))
    return tuple(found)


def dma_queue(
    flights: Iterator[Flight | None],
    after: Sequence[Sequence[int]],
    program: Program,
    first: int,
) -> Iterator[tuple[Action, Flight | None]]:
    """The order in which the DMA serves loads and stores.

    A load that must wait for an earlier kernel's stores is queued right behind them; one that need
    not is queued `_AHEAD` tiles early.  What lies before the kernel `first` is stored.
    """
    ahead: deque[Flight] = deque()  # loads queued, store not yet
    held: deque[Flight] = deque()  # inputs that wait for the stores of an earlier kernel
    stored = first - 1  # the last kernel whose stores are all queued

    def ready(flight: Flight) -> bool:
        producers = after[flight.kernel]
        return not producers or producers[-1] <= stored

    def inputs(flight: Flight) -> Iterator[tuple[Action, Flight]]:
        if not program.kernels[flight.kernel].weights_early:
            yield Action.WEIGHTS, flight
        yield Action.INPUTS, flight

    def store() -> Iterator[tuple[Action, Flight]]:
        nonlocal stored
        flight = ahead.popleft()
        yield Action.STORE, flight
        if flight.last:
            stored = flight.kernel
            while held and ready(held[0]):
                yield from inputs(held.popleft())

    for flight in flights:
        if flight is None:
            yield Action.WAIT, None
            continue
        if program.kernels[flight.kernel].weights_early:
            yield Action.WEIGHTS, flight
        ahead.append(flight)
        if held or not ready(flight):
            held.append(flight)
        else:
            yield from inputs(flight)
        if len(ahead) > _AHEAD:
            yield from store()
    while ahead:
        yield from store()
