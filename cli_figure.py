"""`tilewise figure`: what a paper shows, as PDF and PNG, with its numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from .cli_inputs import UserError, bindings, input_files, nearest, pruned_workload
from .cli_options import WORKLOAD, Bind, Format, Keep, On, Policies, Prune
from .cli_workloads import traced_workload

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .arch import Accelerator, Gpu
    from .reports.figures import Rows, Width
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
    width: Width
    progress: Callable[[str], None]


class _Drawn(NamedTuple):
    """A figure, what is written with it, and what is said on the way."""

    figure: Figure
    rows: Rows
    notes: Sequence[str]
    tex: str | None = None
    values: Any = None
    said: str = ""


class _Kind(NamedTuple):
    """How a figure is drawn, and which options are its own."""

    draw: Callable[[_Asked], _Drawn]
    options: tuple[str, ...] = ()
    table: bool = False


def figure(
    what: Annotated[str, typer.Argument(metavar="cliff|policies|waterfall|sparsity")],
    workload: Annotated[str, typer.Argument(help=WORKLOAD)],
    on: On,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the files go; made if missing.")
    ],
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
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Images that run together.")
    ] = 1,
    prune: Prune = None,
    keep: Keep = None,
    bind: Bind = None,
    format: Format = None,
) -> None:
    """Draw a figure for a paper.

    Writes PDF, PNG and the plotted numbers as CSV; policies and sparsity also as TeX and JSON.

    cliff: latency and utilization of a block at every token count, for each dataflow.  policies:
    how latency is spread under each.  waterfall: where the speed-up that MACs promise goes.
    sparsity: latency of a block by keep ratio.
    """
    from .arch import load_machine
    from .reports.figures import INCHES, paths, save_figure
    from .reports.files import check_writable, made
    from .reports.outputs import Outputs
    from .reports.progress import steps
    from .sim.policies import policies as policies_named
    from .sim.policies import policy as policy_named

    for option, given, known in (("figure", what, _KINDS), ("--width", width, INCHES)):
        if given not in known:
            hint = nearest(given, known)
            raise UserError(f"{option} {given}: wanted one of {', '.join(known)}{hint}")
    kind = _KINDS[what]
    for option, value in (("--tokens", tokens), ("--policy", policy), ("--policies", policies)):
        if value is not None and option not in kind.options:
            raise UserError(f"{option} {value}: figure {what} does not take that option")
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
    name = re.sub(r"[^\w.-]+", "-", "-".join(part for part in parts if part))
    written = paths(made(out), name, table=kind.table)
    check_writable(written, input_files(workload, on, *([tokens] if tokens else [])))
    console = Outputs().console
    with steps(1, console) as step:
        wide = cast("Width", width)
        asked = _Asked(model, machine, pairs, batch, format, fitted, base, one, some, wide, step)
        drawn = kind.draw(asked)
    save_figure(
        drawn.figure, drawn.rows, out, name,
        notes=drawn.notes, tex=drawn.tex, values=drawn.values,
    )  # fmt: skip
    if drawn.said:
        console.print(f"note: {drawn.said}", style="dim", markup=False)
    for path in written:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


def _cliff(asked: _Asked) -> _Drawn:
    from .reports.cliff import cliff_figure, cliff_notes, cliff_rows
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
    return _Drawn(
        cliff_figure(steps, width=asked.width, marked=marked),
        cliff_rows(steps),
        cliff_notes(steps, marked),
    )


def _sparsity(asked: _Asked) -> _Drawn:
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
    return _Drawn(
        sparsity_figure(table, width=asked.width),
        sparsity_rows(table),
        sparsity_notes(table),
        sparsity_tex(table),
        sparsity_values(table),
    )


def _policies(asked: _Asked) -> _Drawn:
    from .reports.policies import (
        policies_figure,
        policies_notes,
        policies_rows,
        policies_tex,
        policies_values,
    )

    run, tokens = _ragged(asked, asked.policies)
    return _Drawn(
        policies_figure(run, width=asked.width, tokens=_name(asked)),
        policies_rows(run),
        policies_notes(run, tokens),
        policies_tex(run, tokens),
        policies_values(run, tokens),
    )


def _waterfall(asked: _Asked) -> _Drawn:
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
    return _Drawn(
        waterfall_figure(run, one, width=asked.width, tokens=_name(asked)),
        waterfall_rows(run, one),
        waterfall_notes(run, one, tokens),
        said=READ_ITS_ENDS if run.gpu else "",
    )


_KINDS: Mapping[str, _Kind] = {
    "cliff": _Kind(_cliff),
    "policies": _Kind(_policies, ("--tokens", "--policies"), table=True),
    "waterfall": _Kind(_waterfall, ("--tokens", "--policy")),
    "sparsity": _Kind(_sparsity, table=True),
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
