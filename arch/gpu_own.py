"""What was measured on a GPU that a user describes: constants read beside its machine file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from .document import Document
from .explain import got
from .gpu_attention import AttentionCalibration
from .gpu_calibration import Calibration, read
from .gpu_convolution import ConvolutionCalibration
from .gpu_gemm_constants import GemmCalibration, gemm_calibrations
from .gpu_streams import StreamCalibration
from .value import Value

__all__ = ["KINDS", "OwnCalibrations", "file_name", "own_calibrations", "read_kind"]

_CLASSES: Final[dict[str, type[Calibration]]] = {
    "attention": AttentionCalibration,
    "streams": StreamCalibration,
    "convolution": ConvolutionCalibration,
}

KINDS: Final = ("gemm", *_CLASSES)
"""Of kernels that are calibrated; each has a file of this name."""


def file_name(kind: str) -> str:
    """The name by which a machine finds the constants of one of `KINDS`.

    >>> file_name("gemm")
    'gemm.yaml'
    """
    return f"{kind}.yaml"


class OwnCalibrations(Value, frozen=True):
    """A GPU's constants that take the place of those that come with Tilewise.

    They are values of the machine, so that two machines with other constants are not equal.

    Attributes:
        gpu: The name they were written under; they serve no machine of another name.
        gemm: By number format, in alphabetical order.
        attention, streams, convolution: None where there are none.
    """

    gpu: str = ""
    gemm: tuple[tuple[str, GemmCalibration], ...] = ()
    attention: AttentionCalibration | None = None
    streams: StreamCalibration | None = None
    convolution: ConvolutionCalibration | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(kind for kind in KINDS if getattr(self, kind))


def own_calibrations(document: Document) -> OwnCalibrations:
    """Read what a machine's `calibrations` say of it; other GPUs' constants are left out.

    They are a folder with files that are named after `KINDS`, or one such file; a path counts from
    the machine's own folder.

    Raises:
        MachineError: if there are none, or a file is wrong; one line that names file, line, key,
            wanted and got.
    """
    key, named = ("calibrations",), document.values["calibrations"]
    if not isinstance(named, str):
        document.fail(key, f"wanted a folder or a file of constants, got {got(named)}")
    path = Path(document.file).parent / named
    if not path.exists():
        document.fail(key, f"wanted a folder or a file of constants, got no such file as {path}")
    names = [file_name(kind) for kind in KINDS]
    if path.is_file() and path.name not in names:
        document.fail(key, f"wanted a folder, or {' or '.join(names)}, got {got(path.name, names)}")
    gpu, found = str(document.values.get("name")), dict[str, Any]()
    for file in [path / name for name in names] if path.is_dir() else [path]:
        if file.exists() and gpu in (known := read_kind(file.stem, file)):
            found[file.stem] = known[gpu]
    if not found:
        document.fail(key, f"wanted constants of {gpu}, got none in {path}")
    return OwnCalibrations(gpu=gpu, **found)


def read_kind(kind: str, file: Path) -> dict[str, Any]:
    """Read a file of one of `KINDS`: by GPU, a calibration; of GEMMs, one for each format.

    Raises:
        MachineError: as `own_calibrations`.
    """
    if kind == "gemm":
        known = gemm_calibrations(file)
        return {gpu: tuple(sorted(formats.items())) for gpu, formats in known.items()}
    return dict(read(file, _CLASSES[kind]).by_gpu)
