"""The arrays' work on many tiles of many kernels in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np

from ..array_work import ArrayWork, array_work
from ..formats import Widths
from .designs import Designs

__all__ = ["works_of"]

_NAMES = [field.name for field in fields(ArrayWork)]


def works_of(
    designs: Designs,
    tiles: Sequence[Sequence[Any]],
    count: int,
    *,
    bits: Widths,
    rate: Fraction,
    demand: Any = Fraction(1),
    ends: Sequence[bool] | None = None,
) -> list[ArrayWork]:
    """The work of each tile, as columns `(rows,)`.

    Args:
        designs: Machines.
        tiles: Copies, m, k and n of each: numbers or columns.
        count: How many rows there are.
        bits: Of an element.
        rate: MACs per PE and cycle.
        demand: As `array_work` has it, a number or a column.
        ends: Of each tile, whether its sums leave the array; all do if None.
    """
    shape = (len(tiles), count)
    sizes = [
        np.array([np.broadcast_to(size, (count,)) for size in column]).T
        for column in zip(*tiles, strict=True)
    ]
    work: Any = array_work(
        designs.reshaped(-1, 1).array,
        *sizes,
        bits=bits,
        rate=rate,
        demand=np.reshape(demand, (-1, 1)) if np.ndim(demand) else demand,
        ends=True if ends is None else np.array([ends]),
    )
    columns = [np.broadcast_to(np.transpose(getattr(work, name)), shape) for name in _NAMES]
    return [
        ArrayWork(**dict(zip(_NAMES, each, strict=True))) for each in zip(*columns, strict=True)
    ]
