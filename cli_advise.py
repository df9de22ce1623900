"""`tilewise advise`: which token counts are worth reaching."""

from __future__ import annotations

from textwrap import wrap
from typing import Annotated

import typer

from .cli_inputs import UserError, bindings, input_files, pruned_workload, refuse_format
from .cli_options import WORKLOAD, Bind, Engine, Format, GpuModel, Json, Keep, On, Prune

__all__ = ["advise"]

_INDENT = "    "


def advise(
    workload: Annotated[str, typer.Argument(help=WORKLOAD)],
    on: On,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="NAME|CSV|NPZ",
            help="Start from a token trace's mean counts; from the model's defaults otherwise.",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Images that run side by side.")
    ] = 1,
    prune: Prune = None,
    keep: Keep = None,
    bind: Bind = None,
    format: Format = None,
    engine: Engine = None,
    gpu_model: GpuModel = None,
    json: Json = None,
) -> None:
    """Say which token counts are worth reaching.

    Runs one block at every count, finds the nearest step of the staircase below each count of the
    model, and runs the whole model with those.
    """
    from .arch import load_machine
    from .reports.advice import advice_lines, advice_values
    from .reports.outputs import Outputs
    from .reports.progress import steps
    from .sim.advice import advise

    outputs = Outputs(json=json, inputs=input_files(workload, on, *([tokens] if tokens else [])))
    machine, given = load_machine(on), bindings(bind or [])
    refuse_format(machine, format)
    model, fitted = pruned_workload(workload, prune, keep), None
    if tokens is not None:
        from .workloads.tokens import trace
        from .workloads.unpruned import patches_of

        found = trace(tokens, patches_of(model, given) if model.dynamic else None)
        if found.over:
            raise UserError(
                f"--tokens {tokens}: it says how large images are, and advise is about how many "
                "tokens they keep"
            )
        fitted = found.fitted(patches_of(model, given))
        given = fitted.mean_binding() | given
    with steps(1, outputs.console) as step:
        report = advise(
            model,
            machine,
            bind=given,
            images=batch,
            format=format,
            engine=engine,
            model=gpu_model,
            progress=step,
        )
    for line in advice_lines(report, fitted):
        parts = wrap(line, outputs.console.width, subsequent_indent=_INDENT, break_on_hyphens=False)
        for part in parts:
            outputs.console.print(part, markup=False, soft_wrap=True)
    outputs.write([], advice_values(report, fitted))
