"""One kernel on its way to tiles: what the mappings must know of it, and what they make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from ..arch import Accelerator
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
from .fusion import Kernel
from .gemm import GemmMapping
from .lanes import Lane
from .plan import Tiling
from .program import Node
from .residency import Residency
from .shapes import convolution, dealt, matmul, rows_and_elements
from .shares import per_image, split_of

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
        bits: Of an operand.
        rate: MACs per PE and cycle.
        places: Where activations live.
        room: Bytes of the input buffer that are free for tiles.
        planned: How it is to be tiled, if that is decided.
        images: That the workload is for.
    """

    kernel: Kernel
    machine: Accelerator
    bits: int
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

    def _behind(self) -> _Behind:
        """What the epilogue loads."""
        loaded = [known(o.elements) for o in self.kernel.extra if self._loaded(o)]
        trained = [operator.parameters for operator in self.kernel.epilogue if operator.parameters]
        # What is as large as the output, or too large to be kept, passes by with each tile.
        kept_bytes = min(self.room, self.machine.buffers.weight_bytes) // 8
        kept = min(known(self.kernel.tail.elements) - 1, kept_bytes * 8 // self.bits)
        return _Behind(
            passing=sum(size > kept for size in (*loaded, *trained)),
            once=sum(size for size in loaded if size <= kept),
            once_trained=sum(size for size in trained if size <= kept),
        )

    def _vector_cost(self) -> Fraction:
        """Cycles of one lane for each output element on its way out."""
        cost = self.machine.vector.cost("requantize")
        return cost + sum((self._elementwise(e) for e in self.kernel.epilogue), Fraction(0))

    def _elementwise(self, operator: Elementwise) -> Fraction:
        return self.machine.vector.cost("activation" if operator.transcendental else "elementwise")

    def _gemm(self, lead: MatMul | Convolution) -> Lowered:
        behind = self._behind()
        shape = matmul(lead) if isinstance(lead, MatMul) else convolution(lead)
        shape = dealt(shape, lead, self.machine.array, self._images)
        trained = loads_parameters(lead)
        outputs = known(lead.elements)
        product = gemm.Gemm(
            shape=shape,
            bits=self.bits,
            loads_input=self._loaded(lead.operands[0]),
            loads_weight=trained or self._loaded(lead.operands[1]),
            stores=self._stores,
            input_room=self.room,
            extra=behind.passing,
            bias=trained and lead.bias,
            once=behind.once,
            once_trained=behind.once_trained,
            leaving=Fraction(outputs, shape.groups * shape.repeats * shape.m * shape.n),
            epilogue_operands=len(self.kernel.extra),
            vector_cost=self._vector_cost(),
        )
        if isinstance(self.planned, GemmMapping):
            mapping = self.planned.within(product.shape)
        else:
            mapping = tiling.choose(product, self.machine, self.rate)
        return gemm.nodes(product, mapping, self.machine, self.rate), mapping

    def heads(self, lead: Attention) -> attention.Heads:
        """What the mapping must know of the kernel's attention."""
        behind = self._behind()
        query, key, value = lead.operands[:3]
        copies, queries, keys = known(lead.copies), known(lead.queries), known(lead.keys)
        together = {"tile": [], "head": [1] * copies, "image": per_image(copies, self._images)}
        dealt = together[split_of(self.machine.array)]
        return attention.Heads(
            copies=copies,
            queries=queries,
            keys=keys,
            head_dim=known(lead.head_dim),
            value_dim=known(lead.value_dim),
            dealt=tuple(Lane(heads, queries, keys) for heads in dealt if heads),
            bits=self.bits,
            loads_input=self._loaded(query),
            loads_key=self._loaded(key),
            loads_value=self._loaded(value),
            stores=self._stores,
            input_room=self.room,
            extra=behind.passing,
            once=behind.once + behind.once_trained,
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

    def _vector(self, lead: Operator) -> Lowered:
        rows, passed = rows_and_elements(lead)
        elements = known(self.kernel.tail.elements)
        if isinstance(lead, Elementwise):
            cost = self._elementwise(lead)
        else:
            cost = self.machine.vector.cost(lead.kind)
        behind = sum((self._elementwise(e) for e in self.kernel.epilogue), Fraction(0))
        operands = (*lead.operands, *self.kernel.extra)
        loaded = [operand for operand in operands if self._loaded(operand)]
        trained = sum(operator.parameters for operator in self.kernel.epilogue)
        streamed = sum(known(operand.elements) for operand in loaded)
        if isinstance(lead, Elementwise):  # a position embedding passes by like any operand
            streamed += lead.parameters
        elif not isinstance(lead, Movement):  # of a table only the rows that are gathered are read
            trained += lead.parameters
        if -(-trained * self.bits // 8) > self.machine.buffers.weight_tile_bytes:
            streamed, trained = streamed + trained, 0  # too large to be loaded ahead
        shape = vector_work.Rows(
            rows=rows,
            input_elements=streamed,
            output_elements=elements * self._stores,
            parameters=trained,
            whole_row=isinstance(lead, Softmax | Normalization),
            reads=sum(known(operand.elements) for operand in operands),
            outputs=elements,
            lane_cycles=cost * passed + behind * elements,
            bits=self.bits,
            input_room=self.room,
            operands=len(loaded) + (isinstance(lead, Elementwise) and lead.parameters > 0),
            host_cycles=self.machine.host_cycles if is_decision(lead) else 0,
        )
        mapping = vector_work.choose(shape, self.machine)
        return vector_work.nodes(shape, mapping, self.machine), mapping


class _Behind(NamedTuple):
    """What an epilogue loads: operands that pass by with the outputs, and elements kept."""

    passing: int
    once: int
    once_trained: int
