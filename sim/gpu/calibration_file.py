"""Write calibrations to a YAML file, beside those of other GPUs that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...arch.document import read_document
from ...arch.gpu_gemm import GemmCalibration, gemm_calibrations

__all__ = ["write_gemm"]

_HEAD = """\
# Constants of GEMM kernels, fitted by `tilewise calibrate gemm`; docs/gpu.md says what they mean.
# The GPU, then the number format; what each was fitted to and how far it is off stands in it.
"""


def write_gemm(file: Path, gpu: str, calibrations: Mapping[str, GemmCalibration]) -> None:
    """Write a GPU's calibrations by format; what the file says of others stays as it is.

    Raises:
        MachineError: if the file is there and holds no calibrations.
        OSError: if it cannot be written.
    """
    import yaml

    values: dict[str, Any] = {}
    if file.exists() and file.stat().st_size:
        gemm_calibrations.__wrapped__(file)  # refuses a file of another kind, before it is lost
        values = {name: dict(formats) for name, formats in read_document(file).values.items()}
    new = {format: _plain(calibration) for format, calibration in calibrations.items()}
    values[gpu] = {**values.get(gpu, {}), **new}
    ordered = {name: values[name] for name in sorted(values)}
    text = yaml.safe_dump(ordered, sort_keys=False, width=100)
    file.write_text(_HEAD + text, encoding="utf-8")


def _plain(calibration: GemmCalibration) -> dict[str, Any]:
    """As YAML writes it: a range is a list."""
    values = calibration.model_dump()
    values["hull"] = {size: list(ends) for size, ends in values["hull"].items()}
    return values
