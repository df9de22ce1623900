"""A bound workload on a machine becomes a program: kernels, residency, mappings, tiles."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ..arch import Accelerator
from ..arch.formats import FormatError, bits
from ..workloads.extent import product
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
    Reduction,
    Softmax,
    TokenSelection,
)
from . import attention, gemm, vector_work
from .errors import MappingError
from .fusion import Kernel, fuse
from .program import KernelProgram, Node, Program
from .residency import Residency, producers, residency

__all__ = ["lower"]


def lower(workload: Workload, machine: Accelerator, format: str) -> Program:
    """Map every kernel of a bound `workload`.

    Raises:
        MappingError: The array does not compute in `format`, or a buffer cannot hold one tile.
    """
    try:
        rate = machine.array.macs_per_pe_cycle.get(format)
    except FormatError as error:
        raise MappingError(f"{machine.name} computes in other formats: {error}") from None
    kernels = fuse(workload.operators, workload.outputs)
    places = residency(kernels, workload, format, machine.buffers.input_bytes // 2)
    made_by = producers(kernels)
    programs: list[KernelProgram] = []
    barrier: int | None = None
    for index, kernel in enumerate(kernels):
        after = made_by[index] if barrier is None else tuple(sorted({*made_by[index], barrier}))
        lowering = _Lowering(
            kernel=kernel,
            machine=machine,
            format=format,
            rate=rate,
            places=places,
            room=machine.buffers.input_bytes - places.live_bytes[index],
        )
        try:
            nodes, mapping = lowering.lowered()
        except MappingError as error:
            raise MappingError(f"{kernel.name}: {error}") from None
        lead = kernel.lead
        programs.append(
            KernelProgram(
                name=kernel.name,
                kind=lead.kind,
                fused=tuple(operator.name for operator in kernel.epilogue),
                selector=lead.selector,
                nodes=nodes,
                after=after,
                weights_early=not isinstance(lead, Attention)
                and not (isinstance(lead, MatMul) and not lead.weights),
                mapping=mapping,
            )
        )
        if isinstance(lead, TokenSelection) and lead.data_dependent:
            barrier = index
    return Program(kernels=tuple(programs))


class _Lowering:
    """One kernel on its way to tiles."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        machine: Accelerator,
        format: str,
        rate: Fraction,
        places: Residency,
        room: int,
    ) -> None:
        self.kernel = kernel
        self.machine = machine
        self.bits = bits(format)
        self.rate = rate
        self.places = places
        self.room = room

    def lowered(self) -> tuple[tuple[Node, ...], str]:
        """The kernel's tiles, and its mapping in words."""
        lead = self.kernel.lead
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

    @property
    def _extra(self) -> list[Operand]:
        return [operand for operand in self.kernel.extra if self._loaded(operand)]

    def _own_parameters(self) -> int:
        return sum(operator.parameters for operator in self.kernel.operators)

    def _epilogue_cost(self) -> Fraction:
        cost = self.machine.vector.cost("requantize")
        return cost + sum((self._elementwise(e) for e in self.kernel.epilogue), Fraction(0))

    def _elementwise(self, operator: Elementwise) -> Fraction:
        return self.machine.vector.cost("activation" if operator.transcendental else "elementwise")

    def _gemm(self, lead: MatMul | Convolution) -> tuple[tuple[Node, ...], str]:
        shape = _matmul(lead) if isinstance(lead, MatMul) else _convolution(lead)
        if not shape.groups * shape.repeats * shape.m * shape.k * shape.n:
            return (), "empty"
        weights = isinstance(lead, Convolution) or lead.weights > 0
        shape = replace(
            shape,
            bits=self.bits,
            loads_input=self._loaded(lead.operands[0]),
            loads_weight=weights or self._loaded(lead.operands[1]),
            stores=self._stores,
            input_room=self.room,
            extra=len(self._extra),
            epilogue_operands=len(self.kernel.extra),
            vector_cost=self._epilogue_cost(),
        )
        mapping = gemm.choose(shape, self.machine, self.rate)
        return gemm.nodes(shape, mapping, self.machine, self.rate), str(mapping)

    def _attention(self, lead: Attention) -> tuple[tuple[Node, ...], str]:
        query, key, value = lead.operands[:3]
        heads = attention.Heads(
            copies=_int(lead.copies),
            queries=_int(lead.queries),
            keys=_int(lead.keys),
            head_dim=_int(lead.head_dim),
            value_dim=_int(lead.value_dim),
            bits=self.bits,
            loads_input=self._loaded(query),
            loads_weight=self._loaded(key) or self._loaded(value),
            stores=self._stores,
            input_room=self.room,
            extra=len(self._extra),
            epilogue_operands=len(self.kernel.extra),
            merge_cost=2 * self.machine.vector.cost("elementwise"),
            softmax_cost=self.machine.vector.cost("softmax"),
            vector_cost=self._epilogue_cost(),
        )
        if not heads.copies * heads.queries * heads.keys:
            return (), "empty"
        mapping = attention.choose(heads, self.machine, self.rate)
        return attention.nodes(heads, mapping, self.machine, self.rate), str(mapping)

    def _vector(self, lead: Operator) -> tuple[tuple[Node, ...], str]:
        rows, row_length, work = _vector_shape(lead)
        elements = _int(self.kernel.tail.elements)
        if not rows or not elements:
            rows = 0
        if isinstance(lead, Elementwise):
            cost = self._elementwise(lead)
        else:
            cost = self.machine.vector.cost(lead.kind)
        lanes = cost * work + sum(
            (self._elementwise(e) * elements for e in self.kernel.epilogue), Fraction(0)
        )
        loaded = [o for o in (*lead.operands, *self.kernel.extra) if self._loaded(o)]
        data_dependent = isinstance(lead, TokenSelection) and lead.data_dependent
        shape = vector_work.Rows(
            rows=rows,
            input_elements=sum(_int(operand.elements) for operand in loaded),
            # Of a table only the rows that are gathered are read, and those are the operand.
            parameters=0 if isinstance(lead, Movement) else self._own_parameters(),
            output_elements=elements if self._stores else 0,
            whole_row=isinstance(lead, Softmax | Normalization),
            reads=sum(_int(o.elements) for o in (*lead.operands, *self.kernel.extra)),
            outputs=elements,
            lane_cycles=lanes,
            bits=self.bits,
            input_room=self.room,
            operands=max(len(loaded), 1),
            host_cycles=self.machine.host_cycles if data_dependent else 0,
        )
        count = vector_work.choose(shape, self.machine)
        return vector_work.nodes(shape, count, self.machine), f"{count} tiles"


