"""A matrix product or convolution as a loop nest of tiles, and the choice of that nest.

Every such operator is `groups` x `repeats` products `(m, k) @ (k, n)`: groups have right operands
of their own (the groups of a convolution, the heads of a batched product), repeats share one (the
images of a batch).  A convolution is implicit GEMM: m runs over output positions, k over kernel
taps and input channels, and a tile of the left operand is loaded as a window of the image with its
halo.

Sums over k finish before the next output tile starts, so partial sums never leave the accumulators.
Two orders remain: `mn` keeps the left operand and walks over n, `nm` keeps the right one.  Tile
sizes come from ladders that do not depend on the machine's capacities, which only strike out what
does not fit: a larger buffer never takes a candidate away.  Last tiles are ragged, so cost is a
staircase in every dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator
from .array_work import array_work, port_cycles
from .errors import MappingError
from .program import Node, Tile, repeat
from .systolic import fold_latency

__all__ = ["Gemm", "GemmMapping", "Window", "choose", "nodes"]

Array = NDArray[np.int64]

SLACK = 1 + 1 / 256
"""Predictions closer than this are equal: fewer DRAM bytes decide, then fewer tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The geometry of a convolution's left operand.

    Attributes:
        in_size, out_size: Spatial sizes; the last is the fastest in memory.
        kernel: Extent of the kernel in each dimension, dilation included.
        stride: Steps in each dimension.
        taps: Kernel positions.
    """

    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    taps: int

    def positions(self, outputs: Any) -> Any:
        """Input positions that a run of `outputs` output positions reads, halo included.

        A run covers whole innermost rows where it is longer than one; a run that may start inside
        a row is charged the rows it can touch.
        """
        if len(self.out_size) == 1:
            return self._span(0, outputs)
        *_, width = self.out_size
        inner = self._span(-1, np.minimum(outputs, width))
        rows = -(-outputs // width)
        rows = rows + ((outputs % width != 0) & (outputs > width))
        outer_sizes = self.out_size[:-1]
        total = inner
        for axis in range(len(outer_sizes) - 1, -1, -1):
            here = np.minimum(rows, outer_sizes[axis])
            total = total * self._span(axis, here)
            rows = -(-rows // outer_sizes[axis])
        return total

    def _span(self, axis: int, outputs: Any) -> Any:
        reach = (outputs - 1) * self.stride[axis] + self.kernel[axis]
        return np.minimum(reach, self.in_size[axis])


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """What a mapping must know of a matrix product or convolution.

    Attributes:
        groups, repeats, m, k, n: See the module.
        bits: Of an operand, input, weight and output alike.
        loads_input, loads_weight, stores: False where that operand is on chip already or stays.
        input_room: Bytes of the input buffer that are not taken by resident activations.
        extra: Operands that the epilogue loads, each as many elements as the output.
        epilogue_operands: All that it reads, loaded or on chip.
        vector_cost: Cycles of one lane for each output element, epilogue included.
        window: The geometry, for a convolution.
    """

    groups: int
    repeats: int
    m: int
    k: int
    n: int
    bits: int
    loads_input: bool = True
    loads_weight: bool = True
    stores: bool = True
    input_room: int
    extra: int = 0
    epilogue_operands: int = 0
    vector_cost: Fraction
    window: Window | None = None

    def input_bytes(self, groups: Any, m: Any, k: Any) -> Any:
        """Bytes of a left tile in DRAM and in the input buffer."""
        if not self.loads_input:
            return 0 * m
        if self.window is None:
            elements = m * k
        else:
            channels = -(-k // self.window.taps)
            elements = self.window.positions(m) * channels
        return -(-groups * elements * self.bits // 8)

    def weight_bytes(self, groups: Any, k: Any, n: Any) -> Any:
        """Bytes of a right tile."""
        return -(-groups * k * n * self.bits // 8) if self.loads_weight else 0 * n

    def output_bytes(self, groups: Any, m: Any, n: Any) -> Any:
        """Bytes of an output tile once it is requantized."""
        return -(-groups * m * n * self.bits // 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmMapping:
    """A tiling: tile sizes, and which operand stays while the other passes (`mn` or `nm`)."""

    groups: int
    m: int
    k: int
    n: int
    order: str

    def __str__(self) -> str:
        several = f"{self.groups} groups x " if self.groups > 1 else ""
        return f"{several}{self.m} x {self.k} x {self.n}, {self.order}"


def ladder(size: int, unit: int) -> list[int]:
    """Tile sizes for a dimension: powers of two times `unit` below `size`, and `size`."""
    steps = range(max(0, math.ceil(math.log2(max(size / unit, 1)))))
    return [unit << step for step in steps] + [size]


def _candidates(gemm: Gemm, machine: Accelerator) -> tuple[Array, Array, Array, Array, Array]:
    array = machine.array
    k_unit = array.rows if array.dataflow != "os" else 1 << (array.rows - 1).bit_length()
    m_sizes = set(ladder(gemm.m, 1))
    if gemm.window is not None:
        m_sizes |= set(ladder(gemm.m, min(gemm.window.out_size[-1], gemm.m)))
    if array.dataflow != "ws":
        m_sizes |= set(ladder(gemm.m, min(array.cols if array.dataflow == "is" else array.rows, gemm.m)))
    n_unit = 1 if array.dataflow == "is" else array.cols
    k_sizes = set(ladder(gemm.k, min(k_unit, gemm.k)))
    if gemm.window is not None and gemm.k > gemm.window.taps:
        k_sizes |= {size * gemm.window.taps for size in ladder(gemm.k // gemm.window.taps, 1)}
    n_sizes = ladder(gemm.n, min(n_unit, gemm.n))
    grid = np.meshgrid(
        np.array([1]),
        np.array(sorted(m_sizes)),
        np.array(sorted(k_sizes)),
        np.array(n_sizes),
        np.array([0, 1]),
        indexing="ij",
    )
    groups, m, k, n, order = (axis.ravel().astype(np.int64) for axis in grid)
    several = np.array(ladder(gemm.groups, 1)[1:], dtype=np.int64)
    if several.size:  # several groups only as wholes
        whole = np.ones_like(several)
        groups, m, k, n, order = (
            np.concatenate([groups, several]),
            np.concatenate([m, whole * gemm.m]),
            np.concatenate([k, whole * gemm.k]),
            np.concatenate([n, whole * gemm.n]),
            np.concatenate([order, whole * 0]),
        )
    return groups, m, k, n, order


def _fits(gemm: Gemm, machine: Accelerator, groups: Array, m: Array, k: Array, n: Array) -> Any:
    buffers = machine.buffers
    extra = gemm.extra * gemm.output_bytes(groups, m, n)
    fits = gemm.input_bytes(groups, m, k) + extra <= gemm.input_room // 2
    fits &= gemm.weight_bytes(groups, k, n) <= buffers.weight_tile_bytes
    fits &= groups * m * n <= buffers.accumulator_tile_words
    if gemm.stores:
        fits &= gemm.output_bytes(groups, m, n) <= buffers.output_tile_bytes
    return fits


def _parts(size: int, tile: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """A dimension as (count, size) of its full tiles and of its ragged last one, if any."""
    full = size // tile
    return (full, tile), ((size % tile > 0).astype(np.int64), np.maximum(size % tile, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    cycles: NDArray[np.float64]
    dram_bytes: Array
    tiles: Array


def _estimate(gemm: Gemm, machine: Accelerator, rate: Fraction, candidates: Any) -> _Estimate:
    groups, m, k, n, order = candidates
    demand = read_demand(gemm, machine)
    array_cycles, outputs = np.zeros_like(m), np.zeros_like(m)
    once_input, once_weight = np.zeros_like(m), np.zeros_like(m)
    for m_count, m_size in _parts(gemm.m, m):
        for k_count, k_size in _parts(gemm.k, k):
            once_input += m_count * k_count * gemm.input_bytes(groups, m_size, k_size)
            for n_count, n_size in _parts(gemm.n, n):
                count = m_count * k_count * n_count
                cycles = port_cycles(machine.array, groups, m_size, k_size, n_size, rate, demand)
                array_cycles += count * cycles
        for n_count, n_size in _parts(gemm.n, n):
            outputs += m_count * n_count * gemm.output_bytes(groups, m_size, n_size)
    for k_count, k_size in _parts(gemm.k, k):
        for n_count, n_size in _parts(gemm.n, n):
            once_weight += k_count * n_count * gemm.weight_bytes(groups, k_size, n_size)
    m_tiles, k_tiles, n_tiles = (-(-size // tile) for size, tile in ((gemm.m, m), (gemm.k, k), (gemm.n, n)))
    m_steps = m_tiles * gemm.repeats
    whole_k = k_tiles == 1
    input_stays = whole_k & ((order == 0) | (m_steps == 1))
    weight_stays = whole_k & ((order == 1) | (n_tiles == 1))
    input_total = once_input * gemm.repeats * np.where(input_stays, 1, n_tiles)
    weight_total = once_weight * np.where(weight_stays, 1, m_steps)
    rounds = -(-gemm.groups // groups)
    steps = m_steps * n_tiles
    stored = outputs * gemm.repeats * (int(gemm.stores) + gemm.extra)
    dram_bytes = rounds * (input_total + weight_total + stored)

    per_byte = 1 / float(machine.dram_bytes_per_cycle)
    setup = machine.dram.setup_cycles
    tiles = steps * k_tiles
    lane = float(gemm.vector_cost) / machine.vector.lanes
    pace = _Pace(
        array=array_cycles * gemm.repeats / tiles,
        vector=gemm.repeats * groups * gemm.m * gemm.n * lane / steps,
        store=_bus(stored / steps, int(gemm.stores) + gemm.extra, per_byte, setup),
        drain=fold_latency(machine.array, 0, machine.array.cols),
        latency=machine.dram_latency_cycles,
    )
    left = _bus(once_input / (m_tiles * k_tiles), 1, per_byte, setup)
    right = _bus(once_weight / (n_tiles * k_tiles), 1, per_byte, setup)
    input_again = np.where(input_stays, m_steps, steps)
    weight_again = np.where(weight_stays, n_tiles, steps)
    both = np.where(input_stays & weight_stays, 1, np.minimum(input_again, weight_again))
    cycles = (
        both * pace.closing(left + right)
        + (input_again - both) * pace.closing(left)
        + (weight_again - both) * pace.closing(right)
        + (steps - input_again - weight_again + both) * pace.closing(0 * left)
        + (tiles - steps) * pace.adding(left + right)
    )
    first = gemm.input_bytes(groups, m, k) + gemm.weight_bytes(groups, k, n)
    last = gemm.output_bytes(groups, m, n) * int(gemm.stores)
    ends = (first + last) * per_byte + groups * m * n * lane
    return _Estimate(cycles=rounds * cycles + ends, dram_bytes=dram_bytes, tiles=rounds * tiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How fast tiles follow each other: the largest mean over the loops of waiting.

    With tiles all alike the engine settles to a period, the largest cycle mean of its dependences
    (Baccelli et al., Synchronization and Linearity, 1992): a unit waits for itself; the load of a
    tile for the buffer of the tile two before; a tile's sums for the accumulators of the tile two
    before; and, since stores stand in the loads' queue, a load for the store of three tiles before.
    """

    array: Any
    vector: Any
    store: Any
    drain: int
    latency: int

    def adding(self, load: Any) -> Any:
        """Cycles of a tile whose sums stay in the accumulators."""
        waiting = np.where(load > 0, self.array + load + self.latency, 0)
        return np.maximum(np.maximum(self.array, load), waiting / 2)

    def closing(self, load: Any) -> Any:
        """Cycles of a tile whose sums leave."""
        leaving = self.array + self.drain + self.vector
        queued = np.where(load > 0, leaving + self.store + load + self.latency, 0)
        alone = np.maximum(np.maximum(self.vector, load + self.store), self.adding(load))
        return np.maximum(alone, np.maximum(leaving / 2, queued / 3))


