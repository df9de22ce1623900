"""What each number of a machine is worth: latency and energy if it were 10 per cent less or more.

Every number is moved alone, through the cost model.  A whole number moves to the nearest whole
number; one that is so small that this is no tenth any more, as 1 array, stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..arch import Accelerator
from ..workloads.graph import Workload
from .cost import CostModel
from .errors import MappingError
from .variants import FieldError, check_field, fields_of, value_at, variant

__all__ = ["SHARE", "Moved", "Sensitivity", "sensitivity"]

SHARE = 0.1
"""The part of a number by which it is moved."""

_FARTHEST = 0.2
"""The part of itself by which a whole number may move: 6 becomes 5 or 7, and 4 stays."""

_METRICS = ("latency_s", "energy_j", "edp_js", "dram_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A machine with one number changed.

    Attributes:
        field: Which, by dotted key.
        way: Less or more than it is.
        base, value: What it was, and what it is.
        metrics: What the run takes then; empty if the machine cannot run it.
        infeasible: What forbids it, or nothing.
    """

    field: str
    way: Literal["less", "more"]
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
    base = CostModel(machine).predict(workload, bind, format=format, batch=images)
    kinds = {name: kind for name, kind in fields_of(machine).items() if kind in ("int", "float")}
    held = {name: value_at(machine, name) for name in kinds}
    numbers = {name: float(one) for name, one in held.items() if isinstance(one, int | float)}
    moved: list[Moved] = []
    for name, number in numbers.items():
        for way, value in _ends(machine, name, number, kinds[name] == "int").items():
            metrics, why = _run(workload, machine, name, value, bind, format, images)
            moved.append(
                Moved(
                    field=name, way=way, base=number, value=value, metrics=metrics, infeasible=why
                )
            )
    return Sensitivity(
        workload=workload.name,
        machine=machine.name,
        format=format or machine.default_format,
        images=images,
        metrics={key: getattr(base, key) for key in _METRICS},
        moved=tuple(moved),
        still=tuple(name for name in numbers if all(one.field != name for one in moved)),
    )


def _run(
    workload: Workload,
    machine: Accelerator,
    name: str,
    value: float,
    bind: Mapping[str, int] | None,
    format: str | None,
    images: int,
) -> tuple[Mapping[str, float], str]:
    """What a run takes with another number at a field; or nothing, and what forbids it."""
    try:
        changed = variant(machine, {name: value})
        assert isinstance(changed, Accelerator)
        found = CostModel(changed).predict(workload, bind, format=format, batch=images)
    except (FieldError, MappingError) as error:
        return {}, " ".join(str(error).split())
    return {key: getattr(found, key) for key in _METRICS}, ""


def _ends(
    machine: Accelerator, name: str, number: float, whole: bool
) -> dict[Literal["less", "more"], float]:
    """The numbers on either side that the field allows."""
    found: dict[Literal["less", "more"], float] = {}
    ways: tuple[tuple[Literal["less", "more"], int], ...] = (("less", -1), ("more", 1))
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
