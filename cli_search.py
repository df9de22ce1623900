"""`tilewise search`: the designs of a space that nothing beats in several objectives at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import Device

__all__ = ["search"]


def search(
    space: Annotated[Path, typer.Argument(metavar="SPACE", help="A YAML file.")],
    objectives: Annotated[
        str,
        typer.Option(
            "--objectives",
            metavar="A,B",
            help="Two or more of latency_s, energy_j, edp_js, dram_bytes, dsp, lut, ff, bram36, "
            "uram; of each as little as can be.",
        ),
    ] = "latency_s,energy_j",
    method: Annotated[
        str,
        typer.Option("--method", metavar="NAME", help="nsga2 (pymoo), optuna (its TPE) or random."),
    ] = "nsga2",
    evaluations: Annotated[
        int, typer.Option("--evaluations", metavar="N", min=1, help="Designs that are priced.")
    ] = 1000,
    population: Annotated[
        int | None,
        typer.Option("--population", metavar="N", min=2, help="Designs of a generation."),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="The same for the same result.")
    ] = 0,
    device: Device = None,
    confirm: Annotated[
        int,
        typer.Option(
            "--confirm", metavar="N", min=0, help="Designs of the front that the engine runs too."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Keep every design, the front and a summary."),
    ] = None,
) -> None:
    """Search SPACE for the designs that nothing beats.

    Prints the front, and its hypervolume beside that of random search.  With --out, what is killed
    goes on where it was.  Needs the extra `search`.
    """
    from .arch import fpga
    from .reports.outputs import Outputs
    from .reports.progress import steps
    from .reports.search import PRICED, confirmed_line, front_table, lines, refuse_folder, write
    from .sim.search import problem_of
    from .sim.search import search as searched

    target = None if device is None else fpga.device(device)
    problem = problem_of(space, [name.strip() for name in objectives.split(",")], target)
    if out is not None:
        refuse_folder(out, problem.as_dict())
    console = Outputs().console
    try:
        with steps(1, console) as step:
            found = searched(
                problem,
                method=method,
                evaluations=evaluations,
                population=population,
                seed=seed,
                confirm=confirm,
                keep=None if out is None else out / PRICED,
                progress=lambda what, done, most: step(f"{what}, {done:,} of {most:,} designs"),
            )
    except KeyboardInterrupt:
        if out is not None:
            typer.echo(
                f"tilewise: stopped; what is priced is kept in {out}: the same command goes on",
                err=True,
            )
        raise typer.Exit(130) from None
    written = write(found, out) if out is not None else []
    if len(found.front):
        console.print(front_table(found, console.width))
    for line in lines(found):
        console.print(line, markup=False, soft_wrap=True)
    if len(found.confirmed):
        console.print(confirmed_line(found), markup=False, soft_wrap=True)
    for path in written:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
