"""The command `tilewise`: the one place that joins the simulator and the reports.

Imports inside the commands keep `tilewise --help` quick.  Whatever a user gets wrong ends as one
line on standard error and exit code 2; only mistakes of ours show a traceback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from .arch import Accelerator, Gpu
    from .reports.compare import Comparison
    from .sim.result import Result
    from .workloads import Workload

__all__ = ["app", "main"]

app = typer.Typer(
    name="tilewise",
    help="What does hardware gain when the number of tokens varies, and where did the rest go?",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

On = Annotated[str, typer.Option("--on", metavar="MACHINE", help="Name or path of a .yaml.")]
Bind = Annotated[
    list[str] | None, typer.Option("--bind", metavar="NAME=N...", help="Values for symbols.")
]
Batch = Annotated[int, typer.Option("--batch", metavar="N", help="Images.")]
Format = Annotated[
    str | None, typer.Option("--format", help="int8, fp16...; the machine's own by default.")
]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON; - prints.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one HTML file.")]
Trace = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Write a trace for Perfetto.")
]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 if all went well, 2 if the user must change something."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="tilewise")
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough.  Python flushes once more on the way out: let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        message = _said(error)
        if message is None:
            raise
        print(f"tilewise: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