def _bus(size_bytes: Any, descriptors: Any, per_byte: float, setup: int) -> Any:
    return np.where(size_bytes > 0, size_bytes * per_byte + descriptors * setup, 0)


def read_demand(gemm: Gemm, machine: Accelerator) -> Fraction:
    """What an implicit-GEMM stream asks of the input buffer, over what the buffer gives."""
    cap = machine.buffers.im2col_bytes_per_cycle
    if gemm.window is None or cap is None or machine.array.dataflow == "is":
        return Fraction(1)
    rows = min(machine.array.rows, gemm.k if machine.array.dataflow == "ws" else gemm.m)
    rate = Fraction(rows * gemm.bits * machine.array.count, 8)
    return max(Fraction(1), rate / cap)


@lru_cache(maxsize=65536)
def choose(gemm: Gemm, machine: Accelerator, rate: Fraction) -> GemmMapping:
    """The mapping with the fewest predicted cycles, then the fewest DRAM bytes.

    Args:
        gemm: The product.
        machine: Whose buffers must hold the tiles.
        rate: MACs per PE and cycle of the number format.

    Raises:
        MappingError: Not even one tile fits; says which buffer is too small.
    """
    candidates = _candidates(gemm, machine)
    fitting = np.flatnonzero(_fits(gemm, machine, *candidates[:4]))
    if not fitting.size:
        raise MappingError(_too_small(gemm, machine, candidates))
    candidates = tuple(axis[fitting] for axis in candidates)
    estimate = _estimate(gemm, machine, rate, candidates)
    slower = estimate.cycles > estimate.cycles.min() * SLACK
    best = np.lexsort((estimate.cycles, estimate.tiles, estimate.dram_bytes, slower))[0]
    groups, m, k, n, order = candidates
    return GemmMapping(
        groups=int(groups[best]),
        m=int(m[best]),
        k=int(k[best]),
        n=int(n[best]),
        order="nm" if order[best] else "mn",
    )


