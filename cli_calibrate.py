"""`tilewise calibrate`: the constants of a GPU's kernels, fitted to measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_inputs import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from .arch import Gpu
    from .sim.gpu.calibrate import GemmReport

__all__ = ["calibrate"]

_KINDS = ("gemm",)


def calibrate(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Of the kernels: gemm.")],
    csv: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="Measurements: m, n, k, latency_ms_median; dtype and gpu if several.",
        ),
    ],
    gpu: Annotated[
        str, typer.Option("--gpu", metavar="NAME", help="A GPU (list machines) or a .yaml file.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Where to write; other GPUs in it are kept."),
    ],
    rows: Annotated[
        str | None,
        typer.Option("--rows", metavar="NAME", help="What the CSV's column gpu calls it."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="One number format; without it, all."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="TEXT", help="Where the measurements come from."),
    ] = None,
) -> None:
    """Fit a GPU's constants to the kernels of CSV, and report shapes that were held out."""
    from .arch import Gpu, load_machine
    from .sim.gpu.calibrate import CalibrationError, calibrate_formats
    from .sim.gpu.calibration_file import write_gemm

    if kind not in _KINDS:
        raise UserError(f"calibrate {kind}: wanted {' or '.join(_KINDS)}{nearest(kind, _KINDS)}")
    machine = load_machine(gpu)
    if not isinstance(machine, Gpu):
        raise UserError(f"--gpu {gpu}: wanted a GPU, got an accelerator")
    frame = _rows(_table(csv), csv, rows)
    try:
        reports = calibrate_formats(frame, machine, format, data=data or csv.name)
    except CalibrationError as error:
        raise UserError(f"{csv}: {error}") from None
    for name, report in reports.items():
        typer.echo(_line(machine, name, report))
    try:
        write_gemm(out, machine.name, {name: r.calibration for name, r in reports.items()})
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None


def _table(csv: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(csv)
    except OSError as error:
        raise UserError(f"{csv}: cannot be read: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
        text = str(error).splitlines()[0]
        raise UserError(f"{csv}: wanted a CSV file with a header, got: {text}") from None


def _rows(frame: pd.DataFrame, csv: Path, rows: str | None) -> pd.DataFrame:
    """The rows of one GPU."""
    if "gpu" not in frame.columns:
        if rows is not None:
            raise UserError(f"--rows {rows}: {csv} has no column gpu")
        return frame
    names = sorted(map(str, set(frame["gpu"])))
    if rows is None and len(names) > 1:
        raise UserError(f"{csv}: wanted one GPU, got {', '.join(names)}; choose with --rows")
    if rows is not None and rows not in names:
        raise UserError(f"--rows {rows}: wanted one of {', '.join(names)}{nearest(rows, names)}")
    return frame if rows is None else frame[frame["gpu"] == rows]


def _line(machine: Gpu, format: str, report: GemmReport) -> str:
    known = report.calibration.evidence
    told = (
        f"{machine.name} {format}: {known.fitted} of {known.rows} shapes fitted, "
        f"{known.held_out} held out: MAPE {known.mape:.1f} % (new n and k "
        f"{known.new_weights_mape:.1f}, new m {known.new_rows_mape:.1f}), p95 {known.p95:.0f} %, "
        f"bias {known.bias:+.1f} %; roofline {known.roofline_mape:.0f} %"
    )
    if report.at_bound:
        told += f"; the data do not tell {', '.join(report.at_bound)}"
    return told if known.converged else f"{told}; not converged"
