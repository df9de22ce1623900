"""Loops over a dimension that is cut into tiles: equal neighbours share a loop, ends are peeled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from .program import Node, repeat

__all__ = ["Part", "joined", "parts", "runs", "walk"]


class Part(NamedTuple):
    """One tile's share of a dimension, and whether it is the first and the last of it.

    `shares` are the parts of it on each array, 0 where an array has come to its end; only one if
    the arrays do not share the dimension.
    """

    size: int
    first: bool
    last: bool
    shares: tuple[int, ...]


def runs(size: int | Sequence[int], tile: int) -> Iterator[tuple[int, Part]]:
    """A dimension cut into tiles, equal neighbours together: how many, and what each is.

    >>> [(count, part.size) for count, part in runs(197, 64)]
    [(1, 64), (2, 64), (1, 5)]

    Of a dimension that is dealt to arrays, a tile takes the same range of every array's share.

    >>> [(count, part.shares) for count, part in runs((197, 70), 64)]
    [(1, (64, 64)), (1, (64, 6)), (1, (64, 0)), (1, (5, 0))]
    """
    shares = (size,) if isinstance(size, int) else tuple(size)
    count = -(-max(shares) // tile)
    # Tiles change behind the first, before the last, and where a share ends.
    changes = {0, 1, count - 1, count}.union(*((s // tile, -(-s // tile)) for s in shares))
    for here, there in pairwise(sorted(changes)):
        cut = tuple(min(tile, max(0, share - here * tile)) for share in shares)
        yield there - here, Part(sum(cut), here == 0, there == count, cut)


def parts(size: int | Sequence[int], tile: int) -> list[Part]:
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


def walk(
    size: int | Sequence[int], tile: int, body: Callable[[Part], tuple[Node, ...]]
) -> tuple[Node, ...]:
    """The loop over one dimension."""
    return joined((count, body(part)) for count, part in runs(size, tile))