def _too_small(gemm: Gemm, machine: Accelerator, candidates: Any) -> str:
    groups, m, k, n, _ = (int(axis.min()) for axis in candidates)
    buffers = machine.buffers
    extra = gemm.extra * int(gemm.output_bytes(groups, m, n))
    needs = [
        ("input_bytes", 2 * (int(gemm.input_bytes(groups, m, k)) + extra), gemm.input_room),
        ("weight_bytes", 2 * int(gemm.weight_bytes(groups, k, n)), buffers.weight_bytes),
        ("accumulator_bytes", 8 * groups * m * n, buffers.accumulator_bytes),
        ("output_bytes", 2 * int(gemm.output_bytes(groups, m, n)), buffers.output_bytes),
    ]
    short = [
        f"buffers.{field} gives {has}, two tiles of {m} x {k} x {n} need {need}"
        for field, need, has in needs
        if need > has
    ]
    return f"{machine.name} is too small for one tile: " + "; ".join(short or ["see its buffers"])


def runs(size: int, tile: int) -> Iterator[tuple[int, int, bool, bool]]:
    """A dimension cut into tiles, as (tile size, how many, is it the first, is it the last)."""
    count = -(-size // tile)
    ragged = size - (count - 1) * tile
    if count == 1:
        yield size, 1, True, True
        return
    yield tile, 1, True, False
    if count > 2:
        yield tile, count - 2, False, False
    yield ragged, 1, False, True


def joined(parts: Iterable[tuple[int, tuple[Node, ...]]]) -> tuple[Node, ...]:
    """Bodies with their counts as one node sequence, equal neighbours in one loop."""
    merged: list[tuple[int, tuple[Node, ...]]] = []
    for count, body in parts:
        if merged and merged[-1][1] == body:
            merged[-1] = (merged[-1][0] + count, body)
        else:
            merged.append((count, body))
    return tuple(node for count, body in merged for node in repeat(count, body))


def walk(size: int, tile: int, body: Callable[[int, bool, bool], tuple[Node, ...]]) -> tuple[Node, ...]:
    """The loop over one dimension; `body` takes the tile size and whether it is first and last."""
    return joined((count, body(part, first, last)) for part, count, first, last in runs(size, tile))


@lru_cache(maxsize=65536)
def nodes(
    gemm: Gemm, mapping: GemmMapping, machine: Accelerator, rate: Fraction
) -> tuple[Node, ...]:
    """The loop nest of `gemm` under `mapping`."""
    demand = read_demand(gemm, machine)
    m_steps = gemm.repeats * -(-gemm.m // mapping.m)
    whole_k = mapping.k >= gemm.k
    input_stays = whole_k and (mapping.order == "mn" or m_steps == 1)
    weight_stays = whole_k and (mapping.order == "nm" or mapping.n >= gemm.n)

    def tile(
        g: int, m: tuple[int, bool, bool], n: tuple[int, bool, bool], k: tuple[int, bool, bool]
    ) -> Tile:
        (rows, first_m, last_m), (cols, first_n, last_n), (depth, first_k, last_k) = m, n, k
        left = int(gemm.input_bytes(g, rows, depth))
        right = int(gemm.weight_bytes(g, depth, cols))
        outputs = g * rows * cols
        extra = gemm.extra * gemm.output_bytes(g, rows, cols) if last_k else 0
        loads_left = first_n or not input_stays
        loads_right = first_m or not weight_stays
        work = array_work(machine.array, g, rows, depth, cols, rate=rate, demand=demand, adds=not first_k)
        return Tile(
            outputs=outputs if last_k else 0,
            sum_reads=outputs if last_k else 0,
            vector_reads=gemm.epilogue_operands * outputs if last_k else 0,
            work=work,
            weight_bytes=right if loads_right else 0,
            weight_loads=1 if loads_right and right else 0,
            input_bytes=(left if loads_left else 0) + extra,
            input_loads=(1 if loads_left and left else 0) + (gemm.extra if last_k else 0),
            weights_freed=right if last_m or not weight_stays else 0,
            inputs_freed=left if last_n or not input_stays else 0,
            accumulator_bytes=4 * outputs if first_k else 0,
            vector_cycles=lane_cycles(outputs, gemm.vector_cost, machine) if last_k else None,
            accumulators_freed=4 * outputs if last_k else 0,
            vector_frees=extra,
            store_bytes=gemm.output_bytes(g, rows, cols) if last_k and gemm.stores else 0,
        )

    def over_k(g: int, m: tuple[int, bool, bool], n: tuple[int, bool, bool]) -> tuple[Node, ...]:
        return walk(gemm.k, mapping.k, lambda *k: (tile(g, m, n, k),))

    def over_m(g: int, body: Callable[[tuple[int, bool, bool]], tuple[Node, ...]]) -> tuple[Node, ...]:
        def image(_: int, first: bool, last: bool) -> tuple[Node, ...]:
            return walk(
                gemm.m, mapping.m, lambda size, f, l: body((size, first and f, last and l))
            )

        return walk(gemm.repeats, 1, image)

    def group(g: int, _first: bool, _last: bool) -> tuple[Node, ...]:
        if mapping.order == "mn":
            return over_m(g, lambda m: walk(gemm.n, mapping.n, lambda *n: over_k(g, m, n)))
        return walk(gemm.n, mapping.n, lambda *n: over_m(g, lambda m: over_k(g, m, n)))

    return walk(gemm.groups, mapping.groups, group)


def lane_cycles(elements: int, cost: Fraction, machine: Accelerator) -> int:
    """Cycles of the vector unit for `elements` at `cost` lane-cycles each."""
    return -(-elements * cost.numerator // (cost.denominator * machine.vector.lanes))

