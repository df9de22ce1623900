"""Loop nests of many kernels, cut to the iterations that differ.

A nest of loops has few tiles that differ: in each loop the last iteration may be ragged, and those
in its middle are alike.
"""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..traffic import UNDER_WAY
from .steps import Jump, Room, Steps

__all__ = [
    "Kinds", "Nest", "Tiled", "code_of", "depth_of", "flags_of", "parts", "steps_of", "tile_kinds",
]  # fmt: skip

Int = NDArray[np.int64]


class Tiled(NamedTuple):
    """Kernels as tiles.

    Attributes:
        steps: What `lockstep.run` takes.
        count: How many tiles there are, `(rows,)`.
        totals: Their sums, by name as in `Totals`.
    """

    steps: Steps
    count: Any
    totals: Mapping[str, Any]


class Nest:
    """Loops, outermost first, cut to the iterations that are run; `tiles` steps in the innermost.

    Attributes:
        step: Numbers of the steps, `(steps, 1)`.
        valid: Whether a row has a step, `(steps, rows)`.
        index: The iteration of each loop, of those that are run, `(steps, rows)` each.
        last: Whether it is the last.
        spans: Steps of an iteration of each loop, `(rows,)`, and of one tile.
    """

    def __init__(self, counts: Sequence[Int], limits: Sequence[int], tiles: int = 1) -> None:
        self.counts = counts
        self.runs = [np.minimum(n, most) for n, most in zip(counts, limits, strict=True)]
        self._paces = [min(2, most - 3) for most in limits]
        spans = [np.full_like(counts[0], tiles)]
        for run in reversed(self.runs):
            spans.insert(0, spans[0] * run)
        self.steps, *self.spans = spans
        self.step = np.arange(int(self.steps.max()), dtype=np.int32)[:, None]
        self.valid = self.step < self.steps
        self.index = [
            self.step // s.astype(np.int32) % r.astype(np.int32) if r.max() > 1 else 0 * self.step
            for s, r in zip(self.spans, self.runs, strict=True)
        ]
        self.last = [i == r - 1 for i, r in zip(self.index, self.runs, strict=True)]

    def jumps(self, of: Int, with_bus: Sequence[Any], summed: int | None = None) -> Iterator[Jump]:
        """Where iterations are left out.

        Args:
            of: Which nest is each row's.
            with_bus: For each loop, whether the bus takes part, for each row.
            summed: The loop whose tiles are added up, so that the vector unit takes no part.
        """
        for loop, (count, run, span) in enumerate(
            zip(self.counts, self.runs, self.spans, strict=True)
        ):
            if (count == run).all():
                continue
            here = (self.index[loop] == run - 2) & (self.step % span == 0) & self.valid
            pace = self._paces[loop]
            yield Jump(
                skipped=np.where(here, count - run, 0).astype(np.float64),
                since=self.step - pace * span,
                iterations=pace,
                with_bus=np.broadcast_to(with_bus[loop], of.shape),
                with_vector=loop != summed,
            )

    def room(self, of: Int, span: Any, depth: Any) -> Room:
        """What makes room for a step's load, if so many spans of steps each have room at once.

        Args:
            of: Which nest is each row's.
            span: Of each nest.
            depth: Of each row.
        """
        span = np.broadcast_to(span, self.counts[0].shape)
        return Room((self.step - self.step % span).astype(np.int64), (depth - 1) * span[of])


class Kinds:
    """The kinds of a nest's steps: nothing, those with a code, and the first step.

    Attributes:
        known: The codes.
        of_steps: The kind of each step, `(steps, nests)`.
    """

    def __init__(self, codes: Int, valid: Any) -> None:
        self.known: list[int] = np.flatnonzero(np.bincount(codes[valid])).tolist()
        place = np.zeros(self.known[-1] + 1, dtype=np.int64)
        place[self.known] = np.arange(len(self.known)) + 1
        self.of_steps = np.where(valid, place.take(codes, mode="clip"), 0)
        self._first = self.of_steps[0].copy()
        self.of_steps[0] = len(self.known) + 1

    def tables(self, tiles: Sequence[Sequence[Any]], nest: Any = slice(None)) -> list[Any]:
        """From the columns of each code's tile a table for each column, `(kinds, columns)`.

        Args:
            tiles: In the order of `known`.
            nest: Which nest is each column's, if not its own.
        """
        first = self._first[nest]
        tables = []
        for columns in zip(*tiles, strict=True):
            kind = np.result_type(*columns)
            kind = np.dtype(float) if kind.hasobject else kind  # fractions
            table = np.zeros((len(self.known) + 2, len(first)), dtype=kind)
            for row, column in zip(table[1:], columns, strict=False):
                row[:] = column
            table[-1] = table[first, np.arange(len(first))]
            tables.append(table)
        return tables


def depth_of(room: Any, each: Any) -> Any:
    """How many of something are there at once: two, or as many as have room."""
    return np.clip(room // np.maximum(each, 1), 2, UNDER_WAY)


def parts(size: Any, tile: Any) -> tuple[Any, Any, Any]:
    """A dimension in tiles: how many, of what size, and the size of the last."""
    count = -(-size // tile)
    return count, tile, size - (count - 1) * tile


def steps_of(counts: Sequence[Any], limits: Sequence[int]) -> Int:
    """Steps of loops of which so many iterations are run, `(rows,)`."""
    steps: Any = 1
    for count, most in zip(counts, limits, strict=True):
        steps = steps * np.minimum(count, most)
    return np.asarray(steps)


def tile_kinds(*dimensions: tuple[Any, Any, Any]) -> Iterator[tuple[Any, tuple[Any, ...], int]]:
    """Kinds of tiles: how many there are, their sizes, and a code with a bit for each last one.

    Args:
        *dimensions: How many tiles in each dimension, of what size, and the size of the last.
    """
    for code, lasts in enumerate(product((False, True), repeat=len(dimensions))):
        number, sizes = 1, []
        for is_last, (count, size, last) in zip(lasts, dimensions, strict=True):
            number = number * (1 if is_last else count - 1)
            sizes.append(last if is_last else size)
        if np.any(number > 0):
            yield number, tuple(sizes), code


def code_of(*lasts: Any) -> Any:
    """The code of `tile_kinds` for steps, from what is true of them."""
    code = 0
    for is_last in lasts:
        code = 2 * code + is_last
    return code


def flags_of(code: int, count: int) -> list[bool]:
    """What makes up a code, the first first."""
    return [bool(code >> bit & 1) for bit in reversed(range(count))]
