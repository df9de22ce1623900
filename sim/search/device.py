"""What each design takes of an FPGA, and by how much a device is too small for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...arch import FormatError, fpga
from ...arch.component import RESOURCES
from ...arch.device import Device
from ..spaces.study import Study
from ..variants import FieldError, variant
from .designs import keys_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Builder"]

_Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Builder:
    """Estimates the resources of designs as `arch.fpga` does, each machine once.

    A design is built for the number format of its point, the machine's own if the point has none.

    Attributes:
        study: What the designs are points of.
        device: What must hold them; None if nothing must.
    """

    study: Study
    device: Device | None = None
    _known: dict[tuple[Any, ...], _Row] = field(
        default_factory=dict[tuple[Any, ...], _Row], repr=False
    )

    def built(self, designs: pd.DataFrame) -> pd.DataFrame:
        """A row for each design, in the same order.

        Args:
            designs: As `frame_of` gives them.

        Returns:
            How many it takes of each of `RESOURCES`; `too_small`, the resources that the device
            lacks, or what forbids building it, or empty; and `excess`, the sum over resources of
            the parts of the device that are missing, 0 if it fits.
        """
        import pandas as pd

        names = [name for name in designs if name in (*self.study.fields, "format")]
        chosen = designs[names] if names else designs[["workload"]].assign(workload="")
        rows: list[_Row] = []
        for key in keys_of(chosen):
            if key not in self._known:
                self._known[key] = self._row(dict(zip(map(str, chosen), key, strict=True)))
            rows.append(self._known[key])
        found = {name: pd.array([row[name] for row in rows], dtype="Int64") for name in RESOURCES}
        notes = {name: [row[name] for row in rows] for name in ("too_small", "excess")}
        return pd.DataFrame(found | notes, index=designs.index)

    def _row(self, given: Mapping[str, Any]) -> _Row:
        base = self.study.machine
        changes = {name: given[name] for name in self.study.fields}
        format = given.get("format") or base.default_format
        uram = self.device.resources.uram if self.device else 0
        try:
            machine = variant(base, changes)
            found = fpga.resources(machine, format=format, uram=uram)
        except FieldError as error:
            return _unbuilt(str(error).partition(":")[0])
        except (fpga.FpgaError, FormatError):
            return _unbuilt("format")
        counts = {name: found.total.count(name) for name in RESOURCES}
        if self.device is None:
            return counts | {"too_small": "", "excess": 0.0}
        over = fpga.Fit(resources=found, device=self.device).excesses
        excess = sum(one.excess / max(1, one.limit) for one in over)
        return counts | {"too_small": ", ".join(one.resource for one in over), "excess": excess}


def _unbuilt(why: str) -> _Row:
    return dict.fromkeys(RESOURCES) | {"too_small": why, "excess": 1.0}
