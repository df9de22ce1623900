"""Whole pipelines where `tilewise run`, `compare` and `show` take a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from .cli_inputs import UserError, bindings, find_workload, input_files, refuse_format
from .cli_workloads import with_bits

if TYPE_CHECKING:
    from .sim.pipeline import PipelineResult
    from .workloads.pipeline import Pipeline

__all__ = ["compare_pipelines", "is_pipeline", "refuse", "run_pipeline"]


def is_pipeline(name: str) -> bool:
    """Whether a user means a pipeline by that name."""
    from .workloads import zoo
    from .workloads.zoo import pipelines

    return name not in zoo.names() and pipelines.is_pipeline(name)


def refuse(**options: object) -> None:
    """Refuse options that a pipeline does not take, by their names.

    Raises:
        UserError: One of them is given.
    """
    for option, value in options.items():
        if value:
            raise UserError(
                f"--{option}: a pipeline does not take it; run one of its networks instead"
            )


def run_pipeline(
    name: str,
    on: str,
    *,
    policy: str | None = None,
    bits: str | None = None,
    bind: Sequence[str] | None = None,
    batch: int = 1,
    format: str | None = None,
    engine: str | None = None,
    gpu_model: str | None = None,
    json: str | None = None,
) -> None:
    """`tilewise run` of a pipeline; the arguments are the command's."""
    from .reports.outputs import Outputs
    from .reports.pipeline import pipeline_result_view

    outputs = Outputs(json=json, inputs=input_files(on, bits))
    given = bindings(bind or [])
    (result,) = _results(
        [_pipeline(name, bits)], on, given, batch, format, policy or "exact", engine, gpu_model
    )
    console = outputs.console
    console.print(pipeline_result_view(result, given=set(given), width=console.width))
    outputs.write([], result.as_dict())


def compare_pipelines(
    a: str,
    b: str,
    on: str,
    *,
    bits: str | None = None,
    bind: Sequence[str] | None = None,
    batch: int = 1,
    format: str | None = None,
    engine: str | None = None,
    gpu_model: str | None = None,
    json: str | None = None,
) -> None:
    """`tilewise compare` of pipelines, or of one and a model; the arguments are the command's."""
    from .reports.compare import compare
    from .reports.outputs import Outputs
    from .reports.table import comparison_view

    outputs = Outputs(json=json, inputs=input_files(a, b, on, bits))
    given = bindings(bind or [])
    both = [_pipeline(a), _pipeline(b, bits)]
    results = _results(both, on, given, batch, format, "exact", engine, gpu_model)
    comparison = compare(*(result.total for result in results))
    outputs.console.print(comparison_view([comparison], set(given)))
    values = {
        "comparison": comparison.as_dicts(),
        "notes": list(comparison.notes),
        "results": [result.as_dict() for result in results],
    }
    outputs.write([], values)


def _pipeline(name: str, bits: str | None = None) -> Pipeline:
    """The pipeline of that name, or the one call of a model of that name."""
    from .workloads.pipeline import Call, Pipeline
    from .workloads.zoo.pipelines import pipeline

    if is_pipeline(name):
        found = pipeline(name)
    else:
        model = find_workload(name)
        call = Call(label=model.name, workload=model)
        found = Pipeline(name=model.name, description="one forward", calls=(call,))
    return found if bits is None else found.changed(partial(with_bits, bits=bits))


def _results(
    pipelines: Sequence[Pipeline],
    on: str,
    given: Mapping[str, int],
    batch: int,
    format: str | None,
    policy: str,
    engine: str | None,
    gpu_model: str | None,
) -> list[PipelineResult]:
    """Each pipeline on one machine, with a sign of life; what they share runs once."""
    from rich.console import Console

    from .arch import load_machine
    from .reports.progress import steps
    from .sim.pipeline import run_pipeline
    from .sim.result import Result

    machine = load_machine(on)
    refuse_format(machine, format)
    runs: dict[str, Result] = {}
    calls = sum(len(pipeline.calls) for pipeline in pipelines)
    with steps(calls, Console(stderr=True, highlight=False)) as step:
        return [
            run_pipeline(
                pipeline,
                machine,
                bind=given,
                batch=batch,
                format=format,
                policy=policy,
                runs=runs,
                engine=engine,
                model=gpu_model,
                progress=lambda call: step(f"{call.label} on {machine.name}"),
            )
            for pipeline in pipelines
        ]
