"""`tilewise reproduce`: what papers print beside what Tilewise simulates."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_options import Json

__all__ = ["reproduce"]


def reproduce(
    paper: Annotated[
        str,
        typer.Argument(metavar="PAPER", help="heatvit, quasar-vit, tri-level, deepcache or gpu."),
    ],
    json: Json = None,
) -> None:
    """Print the published numbers of PAPER beside simulated ones.

    Each row says where its number is from, and whether it was predicted or something was fixed on
    it.  Behind them stands what other choices of what the paper leaves open would give.
    """
    from .reports.outputs import Outputs
    from .reports.papers import reproduction_values, reproduction_view
    from .sim import papers

    outputs = Outputs(json=json)
    found, varied = papers.reproduce(paper), papers.sensitivities(paper)
    console = outputs.console
    console.print(reproduction_view(found, varied, console.width))
    outputs.write([], reproduction_values(found, varied))
