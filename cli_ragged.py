"""`tilewise ragged`: a model with token selectors, real counts, and every way to run them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from .cli_inputs import bindings, input_files, refuse_format
from .cli_options import (
    WORKLOAD,
    Bind,
    Bits,
    Engine,
    Format,
    GpuModel,
    Json,
    Keep,
    On,
    Policies,
    Prune,
    Tokens,
)
from .cli_workloads import traced_workload

__all__ = ["ragged"]

MANY = 500
"""Images from which on processes are worth being started."""


def ragged(
    workload: Annotated[str, typer.Argument(help=WORKLOAD)],
    on: On,
    tokens: Tokens,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Images that run together.")
    ] = 1,
    order: Annotated[
        str,
        typer.Option(
            "--order",
            metavar="RULE",
            help="How images are put into batches: by arrival, sorted by size, or in a queue for "
            "each range of sizes.",
        ),
    ] = "arrival",
    policies: Policies = None,
    buckets: Annotated[
        int,
        typer.Option(
            "--buckets", metavar="N", min=1, help="Sizes that `bucket` has ready; queues."
        ),
    ] = 4,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            metavar="N",
            min=1,
            help="Tokens that `tile-skip` skips together and `top-k-fit` fills whole; what the "
            "array holds at once by default.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes; one, or of many images as many as there are cores.",
        ),
    ] = None,
    prune: Prune = None,
    keep: Keep = None,
    bits: Bits = None,
    bind: Bind = None,
    format: Format = None,
    engine: Engine = None,
    gpu_model: GpuModel = None,
    json: Json = None,
) -> None:
    """Run varying token counts under every policy.

    Prints latency, throughput, energy and utilization of each, and where the speed-up that MACs
    promise was lost.
    """
    from .arch import load_machine
    from .reports.outputs import Outputs
    from .reports.progress import steps
    from .reports.ragged import ragged_values, ragged_view
    from .sim.batches import named
    from .sim.policies import POLICIES
    from .sim.policies import policies as policies_named
    from .sim.ragged import run_policies

    outputs = Outputs(json=json, inputs=input_files(workload, on, tokens, bits))
    chosen = None if policies is None else policies_named(policies)
    rule = named(order)
    machine, given = load_machine(on), bindings(bind or [])
    refuse_format(machine, format)
    model, fitted, base = traced_workload(
        workload, tokens, given, prune=prune, keep=keep, bits=bits
    )
    with steps(len(chosen or POLICIES), outputs.console) as step:
        run = run_policies(
            model,
            machine,
            fitted.array(),
            masks=fitted.masks(),
            policies=chosen,
            batch=batch,
            order=rule,
            format=format,
            bind=given,
            buckets=buckets,
            tile=tile,
            symbols=fitted.over,
            most=fitted.patches,
            base=base,
            engine=engine,
            model=gpu_model,
            workers=workers or (os.cpu_count() or 1 if fitted.images >= MANY else 1),
            progress=lambda one: step(one.name),
        )
    outputs.console.print(ragged_view(run, fitted, outputs.console.width))
    outputs.write([], ragged_values(run, fitted))
