"""What each number of a machine is worth: latency and energy if it were 10 per cent less or more.

Every number is moved alone; the cost model prices all the machines in one go.  A whole number moves
to the nearest whole number; one that is so small that this is no tenth any more, as 1 array, stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..arch import Accelerator, FormatError
from ..workloads.graph import Workload
from .cost import BIND, CostModel
from .errors import MappingError
from .variants import FieldError, check_field, fields_of, value_at

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SHARE", "Moved", "Sensitivity", "Way", "sensitivity"]

SHARE = 0.1
"""The part of a number by which it is moved."""

_FARTHEST = 0.2
"""The part of itself by which a whole number may move: 6 becomes 5 or 7, and 4 stays."""

Way: TypeAlias = Literal["less", "more"]

_METRICS = ("latency_s", "energy_j", "edp_js", "dram_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A machine with one number changed.

    Attributes:
        field: Which, by dotted key.
        way: Less or more than it is.
        base, value: What it was, and what it is.
        metrics: What the run takes then; empty if the machine cannot run it.
        infeasible: The field that forbids it, or nothing.
    """

    field: str
    way: Way
    base: float
    value: float
    metrics: Mapping[str, float]
    infeasible: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What a run takes on a machine, and on machines beside it.

    Attributes:
        workload, machine, format: What ran on what.
        images: Of the batch.
        metrics: Of the machine as it is.
        moved: Two for each number, as far as its field allows them.
        still: Numbers that stay: those that are 0, and small whole ones.
    """

    workload: str
    machine: str
    format: str
    images: int
    metrics: Mapping[str, float]
    moved: tuple[Moved, ...]
    still: tuple[str, ...]

    def change(self, one: Moved, metric: str) -> float:
        """By what part a metric changes; NaN where the run is impossible."""
        return one.metrics.get(metric, math.nan) / self.metrics[metric] - 1


def sensitivity(
    workload: Workload,
    machine: Accelerator,
    *,
    bind: Mapping[str, int] | None = None,
    format: str | None = None,
    images: int = 1,
) -> Sensitivity:
    """Move every number of a machine by `SHARE`, one at a time.

    Args:
        workload: A model.
        machine: An accelerator.
        bind: Values for the model's symbols.
        format: Number format of what has none; the machine's own if None.
        images: Run together.

    Raises:
        TypeError: The machine is a GPU, which the cost model does not price.
        BindingError, MappingError: The run is impossible on the machine as it is.
    """
    format = format or machine.default_format
    try:
        machine.array.macs_per_pe_cycle.get(format)  # the cost model would take one that holds it
    except FormatError as error:
        raise MappingError(f"{machine.name}: format: {error}") from None
    kinds = {name: kind for name, kind in fields_of(machine).items() if kind in ("int", "float")}
    held = {name: value_at(machine, name) for name in kinds}
    numbers = {name: float(one) for name, one in held.items() if isinstance(one, int | float)}
    ends: list[tuple[str, Way, float]] = [
        (name, way, value)
        for name, number in numbers.items()
        for way, value in _ends(machine, name, number, kinds[name] == "int").items()
    ]
    machines = _machines({name: held[name] for name, _, _ in ends}, kinds, ends)
    for name, value in (bind or {}).items():
        machines[f"{BIND}{name}"] = value
    machines["format"], machines["batch"] = format, images
    priced = CostModel(machine).batch(machines, workload)
    base, *rows = priced[[*_METRICS, "infeasible"]].to_dict("records")
    if base["infeasible"]:
        raise MappingError(f"{machine.name} is too small for one tile: {base['infeasible']}")
    moved = tuple(
        Moved(
            field=name,
            way=way,
            base=numbers[name],
            value=value,
            metrics={} if row["infeasible"] else {key: float(row[key]) for key in _METRICS},
            infeasible=row["infeasible"],
        )
        for (name, way, value), row in zip(ends, rows, strict=True)
    )
    return Sensitivity(
        workload=workload.name,
        machine=machine.name,
        format=format,
        images=images,
        metrics={key: float(base[key]) for key in _METRICS},
        moved=moved,
        still=tuple(name for name in numbers if all(one.field != name for one in moved)),
    )


def _machines(
    held: Mapping[str, Any], kinds: Mapping[str, str], ends: Sequence[tuple[str, Way, float]]
) -> pd.DataFrame:
    """A row for the machine as it is, and one for each number that is moved."""
    import pandas as pd

    rows = len(ends) + 1
    frame = pd.DataFrame(
        {
            name: pd.Series([value] * rows, dtype="int64" if kinds[name] == "int" else "float64")
            for name, value in held.items()
        }
    )
    for at, (name, _, value) in enumerate(ends, start=1):
        frame.loc[at, name] = value
    return frame


def _ends(machine: Accelerator, name: str, number: float, whole: bool) -> dict[Way, float]:
    """The numbers on either side that the field allows."""
    found: dict[Way, float] = {}
    ways: tuple[tuple[Way, int], ...] = (("less", -1), ("more", 1))
    for way, sign in ways:
        value = number * (1 + sign * SHARE)
        if whole:
            value = number + sign * max(1, round(abs(number) * SHARE))
        if abs(value - number) > _FARTHEST * abs(number):
            continue
        try:
            check_field(machine, name, int(value) if whole else value)
        except FieldError:
            continue
        if value != number:
            found[way] = int(value) if whole else value
    return found
