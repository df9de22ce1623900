"""`tilewise ragged`: a model with token selectors, real counts, and every way to run them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from .cli_inputs import bindings, find_workload, input_files, pruned_workload
from .cli_options import WORKLOAD, Bind, Bits, Format, Json, Keep, On, Prune, Tokens
from .cli_workloads import sized_workload, with_bits

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
    policies: Annotated[
        str | None,
        typer.Option(
            "--policies",
            metavar="A,B",
            help="Some of them, each perhaps with /batch or /image (what runs together) and /known "
            "or /unknown (ahead) behind it, as bucket/image/known; all by default.",
        ),
    ] = None,
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
    from .sim.policies import POLICIES, policy
    from .sim.ragged import run_policies
    from .workloads import trace
    from .workloads.unpruned import patches_of

    outputs = Outputs(json=json, inputs=input_files(workload, on, tokens, bits))
    chosen = None if policies is None else tuple(policy(n) for n in policies.split(","))
    rule = named(order)
    model, machine = pruned_workload(workload, prune, keep), load_machine(on)
    model = with_bits(model, bits)
    given = bindings(bind or [])
    found = trace(tokens, patches_of(model, given) if model.dynamic else None)
    base = None
    if found.over:
        model = with_bits(sized_workload(workload, model, prune, found.over), bits)
        base = find_workload(workload) if prune else None
        fitted = found
    else:
        fitted = found.fitted(patches_of(model, given))
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
            workers=workers or (os.cpu_count() or 1 if fitted.images >= MANY else 1),
            progress=lambda one: step(one.name),
        )
    outputs.console.print(ragged_view(run, fitted, outputs.console.width))
    outputs.write([], ragged_values(run, fitted))
