"""`tilewise zoo` and `tilewise export`: the models that come with Tilewise, and their graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_inputs import UserError
from .cli_options import Json

__all__ = ["export", "zoo"]


def zoo(
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare with what is published; ends with 1 if one differs."),
    ] = False,
    graphs: Annotated[
        bool, typer.Option("--graphs", help="List the shipped graphs instead.")
    ] = False,
    json: Json = None,
) -> None:
    """List the models with their sizes.

    Parameters, MACs of one forward at the default sizes with and without attention's two products,
    and the tokens of each stage.
    """
    from .reports.outputs import Outputs
    from .reports.zoo import disagreeing, graphs_view, zoo_values, zoo_view
    from .workloads.zoo.generate import listed
    from .workloads.zoo.published import checked

    outputs = Outputs(json=json)
    if graphs:
        found = listed()
        outputs.console.print(graphs_view(found))
        outputs.write([], {"graphs": [graph._asdict() for graph in found]})
        return
    models = list(checked())
    outputs.console.print(zoo_view(models, check=check))
    outputs.write([], {"models": zoo_values(models)})
    wrong = disagreeing(models) if check else []
    for line in wrong:
        typer.echo(f"tilewise: {line}", err=True)
    if wrong:
        raise typer.Exit(1)


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of the zoo.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The .onnx or .onnx.gz to write.")
    ],
) -> None:
    """Export NAME from torch as an ONNX file without weights.

    Needs the `export` extra.  What comes with Tilewise was made so; `make zoo` makes all of it.
    """
    from .reports.files import check_writable
    from .workloads import zoo as models
    from .workloads.zoo.generate import written

    if not out.name.endswith((".onnx", ".onnx.gz")):
        raise UserError(f"--out {out}: wanted a file that ends with .onnx or .onnx.gz")
    exports = models.exports()
    models.describe(name)  # which knows what to say of a name that is none
    if name not in exports:
        raise UserError(f"export {name}: its graph is that of {models.graph(name)}; export that")
    check_writable([out])
    typer.echo(f"{name}: building and tracing it in torch", err=True)
    typer.echo(written(name, out))
