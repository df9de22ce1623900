"""The tilings of many products: the engine's prediction, and its choice, for all of them at once.

Tilings lie on a grid of sizes of m, k, n and the two orders.  What depends on one size alone is
computed along that axis alone (`tiling.count`), once for all designs whose shapes and arrays are
alike; memory and vector unit price the grid (`tiling.predict`), once for all that have the same;
and what is left for each design is which of the tilings its buffers hold.
"""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..array_work import whole_units
from ..gemm import Gemm
from ..tiling import Candidates, ladders, needs
from .designs import Designs, alike, lacking, some
from .fastest import Fastest, Held, begins, best
from .product_table import AXES, Pace, Table, rows_of

__all__ = ["choose_tiles", "lacking_tiles"]

_CELLS = 1 << 16  # tilings x rows at a time: as many as stay in the caches

Int = NDArray[np.int64]


def choose_tiles(gemm: Gemm, designs: Designs, rate: Fraction, count: int) -> Candidates:
    """The tiling of each row's product, `(rows,)` each; 0 rows of m where nothing fits."""
    chosen = _choose(gemm, designs, rate, count, whole_folds=True)
    lost = np.flatnonzero(chosen.m == 0)
    if len(lost):  # no whole fold: folds that fill only part of the array
        again = _choose(rows_of(gemm, lost), designs.at(lost), rate, len(lost), whole_folds=False)
        for ours, theirs in zip(chosen, again, strict=True):
            ours[lost] = theirs
    return chosen


def _choose(
    gemm: Gemm, designs: Designs, rate: Fraction, count: int, *, whole_folds: bool
) -> Candidates:
    shape, buffers = gemm.shape, designs.buffers
    cap = [] if shape.window is None else [buffers.im2col_bytes_per_cycle]
    cap = [each for each in cap if each is not None]
    sizes = (shape.groups, shape.repeats, shape.m, shape.k, shape.n)
    first, kind = alike([*sizes, *designs.of("array"), *cap], count)
    pace = Pace(
        designs.cycles_per_byte,
        designs.dram.setup_cycles,
        designs.dram_latency_cycles,
        float(gemm.vector_cost) / designs.vector.lanes,
    )
    paces, priced = alike(pace, count)
    room = (
        gemm.input_room // 2 - gemm.once_bytes,
        buffers.weight_tile_bytes - gemm.once_trained_bytes,
        buffers.accumulator_tile_words,
        buffers.output_tile_bytes,
    )
    rows = _Rows(
        order := np.lexsort((priced, kind)),
        kind[order],
        priced[order],
        [np.broadcast_to(has, (count,))[order] for has in room],
    )
    ladders_of = _ladders(gemm, designs, first, whole_folds=whole_folds)
    chosen = np.zeros((AXES, count), dtype=np.int64)
    for low, high in _together(ladders_of):
        of_kinds = first[low:high]
        table = Table(rows_of(gemm, of_kinds), designs.at(of_kinds), rate, ladders_of[low:high])
        own = rows.between(low, high)
        at = Pace(*(some(value, paces) for value in pace))
        places, tiling = own.best(table, at)
        chosen[:, own.order[places]] = table.tilings.reshape(AXES, -1)[:, tiling]
    return Candidates(*chosen)


def _ladders(
    gemm: Gemm, designs: Designs, rows: Int, *, whole_folds: bool
) -> list[tuple[list[int], ...]]:
    """The tile sizes of some rows."""
    units: Any = whole_units(designs.array) if whole_folds else (1, 1, 1)
    return [
        ladders(rows_of(gemm, row).shape, tuple(some(unit, row) for unit in units))
        for row in rows.tolist()
    ]


def _together(ladders: Sequence[tuple[list[int], ...]]) -> Iterator[tuple[int, int]]:
    """Ranges of kinds whose tilings are looked at together."""
    low, longest = 0, np.zeros(4, dtype=np.int64)
    for high, each in enumerate(ladders):
        longest = np.maximum(longest, [len(axis) for axis in each])
        if high > low and (high + 1 - low) * longest[1:].prod() > _CELLS // 2:
            yield low, high
            low, longest = high, np.array([len(axis) for axis in each])
    yield low, len(ladders)


@dataclass(frozen=True)
class _Rows:
    """Rows of products.

    Attributes:
        order: Their numbers.
        kind: Of each, rising.
        pace: Of each, rising among those of a kind.
        room: Of each buffer, `(rows,)`.
    """

    order: Int
    kind: Int
    pace: Int
    room: Sequence[Int]

    def between(self, low: int, high: int) -> _Rows:
        """Those of some kinds, numbered anew."""
        own = slice(*np.searchsorted(self.kind, (low, high)))
        return _Rows(
            self.order[own], self.kind[own] - low, self.pace[own], [has[own] for has in self.room]
        )

    def best(self, table: Table, pace: Pace) -> tuple[Int, Int]:
        """Places of the rows where something fits, and what is best there.

        Args:
            table: Tilings of their kinds.
            pace: Of each number in `pace`.

        Returns:
            Places, and tilings as numbers in `(kinds, cells, 2)`.
        """
        cells = table.needs[0].shape[1]
        held = [
            Held(need, self.kind, room) for need, room in zip(table.needs, self.room, strict=True)
        ]
        # Rows of a kind and a pace have the same predictions.
        priced = begins(self.kind * (int(self.pace.max()) + 1) + self.pace)
        ends = np.append(priced[1:], len(self.kind))
        some_priced, some_rows = max(_CELLS // (2 * cells), 1), max(4 * _CELLS // cells, 1)
        found: list[tuple[Int, Int]] = []
        for at in range(0, len(priced), some_priced):
            these = priced[at : at + some_priced]
            kinds, own = self.kind[these], self.pace[these]
            cycles, alone = table.predicted(kinds, Pace(*(some(value, own) for value in pace)))
            fastest, last = Fastest(cycles), int(ends[at + len(these) - 1])
            for start in range(int(these[0]), last, some_rows):
                rows = np.arange(start, min(start + some_rows, last))
                price = np.searchsorted(these, rows, side="right") - 1
                row, tiling = fastest.fitting(held, rows, price)
                number = kinds[price[row]] * (2 * cells) + tiling
                winner = best(
                    row,
                    (table.dram_bytes, number),
                    (alone, price[row] * (2 * cells) + tiling),
                    (table.tiles, number),
                    (np.arange(2 * cells), tiling),  # then the first, as the engine's
                )
                found.append((rows[row[winner]], number[winner]))
        places, tilings = zip(*found, strict=True)
        return np.concatenate(places), np.concatenate(tilings)


def lacking_tiles(gemm: Gemm, designs: Designs, room: Any, count: int) -> NDArray[np.object_]:
    """The buffers that do not hold the smallest tile, `(rows,)`; all, if none lacks room alone.

    Args:
        gemm: Products, a row for each design.
        designs: Machines.
        room: Bytes of the input buffer.
        count: How many rows there are.
    """
    one, buffers, window = np.ones(count, dtype=np.int64), designs.buffers, gemm.shape.window
    need = needs(gemm, Candidates(one, one, one * (window.taps if window else 1), one, one))
    return lacking(
        count,
        input_bytes=(2 * need.input_bytes, room),
        weight_bytes=(2 * need.weight_bytes, buffers.weight_bytes),
        accumulator_bytes=(8 * need.sums, buffers.accumulator_bytes),
        output_bytes=(2 * need.output_bytes, buffers.output_bytes),
    )
