"""The command `tilewise`: the one place that joins the simulator and the reports.

Imports inside the commands keep `tilewise --help` quick.  Whatever a user gets wrong ends as one
line on standard error and exit code 2; only a mistake of ours shows a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import __version__
from .cli_advise import advise
from .cli_explain import app as explain
from .cli_figure import figure
from .cli_fpga import fpga
from .cli_inputs import (
    UserError,
    bindings,
    bindings_for,
    find_workload,
    input_files,
    message,
    nearest,
    pruned_workload,
    refuse_repeats,
    refuse_unbound_batch,
    spread,
    systolic_array,
)
from .cli_options import (
    WORKLOAD,
    Array,
    Batch,
    Bind,
    Bits,
    Dataflow,
    Format,
    Html,
    Json,
    K,
    Keep,
    M,
    N,
    On,
    Overlap,
    Prune,
    Trace,
)
from .cli_quantize import quantize
from .cli_ragged import ragged
from .cli_reproduce import reproduce
from .cli_workloads import with_bits

if TYPE_CHECKING:
    from rich.console import Console

    from .reports.compare import Comparison
    from .sim.result import Result
    from .workloads import Workload

__all__ = ["app", "main"]

app = typer.Typer(
    name="tilewise",
    help="What does hardware gain when the number of tokens varies, and where did the rest go?",
    add_completion=False,
    rich_markup_mode=None,  # its imports would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(explain, name="explain")

_DEMO_WORKLOADS = ("deit-small", "heatvit-deit-small", "sd15-unet")
_DEMO_MACHINES = ("edge-32x32", "edge-128x128", "a100-80gb")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 if all went well, 2 if the user must change something."""
    given = spread(sys.argv[1:] if arguments is None else arguments)
    try:
        refuse_repeats(given)
        code = app(given, standalone_mode=False, prog_name="tilewise")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough.  Python flushes once more on its way out: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        text = message(error)
        if text is None:
            raise
        print(f"tilewise: {text}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


@app.callback(invoke_without_command=True)
def _front(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"tilewise {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    html: Annotated[
        Path, typer.Option("--html", metavar="FILE", help="Where to write the report.")
    ] = Path("tilewise-demo.html"),
) -> None:
    """Run the main job and write a report.

    A pruned ViT and a diffusion UNet, on two arrays and a GPU.
    """
    from .reports.compare import compare
    from .reports.outputs import Outputs

    outputs = Outputs(html=html)
    models = [find_workload(name) for name in _DEMO_WORKLOADS]
    pairs = [(model, machine) for machine in _DEMO_MACHINES for model in models]
    results = iter(_simulated(pairs))
    comparisons: list[Comparison] = []
    for _ in _DEMO_MACHINES:
        dense, pruned, unet = (next(results) for _ in _DEMO_WORKLOADS)
        comparisons += [compare(dense, pruned), compare(unet)]
    _print_comparisons(outputs.console, comparisons)
    outputs.write(comparisons)


@app.command()
def run(
    workload: Annotated[str, typer.Argument(help=WORKLOAD)],
    on: On,
    prune: Prune = None,
    keep: Keep = None,
    bits: Bits = None,
    bind: Bind = None,
    batch: Batch = 1,
    format: Format = None,
    json: Json = None,
    html: Html = None,
    trace: Trace = None,
    all_kernels: Annotated[
        bool, typer.Option("--all", help="List every kernel instead of modules.")
    ] = False,
) -> None:
    """Simulate WORKLOAD on MACHINE.

    Prints utilization, latency, energy, and where the rest went.
    """
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
    (result,) = _simulated([(model, on)], given, batch, format)
    chosen = _chosen(given, batch)
    width = outputs.console.width
    outputs.console.print(result_view(result, given=chosen, all_kernels=all_kernels, width=width))
    outputs.write([compare(result)], result.as_dict())


@app.command()
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
    json: Json = None,
    html: Html = None,
    trace: Trace = None,
) -> None:
    """Compare two workloads on one machine.

    Prints the speed-up of B over A beside its reduction in MACs.
    """
    from .reports.compare import compare
    from .reports.outputs import Outputs

    outputs = Outputs(json=json, html=html, trace=trace, inputs=input_files(a, b, on, bits))
    given = bindings(bind or [])
    base, other = find_workload(a), with_bits(pruned_workload(b, prune, keep), bits)
    results = _simulated([(base, on), (other, on)], given, batch, format)
    comparison = compare(*results)
    _print_comparisons(outputs.console, [comparison], _chosen(given, batch))
    values = {
        "comparison": comparison.as_dicts(),
        "notes": list(comparison.notes),
        "results": [result.as_dict() for result in results],
    }
    outputs.write([comparison], values)


