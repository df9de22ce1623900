"""The plain model of GPUs: a kernel takes the longer of its math and its traffic, and a launch.

The roofline of Williams, Waterman and Patterson (Communications of the ACM 52(4), 2009), one kernel
at a time.  Elementwise work rides behind the kernel that makes its operand, as a compiler fuses
it.  Attention is one kernel whose scores stay on chip (Dao et al., FlashAttention, NeurIPS 2022)
or, if the GPU says so, three that pass them through memory.  After a data-dependent
selection the host must read the count before it can launch what follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..arch import Gpu
from ..arch.formats import FormatError, bits, holds
from ..workloads.extent import known
from ..workloads.graph import Workload
from ..workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)
from ..workloads.quantization import in_format
from ..workloads.unfused import unfused_attention
from .errors import MappingError
from .formats import format_of, formats_of, parameter_size_bits, size_bits
from .fusion import Kernel, fuse
from .losses import Losses
from .result import KernelResult
from .spans import UNITS, Row, Spans

__all__ = [
    "computed_in",
    "kernel_time",
    "operators_on",
    "refuse_format",
    "run_kernels",
    "vector_flop",
]

# FLOP per element on the general cores, counted by hand from the usual formulas; a transcendental
# counts as the 8 of a polynomial evaluation.  Assumed, and rarely what limits a kernel.
_VECTOR_FLOP = {"softmax": 12, "normalization": 8, "reduction": 1, "selection": 2, "movement": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTime:
    """Seconds of one kernel by roof.

    Attributes:
        math_s: At the peak of the tensor cores.
        vector_s: At the peak of the general cores.
        memory_s: At the bandwidth of the device memory.
        launch_s: Overhead before it.
        sync_s: Read-back behind it.
        dram_bytes: Read and written.
    """

    math_s: float
    vector_s: float
    memory_s: float
    launch_s: float
    sync_s: float
    dram_bytes: int

    @property
    def total_s(self) -> float:
        """The kernel's whole time."""
        return max(self.math_s, self.vector_s, self.memory_s) + self.launch_s + self.sync_s


def computed_in(lead: Operator, tail: Operator, gpu: Gpu) -> str:
    """The format in which a GPU multiplies: the fastest that holds both operands.

    Raises:
        MappingError: There is none; the text names those it has.
    """
    formats = formats_of(lead, tail)
    try:
        return _fastest(gpu, formats.weights, formats.activations)
    except FormatError as error:
        raise MappingError(f"{gpu.name}: format: {error}") from None


@lru_cache(maxsize=1024)
def _fastest(gpu: Gpu, weights: str, activations: str) -> str:
    names = gpu.peak_flops.names
    fit = [n for n in names if holds(n, weights) and holds(n, activations)]
    if not fit:
        wanted = max(weights, activations, key=bits)
        raise FormatError(f"wanted one of {', '.join(names)}, got {wanted!r}")
    return max(fit, key=gpu.flops_per_s)


def refuse_format(gpu: Gpu, format: str) -> None:
    """Refuse a format in which a GPU does not compute.

    Raises:
        MappingError: The text names those it has.
    """
    try:
        gpu.flops_per_s(format)
    except FormatError as error:
        raise MappingError(f"{gpu.name}: format: {error}") from None


def operators_on(
    workload: Workload, gpu: Gpu, format: str, *, fused_attention: bool
) -> tuple[Operator, ...]:
    """The operators of a bound workload as a GPU runs them, each with its formats.

    Raises:
        MappingError: The GPU has no peak for `format`; the text names those it has.
    """
    refuse_format(gpu, format)
    found: list[Operator] = []
    for operator in in_format(workload, format).operators:
        if isinstance(operator, Attention) and not fused_attention:
            found.extend(unfused_attention(operator))
        else:
            found.append(operator)
    return tuple(found)


