"""`tilewise fpga`: what a machine takes of an FPGA, and whether a device holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from .cli_inputs import input_files
from .cli_options import Format, Json

if TYPE_CHECKING:
    from .arch.fpga import Mac, Selector

__all__ = ["fpga"]


def fpga(
    machine: Annotated[
        str, typer.Argument(metavar="MACHINE", help="A name (list machines) or a .yaml file.")
    ],
    device: Annotated[
        str,
        typer.Option("--device", metavar="NAME", help="A device (list devices) or a .yaml file."),
    ] = "zcu102",
    format: Format = None,
    mac: Annotated[
        str,
        typer.Option(
            "--mac",
            metavar="NAME",
            help="dsp: a slice multiplies and adds; dsp-multiply: it multiplies, LUTs add; "
            "lut: no slices.",
        ),
    ] = "dsp",
    lut_pes: Annotated[
        int,
        typer.Option(
            "--lut-pes", metavar="N", min=0, help="PEs whose MACs are LUTs, beside those in slices."
        ),
    ] = 0,
    selector: Annotated[
        str | None,
        typer.Option(
            "--selector",
            metavar="KIND",
            help="Add a token selector: shared (on the vector unit) or dedicated (its own).",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Estimate DSP slices, LUTs, registers and memory blocks of MACHINE on an FPGA.

    Prints them part by part with how each is known.  Ends with 2 if the device is too small.
    """
    from pathlib import Path

    from .arch import fpga, load_machine
    from .reports.fpga import fit_values, fit_view, overhead_line
    from .reports.outputs import Outputs

    files = input_files(machine)
    if device not in fpga.device_names():
        files.append(Path(device))
    outputs = Outputs(json=json, inputs=files)
    described, target = load_machine(machine), fpga.device(device)
    way, kind = cast("Mac", mac), cast("Selector | None", selector)
    found = fpga.fit(described, target, format=format, mac=way, lut_pes=lut_pes, selector=kind)
    outputs.console.print(fit_view(found, outputs.console.width))
    if kind:
        without = fpga.fit(described, target, format=format, mac=way, lut_pes=lut_pes)
        outputs.console.print(overhead_line(found, without), soft_wrap=True)
    outputs.write([], fit_values(found))
    found.require()
