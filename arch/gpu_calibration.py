"""A calibration: constants of one kernel class, fitted to kernels that were timed on one GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar, cast

from .build import build
from .document import Document, read_document
from .explain import got, nearest
from .value import Count, NotNegative, Value

__all__ = ["CALIBRATIONS", "Calibration", "Calibrations", "Evidence", "Measured", "read"]

CALIBRATIONS: Final = Path(__file__).resolve().parent / "calibrations"


class Measured(Value, frozen=True):
    """The least and the most of a size that was measured."""

    least: NotNegative
    most: NotNegative


class Evidence(Value, frozen=True):
    """What constants rest on.

    Attributes:
        data: Whose measurements.
        split: Which of them were not shown to the fit.
        date: When it was made.
        fitted_shapes: Shown to the fit.
        held_out_shapes: Not shown to it.
        held_out_mape: Mean absolute error of those, as a share of the measured time.
        roofline_mape: The same of the plain roofline.
    """

    data: str
    split: str
    date: str
    fitted_shapes: Count
    held_out_shapes: Count
    held_out_mape: NotNegative
    roofline_mape: NotNegative


class Calibration(Value, frozen=True):
    """The base of a kernel class's constants.

    Attributes:
        gpu: The name of the machine they were fitted on.  On any other they are a family's
            constants, and what they predict is uncalibrated.
        same_board: False where another board with that GPU was measured; nothing is said to be
            interpolated then.
        evidence: What they rest on.
    """

    gpu: str
    same_board: bool = True
    evidence: Evidence


_C = TypeVar("_C", bound=Calibration)


@dataclass(frozen=True, slots=True)
class Calibrations(Generic[_C]):
    """All of a kernel class: by GPU, and whose stand in for the GPUs that have none, if any do.

    `uses` has names of GPUs, of families, and `other`.
    """

    by_gpu: Mapping[str, _C]
    uses: Mapping[str, str]

    def of(self, gpu: str, family: str | None = None) -> _C:
        """A GPU's own, or those that stand in for it, for its family, or for any other."""
        if gpu in self.by_gpu:
            return self.by_gpu[gpu]
        by_family = self.uses.get(family or "other", self.uses["other"])
        return self.by_gpu[self.uses.get(gpu, by_family)]


def read(file: Path, cls: type[_C]) -> Calibrations[_C]:
    """Read a file of one kernel class: `gpus`, and `uses` if it speaks for others, too.

    Raises:
        MachineError: if it is wrong; one line that names file, line, key, wanted and got.
    """
    document = read_document(file)
    for key in document.values:
        if key not in (keys := ("gpus", "uses")):
            document.fail((key,), "unknown key" + (nearest(key, keys) or "; wanted gpus or uses"))
    found = {name: _one(cls, name, document) for name in _mapping(document, "gpus")}
    if "uses" not in document.values:
        return Calibrations(found, {})
    uses = cast("Mapping[str, str]", _mapping(document, "uses"))
    for name, other in {"other": uses.get("other"), **uses}.items():
        if other not in found:
            document.fail(("uses", name), f"wanted one of {', '.join(found)}, got {got(other)}")
    return Calibrations(found, dict(uses))


def _mapping(document: Document, key: str) -> Mapping[str, object]:
    value = document.values.get(key)
    if not isinstance(value, dict):
        document.fail((key,), f"wanted a mapping, got {got(value)}")
    return cast("Mapping[str, object]", value)


def _one(cls: type[_C], name: str, document: Document) -> _C:
    fields = _mapping(document, "gpus")[name]
    if not isinstance(fields, dict):
        document.fail(("gpus", name), f"wanted a mapping, got {got(fields)}")
    values = {"gpu": name, **cast("dict[str, object]", fields)}
    return build(cls, values, document, ("gpus", name))
