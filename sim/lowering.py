"""One kernel on its way to tiles: what the mappings must know of it, and what they make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..arch import Accelerator
from ..arch.formats import bits
from ..workloads.extent import known
from ..workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
    Softmax,
    TokenSelection,
)
from . import attention, gemm, tiling, vector_work
from .attention import AttentionMapping
from .formats import (
    Formats,
    Widths,
    format_of,
    parameter_bits,
    parameter_size_bits,
    size_bits,
    widest,
)
from .fusion import Kernel
from .gemm import GemmMapping, in_bytes
from .lanes import Lane
from .plan import Tiling
from .program import Node
from .residency import Residency
from .shapes import convolution, dealt, matmul, rows_and_elements
from .shares import per_image, split_of
from .systolic import larger, smaller

__all__ = ["Lowered", "Lowering", "is_decision", "loads_parameters"]

Lowered: TypeAlias = tuple[tuple[Node, ...], object]
"""A kernel's tiles, and its mapping."""


def is_decision(lead: Operator) -> bool:
    """Whether what follows must wait for its outcome."""
    return isinstance(lead, TokenSelection) and lead.data_dependent


def loads_parameters(lead: Operator) -> bool:
    """Whether what goes to the weight buffer is trained, so that it may be loaded early."""
    return not isinstance(lead, Attention) and not (isinstance(lead, MatMul) and not lead.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """One kernel on its way to tiles.

    Attributes:
        kernel, machine: What and where.
        formats: Of what it multiplies and of what it makes.
        rate: MACs per PE and cycle.
        places: Where activations live.
        room: Bytes of the input buffer that are free for tiles.
        planned: How it is to be tiled, if that is decided.
        images: That the workload is for.
    """

    kernel: Kernel
    machine: Accelerator
    formats: Formats
    rate: Fraction
    places: Residency
    room: int
    planned: Tiling | None
    images: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        operands = self.kernel.lead.operands
        return not self.kernel.tail.elements or not all(operand.elements for operand in operands)

    def nodes(self) -> Lowered:
        """The kernel's tiles, and its mapping; none for an operator without elements."""
        lead = self.kernel.lead
        if self.is_empty:
            return (), "nothing to do"
        if isinstance(lead, Attention):
            return self.attention(self.heads(lead))
        if isinstance(lead, MatMul | Convolution):
            return self._gemm(lead)
        return self._vector(lead)

    @property
    def _images(self) -> Sequence[int]:
        """What each image has of it, in any unit."""
        return self.kernel.lead.images or (1,) * self.images

    def _loaded(self, operand: Operand) -> bool:
        return not all(source in self.places.resident for source in operand.sources)

    @property
    def _stores(self) -> bool:
        return self.kernel.tail.name not in self.places.resident

    def passing(self) -> list[Any]:
        """What an epilogue loads, in order: whether it passes by with the outputs, or is kept.

        What is as large as the output, or too large to be kept, passes by with each tile.
        """
        most = known(self.kernel.tail.elements) - 1
        kept_bytes = smaller(self.room, self.machine.buffers.weight_bytes) // 8
        return [
            size > smaller(most, kept_bytes * 8 // each)
            for size, each in (*self._extra_loads(), *self._trained())
        ]

    def _extra_loads(self) -> list[tuple[Any, int]]:
        """Activations that the epilogue loads: elements, and bits of each."""
        return [
            (known(operand.elements), bits(format_of(operand)))
            for operand in self.kernel.extra
            if self._loaded(operand)
        ]

    def _trained(self) -> list[tuple[int, int]]:
        """Trained numbers of the epilogue, and bits of each."""
        return [
            (operator.parameters, parameter_bits(operator))
            for operator in self.kernel.epilogue
            if operator.parameters
        ]

    def _behind(self) -> _Behind:
        """What the epilogue loads."""
        loaded, trained = self._extra_loads(), self._trained()
        passing = [bool(np.all(passes)) for passes in self.passing()]

        def once_bytes(operands: Sequence[tuple[Any, int]], passes: Sequence[bool]) -> Any:
            """All that is kept, rounded up once."""
            kept = sum(s * e for (s, e), gone in zip(operands, passes, strict=True) if not gone)
            return in_bytes(kept, 1)

        split = len(loaded)
        every = zip((*loaded, *trained), passing, strict=True)
        return _Behind(
            passing=tuple(each for (_, each), passes in every if passes),
            once_bytes=once_bytes(loaded, passing[:split]),
            once_trained_bytes=once_bytes(trained, passing[split:]),
        )

    def _vector_cost(self) -> Fraction:
        """Cycles of one lane for each output element on its way out."""
        cost = self.machine.vector.cost("requantize")
        return cost + sum((self._elementwise(e) for e in self.kernel.epilogue), Fraction(0))

    def _elementwise(self, operator: Elementwise) -> Fraction:
        return self.machine.vector.cost("activation" if operator.transcendental else "elementwise")

    def product(self, lead: MatMul | Convolution) -> gemm.Gemm:
        """What the mapping must know of the kernel's product or convolution."""
        behind = self._behind()
        shape = matmul(lead) if isinstance(lead, MatMul) else convolution(lead)
        shape = dealt(shape, lead, self.machine.array, self._images)
        trained = loads_parameters(lead)
        products = shape.groups * shape.repeats * shape.m * shape.n
        return gemm.Gemm(
            shape=shape,
            bits=Widths.of(self.formats),
            loads_input=self._loaded(lead.operands[0]),
            loads_weight=trained or self._loaded(lead.operands[1]),
            stores=self._stores,
            input_room=self.room,
            extra=behind.passing,
            bias=trained and lead.bias,
            once_bytes=behind.once_bytes,
            once_trained_bytes=behind.once_trained_bytes,
            leaving=Fraction(_any(known(lead.elements)), _any(products)),
            epilogue_operands=len(self.kernel.extra),
            vector_cost=self._vector_cost(),
        )

    def _gemm(self, lead: MatMul | Convolution) -> Lowered:
        product = self.product(lead)
        if isinstance(self.planned, GemmMapping):
            mapping = self.planned.within(product.shape)
        else:
            mapping = tiling.choose(product, self.machine, self.rate)
        return gemm.nodes(product, mapping, self.machine, self.rate), mapping

    def heads(self, lead: Attention) -> attention.Heads:
        """What the mapping must know of the kernel's attention."""
        behind = self._behind()
        query, key, value = lead.operands[:3]
        activations = self.formats.activations
        copies, queries, keys = known(lead.copies), known(lead.queries), known(lead.keys)
        match split_of(self.machine.array):
            case "tile":
                dealt = []
            case "head":
                dealt = [1] * copies
            case _:
                dealt = per_image(copies, self._images)
        return attention.Heads(
            copies=copies,
            queries=queries,
            keys=keys,
            head_dim=known(lead.head_dim),
            value_dim=known(lead.value_dim),
            dealt=tuple(Lane(heads, queries, keys) for heads in dealt if heads),
            bits=Widths.of(self.formats),
            mask_bits=bits(
                widest([format_of(mask) for mask in lead.operands[3:]] or [activations])
            ),
            loads_input=self._loaded(query),
            loads_key=self._loaded(key),
            loads_value=self._loaded(value),
            stores=self._stores,
            input_room=self.room,
            extra=behind.passing,
            once_bytes=behind.once_bytes + behind.once_trained_bytes,
            loads_mask=lead.affine > 0 or any(self._loaded(o) for o in lead.operands[3:]),
            epilogue_operands=len(self.kernel.extra),
            merge_cost=2 * self.machine.vector.cost("elementwise"),
            softmax_cost=self.machine.vector.cost("softmax"),
            vector_cost=self._vector_cost(),
        )

    def attention(self, heads: attention.Heads) -> Lowered:
        """The tiles of an attention, and its mapping."""
        if isinstance(self.planned, AttentionMapping):
            mapping = self.planned.within(heads)
        else:
            mapping = attention.choose(heads, self.machine, self.rate)
        return attention.nodes(heads, mapping, self.machine, self.rate), mapping

    def trained_bits(self, lead: Operator) -> Any:
        """Trained numbers that a kernel of the vector unit needs all along, in bits."""
        found = sum(parameter_size_bits(operator) for operator in self.kernel.epilogue)
        # A position embedding passes by; of a table only the rows that are gathered are read.
        return (
            found if isinstance(lead, Elementwise | Movement) else found + parameter_size_bits(lead)
        )

    def loads_ahead(self, lead: Operator) -> Any:
        """Whether they are loaded ahead, and not too large for that."""
        return in_bytes(self.trained_bits(lead), 1) <= self.machine.buffers.weight_tile_bytes

    def rows(self, lead: Operator) -> vector_work.Rows:
        """What the mapping must know of the kernel's work on the vector unit."""
        rows, passed = rows_and_elements(lead)
        elements = known(self.kernel.tail.elements)
        if isinstance(lead, Elementwise):
            cost = self._elementwise(lead)
        else:
            cost = self.machine.vector.cost(lead.kind)
        behind = sum((self._elementwise(e) for e in self.kernel.epilogue), Fraction(0))
        operands = (*lead.operands, *self.kernel.extra)
        loaded = [operand for operand in operands if self._loaded(operand)]
        streamed_bits = sum(size_bits(operand) for operand in loaded)
        if isinstance(lead, Elementwise):  # a position embedding passes by like any operand
            streamed_bits += parameter_size_bits(lead)
        trained_bits = self.trained_bits(lead)
        if not np.all(self.loads_ahead(lead)):
            streamed_bits, trained_bits = streamed_bits + trained_bits, 0
        stored = elements * self._stores
        read = sum(known(operand.elements) for operand in loaded)
        return vector_work.Rows(
            rows=rows,
            elements=larger(larger(read, stored), 1),
            input_bits=streamed_bits,
            output_bits=stored * bits(self.formats.output),
            parameter_bytes=in_bytes(trained_bits, 1),
            whole_row=isinstance(lead, Softmax | Normalization),
            reads=sum(known(operand.elements) for operand in operands),
            outputs=elements,
            lane_cycles=_times(cost, passed) + _times(behind, elements),
            input_room=self.room,
            operands=len(loaded) + (isinstance(lead, Elementwise) and lead.parameters > 0),
            host_cycles=self.machine.host_cycles if is_decision(lead) else 0,
        )

    def _vector(self, lead: Operator) -> Lowered:
        shape = self.rows(lead)
        mapping = vector_work.choose(shape, self.machine)
        return vector_work.nodes(shape, mapping, self.machine), mapping


def _any(size: Any) -> int:
    """A size, or the first of a column of them."""
    return int(np.ravel(size)[0])


def _times(cost: Fraction, elements: Any) -> Any:
    """Lane-cycles: exactly, or as floats for a column of elements."""
    return cost * elements if isinstance(elements, int) else float(cost) * elements


class _Behind(NamedTuple):
    """What an epilogue loads: bits of operands that pass by with the outputs, and bytes kept."""

    passing: tuple[int, ...]
    once_bytes: int
    once_trained_bytes: int
