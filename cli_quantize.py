"""`tilewise quantize`: an assignment of bits, written into an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_inputs import UserError, find_workload, input_files
from .cli_options import WORKLOAD

__all__ = ["quantize"]


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=WORKLOAD)],
    bits: Annotated[
        str,
        typer.Option(
            "--bits",
            metavar="RULES",
            help="W4A8 for every layer, W4 for its weights, or a YAML file.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The .onnx or .onnx.gz file to write.")
    ],
) -> None:
    """Write MODEL with the bits of its tensors.

    The file converts a tensor to integers and back wherever bits are given.  Its scales are
    placeholders: calibrate it before you run it.  Tilewise reads it as MODEL with those bits.
    """
    from .reports.files import check_writable
    from .workloads import bit_rules, write_quantized, zoo

    if not out.name.endswith((".onnx", ".onnx.gz")):
        raise UserError(f"--out {out}: wanted a file that ends with .onnx or .onnx.gz")
    rules = bit_rules(bits)
    check_writable([out], input_files(model, bits))
    if model not in zoo.names():
        find_workload(model)  # which knows what to say of a name that is none
    try:
        workload = write_quantized(model, rules, out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from None
    layers = sum(1 for operator in workload.operators if operator.weight_formats)
    typer.echo(f"{out}: {layers} layers whose weights have bits of their own")
