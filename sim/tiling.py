"""The choice of a loop nest: the fewest predicted cycles among tilings that fit the buffers.

Tile sizes come from ladders that do not depend on the machine's capacities, which only strike out
what does not fit: a larger buffer never takes a candidate away.  Last tiles are ragged, so cost is
a staircase in every dimension and no size is worse for being odd.  The prediction knows the period
to which the engine settles; it is written over arrays of candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch import Accelerator
from .array_work import drain_cycles, port_cycles, whole_units
from .errors import MappingError
from .gemm import Gemm, GemmMapping, Shape
from .shares import alone

__all__ = [
    "SLACK", "Candidates", "Counted", "Estimate", "candidates_of", "choose", "count",
    "estimate_of", "fits", "ladder", "ladders", "needs", "predict", "tilings",
]  # fmt: skip

Array = NDArray[np.int64]

SLACK = 1.005
"""Predictions closer than this are equal: fewer DRAM bytes decide, then the shorter beginning.

Assumed: chosen by trial, on the shipped workloads, as about the prediction's own error.
"""


def ladder(size: int, unit: int) -> list[int]:
    """Tile sizes for a dimension: powers of two times `unit` below `size`, and `size`."""
    return [unit << step for step in range(size.bit_length()) if unit << step < size] + [size]


class Candidates(NamedTuple):
    """Tilings side by side, each axis `(candidates,)`; `order` is 0 for `mn`, 1 for `nm`."""

    groups: Array
    m: Array
    k: Array
    n: Array
    order: Array

    def at(self, which: Any) -> Candidates:
        """Those that an index array or mask picks."""
        return Candidates(*(axis[which] for axis in self))


def candidates_of(gemm: Gemm, machine: Accelerator, *, whole_folds: bool = True) -> Candidates:
    """All tilings of a product, whatever they need; folds that fill the array, or any."""
    return tilings(gemm.shape, whole_units(machine.array) if whole_folds else (1, 1, 1))


@lru_cache(maxsize=4096)
def tilings(shape: Shape, units: tuple[int, int, int]) -> Candidates:
    """All tilings of a shape whose tiles of m, k and n are so many whole units, or powers of two.

    Along rows and columns a tile is a number of whole folds; the stream may be cut anywhere.
    """
    sizes = ladders(shape, units)
    grid = np.meshgrid(*(np.array(axis) for axis in ([1], *sizes[1:], [0, 1])), indexing="ij")
    single = [axis.ravel().astype(np.int64) for axis in grid]
    # Several groups at a time only as wholes.
    several = np.array(sizes[0][1:], dtype=np.int64)
    whole = (1, *(axis[-1] for axis in sizes[1:]), 0)
    together = [several if axis == 0 else np.full_like(several, whole[axis]) for axis in range(5)]
    return Candidates(*(np.concatenate(pair) for pair in zip(single, together, strict=True)))


def ladders(shape: Shape, units: tuple[int, int, int]) -> tuple[list[int], ...]:
    """Tile sizes of groups, m, k and n, rising; the last of each is the whole."""
    longest = {"m": shape.longest("m"), "k": shape.k, "n": shape.n}  # of an array's share
    whole_sizes = zip(longest.items(), units, strict=True)
    sizes = {name: set(ladder(size, unit)) for (name, size), unit in whole_sizes}
    sizes["m"].update(ladder(longest["m"], 1))  # rows of outputs may be fewer than the array has
    if shape.window is not None:
        taps, width = shape.window.taps, shape.window.out_size[-1]
        sizes["m"].update(ladder(longest["m"], width))  # whole rows of the image
        sizes["k"].update(size * taps for size in ladder(shape.k // taps, 1))  # whole channels
    return ladder(shape.longest("groups"), 1), *(sorted(sizes[name]) for name in "mkn")


class Needs(NamedTuple):
    """What the largest tiles need, `(candidates,)` each: bytes, and words of sums."""

    input_bytes: Any
    weight_bytes: Any
    sums: Any
    output_bytes: Any


def needs(gemm: Gemm, candidates: Candidates) -> Needs:
    """What tilings need of each buffer, once."""
    _, _, k, n, _ = candidates
    groups, copies, m = _largest(gemm, candidates)
    inputs = gemm.input_bytes(copies, m, k) + gemm.extra_bytes(copies * m * n)
    weights = gemm.weight_bytes(groups, k + gemm.bias, n)
    return Needs(
        inputs + gemm.once_bytes,
        weights + gemm.once_trained_bytes,
        copies * m * n,
        gemm.leaving_bytes(copies * m * n) * int(gemm.stores),
    )


def fits(gemm: Gemm, machine: Accelerator, candidates: Candidates) -> Any:
    """Which tilings the buffers hold twice over, `(candidates,)`."""
    buffers, need = machine.buffers, needs(gemm, candidates)
    return (
        (need.input_bytes <= gemm.input_room // 2)
        & (need.weight_bytes <= buffers.weight_tile_bytes)
        & (need.sums <= buffers.accumulator_tile_words)
        & (need.output_bytes <= buffers.output_tile_bytes)
    )


def _largest(gemm: Gemm, candidates: Candidates) -> tuple[Array, Array, Array]:
    """Of each tiling's largest tile: groups, copies of groups and images, and rows of each."""
    shape = gemm.shape
    groups = shape.largest("groups", candidates.groups)
    copies = groups * shape.largest("repeats", 1)
    return groups, copies, shape.largest("m", candidates.m)


