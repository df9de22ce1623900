"""Tiles of many kernels as steps, and what each waits for: what `lockstep.run` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEVER", "Jump", "Room", "Steps"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

NEVER = -1
"""A step that nobody waits for."""


class Room(NamedTuple):
    """What makes room for each tile: the step before a span of steps that is so far behind it.

    Attributes:
        begins: Where the span of the tile begins, `(steps, nests)`.
        behind: By how much that is ahead of the steps that must be over, `(rows,)`.
        later: How many steps after those the one is whose end makes room.
    """

    begins: Int
    behind: Int
    later: int = 0


class Jump(NamedTuple):
    """Iterations that are not run.

    Attributes:
        skipped: How many are left out before a step; 0 where there is no jump; `(steps, nests)`.
        since: The step from which the pace is measured, `(steps, nests)`.
        iterations: That lie between.
        with_bus: Whether the bus has part in them, `(rows,)`.
        with_vector: Whether the vector unit has.
    """

    skipped: Float
    since: Int
    iterations: int
    with_bus: NDArray[np.bool_]
    with_vector: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Tiles of many kernels: those of a kind are alike, and many kernels have the same nest.

    Attributes:
        kinds: Of what kind each step is, 0 for none, `(steps, nests)`.
        nest: Of each row.
        weights, inputs: Cycles for which their loads hold the bus, 0 for none, `(kinds, rows)`.
        work, latency: For which the array's port is held, and until the last result is out.
        vector: Of the vector unit.
        closes: Whether the vector unit has part in the tile.
        store: For which the store holds the bus.
        weight_room, input_room, sum_room, output_room: What makes room for the tile.
        by_vector: Whether the inputs' room is free when the vector unit is done.
        after: The step whose vector work a step's array work needs, `(steps,)`.
        jumps: Iterations that are left out.
    """

    kinds: Int
    nest: Int
    weights: Float
    inputs: Float
    work: Float
    latency: Float
    vector: Float
    closes: NDArray[np.bool_]
    store: Float
    weight_room: Room | None = None
    input_room: Room | None = None
    sum_room: Room | None = None
    output_room: Room | None = None
    by_vector: bool = False
    after: Int | None = None
    jumps: tuple[Jump, ...] = ()
