"""`tilewise figure`: what a paper shows, as PDF and PNG, with its numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .cli_figure_space import OF_SPACES, of_space
from .cli_figure_workload import OF_WORKLOADS, Asked
from .cli_inputs import (
    UserError,
    bindings,
    input_files,
    nearest,
    pruned_workload,
    refuse_format,
)
from .cli_options import WORKLOAD, Bind, Engine, Format, GpuModel, Keep, Policies, Prune
from .cli_workloads import traced_workload

if TYPE_CHECKING:
    from .reports.figures import Drawn, Width

__all__ = ["figure"]


def figure(
    what: Annotated[
        str,
        typer.Argument(
            metavar="cliff|policies|waterfall|sparsity|sensitivity|pareto|parallel|fidelity"
        ),
    ],
    workload: Annotated[
        str,
        typer.Argument(
            metavar="WORKLOAD|DIR|SPACE",
            help=f"{WORKLOAD} For pareto and parallel the folder of a sweep or a search, for "
            "fidelity the YAML file of a space.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the files go; made if missing.")
    ],
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="MACHINE",
            help="A name (list machines) or a .yaml file; all want one that want a workload.",
        ),
    ] = None,
    width: Annotated[
        str, typer.Option("--width", metavar="column|page", help="3.5 or 7.16 inches.")
    ] = "column",
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="NAME|CSV|NPZ",
            help="A token trace: a name or a file; policies needs one.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="NAME", help="What the waterfall is of; exact by default."
        ),
    ] = None,
    policies: Policies = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            "--objectives",
            metavar="A,B",
            help="What pareto has on its axes; what colours parallel; whose change sensitivity "
            "shows. latency_s and energy_j by default, or those of the search.",
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option("--points", metavar="N", min=2, help="Points of fidelity; 200 by default."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Which points they are.")
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Images that run together.")
    ] = 1,
    prune: Prune = None,
    keep: Keep = None,
    bind: Bind = None,
    format: Format = None,
    engine: Engine = None,
    gpu_model: GpuModel = None,
) -> None:
    """Draw a figure for a paper.

    Writes PDF, PNG and the plotted numbers as CSV; policies, sparsity, sensitivity and fidelity
    also as TeX and JSON.

    cliff: latency and utilization of a block at every token count, for each dataflow.  policies:
    how latency is spread under each.  waterfall: where the speed-up that MACs promise goes.
    sparsity: latency of a block by keep ratio.  sensitivity: what each number of the machine is
    worth.  pareto: designs that nothing beats.  parallel: all designs, by what they are.  fidelity:
    the cost model against the engine.
    """
    from .arch import load_machine
    from .reports.figures import INCHES, paths
    from .reports.files import check_writable, made
    from .reports.outputs import Outputs
    from .reports.progress import steps
    from .sim.gpu.how import how
    from .sim.policies import policies as policies_named
    from .sim.policies import policy as policy_named

    every = (*OF_WORKLOADS, *OF_SPACES)
    for option, given, known in (("figure", what, every), ("--width", width, tuple(INCHES))):
        if given not in known:
            hint = nearest(given, known)
            raise UserError(f"{option} {given}: wanted one of {', '.join(known)}{hint}")
    own = OF_SPACES[what].options if what in OF_SPACES else OF_WORKLOADS[what].options
    for option, value in (
        ("--tokens", tokens),
        ("--policy", policy),
        ("--policies", policies),
        ("--objectives", objectives),
        ("--points", points),
        ("--seed", seed),
    ):
        if value is not None and option not in own:
            raise UserError(f"{option} {value}: figure {what} does not take that option")
    wide = cast("Width", width)
    if what in OF_SPACES:
        unwanted = {
            "--on": on, "--bind": " ".join(bind or []), "--format": format, "--prune": prune,
            "--keep": keep, "--batch": batch if batch > 1 else None,
            "--engine": engine, "--gpu-model": gpu_model,
        }  # fmt: skip
        for option, value in unwanted.items():
            if value:
                raise UserError(f"{option} {value}: figure {what} does not take that option")
        file, drawn = of_space(
            what, Path(workload), objectives=objectives, points=points, seed=seed, width=wide
        )
        _write(drawn, out, re.sub(r"[^\w.-]+", "-", file), [Path(workload)])
        return
    if on is None:
        raise UserError(f"figure {what} wants --on MACHINE, what {workload} runs on")
    kind = OF_WORKLOADS[what]
    if what == "policies" and tokens is None:
        raise UserError("figure policies wants --tokens NAME, the token counts of many images")
    one = policy_named("exact" if policy is None else policy)
    some = None if policies is None else policies_named(policies)
    machine, pairs = load_machine(on), bindings(bind or [])
    refuse_format(machine, format)
    how(machine, gpu_model, engine)  # a wrong one is refused before any work
    if tokens is None:
        model, fitted, base = pruned_workload(workload, prune, keep), None, None
    else:
        model, fitted, base = traced_workload(workload, tokens, pairs, prune=prune, keep=keep)
    parts = [what, model.name, machine.name, f"{prune}-keep-{keep}" if prune else ""]
    parts += [format or "", fitted.name if fitted else "", one.name if what == "waterfall" else ""]
    parts += [f"batch{batch}"] if batch > 1 else []
    parts += [objectives or "", engine or "", gpu_model or ""]
    name = re.sub(r"[^\w.-]+", "-", "-".join(part for part in parts if part))
    inputs = input_files(workload, on, *([tokens] if tokens else []))
    check_writable(paths(made(out), name, table=kind.table), inputs)
    with steps(1, Outputs().console) as step:
        asked = Asked(
            model, machine, pairs, batch, format, fitted, base, one, some, objectives, wide, step,
            engine, gpu_model,
        )  # fmt: skip
        drawn = kind.draw(asked)
    _write(drawn, out, name, inputs)


def _write(drawn: Drawn, out: Path, name: str, inputs: Sequence[Path]) -> None:
    """Write the files of a figure and say which they are."""
    from .reports.figures import paths, save_figure
    from .reports.files import check_writable, made
    from .reports.outputs import Outputs

    console = Outputs().console
    written = paths(made(out), name, table=drawn.tex is not None)
    check_writable(written, inputs)
    save_figure(
        drawn.figure, drawn.rows, out, name,
        notes=drawn.notes, tex=drawn.tex, values=drawn.values,
    )  # fmt: skip
    if drawn.said:
        console.print(f"note: {drawn.said}", style="dim", markup=False)
    for path in written:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