def _matmul(lead: MatMul) -> gemm.Gemm:
    copies = _int(lead.copies)
    groups = copies if lead.weights == 0 else min(lead.weights, copies)
    return gemm.Gemm(
        groups=groups,
        repeats=copies // groups if groups else 0,
        m=_int(lead.m),
        k=_int(lead.k),
        n=_int(lead.n),
        bits=0,
        input_room=0,
        vector_cost=Fraction(0),
    )


def _convolution(lead: Convolution) -> gemm.Gemm:
    in_size = tuple(_int(size) for size in lead.in_size)
    out_size = tuple(_int(size) for size in lead.out_size)
    taps = _int(product(lead.kernel))
    base = {"groups": lead.groups, "repeats": _int(lead.batch), "bits": 0, "input_room": 0}
    depth, width = lead.in_channels // lead.groups, lead.out_channels // lead.groups
    if lead.transposed:  # each input position is spread over the taps, which overlap-add
        return gemm.Gemm(
            **base, m=_int(product(in_size)), k=depth, n=width * taps, vector_cost=Fraction(0)
        )
    window = gemm.Window(
        in_size=in_size,
        out_size=out_size,
        kernel=tuple((k - 1) * d + 1 for k, d in zip(lead.kernel, lead.dilation, strict=True)),
        stride=lead.stride,
        taps=taps,
    )
    return gemm.Gemm(
        **base,
        m=_int(product(out_size)),
        k=depth * taps,
        n=width,
        vector_cost=Fraction(0),
        window=window if taps > 1 or max(lead.stride) > 1 else None,
    )


def _vector_shape(lead: Operator) -> tuple[int, int, int]:
    """Rows the work may be cut into, elements of a row, and elements the unit passes over."""
    if isinstance(lead, Softmax | Normalization):
        rows, length = _int(lead.rows), _int(lead.row_length)
        return rows, length, rows * length
    if isinstance(lead, Reduction):
        return _int(lead.elements), 1, _int(lead.reads)
    if isinstance(lead, TokenSelection):
        return _int(lead.candidates), 1, _int(lead.candidates)
    return _int(lead.elements), 1, _int(lead.elements)


def _int(size: object) -> int:
    if not isinstance(size, int):
        raise TypeError(f"the workload must be bound before it is lowered, got size {size}")
    return size
