"""`tilewise run` and `compare`: models simulated, and their results shown."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_inputs import (
    UserError,
    bindings,
    bindings_for,
    find_workload,
    input_files,
    pruned_workload,
    refuse_format,
    refuse_unbound_batch,
)
from .cli_options import (
    WORKLOAD,
    Batch,
    Bind,
    Bits,
    Engine,
    Format,
    GpuModel,
    Html,
    Json,
    Keep,
    On,
    Policy,
    Prune,
    Trace,
)
from .cli_pipeline import compare_pipelines, is_pipeline, refuse, run_pipeline
from .cli_workloads import with_bits

if TYPE_CHECKING:
    from rich.console import Console

    from .reports.compare import Comparison
    from .sim.result import Result
    from .workloads import Workload

__all__ = ["compare", "print_comparisons", "run", "simulated"]


def run(
    workload: Annotated[str, typer.Argument(help=WORKLOAD)],
    on: On,
    prune: Prune = None,
    keep: Keep = None,
    bits: Bits = None,
    bind: Bind = None,
    batch: Batch = 1,
    format: Format = None,
    engine: Engine = None,
    gpu_model: GpuModel = None,
    json: Json = None,
    html: Html = None,
    trace: Trace = None,
    policy: Policy = None,
    all_kernels: Annotated[
        bool, typer.Option("--all", help="List every kernel instead of modules.")
    ] = False,
) -> None:
    """Simulate WORKLOAD on MACHINE; a pipeline call by call.

    Prints utilization, latency, energy, and where the rest went.
    """
    if is_pipeline(workload):
        refuse(prune=prune, keep=keep, html=html, trace=trace, all=all_kernels)
        run_pipeline(
            workload,
            on,
            policy=policy,
            bits=bits,
            bind=bind,
            batch=batch,
            format=format,
            engine=engine,
            gpu_model=gpu_model,
            json=json,
        )
        return
    if policy is not None:
        raise UserError(f"--policy {policy}: only a pipeline takes it; see tilewise ragged")

    from .reports.compare import compare
    from .reports.outputs import Outputs
    from .reports.table import result_view

    outputs = Outputs(
        json=json,
        html=html,
        trace=trace,
        inputs=input_files(workload, on, bits),
    )
    given = bindings(bind or [])
    model = with_bits(pruned_workload(workload, prune, keep), bits)
    (result,) = simulated([(model, on)], given, batch, format, engine, gpu_model)
    chosen = _chosen(given, batch)
    width = outputs.console.width
    outputs.console.print(result_view(result, given=chosen, all_kernels=all_kernels, width=width))
    outputs.write([compare(result)], result.as_dict())


def compare(
    a: Annotated[str, typer.Argument(help="The base. " + WORKLOAD)],
    b: Annotated[str, typer.Argument(help="What is compared with it.")],
    on: On,
    prune: Prune = None,
    keep: Keep = None,
    bits: Bits = None,
    bind: Bind = None,
    batch: Batch = 1,
    format: Format = None,
    engine: Engine = None,
    gpu_model: GpuModel = None,
    json: Json = None,
    html: Html = None,
    trace: Trace = None,
) -> None:
    """Compare two workloads on one machine.

    Prints the speed-up of B over A beside its reduction in MACs.
    """
    if is_pipeline(a) or is_pipeline(b):
        refuse(prune=prune, keep=keep, html=html, trace=trace)
        compare_pipelines(
            a,
            b,
            on,
            bits=bits,
            bind=bind,
            batch=batch,
            format=format,
            engine=engine,
            gpu_model=gpu_model,
            json=json,
        )
        return

    from .reports.compare import compare
    from .reports.outputs import Outputs

    outputs = Outputs(json=json, html=html, trace=trace, inputs=input_files(a, b, on, bits))
    given = bindings(bind or [])
    base, other = find_workload(a), with_bits(pruned_workload(b, prune, keep), bits)
    results = simulated([(base, on), (other, on)], given, batch, format, engine, gpu_model)
    comparison = compare(*results)
    print_comparisons(outputs.console, [comparison], _chosen(given, batch))
    values = {
        "comparison": comparison.as_dicts(),
        "notes": list(comparison.notes),
        "results": [result.as_dict() for result in results],
    }
    outputs.write([comparison], values)


def simulated(
    pairs: Sequence[tuple[Workload, str]],
    given: Mapping[str, int] | None = None,
    batch: int = 1,
    format: str | None = None,
    engine: str | None = None,
    gpu_model: str | None = None,
) -> list[Result]:
    """Run pairs of a workload and a machine, with a sign of life if that takes long."""
    from rich.console import Console

    from .arch import load_machine
    from .reports.progress import steps
    from .sim.simulate import simulate

    given = given or {}
    # Everything is read before anything runs, so that a wrong name is known at once.
    machines = {name: load_machine(name) for _, name in pairs}
    for machine in machines.values():
        refuse_format(machine, format)
    models = [model for model, _ in pairs]
    for model in models:
        refuse_unbound_batch(model, given, batch)
    binds = [bindings_for(model, models, given) for model in models]
    results: list[Result] = []
    with steps(len(pairs), Console(stderr=True, highlight=False)) as step:
        for (model, on), bind in zip(pairs, binds, strict=True):
            machine = machines[on]
            step(f"{model.name} on {machine.name}")
            result = simulate(
                model,
                machine,
                bind=bind,
                batch=batch,
                format=format,
                engine=engine,
                model=gpu_model,
            )
            results.append(result)
    _warn([note for result in results for note in result.notes])
    return results


def _warn(notes: Sequence[str]) -> None:
    from .reports.table import noted

    for note in noted(notes):
        print(f"tilewise: warning: {note}", file=sys.stderr)


def _chosen(given: Mapping[str, int], batch: int) -> set[str]:
    """Symbols whose value is the user's, not a default."""
    return set(given) | ({"batch"} if batch != 1 else set())


def print_comparisons(
    console: Console, comparisons: Sequence[Comparison], given: Collection[str] = ()
) -> None:
    """Print comparisons as a table; `given` are symbols whose value is the user's."""
    from .reports.table import comparison_view

    console.print(comparison_view(comparisons, given))
