"""What each point takes of an FPGA, and by how much a device is too small for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ...arch import Accelerator, FormatError, Gpu, fpga
from ...arch.component import RESOURCES
from ...arch.device import Device
from ..variants import FieldError, variant
from .rows import Row, keys_of
from .study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Builder"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Builder:
    """Estimates the resources of points as `arch.fpga` does, each machine once.

    A machine is built for the number format of its point, its own if the point has none.

    Attributes:
        machine: The base machine.
        fields: What of it differs from point to point.
        device: What must hold them; None if nothing must.
    """

    machine: Accelerator | Gpu
    fields: tuple[str, ...]
    device: Device | None = None
    _known: dict[tuple[Any, ...], Row] = field(
        default_factory=dict[tuple[Any, ...], Row], repr=False
    )

    @classmethod
    def of(cls, study: Study, device: Device | None) -> Self:
        """What builds the points of a study."""
        return cls(machine=study.machine, fields=study.fields, device=device)

    def built(self, designs: pd.DataFrame) -> pd.DataFrame:
        """A row for each point, in the same order.

        Args:
            designs: A column for each axis, as `evaluate` takes them.

        Returns:
            How many it takes of each of `RESOURCES`; `too_small`, the resources that the device
            lacks, or what forbids building it, or empty; and `excess`, the sum over resources of
            the parts of the device that are missing, 0 if it fits.
        """
        import pandas as pd

        names = [name for name in designs if name in (*self.fields, "format")]
        chosen = designs[names] if names else designs[["workload"]].assign(workload="")
        rows: list[Row] = []
        for key in keys_of(chosen):
            if key not in self._known:
                self._known[key] = self._row(dict(zip(map(str, chosen), key, strict=True)))
            rows.append(self._known[key])
        found = {name: pd.array([row[name] for row in rows], dtype="Int64") for name in RESOURCES}
        notes = {name: [row[name] for row in rows] for name in ("too_small", "excess")}
        return pd.DataFrame(found | notes, index=designs.index)

    def _row(self, given: Mapping[str, Any]) -> Row:
        changes = {name: given[name] for name in self.fields}
        format = given.get("format") or self.machine.default_format
        uram = self.device.resources.uram if self.device else 0
        try:
            machine = variant(self.machine, changes)
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


def _unbuilt(why: str) -> Row:
    return dict.fromkeys(RESOURCES) | {"too_small": why, "excess": 1.0}
