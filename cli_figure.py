"""`tilewise figure`: what a paper shows, as PDF and PNG, with its numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from .cli_figure_space import OF_SPACES, objective_names, of_space
from .cli_inputs import UserError, bindings, input_files, nearest, pruned_workload
from .cli_options import WORKLOAD, Bind, Format, Keep, Policies, Prune
from .cli_workloads import traced_workload

if TYPE_CHECKING:
    from .arch import Accelerator, Gpu
    from .reports.figures import Drawn, Width
    from .sim.policies import Policy
    from .sim.ragged_result import RaggedRun
    from .workloads import TokenTrace, Workload

__all__ = ["figure"]


class _Asked(NamedTuple):
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


class _Kind(NamedTuple):
    """How a figure is drawn, and which options are its own."""

    draw: Callable[[_Asked], Drawn]
    options: tuple[str, ...] = ()
    table: bool = False


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
    from .sim.policies import policies as policies_named
    from .sim.policies import policy as policy_named

    every = (*_KINDS, *OF_SPACES)
    for option, given, known in (("figure", what, every), ("--width", width, tuple(INCHES))):
        if given not in known:
            hint = nearest(given, known)
            raise UserError(f"{option} {given}: wanted one of {', '.join(known)}{hint}")
    own = OF_SPACES[what].options if what in OF_SPACES else _KINDS[what].options
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
    kind = _KINDS[what]
    if what == "policies" and tokens is None:
        raise UserError("figure policies wants --tokens NAME, the token counts of many images")
    one = policy_named("exact" if policy is None else policy)
    some = None if policies is None else policies_named(policies)
    machine, pairs = load_machine(on), bindings(bind or [])
    if tokens is None:
        model, fitted, base = pruned_workload(workload, prune, keep), None, None
    else:
        model, fitted, base = traced_workload(workload, tokens, pairs, prune=prune, keep=keep)
    parts = [what, model.name, machine.name, f"{prune}-keep-{keep}" if prune else ""]
    parts += [format or "", fitted.name if fitted else "", one.name if what == "waterfall" else ""]
    parts += [f"batch{batch}"] if batch > 1 else []
    parts += [objectives or ""]
    name = re.sub(r"[^\w.-]+", "-", "-".join(part for part in parts if part))
    inputs = input_files(workload, on, *([tokens] if tokens else []))
    check_writable(paths(made(out), name, table=kind.table), inputs)
    with steps(1, Outputs().console) as step:
        asked = _Asked(
            model, machine, pairs, batch, format, fitted, base, one, some, objectives, wide, step
        )
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


def _cliff(asked: _Asked) -> Drawn:
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


def _sparsity(asked: _Asked) -> Drawn:
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
        progress=asked.progress,
    )
    return Drawn(
        sparsity_figure(table, width=asked.width),
        sparsity_rows(table),
        sparsity_notes(table),
        sparsity_tex(table),
        sparsity_values(table),
    )


def _policies(asked: _Asked) -> Drawn:
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


def _waterfall(asked: _Asked) -> Drawn:
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


def _sensitivity(asked: _Asked) -> Drawn:
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


_KINDS: Mapping[str, _Kind] = {
    "cliff": _Kind(_cliff),
    "policies": _Kind(_policies, ("--tokens", "--policies"), table=True),
    "waterfall": _Kind(_waterfall, ("--tokens", "--policy")),
    "sparsity": _Kind(_sparsity, table=True),
    "sensitivity": _Kind(_sensitivity, ("--objectives",), table=True),
}


def _ragged(asked: _Asked, policies: Sequence[Policy] | None) -> tuple[RaggedRun, str]:
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
        progress=lambda one: asked.progress(f"{one.name}, {len(counts):,} images"),
    )
    return run, tokens


def _name(asked: _Asked) -> str:
    """The token trace's, for a title."""
    return asked.trace.name if asked.trace else ""


def _told(name: str, *more: str) -> str:
    return f"{name} ({'; '.join(part for part in more if part)})"