def _parts(size: Any, tile: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """A dimension as (count, size) of its full tiles and of its ragged last one, if any."""
    full = size // tile
    return (full, tile), ((size % tile > 0).astype(np.int64), np.maximum(size % tile, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What tilings are predicted to cost, each `(candidates,)`."""

    cycles: NDArray[np.float64]  # if the first weights are there when the kernel begins
    alone: NDArray[np.float64]  # if nothing runs before it
    dram_bytes: Array
    tiles: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What tilings come to, whatever the memory and the vector unit: `(candidates,)` each.

    Attributes:
        array: Cycles of the arrays for a tile, on average.
        left, right: Bytes of a tile of each operand, on average.
        stored: Bytes that leave, or are loaded beside them, at a step whose sums leave.
        vectored: Elements that the vector unit passes over at such a step.
        descriptors: Of what leaves and is loaded beside it.
        both, input_only, weight_only, neither: Steps at which both operands are loaded, or one.
        added: Tiles whose sums stay.
        rounds: Of all that.
        drain: Cycles from a tile's last word to its last result.
        first, last: Bytes of the first input and of the last output, which nothing hides behind.
        last_vectored: Elements of the last output.
        first_weights: Bytes of the first weights.
        dram_bytes: In all.
    """

    array: Any
    left: Any
    right: Any
    stored: Any
    vectored: Any
    descriptors: int
    both: Any
    input_only: Any
    weight_only: Any
    neither: Any
    added: Any
    rounds: Any
    drain: Any
    first: Any
    last: Any
    last_vectored: Any
    first_weights: Any
    dram_bytes: Any

    @property
    def tiles(self) -> Any:
        """Tiles in all."""
        steps = self.both + self.input_only + self.weight_only + self.neither
        return self.rounds * (steps + self.added)


def estimate_of(
    gemm: Gemm, machine: Accelerator, rate: Fraction, candidates: Candidates
) -> Estimate:
    """The prediction: the period to which the engine settles, and both ends."""
    counted = count(gemm, machine, rate, candidates)
    cycles, alone = predict(
        counted,
        per_byte=1 / float(machine.dram_bytes_per_cycle),
        setup=machine.dram.setup_cycles,
        latency=machine.dram_latency_cycles,
        lane=float(gemm.vector_cost) / machine.vector.lanes,
    )
    return Estimate(cycles=cycles, alone=alone, dram_bytes=counted.dram_bytes, tiles=counted.tiles)


def count(gemm: Gemm, machine: Accelerator, rate: Fraction, candidates: Candidates) -> Counted:
    """Cycles of the arrays, bytes and steps of tilings.

    Args:
        gemm: The product, or columns of them.
        machine: Whose arrays and buffers.
        rate: MACs per PE and cycle of the number format.
        candidates: Axes of the same shape, or of shapes that are broadcast.
    """
    shape = gemm.shape
    groups, m, k, n, order = candidates
    # What follows is of the array with the most; `of_all` makes it that of all of them.
    longest_m, repeats = shape.longest("m"), shape.longest("repeats")
    array = alone(machine.array) if shape.dealt else machine.array
    demand = gemm.read_demand(machine, rate, len(shape.dealt.shares) if shape.dealt else 1)
    parts_m, parts_k, parts_n = _parts(longest_m, m), _parts(shape.k, k), _parts(shape.n, n)
    once_input: Any = sum(
        m_count * k_count * gemm.input_bytes(groups, m_size, k_size)
        for m_count, m_size in parts_m
        for k_count, k_size in parts_k
    )
    once_weight: Any = sum(
        k_count * n_count * gemm.weight_bytes(groups, k_size, n_size)
        for k_count, k_size in parts_k
        for n_count, n_size in parts_n
    )
    if gemm.bias:
        once_weight = once_weight + gemm.weight_bytes(groups, 1, shape.n + 0 * n)
    array_cycles: Any = sum(
        m_count * k_count * n_count
        * port_cycles(
            array, groups, m_size, k_size, n_size, bits=gemm.bits, rate=rate, demand=demand
        )
        for m_count, m_size in parts_m
        for k_count, k_size in parts_k
        for n_count, n_size in parts_n
    )  # fmt: skip
    made = [
        (m_count * n_count, groups * m_size * n_size)
        for m_count, m_size in parts_m
        for n_count, n_size in parts_n
    ]
    outputs: Any = sum(number * gemm.leaving_bytes(products) for number, products in made)
    beside: Any = sum(number * gemm.extra_bytes(products) for number, products in made)
    once_input, outputs, beside = map(shape.of_all, (once_input, outputs, beside))
    if shape.dealt is not None and shape.dealt.axis == "groups":
        once_weight = shape.of_all(once_weight)  # else arrays have their weights in common
    m_tiles, k_tiles, n_tiles = (
        -(-size // tile) for size, tile in ((longest_m, m), (shape.k, k), (shape.n, n))
    )
    m_steps = m_tiles * repeats
    whole_k = k_tiles == 1
    input_stays = whole_k & ((order == 0) | (m_steps == 1))
    weight_stays = whole_k & ((order == 1) | (n_tiles == 1))
    input_total = once_input * repeats * np.where(input_stays, 1, n_tiles)
    weight_total = once_weight * np.where(weight_stays, 1, m_steps)
    rounds = -(-shape.longest("groups") // groups)
    steps = m_steps * n_tiles
    stored = (outputs * int(gemm.stores) + beside) * repeats
    once = gemm.once_bytes + gemm.once_trained_bytes
    dram_bytes = rounds * (input_total + weight_total + stored) + once
    tiles = steps * k_tiles
    input_again = np.where(input_stays, m_steps, steps)
    weight_again = np.where(weight_stays, n_tiles, steps)
    both = np.where(input_stays & weight_stays, 1, np.minimum(input_again, weight_again))
    most_groups, copies, rows = _largest(gemm, candidates)
    return Counted(
        array=array_cycles * repeats / tiles,
        left=once_input / (m_tiles * k_tiles),
        right=once_weight / (n_tiles * k_tiles),
        stored=stored / steps,
        vectored=shape.of_all(repeats * groups * longest_m * shape.n) / steps,
        descriptors=int(gemm.stores) + len(gemm.extra),
        both=both,
        input_only=input_again - both,
        weight_only=weight_again - both,
        neither=steps - input_again - weight_again + both,
        added=tiles - steps,
        rounds=rounds,
        drain=drain_cycles(machine.array, m, gemm.bits),
        first=gemm.input_bytes(copies, rows, k),  # weights are loaded while the kernel before runs
        last=gemm.leaving_bytes(copies * rows * n) * int(gemm.stores),
        last_vectored=copies * rows * n,
        first_weights=gemm.weight_bytes(most_groups, k, n),
        dram_bytes=dram_bytes,
    )


def predict(
    counted: Counted, *, per_byte: Any, setup: Any, latency: Any, lane: Any
) -> tuple[Any, Any]:
    """Cycles of tilings, if their first weights are there when the kernel begins, and if not.

    Args:
        counted: What they come to.
        per_byte: Cycles of a byte from or to DRAM.
        setup: Cycles of a descriptor.
        latency: Cycles until what is loaded is there.
        lane: Cycles of the vector unit for an element.
    """
    pace = _Pace(
        array=counted.array,
        vector=counted.vectored * lane,
        store=_bus(counted.stored, counted.descriptors, per_byte, setup),
        drain=counted.drain,
        latency=latency,
    )
    left = _bus(counted.left, 1, per_byte, setup)
    right = _bus(counted.right, 1, per_byte, setup)
    kinds = (
        (counted.both, pace.closing, left + right),
        (counted.input_only, pace.closing, left),
        (counted.weight_only, pace.closing, right),
        (counted.neither, pace.closing, 0 * left),
        (counted.added, pace.adding, left + right),
    )
    cycles: Any = sum(number * cost(load) for number, cost, load in kinds if np.any(number))
    ends = (counted.first + counted.last) * per_byte + counted.last_vectored * lane
    ahead = counted.rounds * cycles + ends
    return ahead, ahead + counted.first_weights * per_byte


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
    drain: Any
    latency: Any

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


def _bus(size_bytes: Any, descriptors: Any, per_byte: Any, setup: Any) -> Any:
    return np.where(size_bytes > 0, size_bytes * per_byte + descriptors * setup, 0)


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
    every = candidates_of(gemm, machine)
    fitting = every.at(fits(gemm, machine, every))
    if not fitting.m.size:  # no whole fold: folds that fill only part of the array
        every = candidates_of(gemm, machine, whole_folds=False)
        fitting = every.at(fits(gemm, machine, every))
    if not fitting.m.size:
        raise MappingError(_too_small(gemm, machine, every))
    estimate = estimate_of(gemm, machine, rate, fitting)
    slower = estimate.cycles > estimate.cycles.min() * SLACK
    best = np.lexsort((estimate.tiles, estimate.alone, estimate.dram_bytes, slower))[0]
    groups, m, k, n, order = (int(axis[best]) for axis in fitting)
    return GemmMapping(groups=groups, m=m, k=k, n=n, order="nm" if order else "mn")


def _too_small(gemm: Gemm, machine: Accelerator, candidates: Candidates) -> str:
    m, k, n = (int(axis.min()) for axis in candidates[1:4])
    buffers = machine.buffers
    smallest = Candidates(*(np.array(axis.min()) for axis in candidates))
    groups, copies, rows = (int(size) for size in _largest(gemm, smallest))
    leaving = int(gemm.leaving_bytes(copies * rows * n))
    inputs = int(gemm.input_bytes(copies, rows, k)) + int(gemm.extra_bytes(copies * rows * n))
    weights = int(gemm.weight_bytes(groups, k + gemm.bias, n))
    once, trained = gemm.once_bytes, gemm.once_trained_bytes
    needs = [
        ("input_bytes", 2 * (inputs + once), gemm.input_room),
        ("weight_bytes", 2 * (weights + trained), buffers.weight_bytes),
        ("accumulator_bytes", 8 * copies * rows * n, buffers.accumulator_bytes),
        ("output_bytes", 2 * leaving, buffers.output_bytes),
    ]
    each = f" on each of {len(gemm.shape.dealt.shares)} arrays" if gemm.shape.dealt else ""
    short = [
        f"buffers.{field} gives {has}, two tiles of {m} x {k} x {n}{each} need {need}"
        for field, need, has in needs
        if need > has
    ]
    return f"{machine.name} is too small for one tile: " + "; ".join(short or ["see its buffers"])
