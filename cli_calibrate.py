"""`tilewise calibrate`: the constants of a GPU's kernels, fitted to measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from .cli_inputs import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from .arch import Gpu
    from .sim.gpu.fit_report import Report

__all__ = ["calibrate"]

# A roofline that is far off is beaten by a hair at the bounds of the constants, whatever the data.
_MOST_ERROR: Final = 0.5


def calibrate(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="gemm|attention|streams|convolution",
            help="Of the kernels. streams: elementwise, norm, softmax; convolution: fp32, 3 x 3.",
        ),
    ],
    csv: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="Measurements, and a column gpu if of several. "
            "gemm: m, n, k, latency_ms_median, and dtype; "
            "attention: batch, sequence, heads, head_dim, latency_ms; "
            "streams: op, rows, columns, latency_ms; convolution: batch, in_channels, "
            "out_channels, kernel, input_size, stride, padding, latency_ms.",
        ),
    ],
    gpu: Annotated[
        str, typer.Option("--gpu", metavar="NAME", help="A GPU (list machines) or a .yaml file.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="Where to write: KIND.yaml; other GPUs in it are kept."
        ),
    ],
    rows: Annotated[
        str | None,
        typer.Option("--rows", metavar="NAME", help="What the CSV's column gpu calls it."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="FORMAT", help="gemm: one number format; without it, all."
        ),
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            "--kernel",
            metavar="NAME",
            help="attention: fa2, fa3 or fa4; without it, what the GPU is known to run.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="TEXT", help="Where the measurements come from."),
    ] = None,
) -> None:
    """Fit a GPU's constants to the kernels of CSV, and report rows that were held out."""
    from .arch import Gpu, load_machine
    from .reports.files import check_writable, write_text
    from .sim.gpu.calibration_file import check_kind, check_name, text_with
    from .sim.gpu.calibration_kinds import FITS
    from .sim.gpu.fitting import CalibrationError

    if kind not in FITS:
        raise UserError(f"calibrate {kind}: wanted {' or '.join(FITS)}{nearest(kind, FITS)}")
    given = {
        name: value for name, value in (("format", format), ("kernel", kernel)) if value is not None
    }
    for name, value in given.items():
        if name != FITS[kind].option:
            raise UserError(f"--{name} {value}: calibrate {kind} knows no {name}s; leave it out")
    machine = load_machine(gpu)
    if not isinstance(machine, Gpu):
        raise UserError(f"--gpu {gpu}: wanted a GPU, got an accelerator")
    _check_format(format, machine)
    hint = check_name(out, kind)
    frame, rows_of = _rows(_table(csv), csv, rows)
    check_writable([out], inputs=[csv])
    check_kind(out, kind)
    try:
        found = FITS[kind].fit(frame, machine, data=data or csv.name, **given)
    except CalibrationError as error:
        raise UserError(f"{csv}: {error}") from None
    called = {name: " ".join((machine.name, kind, name)).strip() for name in found}
    for name, one in found.items():
        _check_error(f"{csv}: {called[name]}{rows_of}", one.report)
    lines = [_line(f"{called[name]}{rows_of}", one.report) for name, one in found.items()]
    typer.echo("\n".join(lines) + hint)
    calibrations = {name: one.calibration for name, one in found.items()}
    write_text(out, text_with(out, kind, machine.name, calibrations))


def _table(csv: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(csv)
    except OSError as error:
        raise UserError(f"{csv}: cannot be read: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
        text = str(error).splitlines()[0]
        raise UserError(f"{csv}: wanted a CSV file with a header, got: {text}") from None
    frame.index += 2  # as a spreadsheet counts rows; the header is the first
    return frame


def _check_format(format: str | None, machine: Gpu) -> None:
    """Refuse a format that the machine does not compute in."""
    names = machine.peak_flops.names
    if format is not None and format not in names:
        raise UserError(
            f"--format {format}: wanted one of {', '.join(names)}, which {machine.name} computes "
            f"in{nearest(format, names)}"
        )


def _check_error(what: str, report: Report) -> None:
    """Refuse constants that say no more of unseen rows than a roofline does, or little."""
    if report.held_out_mape < min(report.roofline_mape, _MOST_ERROR):
        return
    raise UserError(
        f"{what}: wanted a MAPE on the rows held out below {_MOST_ERROR:.0%} and below a "
        f"roofline's, got {report.held_out_mape:.1%}, and {report.roofline_mape:.1%} of the "
        "roofline; nothing is written; look at the unit of the latencies (ms), and whether --gpu "
        "is the machine that was measured"
    )


def _rows(frame: pd.DataFrame, csv: Path, rows: str | None) -> tuple[pd.DataFrame, str]:
    """The rows of one GPU, and what a report says of whose they are: nothing if no column does."""
    if "gpu" not in frame.columns:
        if rows is not None:
            raise UserError(f"--rows {rows}: {csv} has no column gpu")
        return frame, ""
    unnamed = frame["gpu"].isna()
    if rows is None and unnamed.all():
        return frame, ""
    gpus = frame["gpu"].astype(str)
    names = sorted({str(name) for name in gpus[~unnamed]})
    if rows is None and unnamed.any():
        raise UserError(
            f"{csv}: row {frame.index[unnamed.to_numpy()][0]}: gpu: wanted the name of a GPU, got "
            "none; choose other rows with --rows"
        )
    if rows is None and len(names) > 1:
        raise UserError(f"{csv}: wanted one GPU, got {', '.join(names)}; choose with --rows")
    if rows is not None and rows not in names:
        wanted = f"one of {', '.join(names)}" if names else "no name, as the column gpu is empty"
        raise UserError(f"--rows {rows}: wanted {wanted}{nearest(rows, names)}")
    (name,) = names if rows is None else [rows]
    said = f", rows of {' '.join(name.split())}"  # one line, whatever the name
    return (frame, said) if rows is None else (frame[(gpus == rows) & ~unnamed], said)


def _line(what: str, report: Report) -> str:
    told = (
        f"{what}: {report.fitted_shapes} rows fitted, {report.held_out_shapes} held out: "
        f"MAPE {report.held_out_mape:.1%}, a roofline's {report.roofline_mape:.0%}"
    )
    if report.at_bound:
        told += f"; the data do not tell {', '.join(report.at_bound)}"
    return told if report.converged else f"{told}; not converged"
