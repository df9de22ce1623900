"""The front of the simulator: a workload, a machine, a binding -> a result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..arch import Accelerator, Gpu
from ..workloads.batching import repeated
from ..workloads.extent import known
from ..workloads.graph import BindingError, Workload
from ..workloads.quantization import formats_used
from .energy import kernel_energy
from .engine import run
from .gpu.how import How, how
from .gpu.launches import Launch
from .gpu.notes import notes_on
from .gpu.recent import Recent
from .gpu.run import launches_of, run_launches
from .losses import account, window_ends
from .lower import lower
from .plan import Plan
from .program import Program, total
from .result import KernelResult, Result, by_confidence, sure_cycles
from .roofline import run_kernels
from .spans import UNITS, Spans

__all__ = ["Execution", "execute", "simulate"]


class Execution(NamedTuple):
    """What each unit did when, and what that means for each kernel."""

    spans: Spans
    operators: tuple[KernelResult, ...]


def simulate(
    workload: Workload,
    machine: Accelerator | Gpu,
    *,
    bind: Mapping[str, int] | None = None,
    batch: int = 1,
    format: str | None = None,
    engine: str | None = None,
    model: str | None = None,
) -> Result:
    """Run `workload` on `machine`.

    Args:
        workload: A model, its symbols bound here or by its defaults.
        machine: An accelerator (cycle-level engine) or a GPU.
        bind: Values for symbols, as `{"kept_1": 137}`.
        batch: Images.  A graph with a symbol `batch` takes them side by side; one that takes a
            single image is run for each, layer by layer.
        format: Number format of the operands; the machine's own if None.
        engine: What runs it on a GPU: `eager`, `compiled`, `tensorrt`...; compiled if None.
        model: How a GPU is modelled: `kernels`, or the plain `roofline`; by kernels if None and
            the GPU's family is known.

    Raises:
        BindingError: A symbol is unbound, unknown or out of range, or the batch contradicts it.
        MappingError: The machine does not compute in `format` or cannot hold one tile; or an
            engine or a model does not apply to it.
    """
    for value, wanted in ((workload, Workload), (machine, Accelerator | Gpu)):
        if not isinstance(value, wanted):
            raise TypeError(
                f"simulate wants a Workload and a machine, got {value!r}; "
                "tilewise.workload(name) and tilewise.machine(name) load them"
            )
    format = format or machine.default_format
    chosen = how(machine, model, engine)
    notes = workload.notes
    if chosen is None or not isinstance(machine, Gpu):
        bound, bindings = _bound(workload, dict(bind or {}), batch)
        spans, operators = execute(bound, machine, format)
    else:
        bound, bindings = _bound_before(workload, dict(bind or {}), batch)
        (spans, operators), found = _on_gpu(bound, machine, format, chosen)
        notes = (*notes, *found)
    from .. import __version__

    identity = repr((__version__, bound.content_hash, machine, format, *(chosen or ())))
    return Result(
        version=__version__,
        workload=workload.name,
        machine=machine.name,
        format=format,
        bits=formats_used(bound, format),
        batch=known(bound.images),
        bindings=bindings,
        config_hash=hashlib.sha256(identity.encode()).hexdigest(),
        clock_hz=float(machine.clock_hz),
        cycles=spans.cycles,
        macs=known(bound.macs),
        macs_without_attention=known(bound.macs_without_attention),
        parameters=workload.parameters,
        operators=operators,
        spans=spans,
        notes=notes,
        gpu=isinstance(machine, Gpu),
        model=chosen.model if chosen else "",
        engine=chosen.engine.name if chosen and chosen.engine else "",
        confidence=by_confidence(sure_cycles(operators)),
    )


def execute(
    bound: Workload,
    machine: Accelerator | Gpu,
    format: str,
    plan: Plan | None = None,
    chosen: How | None = None,
) -> Execution:
    """Run a workload whose sizes are all numbers.

    Args:
        bound: The workload.
        machine: What it runs on.
        format: Number format of the operands.
        plan: Tiles and places for an accelerator, if they are not to be chosen for this shape.
        chosen: How a GPU is modelled; by its default if None.

    Raises:
        MappingError: The machine does not compute in `format` or cannot hold one tile.
    """
    if isinstance(machine, Gpu):
        chosen = chosen or how(machine)
        if chosen is None or chosen.engine is None:
            return Execution(*run_kernels(bound, machine, format))
        made = launches_of(bound, machine, format, chosen.engine)
        return Execution(*run_launches(made, machine, chosen.engine))
    program = lower(bound, machine, format, plan)
    spans = run(program, machine)
    return Execution(spans, _operators(program, spans, machine))


_BOUND: Recent[tuple[Workload, dict[str, int]]] = Recent(16)
_LAUNCHES: Recent[tuple[Sequence[Launch], tuple[str, ...]]] = Recent(16)


def _bound_before(
    workload: Workload, bind: dict[str, int], batch: int
) -> tuple[Workload, dict[str, int]]:
    """As `_bound`, for a GPU, whose kernels take less time to add up than a model to bind."""
    key = workload.name, workload.content_hash, tuple(sorted(bind.items())), batch
    bound, bindings = _BOUND.get(key, lambda: _bound(workload, bind, batch))
    return bound, dict(bindings)


def _on_gpu(
    bound: Workload, gpu: Gpu, format: str, chosen: How
) -> tuple[Execution, tuple[str, ...]]:
    """A run, and notes on it."""
    engine = chosen.engine
    if engine is None:
        return Execution(*run_kernels(bound, gpu, format)), ()

    def make() -> tuple[Sequence[Launch], tuple[str, ...]]:
        made = launches_of(bound, gpu, format, engine)
        return made, notes_on(made, gpu)

    made, notes = _LAUNCHES.get((bound.content_hash, gpu, format, engine), make)
    return Execution(*run_launches(made, gpu, engine)), notes


def _bound(workload: Workload, bind: dict[str, int], batch: int) -> tuple[Workload, dict[str, int]]:
    if batch < 1:
        raise BindingError(f"batch={batch} is out of range: it must be at least 1")
    names = {symbol.name for symbol in workload.symbols}
    copies = batch
    if "batch" in names:
        if bind.setdefault("batch", batch) != batch and batch != 1:
            raise BindingError(f"batch is given twice: {batch} and, bound, {bind['batch']}")
        copies = 1
    bindings = {name: int(value) for name, value in workload.binding(bind).items()}
    return repeated(workload.bind(bindings), copies), bindings


def _operators(program: Program, spans: Spans, machine: Accelerator) -> tuple[KernelResult, ...]:
    kernels = len(program.kernels)
    losses = account(program, spans, machine)
    ends = window_ends(spans, spans.end + spans.tail + spans.offset, kernels)
    windows = np.diff(ends, prepend=0)
    first, last = _extent(spans, kernels, ends)
    rates = machine.array.macs_per_pe_cycle
    found: list[KernelResult] = []
    for index, kernel in enumerate(program.kernels):
        sums = total(kernel.nodes)
        start, end = int(first[index]), int(last[index])
        rate = rates.most(kernel.formats.weights, kernel.formats.activations) if sums.macs else 0
        possible = machine.array.pes * rate * (end - start)
        found.append(
            KernelResult(
                name=kernel.name,
                kind=kernel.kind,
                fused=kernel.fused,
                selector=kernel.selector,
                macs=sums.macs,
                start_cycle=start,
                end_cycle=end,
                dram_bytes=sums.dram_bytes,
                utilization=float(sums.macs / possible) if possible else 0.0,
                losses=losses[index],
                energy_j=kernel_energy(kernel, machine, int(windows[index])),
                mapping=kernel.mapping,
            )
        )
    return tuple(found)


def _extent(
    spans: Spans, kernels: int, ends: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """First and last cycle of each kernel; weights loaded ahead do not start it."""
    own = spans.unit != UNITS.index("weights")
    first = np.full(kernels, np.iinfo(np.int64).max)
    last = np.zeros(kernels, dtype=np.int64)
    np.minimum.at(first, spans.kernel[own], (spans.start + spans.offset)[own])
    np.maximum.at(last, spans.kernel[own], (spans.end + spans.tail + spans.offset)[own])
    empty = last == 0
    first[empty] = last[empty] = np.where(empty, ends, 0)[empty]
    return first, last
