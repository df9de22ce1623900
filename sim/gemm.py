"""A matrix product or convolution as a loop nest of tiles; `tiling.py` chooses the nest.

Every such operator is `groups` x `repeats` products `(m, k) @ (k, n)`: groups have right operands
of their own (the groups of a convolution, the heads of a batched product), repeats share one (the
images of a batch).  A convolution is implicit GEMM: m runs over output positions, k over kernel
taps and input channels, and a tile of the left operand is loaded as a window of the image with its
halo.

Several arrays either share each tile, or one of groups, repeats and m is dealt to them
(`shares.py`): every array has its own share of it, which tiles and loops then count by.

Sums over k finish before the next output tile starts, so partial sums never leave the accumulators.
Two orders remain: `mn` keeps the left operand and walks over n, `nm` keeps the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ..arch import Accelerator
from .array_work import ArrayWork, array_work, stream_elements
from .formats import Widths
from .loops import Part, walk
from .product import Shape, Window
from .program import Node, Tile
from .shares import Product, abreast, alone

__all__ = ["Gemm", "GemmMapping", "Shape", "Window", "in_bytes", "lane_cycles", "nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm:
    """What a mapping must know of a matrix product or convolution.

    Attributes:
        shape: The products.
        bits: Of an element of input, weight and output.
        loads_input, loads_weight, stores: False where that operand is on chip already or stays.
        input_room: Bytes of the input buffer that are not taken by resident activations.
        extra: Operands that the epilogue loads, each as many elements as the output: the bits of
            an element of each.
        bias: True if each load of weights brings one number for each of their columns.
        once_bytes: The epilogue's broadcast operands, loaded with the first tile.
        once_trained_bytes: Its trained numbers, loaded ahead with the first weights.
        leaving: Share of the products that leave; less than 1 where a transposed convolution adds
            what overlaps.
        epilogue_operands: All that it reads, loaded or on chip.
        vector_cost: Cycles of one lane for each output element, epilogue included.
    """

    shape: Shape
    bits: Widths
    loads_input: bool = True
    loads_weight: bool = True
    stores: bool = True
    input_room: int
    extra: tuple[int, ...] = ()
    bias: bool = False
    once_bytes: int = 0
    once_trained_bytes: int = 0
    leaving: Fraction = Fraction(1)
    epilogue_operands: int = 0
    vector_cost: Fraction

    def input_bytes(self, copies: Any, m: Any, k: Any) -> Any:
        """Bytes of left tiles, of groups and of images, in DRAM and in the input buffer."""
        if not self.loads_input:
            return 0 * m
        if self.shape.window is None:
            return in_bytes(copies * m * k, self.bits.left)
        channels = -(-k // self.shape.window.taps)
        return in_bytes(copies * self.shape.window.positions(m) * channels, self.bits.left)

    def weight_bytes(self, groups: Any, k: Any, n: Any) -> Any:
        """Bytes of a right tile; with a bias, k counts it as one more row of weights."""
        return in_bytes(groups * k * n, self.bits.right) if self.loads_weight else 0 * n

    def leaving_bytes(self, products: Any) -> Any:
        """Bytes of the outputs that a number of products become."""
        return in_bytes(self._left(products), self.bits.out)

    def extra_bytes(self, products: Any) -> Any:
        """Bytes that the epilogue loads beside them."""
        return sum((in_bytes(self._left(products), each) for each in self.extra), 0 * products)

    def _left(self, products: Any) -> Any:
        """Elements of the outputs that a number of products become."""
        return -(-products * self.leaving.numerator // self.leaving.denominator)

    def stays(self, mapping: GemmMapping) -> tuple[bool, bool]:
        """Whether a left tile stays while n passes, and a right tile while m passes."""
        whole_k = mapping.k >= self.shape.k
        one_m = self.shape.longest("repeats") == 1 and mapping.m >= self.shape.longest("m")
        return (
            whole_k and (mapping.order == "mn" or one_m),
            whole_k and (mapping.order == "nm" or mapping.n >= self.shape.n),
        )

    def read_demand(self, machine: Any, rate: Fraction, abreast: int = 1) -> Any:
        """What an implicit-GEMM stream asks of the input buffer, over what the buffer gives.

        Args:
            machine: Whose buffer and array.
            rate: Words of the stream that a PE takes per cycle.
            abreast: Arrays that work on a share of their own at the same time.
        """
        cap = machine.buffers.im2col_bytes_per_cycle
        if self.shape.window is None or cap is None:
            return Fraction(1)
        array = alone(machine.array) if self.shape.dealt else machine.array
        asked_bits = abreast * stream_elements(array, self.shape.m, self.shape.k) * self.bits.left
        if isinstance(asked_bits, int) and isinstance(cap, Fraction):
            return max(Fraction(1), Fraction(asked_bits, 8) * rate / cap)
        return np.maximum(asked_bits * float(rate) / (8 * np.asarray(cap, dtype=float)), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmMapping:
    """A tiling: tile sizes, and which operand stays while the other passes (`mn` or `nm`).

    Of a dimension that is dealt to arrays, each array takes a tile of this size.
    """

    groups: int
    m: int
    k: int
    n: int
    order: str

    def __str__(self) -> str:
        several = f"{self.groups} groups x " if self.groups > 1 else ""
        return f"{several}{self.m} x {self.k} x {self.n}, {self.order}"

    def within(self, shape: Shape) -> GemmMapping:
        """The same tiles, cut to what there is."""
        return GemmMapping(
            groups=min(self.groups, shape.longest("groups")),
            m=min(self.m, shape.longest("m")),
            k=min(self.k, shape.k),
            n=min(self.n, shape.n),
            order=self.order,
        )


@lru_cache(maxsize=65536)
def nodes(
    gemm: Gemm, mapping: GemmMapping, machine: Accelerator, rate: Fraction
) -> tuple[Node, ...]:
    """The loop nest of `gemm` under `mapping`, at `rate` MACs per PE and cycle."""
    maker = _Tiles(gemm=gemm, mapping=mapping, machine=machine, rate=rate)
    shape = gemm.shape

    def over_k(group: Part, image: Part, m: Part, n: Part) -> tuple[Node, ...]:
        return walk(shape.k, mapping.k, lambda k: (maker.tile(group, image, m, n, k),))

    def over_m(body: Callable[[Part, Part], tuple[Node, ...]]) -> tuple[Node, ...]:
        def rows(image: Part) -> tuple[Node, ...]:
            def tile(m: Part) -> tuple[Node, ...]:
                first, last = image.first and m.first, image.last and m.last
                return body(image, m._replace(first=first, last=last))

            return walk(shape.shares("m"), mapping.m, tile)

        return walk(shape.shares("repeats"), 1, rows)

    def over_n(body: Callable[[Part], tuple[Node, ...]]) -> tuple[Node, ...]:
        return walk(shape.n, mapping.n, body)

    def over_group(group: Part) -> tuple[Node, ...]:
        if mapping.order == "mn":
            return over_m(lambda image, m: over_n(lambda n: over_k(group, image, m, n)))
        return over_n(lambda n: over_m(lambda image, m: over_k(group, image, m, n)))

    return walk(shape.shares("groups"), mapping.groups, over_group)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """The tiles of a product under one mapping."""

    gemm: Gemm
    mapping: GemmMapping
    machine: Accelerator
    rate: Fraction

    def tile(self, group: Part, image: Part, m: Part, n: Part, k: Part) -> Tile:
        """One step of the nest."""
        gemm, mapping = self.gemm, self.mapping
        copies = group.size * image.size
        input_stays, weight_stays = gemm.stays(mapping)
        left = int(gemm.input_bytes(copies, m.size, k.size))
        biased = gemm.bias and k.first
        right = int(gemm.weight_bytes(group.size, k.size + biased, n.size))
        loads_left, loads_right = n.first or not input_stays, m.first or not weight_stays
        outputs = copies * m.size * n.size * k.last  # that leave after this step
        leaving = int(gemm.leaving_bytes(outputs))
        extra = int(gemm.extra_bytes(outputs))
        opens = group.first and m.first and n.first and k.first
        once, trained = gemm.once_bytes * opens, gemm.once_trained_bytes * opens
        sums = 4 * copies * m.size * n.size
        return Tile(
            work=self._work(group, image, m, n, k),
            weight_bytes=right * loads_right + trained,
            weight_loads=(loads_right and right > 0) + (trained > 0),
            weights_freed=right * (m.last or not weight_stays) + trained,
            input_bytes=left * loads_left + extra + once,
            input_loads=(loads_left and left > 0) + len(gemm.extra) * k.last + (once > 0),
            inputs_freed=left * (n.last or not input_stays) + once,
            accumulator_bytes=sums * k.first,
            vector_cycles=lane_cycles(outputs, gemm.vector_cost, self.machine) if k.last else None,
            accumulators_freed=sums * k.last,
            vector_frees=extra,
            vector_reads=gemm.epilogue_operands * outputs,
            sum_reads=outputs,
            outputs=outputs * gemm.leaving.numerator // gemm.leaving.denominator,
            store_bytes=leaving * gemm.stores,
        )

    def _work(self, group: Part, image: Part, m: Part, n: Part, k: Part) -> ArrayWork:
        """The arrays' work, on the tile together or each on its share."""
        gemm, array, rate = self.gemm, self.machine.array, self.rate
        if gemm.shape.dealt is None:
            demand = gemm.read_demand(self.machine, rate)
            shape = group.size, m.size, k.size, n.size
            return array_work(
                array,
                *shape,
                bits=gemm.bits,
                rate=rate,
                demand=demand,
                adds=not k.first,
                ends=k.last,
            )
        products = [
            Product(groups * images, rows, k.size, n.size)
            for groups, images, rows in product(group.shares, image.shares, m.shares)
            if groups and images and rows
        ]
        return abreast(
            array,
            products,
            bits=gemm.bits,
            rate=rate,
            demand=gemm.read_demand(self.machine, rate, len(products)),
            adds=not k.first,
            broadcast=gemm.shape.dealt.axis != "groups",
        )


def in_bytes(elements: Any, bits: int) -> Any:
    """Whole bytes of elements that lie side by side without gaps."""
    return -(-elements * bits // 8)


def lane_cycles(elements: int, cost: Fraction, machine: Accelerator) -> int:
    """Cycles of the vector unit for `elements` at `cost` lane-cycles each."""
    return -(-elements * cost.numerator // (cost.denominator * machine.vector.lanes))
