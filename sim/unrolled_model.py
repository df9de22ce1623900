"""An unrolled FPGA engine word by word: every output, and the cycles its ports and loops took.

This is the oracle of the closed form in `tilewise.sim.unrolled`.  Nothing here knows that form:
there are ports that move one word a cycle each, multipliers that take one token a cycle, buffers in
pairs, and loops.  An activity is a generator that yields once a cycle; activities that run side by
side move in step, and are over when the last one is.

In `lockstep`, which is what the closed form counts, the halves of the engine run in every phase,
with nothing to multiply in the first of an output tile and nothing to store beside the first output
tile; else those are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arch import UnrolledArray

__all__ = ["Run", "multiply"]

Ints: TypeAlias = NDArray[np.int64]
Activity: TypeAlias = Iterator[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What the engine made, `(heads, tokens, outputs)`, and in how many cycles."""

    product: Ints
    cycles: int


def multiply(
    array: UnrolledArray,
    left: NDArray[Any],
    right: NDArray[Any],
    *,
    bits: int = 8,
    summed: bool = False,
    lockstep: bool = True,
) -> Run:
    """Pass `left @ right` through the engine, head by head, at one token a cycle.

    Args:
        array: The engine; its rates play no part.
        left: Integers, `(heads, tokens, inputs)`.
        right: Integers, `(heads, inputs, outputs)`.
        bits: Of an operand.
        summed: True if the heads are groups of input channels whose products are added, so that
            there is one product, `(1, tokens, outputs)`; there may be at most Th of them.
        lockstep: False if a half that has no work is skipped.

    >>> array = UnrolledArray(
    ...     tm=2, tn=2, th=1, word_bits=16, input_ports=1, weight_ports=1, output_ports=1
    ... )
    >>> run = multiply(array, np.arange(6).reshape(1, 2, 3), np.arange(6).reshape(1, 3, 2))
    >>> run.product.tolist(), run.cycles  # two phases of 2, the last 2 tokens, 2 words out
    ([[[10, 13], [28, 40]]], 8)

    Raises:
        ValueError: The operands do not fit each other, or there are too many groups to add.
    """
    if left.ndim != 3 or right.ndim != 3 or left.shape[::2] != right.shape[:2]:
        raise ValueError(
            "wanted (heads, tokens, inputs) and (heads, inputs, outputs), got "
            f"{left.shape} and {right.shape}"
        )
    if summed and len(left) > array.th:
        raise ValueError(f"wanted at most th={array.th} groups to add, got {len(left)}")
    engine = _Engine(array, left, right, bits, summed, lockstep)
    cycles = sum(1 for _ in engine.run())
    return Run(product=engine.product, cycles=cycles)


class _Engine:
    """The buffers and the loops around them."""

    def __init__(
        self,
        array: UnrolledArray,
        left: NDArray[Any],
        right: NDArray[Any],
        bits: int,
        summed: bool,
        lockstep: bool,
    ) -> None:
        (heads, tokens, _), outputs = left.shape, right.shape[2]
        self.array, self.summed, self.lockstep = array, summed, lockstep
        self.per_word = array.word_bits // bits
        # The loops run over whole tiles; beyond the edge are zeros, which move all the same.
        self.left = _padded(left, (array.th, 1, array.tn))
        self.right = _padded(right, (array.th, array.tn, array.tm))
        self.tokens = tokens
        self.product = np.zeros((1 if summed else heads, tokens, outputs), dtype=np.int64)

    def run(self) -> Activity:
        array = self.array
        made: tuple[int, int, Ints] | None = None
        for head in range(0, len(self.left), array.th):
            for output in range(0, self.right.shape[2], array.tm):
                sums = np.zeros((array.th, self.tokens, array.tm), dtype=np.int64)
                beside = self._store(made) if made or self.lockstep else iter(())
                yield from _together(self._round(head, output, sums), beside)
                made = head, output, sums
        yield from self._store(made)

    def _round(self, head: int, output: int, sums: Ints) -> Activity:
        """One output tile: the next tiles are loaded while the last ones are multiplied."""
        array = self.array
        held: tuple[Ints, Ints] | None = None
        for first in range(0, self.left.shape[2], array.tn):
            heads, channels = slice(head, head + array.th), slice(first, first + array.tn)
            columns = slice(output, output + array.tm)
            inputs = np.zeros((array.th, self.tokens, array.tn), dtype=np.int64)
            weights = np.zeros((array.th, array.tm, array.tn), dtype=np.int64)
            turned = self.right[heads, channels, columns].swapaxes(1, 2)
            busy = [
                self._move(self.left[heads, :, channels], inputs, array.input_ports),
                self._move(turned, weights, array.weight_ports),
            ]
            if held or self.lockstep:
                busy.append(self._multiply(held, sums))
            yield from _together(*busy)
            held = inputs, weights
        yield from self._multiply(held, sums)

    def _multiply(self, held: tuple[Ints, Ints] | None, sums: Ints) -> Activity:
        """A token a cycle, of all heads and channels of the tiles at once."""
        for token in range(self.tokens):
            if held:
                inputs, weights = held
                sums[:, token] += np.einsum("hn,hmn->hm", inputs[:, token], weights)
            yield

    def _store(self, made: tuple[int, int, Ints] | None) -> Activity:
        array = self.array
        if made is None:  # the words move, but nobody wants them
            heads = 1 if self.summed else array.th
            nothing = np.zeros((heads, self.tokens, array.tm), dtype=np.int64)
            yield from self._move(nothing, nothing.copy(), array.output_ports)
            return
        head, output, sums = made
        leaving = sums.sum(axis=0, keepdims=True) if self.summed else sums
        stored = np.zeros_like(leaving)
        yield from self._move(leaving, stored, array.output_ports)
        place = self.product[head : head + array.th, :, output : output + array.tm]
        place[:] = stored[: len(place), :, : place.shape[2]]

    def _move(self, source: Ints, target: Ints, ports: int) -> Activity:
        """Words of channels that lie side by side, each port one word a cycle."""
        waiting = [
            (head, row, slice(channel, channel + self.per_word))
            for head in range(source.shape[0])
            for row in range(source.shape[1])
            for channel in range(0, source.shape[2], self.per_word)
        ]
        while waiting:
            for word in waiting[:ports]:
                target[word] = source[word]
            del waiting[:ports]
            yield


def _padded(operand: NDArray[Any], units: tuple[int, int, int]) -> Ints:
    sizes = zip(operand.shape, units, strict=True)
    return np.pad(operand.astype(np.int64), [(0, -size % unit) for size, unit in sizes])


def _together(*activities: Activity) -> Activity:
    """Side by side, cycle by cycle, until the last is over."""
    going = list(activities)
    while True:
        going = [one for one in going if next(one, _OVER) is not _OVER]
        if not going:
            return
        yield


_OVER = object()
