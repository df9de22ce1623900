"""A bound workload on a machine becomes a program: kernels, residency, mappings, tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from ..arch import Accelerator
from ..arch.formats import FormatError, bits
from ..workloads.extent import known
from ..workloads.graph import Workload
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
from .errors import MappingError
from .fusion import Kernel, fuse
from .gemm import GemmMapping
from .plan import Plan, Tiling
from .program import KernelProgram, Node, Program
from .residency import Residency, producers, residency
from .shapes import convolution, matmul, rows_and_elements

__all__ = ["Lowered", "assembled", "lower", "lower_kernels", "plan"]

Lowered: TypeAlias = tuple[tuple[Node, ...], object]
"""A kernel's tiles, and its mapping."""


def plan(workload: Workload, machine: Accelerator, format: str) -> Plan:
    """What `lower` decides for a bound `workload`; see there for what is raised."""
    kernels = fuse(workload.operators, workload.outputs)
    places = _places(kernels, workload, machine, format)
    mappings = {
        kernel.name: mapping
        for kernel, (_, mapping) in zip(
            kernels, _lowered(kernels, places, machine, format, None), strict=True
        )
        if isinstance(mapping, GemmMapping | AttentionMapping)
    }
    live_bytes = zip((kernel.name for kernel in kernels), places.live_bytes, strict=True)
    return Plan(mappings, places.resident, dict(live_bytes))


def lower(
    workload: Workload, machine: Accelerator, format: str, plan: Plan | None = None
) -> Program:
    """Map every kernel of a bound `workload`.

    Args:
        workload: A model, every size a number.
        machine: What it runs on.
        format: Number format of the operands.
        plan: Tiles and places to be used instead of those that are best, made for a binding at
            least as large.  A tile that is larger than what is left is cut.

    Raises:
        MappingError: The array does not compute in `format`, or a buffer cannot hold one tile.
    """
    kernels = fuse(workload.operators, workload.outputs)
    places = plan.places(kernels) if plan else _places(kernels, workload, machine, format)
    return assembled(kernels, list(_lowered(kernels, places, machine, format, plan)))


def lower_kernels(
    kernels: Sequence[Kernel], machine: Accelerator, format: str, plan: Plan
) -> list[Lowered]:
    """The tiles of some kernels of a workload, where others run before and behind them."""
    return list(_lowered(kernels, plan.places(kernels), machine, format, plan))


def assembled(kernels: Sequence[Kernel], lowered: Sequence[Lowered]) -> Program:
    """Kernels and their tiles as a program, each waiting for what it reads."""
    programs: list[KernelProgram] = []
    barrier: tuple[int, ...] = ()  # the last decision, which all that follows waits for
    for index, (kernel, reads, (nodes, mapping)) in enumerate(
        zip(kernels, producers(kernels), lowered, strict=True)
    ):
        programs.append(
            KernelProgram(
                name=kernel.name,
                kind=kernel.lead.kind,
                fused=tuple(operator.name for operator in kernel.epilogue),
                selector=kernel.lead.selector,
                nodes=nodes,
                after=tuple(sorted({*reads, *barrier})),
                weights_early=_loads_parameters(kernel.lead),
                mapping=str(mapping),
            )
        )
        if _is_decision(kernel.lead):
            barrier = (index,)
    return Program(kernels=tuple(programs))


def _places(
    kernels: Sequence[Kernel], workload: Workload, machine: Accelerator, format: str
) -> Residency:
    return residency(kernels, workload.outputs, bits(format), machine.buffers.input_bytes // 2)


def _lowered(
    kernels: Sequence[Kernel],
    places: Residency,
    machine: Accelerator,
    format: str,
    plan: Plan | None,
) -> Iterator[Lowered]:
    """Each kernel's tiles, and its mapping."""
    try:
        rate = machine.array.macs_per_pe_cycle.get(format)
    except FormatError as error:
        raise MappingError(f"{machine.name}: format: {error}") from None
    for index, kernel in enumerate(kernels):
        lowering = _Lowering(
            kernel=kernel,
            machine=machine,
            bits=bits(format),
            rate=rate,
            places=places,
            room=machine.buffers.input_bytes - places.live_bytes[index],
            planned=plan.tiling(kernel) if plan else None,
        )
        try:
            yield lowering.nodes()
        except MappingError as error:
            raise MappingError(f"{kernel.name}: {error}") from None


def _is_decision(lead: Operator) -> bool:
    return isinstance(lead, TokenSelection) and lead.data_dependent


def _loads_parameters(lead: Operator) -> bool:
    """Whether what goes to the weight buffer is trained, so that it may be loaded early."""
    return not isinstance(lead, Attention) and not (isinstance(lead, MatMul) and not lead.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lowering:
    """One kernel on its way to tiles.

    Attributes:
        kernel, machine: What and where.
        bits: Of an operand.
        rate: MACs per PE and cycle.
        places: Where activations live.
        room: Bytes of the input buffer that are free for tiles.
        planned: How it is to be tiled, if that is decided.
    """

    kernel: Kernel
    machine: Accelerator
    bits: int
    rate: Fraction
    places: Residency
    room: int
    planned: Tiling | None

    def nodes(self) -> tuple[tuple[Node, ...], object]:
        """The kernel's tiles, and its mapping; none for an operator without elements."""
        lead = self.kernel.lead
        if not self.kernel.tail.elements or not all(operand.elements for operand in lead.operands):
            return (), "nothing to do"
        if isinstance(lead, Attention):
            return self._attention(lead)
        if isinstance(lead, MatMul | Convolution):
            return self._gemm(lead)
        return self._vector(lead)

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

    def _gemm(self, lead: MatMul | Convolution) -> tuple[tuple[Node, ...], object]:
        behind = self._behind()
        shape = matmul(lead) if isinstance(lead, MatMul) else convolution(lead)
        trained = _loads_parameters(lead)
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

    def _attention(self, lead: Attention) -> tuple[tuple[Node, ...], object]:
        behind = self._behind()
        query, key, value = lead.operands[:3]
        heads = attention.Heads(
            copies=known(lead.copies),
            queries=known(lead.queries),
            keys=known(lead.keys),
            head_dim=known(lead.head_dim),
            value_dim=known(lead.value_dim),
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
        if isinstance(self.planned, AttentionMapping):
            mapping = self.planned.within(heads)
        else:
            mapping = attention.choose(heads, self.machine, self.rate)
        return attention.nodes(heads, mapping, self.machine, self.rate), mapping

    def _vector(self, lead: Operator) -> tuple[tuple[Node, ...], object]:
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
            host_cycles=self.machine.host_cycles if _is_decision(lead) else 0,
        )
        mapping = vector_work.choose(shape, self.machine)
        return vector_work.nodes(shape, mapping, self.machine), mapping


class _Behind(NamedTuple):
    """What an epilogue loads: operands that pass by with the outputs, and elements kept."""

    passing: int
    once: int
    once_trained: int
