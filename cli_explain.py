"""`tilewise explain`: how a number is made, and the same number by other ways."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_inputs import UserError, input_files, systolic_array
from .cli_options import Array, Dataflow, Json, K, M, N, Overlap

__all__ = ["app"]

_MOST_MACS = 10**15  # beyond, the engine's 64-bit times may run over

app = typer.Typer(
    help="Show how a number is made, term by term.", rich_markup_mode=None, add_completion=False
)


@app.callback()
def _kinds() -> None:
    """Show how a number is made, term by term, and count it again in other ways."""


@app.command()
def gemm(
    m: M,
    k: K,
    n: N,
    array: Array = None,
    dataflow: Dataflow = None,
    overlap: Overlap = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            metavar="MACHINE",
            help="Take its array, and say what its memory adds; a name or a .yaml file.",
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            metavar="SECONDS",
            min=0,
            max=86400,
            help="About how long the register model and the RTL may take each; "
            "where all folds would take longer, they run a part.",
        ),
    ] = 10,
    json: Json = None,
) -> None:
    """Explain the cycles of one product, (M x K) @ (K x N) on one array.

    Prints folds, interval, latency and PE-cycles with their formulas, then counts the same cycles
    in other ways: the closed form, registers in NumPy, Verilog, the engine.  Ends with 1 if they
    are not equal.
    """
    from .arch import Gpu, UnrolledArray, load_machine
    from .reports.derivation import (
        counts_view,
        derivation_values,
        derivation_view,
        machine_view,
    )
    from .reports.outputs import Outputs
    from .reports.progress import steps
    from .sim import cross_check
    from .sim.derivation import derive

    outputs = Outputs(json=json, inputs=input_files(on) if on else ())
    machine = load_machine(on) if on else None
    if isinstance(machine, Gpu):
        raise UserError(f"--on {on}: wanted a machine with a systolic array, got a GPU")
    own = machine.array if machine else None
    if isinstance(own, UnrolledArray):
        raise UserError(f"--on {on}: wanted a machine with a systolic array, got an unrolled one")
    if m * k * n > _MOST_MACS:
        raise UserError(f"M x K x N = {m * k * n:,}: wanted at most {_MOST_MACS:,} MACs")
    shape = systolic_array(array, dataflow, overlap, own)
    derivation = derive(shape, m, k, n)
    found = cross_check.on_machine(derivation, machine) if machine else None
    outputs.console.print(derivation_view(derivation))
    counts = [cross_check.closed_form(derivation)]
    with steps(3, outputs.console) as step:
        for way in (cross_check.register_model, cross_check.rtl):
            step(way.__name__.replace("_", " "))
            counts.append(way(derivation, patience))
        step("engine")
        counts.append(cross_check.engine(derivation))
    outputs.console.print(counts_view(derivation, counts))
    if found and machine:
        outputs.console.print(machine_view(found, machine.clock_hz))
    values = derivation_values(derivation, counts, found)
    outputs.write([], values)
    if not values["all_equal"]:
        raise typer.Exit(1)
