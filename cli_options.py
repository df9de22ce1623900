"""The options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_inputs import UserError

__all__ = [
    "ENGINES",
    "WORKLOAD",
    "Array",
    "Batch",
    "Bind",
    "Bits",
    "Dataflow",
    "Device",
    "Engine",
    "Format",
    "GpuModel",
    "Html",
    "Json",
    "K",
    "Keep",
    "M",
    "N",
    "On",
    "Overlap",
    "Policies",
    "Policy",
    "Prune",
    "Tokens",
    "Trace",
]

WORKLOAD = "A name (tilewise list workloads or pipelines) or the path of an .onnx file."
ENGINES = (
    "eager",
    "eager-autocast",
    "eager-torch-2.1",
    "compiled",
    "compiled-no-graphs",
    "compiled-autocast",
    "tensorrt",
)
"""Those of `sim.gpu.engines`, which a help text must not import: a test holds them equal."""


def _something(value: str | None) -> str | None:
    """A format's name as given; an empty one, as of an unset variable, is no default.

    Raises:
        UserError: It is empty.
    """
    if value == "":
        raise UserError(
            "--format: wanted the name of a number format, got nothing; "
            "leave it out for the machine's own"
        )
    return value


On = Annotated[
    str, typer.Option("--on", metavar="MACHINE", help="A name (list machines) or a .yaml file.")
]
Bind = Annotated[
    list[str] | None,
    typer.Option("--bind", metavar="NAME=N ...", help="Values for symbols; defaults otherwise."),
]
Batch = Annotated[
    int,
    typer.Option(
        "--batch",
        metavar="N",
        help="Runs of the graph; a graph with a symbol `batch` takes them side by side.",
    ),
]
Prune = Annotated[
    str | None,
    typer.Option(
        "--prune",
        metavar="METHOD@BLOCKS",
        help="Prune a ViT's tokens: heatvit, topk (dynamicvit), evit or tome at these blocks, "
        "counted from 1, as in heatvit@4,7,10; or merge a UNet's at its largest resolution: tome, "
        "or tome@self,cross,mlp; or every layer's channels: channels. The second workload, if two "
        "are compared.",
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(
        "--keep",
        metavar="SHARES",
        help="With --prune: for each block, the share of the input's patches left after it, as in "
        "0.7,0.5,0.35; rounded up, the defaults of kept_1, kept_2... Of a UNet's tokens, or of "
        "channels, one.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="int8, fp16...; the machine's by default.",
        callback=_something,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help=f"What runs it on a GPU: {', '.join(ENGINES)}; compiled by default.",
    ),
]
GpuModel = Annotated[
    str | None,
    typer.Option(
        "--gpu-model",
        metavar="NAME",
        help="How a GPU is modelled: kernels, or the plain roofline; kernels by default, where "
        "its family is known.",
    ),
]
Bits = Annotated[
    str | None,
    typer.Option(
        "--bits",
        metavar="RULES",
        help="Bits of weights and activations: W4A8 for every layer, W4 for its weights alone, or "
        "a YAML file of rules. The second workload's, if two are compared.",
    ),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the numbers as JSON; - is stdout."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report.")]
Trace = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Write a trace for Perfetto.")
]
Policies = Annotated[
    str | None,
    typer.Option(
        "--policies",
        metavar="A,B",
        help="Some of them, each perhaps with /batch or /image (what runs together) and /known "
        "or /unknown (ahead) behind it, as bucket/image/known; all by default.",
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME",
        help="How a pipeline's calls of different sizes run: exact, pad-max or bucket.",
    ),
]
Tokens = Annotated[
    str,
    typer.Option(
        "--tokens", metavar="NAME|CSV|NPZ", help="A token trace: a name (list traces) or a file."
    ),
]
M = Annotated[int, typer.Argument(min=1, help="Rows of the left operand.")]
K = Annotated[
    int,
    typer.Argument(min=1, help="Columns of the left, rows of the right operand."),
]
N = Annotated[int, typer.Argument(min=1, help="Columns of the right operand.")]
Array = Annotated[
    str | None,
    typer.Option("--array", metavar="RxC", help="Rows and columns of PEs; 32x32 by default."),
]
Dataflow = Annotated[
    str | None, typer.Option("--dataflow", metavar="NAME", help="ws, os or is; ws by default.")
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="An FPGA that must hold every design: a name (list devices) or a .yaml file; instead "
        "of the space's own, if it names one.",
    ),
]
Overlap = Annotated[
    str | None, typer.Option("--overlap", metavar="NAME", help="How folds overlap.")
]
