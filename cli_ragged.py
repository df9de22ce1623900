"""`tilewise ragged`: a model with token selectors, real counts, and every way to run them."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_inputs import bindings, input_files, pruned_workload
from .cli_options import WORKLOAD, Bind, Format, Json, Keep, On, Prune, Tokens
from .cli_workloads import sized_workload

__all__ = ["ragged"]


def ragged(
    workload: Annotated[str, typer.Argument(help=WORKLOAD)],
    on: On,
    tokens: Tokens,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Images that run together.")
    ] = 1,
    policies: Annotated[
        str | None,
        typer.Option("--policies", metavar="A,B", help="Some of them; all by default."),
    ] = None,
    buckets: Annotated[
        int, typer.Option("--buckets", metavar="N", min=1, help="Sizes that `bucket` has ready.")
    ] = 4,
    prune: Prune = None,
    keep: Keep = None,
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
    from .sim.policies import POLICIES, policy
    from .sim.ragged import run_policies
    from .workloads import trace
    from .workloads.unpruned import patches_of

    outputs = Outputs(json=json, inputs=input_files(workload, on, tokens))
    chosen = POLICIES if policies is None else tuple(policy(n) for n in policies.split(","))
    model, machine = pruned_workload(workload, prune, keep), load_machine(on)
    given = bindings(bind or [])
    found = trace(tokens, patches_of(model, given) if model.dynamic else None)
    if found.over:
        model, fitted = sized_workload(workload, model, prune, found.over), found
    else:
        fitted = found.fitted(patches_of(model, given))
    with steps(len(chosen), outputs.console) as step:
        run = run_policies(
            model,
            machine,
            fitted.array(),
            policies=chosen,
            batch=batch,
            format=format,
            bind=given,
            buckets=buckets,
            symbols=fitted.over,
            most=fitted.patches,
            progress=lambda one: step(one.name),
        )
    outputs.console.print(ragged_view(run, fitted, outputs.console.width))
    outputs.write([], ragged_values(run, fitted))
