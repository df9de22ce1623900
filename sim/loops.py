"""Loops over a dimension that is cut into tiles: equal neighbours share a loop, ends are peeled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from .program import Node, repeat

__all__ = ["Part", "joined", "parts", "runs", "walk"]


class Part(NamedTuple):
    """One tile's share of a dimension, and whether it is the first and the last of it."""

    size: int
    first: bool
    last: bool


def runs(size: int, tile: int) -> Iterator[tuple[int, Part]]:
    """A dimension cut into tiles, equal neighbours together: how many, and what each is.

    >>> [(count, part.size) for count, part in runs(197, 64)]
    [(1, 64), (2, 64), (1, 5)]
    """
    count = -(-size // tile)
    if count == 1:
        yield 1, Part(size, True, True)
        return
    yield 1, Part(tile, True, False)
    if count > 2:
        yield count - 2, Part(tile, False, False)
    yield 1, Part(size - (count - 1) * tile, False, True)


def parts(size: int, tile: int) -> list[Part]:
    """Every tile's share, one by one."""
    return [part for count, part in runs(size, tile) for _ in range(count)]


def joined(bodies: Iterable[tuple[int, tuple[Node, ...]]]) -> tuple[Node, ...]:
    """Bodies with their counts as one sequence of nodes, equal neighbours in one loop."""
    merged: list[tuple[int, tuple[Node, ...]]] = []
    for count, body in bodies:
        if merged and merged[-1][1] == body:
            merged[-1] = (merged[-1][0] + count, body)
        else:
            merged.append((count, body))
    return tuple(node for count, body in merged for node in repeat(count, body))


def walk(size: int, tile: int, body: Callable[[Part], tuple[Node, ...]]) -> tuple[Node, ...]:
    """The loop over one dimension."""
    return joined((count, body(part)) for count, part in runs(size, tile))