def kernel_time(kernel: Kernel, gpu: Gpu, format: str) -> KernelTime:
    """The roofline of one kernel that is computed in `format`."""
    lead = kernel.lead
    macs = known(lead.macs)
    moved_bits = sum(size_bits(operand) for operand in (*lead.operands, *kernel.extra))
    moved_bits += known(kernel.tail.elements) * bits(format_of(kernel.tail))
    if not isinstance(lead, Movement):  # of a table, only the rows that are gathered are read
        moved_bits += sum(parameter_size_bits(operator) for operator in kernel.operators)
    dram_bytes = -(-moved_bits // 8)
    waits = isinstance(lead, TokenSelection) and lead.data_dependent
    return KernelTime(
        math_s=2 * macs / gpu.flops_per_s(format),
        vector_s=vector_flop(lead, kernel.operators) / gpu.vector_flops,
        memory_s=dram_bytes / gpu.dram.bytes_per_s,
        launch_s=gpu.launch_s,
        sync_s=gpu.sync_s if waits else 0.0,
        dram_bytes=dram_bytes,
    )


def vector_flop(lead: Operator, operators: Iterable[Operator]) -> int:
    """FLOP of a kernel's general cores: of its lead, and of what is elementwise in it."""
    flop = 0
    match lead:
        case Attention():
            flop = _VECTOR_FLOP["softmax"] * known(lead.copies * lead.queries * lead.keys)
        case Softmax() | Normalization():
            flop = _VECTOR_FLOP[lead.kind] * known(lead.rows * lead.row_length)
        case Reduction():
            flop = _VECTOR_FLOP["reduction"] * known(lead.reads)
        case TokenSelection():
            flop = _VECTOR_FLOP["selection"] * known(lead.candidates)
        case _:
            pass
    return flop + sum(
        (8 if operator.transcendental else 1) * known(operator.elements)
        for operator in operators
        if isinstance(operator, Elementwise)
    )


def run_kernels(
    workload: Workload, gpu: Gpu, format: str
) -> tuple[Spans, tuple[KernelResult, ...]]:
    """Run a bound `workload` kernel after kernel, in cycles of the GPU's clock.

    The accounting has the arrays' causes in the GPU's own units: `useful` is time at the peak,
    `memory` and `vector` what the other roofs add, `wait` launches and read-backs.

    Raises:
        MappingError: The GPU has no peak for `format`; the text names those it has.
    """
    rows: list[Row] = []
    found: list[KernelResult] = []
    now = 0
    operators = operators_on(workload, gpu, format, fused_attention=gpu.fused_attention)
    for index, kernel in enumerate(fuse(operators, workload.outputs)):
        if not known(kernel.tail.elements) and not known(kernel.lead.macs):
            continue
        computed = computed_in(kernel.lead, kernel.tail, gpu)
        time = kernel_time(kernel, gpu, computed)
        start = now
        launched = start + _cycles(time.launch_s, gpu)
        worked = launched + max(1, _cycles(time.total_s - time.launch_s - time.sync_s, gpu))
        now = worked + _cycles(time.sync_s, gpu)
        index = len(found)
        rows.append(Row(UNITS.index("host"), index, start, launched))
        unit = "array" if isinstance(kernel.lead, MatMul | Convolution | Attention) else "vector"
        rows.append(Row(UNITS.index(unit), index, launched, worked))
        if now > worked:
            rows.append(Row(UNITS.index("host"), index, worked, now))
        macs = known(kernel.lead.macs)
        joules = gpu.energy(
            seconds=(now - start) / gpu.clock_hz,
            flops=2 * macs,
            dram_bytes=time.dram_bytes,
            format=computed,
        )
        found.append(
            KernelResult(
                name=kernel.name,
                kind=kernel.lead.kind,
                fused=tuple(operator.name for operator in kernel.epilogue),
                selector=kernel.lead.selector,
                macs=macs,
                start_cycle=start,
                end_cycle=now,
                dram_bytes=time.dram_bytes,
                utilization=time.math_s * gpu.clock_hz / (now - start),
                losses=_losses(kernel, time, gpu, now - start, worked - launched),
                energy_j={
                    "running": joules.running_j,
                    "compute": joules.compute_j,
                    "dram": joules.dram_j,
                },
                mapping=_bound_by(time),
            )
        )
    return Spans.of(rows), tuple(found)


def _bound_by(time: KernelTime) -> str:
    roofs = {"math": time.math_s, "memory": time.memory_s, "vector": time.vector_s}
    roof = max(roofs, key=lambda name: roofs[name])
    return "launch-bound" if time.launch_s > roofs[roof] else f"{roof}-bound"


def _losses(kernel: Kernel, time: KernelTime, gpu: Gpu, cycles: int, working: int) -> Losses:
    useful = min(Fraction(time.math_s * gpu.clock_hz), Fraction(working))
    rest = working - useful
    by_memory = time.memory_s >= time.vector_s
    return Losses(
        useful=Fraction(0) if kernel.lead.selector else useful,
        selector=useful if kernel.lead.selector else Fraction(0),
        memory=rest if by_memory else Fraction(0),
        vector=Fraction(0) if by_memory else rest,
        wait=Fraction(cycles - working),
    )


def _cycles(seconds: float, gpu: Gpu) -> int:
    return math.ceil(seconds * gpu.clock_hz)
