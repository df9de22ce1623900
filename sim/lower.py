"""A bound workload on a machine becomes a program: kernels, residency, mappings, tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..arch import Accelerator
from ..arch.formats import FormatError
from ..workloads.extent import known
from ..workloads.graph import Workload
from ..workloads.quantization import in_format
from .attention import AttentionMapping
from .errors import MappingError
from .formats import formats_of, macs_per_pe_cycle
from .fusion import Kernel, fuse
from .gemm import GemmMapping
from .lowering import Lowered, Lowering, is_decision, loads_parameters
from .plan import Plan
from .program import KernelProgram, Program
from .ragged_attention import gathered, together
from .residency import Residency, producers, residency
from .rows import by_width

__all__ = ["Lowered", "assembled", "lower", "lower_kernels", "plan"]


def plan(workload: Workload, machine: Accelerator, format: str) -> Plan:
    """What `lower` decides for a bound `workload`; see there for what is raised."""
    kernels = _kernels(workload, machine, format)
    places = _places(kernels, workload, machine)
    images = known(workload.images)
    mappings = {
        kernel.name: mapping
        for kernel, (_, mapping) in zip(
            kernels, _lowered(kernels, places, machine, None, images), strict=True
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
    kernels = _kernels(workload, machine, format)
    places = plan.places(kernels) if plan else _places(kernels, workload, machine)
    images = known(workload.images)
    return assembled(kernels, list(_lowered(kernels, places, machine, plan, images)))


def lower_kernels(kernels: Sequence[Kernel], machine: Accelerator, plan: Plan) -> list[Lowered]:
    """The tiles of some kernels of a workload, where others run before and behind them.

    They are one image's, or of several images that were put side by side.
    """
    return list(_lowered(kernels, plan.places(kernels), machine, plan, images=1))


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
                weights_early=loads_parameters(kernel.lead),
                formats=formats_of(kernel.lead, kernel.tail),
                mapping=str(mapping),
            )
        )
        if is_decision(kernel.lead):
            barrier = (index,)
    return Program(kernels=tuple(programs))


def _kernels(workload: Workload, machine: Accelerator, format: str) -> tuple[Kernel, ...]:
    """The kernels of a bound workload, in the run's format where they have none of their own."""
    try:
        machine.array.macs_per_pe_cycle.get(format)
    except FormatError as error:
        raise MappingError(f"{machine.name}: format: {error}") from None
    formatted = in_format(workload, format)
    return by_width(fuse(formatted.operators, formatted.outputs))


def _places(kernels: Sequence[Kernel], workload: Workload, machine: Accelerator) -> Residency:
    return residency(kernels, workload.outputs, machine.buffers.input_bytes // 2)


def _lowered(
    kernels: Sequence[Kernel],
    places: Residency,
    machine: Accelerator,
    plan: Plan | None,
    images: int,
) -> Iterator[Lowered]:
    """Each kernel's tiles, and its mapping."""
    lowerings = [
        Lowering(
            kernel=kernel,
            machine=machine,
            formats=(formats := formats_of(kernel.lead, kernel.tail)),
            rate=macs_per_pe_cycle(machine, kernel.lead, formats),
            places=places,
            room=machine.buffers.input_bytes - places.live_bytes[index],
            planned=plan.tiling(kernel) if plan else None,
            images=images,
        )
        for index, kernel in enumerate(kernels)
    ]
    for group in gathered(lowerings):
        try:
            yield from together(group)
        except MappingError as error:
            raise MappingError(f"{group[0].kernel.name}: {error}") from None
