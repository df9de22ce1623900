"""How work is dealt to several arrays: whole heads or whole images in turn, measured per tile.

Arrays that share a tile by its column blocks (`split: tile`) work on one product together, which is
`array_work`'s business.  Under `head` and `image` every product stays on one array.  What is dealt,
heads or images, goes to the arrays in turn, the largest first, whatever is alike in any order:

    item i, counted from the largest, belongs to array i mod count.

So array j has no more than array j - 1, the first has at most one largest item more than the last,
and another array never makes the largest share larger.  The rule looks at one layer: between two
token selectors an image stays where it is, behind one it may move, which costs nothing, because
all arrays read and write the same buffers.

A tile takes the same range of every array's share: rows 0 to 63 of each array's own rows, then 64
to 127, and so on.  It is over when the longest is; the others idle, and that is the imbalance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from ..arch import ComputeArray, Split, SystolicArray
from .array_work import ArrayWork, array_work
from .formats import Widths

__all__ = [
    "Dealt",
    "Product",
    "Shares",
    "abreast",
    "alone",
    "in_turn",
    "most_of",
    "per_image",
    "split_of",
]

Shares: TypeAlias = tuple[int, ...]
"""What each array has of a dimension, the most first; arrays without any are left out."""


class Product(NamedTuple):
    """`copies` products `(m, k) @ (k, n)` on one array."""

    copies: int
    m: int
    k: int
    n: int


@dataclass(frozen=True, slots=True)
class Dealt:
    """A dimension of a product that is dealt to arrays: `groups`, `repeats` or `m`."""

    axis: str
    shares: Shares


def split_of(array: ComputeArray) -> Split:
    """How arrays share the work; by tile if there is one only."""
    return array.split if isinstance(array, SystolicArray) and array.count > 1 else "tile"


@lru_cache(maxsize=1024)
def alone(array: ComputeArray) -> ComputeArray:
    """One of the arrays."""
    return array.replace(count=1) if isinstance(array, SystolicArray) else array


def in_turn(items: Iterable[int], arrays: int) -> Shares:
    """What each array gets of items that are dealt in turn, the largest first.

    >>> in_turn([197, 99, 150, 120, 60], 2)
    (377, 249)
    """
    largest_first = sorted(items, reverse=True)
    shares = (sum(largest_first[array::arrays]) for array in range(arrays))
    return tuple(share for share in shares if share)


def most_of(items: int, array: ComputeArray) -> int:
    """How many of so many equal items, dealt in turn, an array gets at most."""
    return -(-items // array.count) if isinstance(array, SystolicArray) else items


def per_image(size: int, images: Sequence[int]) -> list[int]:
    """What each image has of a dimension, in proportion to what it has of another.

    What cannot be told apart by image, as one time step for a whole batch, is the first one's.

    >>> per_image(12, (100, 100)), per_image(1, (100, 100))
    ([6, 6], [1])
    """
    whole = sum(images)
    if any(size * image % whole for image in images):
        return [size]
    return [size * image // whole for image in images]


def abreast(
    array: ComputeArray,
    products: Sequence[Product],
    *,
    bits: Widths,
    rate: Fraction,
    demand: Fraction = Fraction(1),
    adds: bool = False,
    broadcast: bool = False,
) -> ArrayWork:
    """The work of products that begin at once, each on an array of its own.

    Args:
        array: The arrays, as many as there are products or more; the others idle.
        products: One for each array.
        bits: Of an element of the operands and of the output.
        rate: MACs of this number format per PE and cycle.
        demand: As in `array_work`.
        adds: True if the sums are added to those of an earlier tile.
        broadcast: True if all have the same right operand, which is read once for all of them.
    """
    one = alone(array)
    works = [
        (array_work(one, *product, bits=bits, rate=rate, demand=demand, adds=adds), arrays)
        for product, arrays in Counter(products).items()
    ]
    cycles = max(work.cycles for work, _ in works)
    busy = sum(work.cycles * arrays for work, arrays in works)
    weight_reads = [work.weight_reads * arrays for work, arrays in works]
    if broadcast:
        weight_reads = [max(work.weight_reads for work, _ in works)]
    return ArrayWork(
        macs=sum(work.macs * arrays for work, arrays in works),
        cycles=cycles,
        latency=max(work.latency for work, _ in works),
        useful=sum(work.useful * arrays for work, arrays in works),
        streamed=sum(work.streamed * arrays for work, arrays in works),
        throttled=sum(work.throttled * arrays for work, arrays in works),
        idle=cycles * array.pes - busy * one.pes,
        input_reads=sum(work.input_reads * arrays for work, arrays in works),
        weight_reads=sum(weight_reads),
        sum_reads=sum(work.sum_reads * arrays for work, arrays in works),
        sum_writes=sum(work.sum_writes * arrays for work, arrays in works),
    )
