"""Products as tiles in loops: sizes, bytes and cycles are those of `gemm.py`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gemm import Gemm
from ..tiling import Candidates
from ..traffic import UNDER_WAY
from .designs import Designs, alike, some
from .nest import Kinds, Nest, Tiled, code_of, depth_of, flags_of, parts, steps_of, tile_kinds
from .product_table import rows_of
from .steps import Steps
from .works import works_of

__all__ = ["product_depths", "product_steps", "product_tiles"]

Int = NDArray[np.int64]

_LIMITS = 5, 6, 7, 6


def _loops(gemm: Gemm, mapping: Candidates) -> tuple[Any, ...]:
    """Iterations of a product's loops: groups, the outer one, the inner one, and k."""
    shape, (groups, m, k, n, order) = gemm.shape, mapping
    rounds, m_tiles, k_tiles, n_tiles = (
        -(-size // tile)
        for size, tile in ((shape.groups, groups), (shape.m, m), (shape.k, k), (shape.n, n))
    )
    m_steps, rows_first = m_tiles * shape.repeats, order == 0
    outer, inner = np.where(rows_first, (m_steps, n_tiles), (n_tiles, m_steps))
    return rounds, outer, inner, k_tiles


def product_steps(gemm: Gemm, mapping: Candidates) -> Int:
    """Steps that are run of each product, `(rows,)`."""
    return steps_of(_loops(gemm, mapping), _LIMITS)


class _Products:
    """The tiles of products, each under a mapping, whatever the memory and the vector unit."""

    def __init__(self, gemm: Gemm, designs: Designs, rate: Fraction, mapping: Candidates) -> None:
        self.gemm, self.mapping = gemm, mapping
        shape, (groups, m, k, n, order) = gemm.shape, mapping
        self.dimensions = of_groups, of_m, of_k, of_n = tuple(
            parts(size, tile)
            for size, tile in ((shape.groups, groups), (shape.m, m), (shape.k, k), (shape.n, n))
        )
        m_tiles, k_tiles, n_tiles = of_m[0], of_k[0], of_n[0]
        self.count = of_groups[0] * m_tiles * shape.repeats * n_tiles * k_tiles
        rows_first = order == 0  # mn
        loops = _loops(gemm, mapping)
        nest = self.nest = Nest(loops, _LIMITS)

        whole_k = k_tiles == 1
        self.input_stays = whole_k & (rows_first | (m_tiles * shape.repeats == 1))
        self.weight_stays = whole_k & (~rows_first | (n_tiles == 1))
        of_round, of_outer, _, of_tile = nest.spans
        # In how many steps an operand's tile passes.
        self.input_span = np.where(
            self.input_stays, np.where(rows_first, of_outer, of_round), of_tile
        )
        self.weight_span = np.where(
            self.weight_stays, np.where(rows_first, of_round, of_outer), of_tile
        )
        # A step's place in each dimension, counted over all that there are.
        places = [
            nest.index[loop] + (loops[loop] - run) * (nest.index[loop] >= run - 2)
            for loop, run in ((1, nest.runs[1]), (2, nest.runs[2]))
        ]
        at_m, at_n = np.where(rows_first, places, places[::-1])
        ends_g, ends_k = nest.last[0], nest.last[3]
        ends_m, ends_n = at_m % m_tiles == m_tiles - 1, at_n == n_tiles - 1
        opens_k = nest.index[3] == 0
        loads_left, loads_right = (at_n == 0) | ~self.input_stays, (at_m == 0) | ~self.weight_stays
        codes = code_of(ends_g, ends_m, ends_k, ends_n, opens_k, loads_left, loads_right)
        self.kinds = Kinds(codes, nest.valid)
        numbers, tiles, codes_of = zip(*tile_kinds(*self.dimensions), strict=True)
        works = works_of(
            designs,
            tiles,
            len(k),
            bits=gemm.bits,
            rate=rate,
            demand=gemm.read_demand(designs, rate),
            ends=[bool(code & 2) for code in codes_of],
        )
        self.works = {
            code: (number * shape.repeats, work)
            for code, number, work in zip(codes_of, numbers, works, strict=True)
        }

    def tables(self) -> list[Any]:
        """What `_tile` says of each kind of steps, `(kinds, products)` each."""
        return self.kinds.tables([self._tile(code) for code in self.kinds.known])

    def _tile(self, code: int) -> tuple[Any, ...]:
        """A tile; its code says where it stands in the nest.

        Returns:
            Bytes of weights and of inputs, loads of inputs, cycles and latency of the array,
            outputs, bytes stored, and whether its sums leave.
        """
        gemm = self.gemm
        *lasts, opens_k, loads_left, loads_right = flags_of(code, 7)
        g, m, k, n = (
            last if is_last else size
            for is_last, (_, size, last) in zip(lasts, self.dimensions, strict=True)
        )
        ends_k, (_, work) = lasts[2], self.works[code >> 3]
        outputs = g * m * n * ends_k
        left = gemm.input_bytes(g, m, k) * loads_left
        return (
            gemm.weight_bytes(g, k + gemm.bias * opens_k, n) * loads_right,
            left + gemm.extra_bytes(outputs),
            (left > 0) + len(gemm.extra) * ends_k,
            work.cycles,
            work.latency,
            outputs,
            gemm.leaving_bytes(outputs) * gemm.stores,
            ends_k,
        )

    def totals(self) -> dict[str, Any]:
        """All but the cycles of the vector unit."""
        gemm, shape = self.gemm, self.gemm.shape
        reads = {
            name: sum(number * getattr(work, name) for number, work in self.works.values())
            for name in ("input_reads", "weight_reads", "sum_reads", "sum_writes")
        }
        whole = shape.groups * shape.repeats * shape.m * shape.n  # sums that leave
        k_tiles = self.dimensions[2][0]
        return {
            "macs": whole * shape.k,
            "input_reads": reads["input_reads"] + gemm.epilogue_operands * whole,
            "weight_reads": reads["weight_reads"],
            "sum_reads": reads["sum_reads"] + whole * (k_tiles - 1) + whole,
            "sum_writes": reads["sum_writes"],
            "outputs": whole * gemm.leaving.numerator // gemm.leaving.denominator,
            **_moved(gemm, self.dimensions, self.input_stays, self.weight_stays),
        }


def product_depths(gemm: Gemm, designs: Designs, mapping: Candidates) -> tuple[Any, ...]:
    """How many tiles of weights, inputs, sums and outputs each row's buffers have room for."""
    buffers, (groups, m, k, n, _) = designs.buffers, mapping
    largest = groups * m * n
    return (
        depth_of(buffers.weight_bytes, gemm.weight_bytes(groups, k + gemm.bias, n)),
        depth_of(gemm.input_room, gemm.input_bytes(groups, m, k) + gemm.extra_bytes(largest)),
        depth_of(buffers.accumulator_bytes, 4 * largest),
        depth_of(buffers.output_bytes, gemm.leaving_bytes(largest)) if gemm.stores else UNDER_WAY,
    )


def product_tiles(gemm: Gemm, designs: Designs, rate: Fraction, mapping: Candidates) -> Tiled:
    """Products under a mapping each; the sizes in `gemm` are columns."""
    shape, buffers = gemm.shape, designs.buffers
    sizes = (shape.groups, shape.repeats, shape.m, shape.k, shape.n)
    once, cap = (gemm.once_bytes, gemm.once_trained_bytes), buffers.im2col_bytes_per_cycle
    first, own = alike([*designs.of("array"), cap, *sizes, *once, *mapping], len(mapping.m))
    # Rows differ in more than these, but few of these are many rows'.
    plans = _Products(rows_of(gemm, first), designs.at(first), rate, mapping.at(first))
    nest = plans.nest
    right, left, loads, work, latency, outputs, stored, closes = (
        table[:, own] for table in plans.tables()
    )
    weights, inputs = designs.transfer_cycles(right, 1), designs.transfer_cycles(left, loads)
    weights[-1] += designs.transfer_cycles(gemm.once_trained_bytes, 1)
    inputs[-1] += designs.transfer_cycles(gemm.once_bytes, 1)

    for_weights, for_inputs, for_sums, for_outputs = product_depths(gemm, designs, mapping)
    runs_k, tile = nest.runs[3], nest.spans[3]
    streams = (gemm.loads_input & (plans.input_span == tile)) | (
        gemm.loads_weight & (plans.weight_span == tile)
    )
    moves = streams | bool(gemm.stores or gemm.extra)
    steps = Steps(
        kinds=plans.kinds.of_steps,
        nest=own,
        weights=weights,
        inputs=inputs,
        work=work,
        latency=latency,
        vector=designs.lane_cycles(outputs, gemm.vector_cost),
        closes=closes,
        store=designs.transfer_cycles(stored, 1),
        weight_room=nest.room(own, plans.weight_span, for_weights),
        input_room=nest.room(own, plans.input_span, for_inputs),
        sum_room=nest.room(own, runs_k, for_sums),
        output_room=nest.room(own, runs_k, for_outputs) if gemm.stores else None,
        by_vector=bool(gemm.extra) and not gemm.loads_input,
        jumps=tuple(
            nest.jumps(own, (True, (moves | (nest.spans[2] == 1))[own], moves[own], True), summed=3)
        ),
    )
    vector: Any = 0
    of_groups, of_m, _, of_n = plans.dimensions
    for number, (g_, m_, n_), _ in tile_kinds(of_groups, of_m, of_n):
        tiles, elements = some(number * plans.gemm.shape.repeats, own), (g_ * m_ * n_)[own]
        vector = vector + tiles * designs.lane_cycles(elements, gemm.vector_cost)
    totals = {name: some(total, own) for name, total in plans.totals().items()}
    return Tiled(steps, plans.count[own], {**totals, "vector_cycles": vector})


def _moved(gemm: Gemm, dimensions: Any, input_stays: Any, weight_stays: Any) -> dict[str, Any]:
    """Bytes to and from DRAM."""
    repeats, (of_groups, of_m, of_k, of_n) = gemm.shape.repeats, dimensions
    inputs, weights = gemm.once_bytes, gemm.once_trained_bytes
    stored = 0
    for number, sizes, _ in tile_kinds(of_groups, of_m, of_k):
        again = repeats * np.where(input_stays, 1, of_n[0])
        inputs = inputs + number * again * gemm.input_bytes(*sizes)
    for number, (g, k, n), _ in tile_kinds(of_groups, of_k, of_n):
        again = np.where(weight_stays, 1, of_m[0] * repeats)
        weights = weights + number * again * gemm.weight_bytes(g, k, n)
    if gemm.bias:
        again = np.where(weight_stays, 1, of_m[0] * repeats)
        for number, (g, n), _ in tile_kinds(of_groups, of_n):
            with_bias = gemm.weight_bytes(g, of_k[1] + 1, n) - gemm.weight_bytes(g, of_k[1], n)
            weights = weights + number * again * with_bias
    for number, sizes, _ in tile_kinds(of_groups, of_m, of_n):
        made = sizes[0] * sizes[1] * sizes[2]
        inputs = inputs + number * repeats * gemm.extra_bytes(made)
        stored = stored + number * repeats * gemm.leaving_bytes(made) * gemm.stores
    return {"input_bytes": inputs, "weight_bytes": weights, "store_bytes": stored}
