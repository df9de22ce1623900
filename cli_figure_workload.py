"""Those figures of `tilewise figure` that are of a workload on a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .cli_figure_space import objective_names
from .cli_inputs import UserError

if TYPE_CHECKING:
    from .arch import Accelerator, Gpu
    from .reports.figures import Drawn, Width
    from .sim.policies import Policy
    from .sim.ragged_result import RaggedRun
    from .workloads import TokenTrace, Workload

__all__ = ["OF_WORKLOADS", "Asked", "OfWorkload"]


class Asked(NamedTuple):
    """What a figure is drawn from."""

    workload: Workload
    machine: Accelerator | Gpu
    bind: Mapping[str, int]
    images: int
    format: str | None
    trace: TokenTrace | None
    base: Workload | None
    policy: Policy
    policies: Sequence[Policy] | None
    objectives: str | None
    width: Width
    progress: Callable[[str], None]
    engine: str | None
    gpu_model: str | None


class OfWorkload(NamedTuple):
    """How a figure is drawn, and which options are its own."""

    draw: Callable[[Asked], Drawn]
    options: tuple[str, ...] = ()
    table: bool = False


def _cliff(asked: Asked) -> Drawn:
    from .reports.cliff import cliff_figure, cliff_notes, cliff_rows
    from .reports.figures import Drawn
    from .sim.cliff import staircase
    from .workloads.block import places

    steps = staircase(
        asked.workload,
        asked.machine,
        images=asked.images,
        format=asked.format,
        bind=asked.bind,
        sweep_dataflows=True,
        engine=asked.engine,
        model=asked.gpu_model,
        progress=asked.progress,
    )
    bound = {s.name for s in asked.workload.symbols if s.default is not None} | {*asked.bind}
    all_bound = all(symbol.name in bound for symbol in asked.workload.symbols)
    marked = [place.tokens for place in places(asked.workload, asked.bind)] if all_bound else []
    return Drawn(
        cliff_figure(steps, width=asked.width, marked=marked),
        cliff_rows(steps),
        cliff_notes(steps, marked),
    )


def _sparsity(asked: Asked) -> Drawn:
    from .reports.figures import Drawn
    from .reports.sparsity import (
        sparsity_figure,
        sparsity_notes,
        sparsity_rows,
        sparsity_tex,
        sparsity_values,
    )
    from .sim.sparsity import sparsity

    table = sparsity(
        asked.workload,
        asked.machine,
        images=asked.images,
        format=asked.format,
        bind=asked.bind,
        engine=asked.engine,
        model=asked.gpu_model,
        progress=asked.progress,
    )
    return Drawn(
        sparsity_figure(table, width=asked.width),
        sparsity_rows(table),
        sparsity_notes(table),
        sparsity_tex(table),
        sparsity_values(table),
    )


def _policies(asked: Asked) -> Drawn:
    from .reports.figures import Drawn
    from .reports.policies import (
        policies_figure,
        policies_notes,
        policies_rows,
        policies_tex,
        policies_values,
    )

    run, tokens = _ragged(asked, asked.policies)
    return Drawn(
        policies_figure(run, width=asked.width, tokens=_name(asked)),
        policies_rows(run),
        policies_notes(run, tokens),
        policies_tex(run, tokens),
        policies_values(run, tokens),
    )


def _waterfall(asked: Asked) -> Drawn:
    from .reports.figures import Drawn
    from .reports.waterfall import (
        READ_ITS_ENDS,
        waterfall_figure,
        waterfall_notes,
        waterfall_rows,
    )

    wanted = asked.policy
    if wanted.shape == "dense":
        raise UserError("--policy dense: it is what the others are compared with; name another")
    run, tokens = _ragged(asked, [wanted])
    one = next(found for found in run.policies if found.policy == wanted)
    return Drawn(
        waterfall_figure(run, one, width=asked.width, tokens=_name(asked)),
        waterfall_rows(run, one),
        waterfall_notes(run, one, tokens),
        said=READ_ITS_ENDS if run.gpu else "",
    )


def _sensitivity(asked: Asked) -> Drawn:
    from .arch import Gpu
    from .reports.figures import Drawn
    from .reports.sensitivity import (
        sensitivity_figure,
        sensitivity_notes,
        sensitivity_rows,
        sensitivity_tex,
        sensitivity_values,
    )
    from .sim.sensitivity import sensitivity

    if isinstance(asked.machine, Gpu):
        raise UserError(
            f"--on {asked.machine.name}: the cost model is of accelerators; name one of those"
        )
    known = ("latency_s", "energy_j", "edp_js", "dram_bytes")
    (metric,) = objective_names(asked.objectives, 1, ["latency_s"], known)
    found = sensitivity(
        asked.workload, asked.machine, bind=asked.bind, format=asked.format, images=asked.images
    )
    return Drawn(
        sensitivity_figure(found, metric, width=asked.width),
        sensitivity_rows(found),
        sensitivity_notes(found),
        sensitivity_tex(found, metric),
        sensitivity_values(found),
    )


def _ragged(asked: Asked, policies: Sequence[Policy] | None) -> tuple[RaggedRun, str]:
    """The policies on the trace, or on one image with the model's defaults; and what ran."""
    import numpy as np

    from .sim.ragged import run_policies
    from .workloads.unpruned import kept_symbols, patches_of

    model, trace, bind = asked.workload, asked.trace, dict(asked.bind)
    names = () if trace and trace.over else kept_symbols(model)
    if trace is None:
        patches_of(model, bind)  # without a selector there is nothing to compare
        binding = model.binding(bind)
        counts = np.array([[int(binding[name]) for name in names]] * asked.images)
        kept = ", ".join(f"{name}={binding[name]}" for name in names)
        tokens = f"every image keeps {kept}"
    else:
        counts = trace.array()
        tokens = _told(trace.name, trace.source, trace.note)
    for name in names:
        bind.pop(name, None)
    run = run_policies(
        model,
        asked.machine,
        counts,
        masks=trace.masks() if trace else None,
        policies=policies,
        batch=asked.images,
        format=asked.format,
        bind=bind,
        symbols=trace.over if trace else (),
        most=trace.patches if trace else None,
        base=asked.base,
        engine=asked.engine,
        model=asked.gpu_model,
        progress=lambda one: asked.progress(f"{one.name}, {len(counts):,} images"),
    )
    return run, tokens


def _name(asked: Asked) -> str:
    """The token trace's, for a title."""
    return asked.trace.name if asked.trace else ""


def _told(name: str, *more: str) -> str:
    return f"{name} ({'; '.join(part for part in more if part)})"


OF_WORKLOADS: Mapping[str, OfWorkload] = {
    "cliff": OfWorkload(_cliff),
    "policies": OfWorkload(_policies, ("--tokens", "--policies"), table=True),
    "waterfall": OfWorkload(_waterfall, ("--tokens", "--policy")),
    "sparsity": OfWorkload(_sparsity, table=True),
    "sensitivity": OfWorkload(_sensitivity, ("--objectives",), table=True),
}
