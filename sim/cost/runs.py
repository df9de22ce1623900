"""Kernels on many designs: how each leaves the machine, and what is known from kernels like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .designs import Column, alike

__all__ = ["AXES", "SUMS", "Known", "Ran", "State"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

SUMS = (
    "macs", "weight_bytes", "input_bytes", "store_bytes", "vector_cycles", "input_reads",
    "weight_reads", "sum_reads", "sum_writes", "outputs", "host_cycles",
)  # fmt: skip

AXES = 5
"""Numbers of a mapping, at most."""


@dataclass(eq=False)
class State:
    """How a kernel leaves the machine, `(designs,)`.

    Attributes:
        lead: Cycles before its end from which the bus is free.
        first, second: When the weights of the next kernel's first and second tile can be loaded at
            the earliest, counted from its end: 0 or less, and not before the bus is free.
    """

    lead: Float
    first: Float
    second: Float

    @classmethod
    def fresh(cls, count: int) -> State:
        """Of a machine that has not begun."""
        return cls(*(np.zeros(count) for _ in range(3)))

    @property
    def columns(self) -> tuple[Float, Float, Float]:
        """All three."""
        return self.lead, self.first, self.second

    @property
    def signature(self) -> tuple[bytes, ...]:
        """Equal for equal states."""
        return tuple(column.tobytes() for column in self.columns)

    def at(self, rows: Int) -> State:
        """Of some designs."""
        return State(*(column[rows] for column in self.columns))


@dataclass(eq=False)
class Ran:
    """A kernel on all designs: cycles, how it leaves them, sums, what does not fit, and how tiled.

    Attributes:
        mapping: `(AXES, designs)`; zeros where nothing fits.
    """

    cycles: Float
    state: State
    sums: dict[str, Float]
    infeasible: NDArray[np.object_]
    mapping: Int

    @classmethod
    def blank(cls, before: State) -> Ran:
        """Of a kernel that does nothing."""
        count = len(before.lead)
        return cls(
            np.zeros(count),
            State(*(column.copy() for column in before.columns)),
            {name: np.zeros(count) for name in SUMS},
            np.full(count, "", dtype=object),
            np.zeros((AXES, count), dtype=np.int64),
        )

    @property
    def _columns(self) -> list[Column]:
        own = [self.cycles, *self.state.columns, self.infeasible]
        return [*own, *(self.sums[name] for name in SUMS), *self.mapping]

    def take(self, rows: Int, other: Ran, which: Int) -> None:
        """Take for some rows what those of another are."""
        for own, theirs in zip(self._columns, other._columns, strict=True):
            own[rows] = theirs[which]


@dataclass(eq=False)
class Known:
    """What kernels of the same operators and sizes came to, on the same designs.

    Layers of a network are alike, and differ on few designs: in what stays on chip, or in how the
    kernel before has left the machine.
    """

    _earlier: list[tuple[Sequence[Column], State, Ran]] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]

    def run(
        self,
        design: Int,
        places: Sequence[Column],
        sizes: Sequence[Column],
        before: State,
        run: Callable[[Int, Int, NDArray[np.bool_]], Ran],
    ) -> Ran:
        """A kernel on all designs, each different case once.

        Args:
            design: A number for each, the same for equal ones.
            places: What is on chip, `(designs,)` each.
            sizes: Columns for sizes of the kernel.
            before: How the kernel before has left them.
            run: Runs it on some designs; of some of them it is known how it is tiled.
        """
        ran, fresh = Ran.blank(before), np.arange(len(design))
        mapped = np.zeros(len(design), dtype=bool)
        for theirs, state, earlier in reversed(self._earlier):
            same = _equal(places, theirs, fresh)
            own = fresh[same & ~mapped[fresh]]
            ran.mapping[:, own] = earlier.mapping[:, own]
            mapped[own] = True
            same &= _equal(before.columns, state.columns, fresh)
            ran.take(fresh[same], earlier, fresh[same])
            fresh = fresh[~same]
        if len(fresh):
            columns = [column[fresh] for column in (design, *before.columns, *places, *sizes)]
            examples, case = alike(columns, len(fresh))
            if len(examples) == len(fresh):
                examples = case = np.arange(len(fresh))
            rows = fresh[examples]
            ran.take(fresh, run(rows, ran.mapping[:, rows], mapped[rows]), case)
        self._earlier.append((places, before, ran))
        return ran


def _equal(ours: Sequence[Column], theirs: Sequence[Column], rows: Int) -> NDArray[np.bool_]:
    """On which of some rows all columns agree."""
    same = np.ones(len(rows), dtype=bool)
    for one, other in zip(ours, theirs, strict=True):
        if one is not other:
            same &= one[rows] == other[rows]
    return same
