"""The command `tilewise`: its commands, and how a call of it ends.

Imports inside the commands keep `tilewise --help` quick.  Whatever a user gets wrong ends as one
line on standard error and exit code 2; only a mistake of ours shows a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from . import __version__
from .cli_advise import advise
from .cli_calibrate import calibrate
from .cli_explain import app as explain
from .cli_figure import figure
from .cli_fpga import fpga
from .cli_gemm import gemm
from .cli_inputs import UserError, find_workload, message, nearest, refuse_repeats, spread
from .cli_pipeline import is_pipeline
from .cli_quantize import quantize
from .cli_ragged import ragged
from .cli_reproduce import reproduce
from .cli_run import compare, print_comparisons, run, simulated
from .cli_search import search
from .cli_sweep import app as sweep
from .cli_zoo import export, zoo

if TYPE_CHECKING:
    from .reports.compare import Comparison

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
app.add_typer(sweep, name="sweep")

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
    results = iter(simulated(pairs))
    comparisons: list[Comparison] = []
    for _ in _DEMO_MACHINES:
        dense, pruned, unet = (next(results) for _ in _DEMO_WORKLOADS)
        comparisons += [compare(dense, pruned), compare(unet)]
    print_comparisons(outputs.console, comparisons)
    outputs.write(comparisons)


app.command()(run)
app.command()(compare)
app.command()(ragged)
app.command()(advise)
app.command()(figure)
app.command()(zoo)
app.command()(export)
app.command()(quantize)
app.command()(fpga)
app.command()(search)
app.command()(reproduce)
app.command()(gemm)
app.command()(calibrate)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="workloads|pipelines|machines|traces|devices")],
) -> None:
    """List what comes with Tilewise."""
    from .arch import device_names, load_device, load_machine, machine_names
    from .reports.outputs import Outputs
    from .reports.table import facts
    from .workloads import trace, trace_names
    from .workloads import zoo as models
    from .workloads.zoo import pipelines

    entries = {
        "workloads": lambda: [(name, models.describe(name)) for name in models.names()],
        "pipelines": lambda: [
            (n, pipelines.pipeline(n).description) for n in pipelines.pipeline_names()
        ],
        "machines": lambda: [(name, load_machine(name).description) for name in machine_names()],
        "traces": lambda: [(name, trace(name).describe()) for name in trace_names()],
        "devices": lambda: [(name, load_device(name).description) for name in device_names()],
    }
    if what not in entries:
        raise UserError(
            f"list {what}: wanted workloads, pipelines, machines, traces or devices"
            f"{nearest(what, entries)}"
        )
    other = "; other steps and intervals too, as sd15-30, sd15-deepcache-4"
    title = what + (other if what == "pipelines" else "")
    Outputs().console.print(facts(title, entries[what]()))


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="MACHINE|WORKLOAD")]) -> None:
    """Show what a machine, a workload or a pipeline is.

    The numbers of a machine and their sources, or what a workload is made of.
    """
    from .arch import load_machine, machine_names, sources
    from .reports.outputs import Outputs
    from .reports.pipeline import pipeline_view
    from .reports.show import machine_view, workload_view
    from .workloads import UnknownModelError
    from .workloads import zoo as models
    from .workloads.zoo.pipelines import pipeline, pipeline_names

    if is_pipeline(name):
        Outputs().console.print(pipeline_view(pipeline(name)))
        return
    if name in machine_names() or name.endswith((".yaml", ".yml")):
        Outputs().console.print(machine_view(load_machine(name), sources(name)))
        return
    try:
        model = find_workload(name)
    except UnknownModelError:
        known = (*models.names(), *pipeline_names(), *machine_names())
        raise UserError(
            f"show {name}: there is no such workload or machine{nearest(name, known)}"
        ) from None
    Outputs().console.print(workload_view(model))