app.command()(ragged)
app.command()(advise)
app.command()(figure)
app.command()(quantize)
app.command()(fpga)
app.command()(reproduce)


@app.command()
def gemm(
    m: M,
    k: K,
    n: N,
    array: Array = None,
    dataflow: Dataflow = None,
    overlap: Overlap = None,
    json: Json = None,
) -> None:
    """Count the cycles of one product.

    (M x K) @ (K x N) on one array, by the closed form; `explain gemm` says how it comes about.
    """
    from .reports.outputs import Outputs
    from .reports.table import facts
    from .reports.units import percent
    from .sim.derivation import derive
    from .sim.systolic import fold_interval, folds, gemm_cycles

    outputs = Outputs(json=json)
    shape = systolic_array(array, dataflow, overlap)
    split = folds(shape, m, k, n)
    cycles = gemm_cycles(shape, m, k, n)
    numbers: dict[str, Any] = {
        "array": f"{shape.rows}x{shape.cols}",
        "dataflow": shape.dataflow,
        "overlap": shape.overlap,
        "cycles": cycles,
        "folds": split.count,
        "column_blocks": split.blocks,
        "fold_interval_cycles": fold_interval(shape, split.stream),
        "macs": m * n * k,
        "utilization": derive(shape, m, k, n).utilization,
    }
    shown = [
        ("array", f"{numbers['array']} PEs"),
        ("dataflow", shape.dataflow),
        ("overlap", shape.overlap),
        ("cycles", f"{cycles:,}"),
        ("folds", f"{split.count:,}"),
        ("column blocks", f"{split.blocks:,}"),
        ("fold interval", f"{numbers['fold_interval_cycles']:,} cycles"),
        ("MACs", f"{numbers['macs']:,}"),
        ("utilization", percent(numbers["utilization"])),
    ]
    outputs.console.print(facts(f"({m} x {k}) @ ({k} x {n})", shown))
    outputs.write([], {"m": m, "k": k, "n": n, **numbers})


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="workloads|machines|traces|devices")],
) -> None:
    """List what comes with Tilewise."""
    from .arch import device_names, load_device, load_machine, machine_names
    from .reports.table import facts
    from .workloads import trace, trace_names, zoo

    entries = {
        "workloads": lambda: [(name, zoo.describe(name)) for name in zoo.names()],
        "machines": lambda: [(name, load_machine(name).description) for name in machine_names()],
        "traces": lambda: [(name, trace(name).describe()) for name in trace_names()],
        "devices": lambda: [(name, load_device(name).description) for name in device_names()],
    }
    if what not in entries:
        raise UserError(
            f"list {what}: wanted workloads, machines, traces or devices{nearest(what, entries)}"
        )
    _console().print(facts(what, entries[what]()))


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="MACHINE|WORKLOAD")]) -> None:
    """Show what a machine or a workload is.

    The numbers of a machine and their sources, or what a workload is made of.
    """
    from .arch import load_machine, machine_names, sources
    from .reports.show import machine_view, workload_view
    from .workloads import UnknownModelError, zoo

    if name in machine_names() or name.endswith((".yaml", ".yml")):
        _console().print(machine_view(load_machine(name), sources(name)))
        return
    try:
        model = find_workload(name)
    except UnknownModelError:
        known = (*zoo.names(), *machine_names())
        raise UserError(
            f"show {name}: there is no such workload or machine{nearest(name, known)}"
        ) from None
    _console().print(workload_view(model))


def _simulated(
    pairs: Sequence[tuple[Workload, str]],
    given: Mapping[str, int] | None = None,
    batch: int = 1,
    format: str | None = None,
) -> list[Result]:
    """Run pairs of a workload and a machine, with a sign of life if that takes long."""
    from .arch import load_machine
    from .reports.progress import steps
    from .sim.simulate import simulate

    given = given or {}
    # Everything is read before anything runs, so that a wrong name is known at once.
    machines = {name: load_machine(name) for _, name in pairs}
    models = [model for model, _ in pairs]
    for model in models:
        refuse_unbound_batch(model, given, batch)
    binds = [bindings_for(model, models, given) for model in models]
    results: list[Result] = []
    with steps(len(pairs), _console(error=True)) as step:
        for (model, on), bind in zip(pairs, binds, strict=True):
            machine = machines[on]
            step(f"{model.name} on {machine.name}")
            result = simulate(model, machine, bind=bind, batch=batch, format=format)
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


def _print_comparisons(
    console: Console, comparisons: Sequence[Comparison], given: Collection[str] = ()
) -> None:
    from .reports.table import comparison_view

    console.print(comparison_view(comparisons, given))


def _console(error: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False)
