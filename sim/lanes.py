"""Heads of attention that are taken together: one lane for each array that works on some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, TypeAlias

from ..arch import ComputeArray
from .array_work import ArrayWork, array_work
from .formats import Widths
from .loops import Part
from .shares import Product, abreast

__all__ = ["Lane", "Lanes", "block_work", "cut", "in_order", "keys_of", "rows_of", "scores_of"]


class Lane(NamedTuple):
    """Heads of one size, `copies` of them."""

    copies: int
    queries: int
    keys: int


Lanes: TypeAlias = tuple[Lane, ...]
"""Heads that run side by side: all arrays on one lane, or each array on its own."""


def in_order(dealt: Lanes, together: int) -> Iterator[tuple[int, Lanes]]:
    """What is dealt, `together` neighbours at a time: how often, and one head of each of them.

    Neighbours are on different arrays, because they are dealt in turn.

    >>> images = (Lane(2, 197, 197), Lane(2, 99, 99), Lane(2, 50, 50))
    >>> [(times, [lane.queries for lane in lanes]) for times, lanes in in_order(images, 2)]
    [(2, [197, 99]), (2, [50])]
    """
    chunks = (dealt[start : start + together] for start in range(0, len(dealt), together))
    for chunk, alike in groupby(chunks):
        times, done = len(list(alike)), 0
        for heads in sorted({lane.copies for lane in chunk}):
            left = tuple(lane._replace(copies=1) for lane in chunk if lane.copies >= heads)
            yield times * (heads - done), left
            done = heads


def cut(lanes: Lanes, rows: Part, keys: Part) -> Lanes:
    """A block: of each lane the parts of its queries and of its keys, where there are any."""
    sizes = zip(lanes, rows.shares, keys.shares, strict=True)
    return tuple(Lane(lane.copies, q, k) for lane, q, k in sizes if q and k)


def rows_of(lanes: Lanes) -> int:
    """Queries of all heads."""
    return sum(lane.copies * lane.queries for lane in lanes)


def scores_of(lanes: Lanes) -> int:
    """Scores of all heads."""
    return sum(lane.copies * lane.queries * lane.keys for lane in lanes)


def keys_of(lanes: Lanes) -> int:
    """Keys of all heads."""
    return sum(lane.copies * lane.keys for lane in lanes)


@lru_cache(maxsize=16)  # an array and a fraction take longer to look up than a block does
def block_work(
    array: ComputeArray, *, apart: bool, bits: Widths, rate: Fraction
) -> Callable[[Lanes, int, bool], ArrayWork]:
    """The arrays' work on a block: Q K^T, or A V.

    Args:
        array: The arrays.
        apart: True if each lane has an array of its own.
        bits: Of an element of the operands and of the output.
        rate: MACs of this number format per PE and cycle.

    Returns:
        Takes queries and keys, columns of Q and K, or of V, and whether it is A V.
    """

    @lru_cache(maxsize=4096)  # candidates of a mapping share most of their blocks
    def work(block: Lanes, width: int, sums: bool) -> ArrayWork:
        products = [
            Product(copies, q, k, width) if sums else Product(copies, q, width, k)
            for copies, q, k in block
        ]
        if apart:
            return abreast(array, products, bits=bits, rate=rate)
        (product,) = products
        return array_work(array, *product, bits=bits, rate=rate)

    return work
