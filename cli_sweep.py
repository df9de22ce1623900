"""`tilewise sweep`: a space of designs evaluated point by point, resumed, merged and shown."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_inputs import UserError
from .cli_options import Device, Json

if TYPE_CHECKING:
    from rich.console import Console

    from .sim.sweep import Progress, Status

__all__ = ["app"]

app = typer.Typer(
    help="Evaluate a space of designs.",
    rich_markup_mode=None,
    add_completion=False,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a sweep.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="Processes; as many as there are cores."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="Compute on a Dask cluster: its scheduler's address, tcp://..., or its file.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts, counted from 1: a job of an array.",
    ),
]


@app.command()
def run(
    space: Annotated[Path, typer.Argument(metavar="SPACE", help="A YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the rows go; continued if begun.")
    ],
    device: Device = None,
    workers: Workers = None,
    scheduler: Cluster = None,
    shard: Part = None,
    chunk: Annotated[
        int | None,
        typer.Option(
            "--chunk",
            metavar="N",
            min=1,
            help="Points of a file, which is what a worker loses at most if it is killed.",
        ),
    ] = None,
) -> None:
    """Evaluate every point of SPACE.

    Writes a row for each; what is killed goes on where it was.  What --device cannot hold is a row
    whose column infeasible names what it lacks.  Exits with 1 if a point failed.
    """
    from .sim.spaces.study import Study
    from .sim.sweep import Shard, sweep

    part = None if shard is None else Shard.read(shard)
    study = Study.read(space, device)
    _told(
        out,
        lambda progress: sweep(
            study,
            out,
            workers=workers,
            scheduler=scheduler,
            shard=part,
            chunk=chunk,
            progress=progress,
        ),
    )


@app.command()
def resume(
    folder: Folder, workers: Workers = None, scheduler: Cluster = None, shard: Part = None
) -> None:
    """Go on with a sweep.

    The chunks that are there stay.  Exits with 1 if a point failed.
    """
    from .sim.sweep import Shard
    from .sim.sweep import resume as again

    part = None if shard is None else Shard.read(shard)
    _told(
        folder,
        lambda progress: again(
            folder, workers=workers, scheduler=scheduler, shard=part, progress=progress
        ),
    )


@app.command()
def retry(folder: Folder, workers: Workers = None, scheduler: Cluster = None) -> None:
    """Evaluate failed points again.

    All other rows stay.  Exits with 1 if a point failed again.
    """
    from .sim.sweep import retry as again

    _told(
        folder,
        lambda progress: again(folder, workers=workers, scheduler=scheduler, progress=progress),
    )


@app.command()
def status(folder: Folder) -> None:
    """Say how far a sweep is."""
    from .reports.sweep_table import status_facts
    from .reports.table import facts
    from .sim.sweep import status as found

    _console().print(facts(str(folder), status_facts(found(folder))))


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of one sweep.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where all rows go.")],
) -> None:
    """Bring the parts of one sweep together."""
    from .sim.sweep import merge as merged

    _summary(out, merged(folders, out))


@app.command()
def show(
    folder: Folder,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="COLUMN", help="Smallest first; -COLUMN: largest first."),
    ] = None,
    head: Annotated[
        int | None, typer.Option("--head", metavar="N", min=1, help="Rows; 20 on a terminal.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B", help="Some of them; those that differ otherwise."),
    ] = None,
    csv: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE", help="Write the rows as CSV; - is stdout."),
    ] = None,
    json: Json = None,
) -> None:
    """Show the rows of a sweep."""
    from .reports.files import check_writable, json_text, write_text
    from .reports.sweep_table import best, records, roomy, rows_table, telling
    from .sim.sweep import rows

    files = [Path(name) for name in (csv, json) if name not in (None, "-")]
    check_writable(files)
    if csv == "-" and json == "-":
        raise UserError("--csv - --json -: standard output takes one of them")
    chosen = [name.strip() for name in columns.split(",")] if columns else None
    written = csv is not None or json is not None
    frame = best(rows(folder), sort, head if written else head or 20, chosen)
    texts = [(csv, str(frame.to_csv(index=False)))] if csv else []
    texts += [(json, json_text(records(frame)))] if json else []
    for name, text in texts:
        if name == "-":
            sys.stdout.write(text)
        else:
            write_text(Path(name), text)
            _say(f"wrote {name}", error=True)
    if written:
        return
    console = _console()
    if chosen is not None:
        console.print(rows_table(frame))
        return
    names = telling(frame)
    first = ("point", "latency_s", "energy_j", "infeasible", "error", (sort or "").lstrip("-"))
    shown = roomy(frame, names, first, console.width)
    console.print(rows_table(frame[shown], short=True))
    if left := [name for name in names if name not in shown]:
        _say(f"no room for {', '.join(left)}: a wider terminal, or --columns, shows them")


def _told(folder: Path, work: Callable[[Progress], Status]) -> None:
    """Do the work of a sweep, show how far it is, and say how it came out."""
    from .reports.sweep_progress import rate

    # Dask logs every lost connection with a traceback; what matters of it is told in one line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        with rate(_console(error=True)) as progress:
            found = work(progress)
    except KeyboardInterrupt:
        _say(f"tilewise: stopped; what is done is kept: tilewise sweep resume {folder}", error=True)
        raise typer.Exit(130) from None
    _summary(folder, found)


def _summary(folder: Path, found: Status) -> None:
    from .reports.sweep_table import came_out

    _say(f"{folder}: {came_out(found.tally)}")
    if found.tally.failed:
        _say(
            f"tilewise: {found.tally.failed:,} points failed; why, says the column error of "
            f"tilewise sweep show {folder}; once that is put right: tilewise sweep retry {folder}",
            error=True,
        )
        raise typer.Exit(1)


def _say(text: str, error: bool = False) -> None:
    _console(error).print(text, markup=False, soft_wrap=True)


def _console(error: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=error, highlight=False)
