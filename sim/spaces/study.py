"""A space with everything it names found and checked: ready to be cut into points and evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...arch import Accelerator, Gpu, load_device, load_machine
from ...arch.device import Device
from ...arch.explain import nearest
from ...workloads import BitRules, TokenTrace, Workload, trace, workload
from ..errors import SpaceError
from ..variants import fields_of, value_at
from .axes import Axis, axis
from .constraints import ConstraintError, holds, names_in
from .names import BIND, check_values, found, kind_of, lacking, path_of, rules_of
from .sampling import BLOCK, Columns, points_of
from .space import RUN, Space, document_of, located

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Study"]


@dataclass(frozen=True, kw_only=True, eq=False)  # compared by `inputs` and its space, not here
class Study:
    """A space, and what it names; it can be sent to another process or machine, files and all.

    Attributes:
        space: What was written.
        machine: The base machine.
        workloads, rules, traces: What the axes `workload`, `bits` and `tokens` name.
        axes: The axes with values of the right type, in the order of the space.
        lacking: By axis of a symbol, the workloads that do not have it: there it is empty.
        device: The FPGA that must hold every point; None if nothing must.
    """

    space: Space
    machine: Accelerator | Gpu
    workloads: Mapping[str, Workload]
    rules: Mapping[str, BitRules] = field(default_factory=dict[str, BitRules])
    traces: Mapping[str, TokenTrace] = field(default_factory=dict[str, TokenTrace])
    axes: tuple[Axis, ...]
    lacking: Mapping[str, frozenset[str]]
    device: Device | None = None

    @classmethod
    def of(cls, space: Space) -> Self:
        """Find what a space names.

        Raises:
            SpaceError: Something is not there (the text names the nearest that is), a value is none
                that its field or the run takes, or an axis or a grid is empty.
        """
        machine = found("machine", load_machine, path_of(space.machine, space.folder))
        fields = fields_of(machine)
        axes: list[Axis] = []
        for name, given in space.axes.items():
            axes.append(axis(name, kind_of(name, fields), given))
        by_name = {one.name: one for one in axes}
        workloads = {
            name: found("workload", workload, path_of(name, space.folder))
            for name in by_name["workload"].values
        }
        check_values(axes, machine)
        study = cls(
            space=space,
            machine=machine,
            workloads=workloads,
            rules={
                text: found("bits", rules_of, text, space.folder)
                for text in _values(by_name, "bits")
            },
            traces={
                name: found("tokens", trace, path_of(name, space.folder))
                for name in _values(by_name, "tokens")
            },
            axes=tuple(axes),
            lacking={
                one.name: lacking(one.name, workloads) for one in axes if one.name.startswith(BIND)
            },
            device=(
                found("device", load_device, path_of(space.device, space.folder))
                if space.device
                else None
            ),
        )
        _check_whole(study)
        return study

    @classmethod
    def read(cls, path: str | Path, device: str | Path | None = None) -> Self:
        """The space in a YAML file, with everything it names.

        Args:
            path: Of the file.
            device: An FPGA instead of the one that the file names, if any: a name or a YAML file.

        Raises:
            SpaceError: As `Space.read` and `of`, with file and line.
            MachineError: There is no such device.
        """
        space = Space.read(path)
        if device is not None:
            load_device(device)  # one that is not there is no mistake of the file
            space = space.on(device)
        try:
            return cls.of(space)
        except SpaceError as error:
            raise located(error, document_of(path)) from None

    @property
    def size(self) -> int:
        """Points before constraints; they are numbered from 0."""
        return self.space.sample.size(self.axes)

    @property
    def fields(self) -> tuple[str, ...]:
        """The axes that are fields of the machine."""
        return tuple(
            one.name for one in self.axes if one.name not in RUN and not one.name.startswith(BIND)
        )

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of what the numbers depend on beside the space, by name."""
        found = {"machine": _digest(self.machine)}
        for name, each in self.workloads.items():
            found[f"workload {name}"] = _digest(each.content_hash, each.symbols, each.constraints)
        found |= {f"bits {name}": _digest(each) for name, each in self.rules.items()}
        found |= {"device": _digest(self.device)} if self.device else {}
        return found | {f"tokens {name}": each.content_hash for name, each in self.traces.items()}

    def points(self, numbers: Iterable[int] | NDArray[np.int64]) -> pd.DataFrame:
        """The points of those numbers that satisfy the constraints.

        Args:
            numbers: Which, each at least 0 and below `size`.

        Returns:
            A row for each, in the same order: `point`, its number, and a column for each axis.  A
            symbol that the point's workload does not have is empty.
        """
        import pandas as pd

        wanted = np.asarray(numbers, dtype=np.int64)
        columns, kept = points_of(self.space.sample, self.axes, wanted, self._allowed)
        found: dict[str, Any] = {"point": kept}
        for one in self.axes:
            column = columns[one.name]
            if one.name in self.lacking:
                empty = self._empty(one.name, columns)
                found[one.name] = pd.array(np.where(empty, 0, column), dtype="Int64")
                found[one.name][empty] = pd.NA
            else:
                found[one.name] = column
        return pd.DataFrame(found)

    def refuse_empty(self) -> None:
        """Look for one point, from the first on.

        Raises:
            SpaceError: A grid or a list has none, or none was drawn: the constraints contradict
                each other.
        """
        size, constraints = self.size, " and ".join(self.space.constraints)
        drawn = self.space.sample.drawn
        for first in range(0, min(size, BLOCK) if drawn else size, BLOCK):
            if len(self.points(np.arange(first, min(first + BLOCK, size)))):
                return
        tried = "none was found by drawing" if drawn else f"none of {size} points satisfies them"
        raise SpaceError(("constraints",), f"{tried}: {constraints or 'the axes leave nothing'}")

    def _allowed(self, columns: Columns) -> NDArray[np.bool_]:
        mask = np.ones(len(columns["workload"]), dtype=np.bool_)
        if self.space.sample.method == "grid":
            # A symbol that a workload does not have changes nothing: it is there once.
            for one in self.axes:
                if one.name in self.lacking:
                    first = columns[one.name] == one.values[0]
                    mask &= first | ~self._empty(one.name, columns)
        for text in self.space.constraints:
            mask &= self.satisfies(text, columns)
        return mask

    def satisfies(self, text: str, columns: Columns) -> NDArray[np.bool_]:
        """Which points satisfy a constraint; one that reads an empty symbol holds.

        Raises:
            ConstraintError: It is not in the language.
        """
        meant = {name: _meant(name, columns) for name in names_in(text)}
        given = {name: self._column(one, columns) for name, one in meant.items()}
        found = holds(text, given)
        for one in meant.values():
            if one in self.lacking:
                found = found | self._empty(one, columns)
        return found

    def _column(self, name: str, columns: Columns) -> NDArray[Any]:
        if name in columns:
            return columns[name]
        kind = fields_of(self.machine)[name]
        points = len(columns["workload"])
        return np.full(
            points, value_at(self.machine, name), dtype=object if kind == "text" else np.float64
        )

    def _empty(self, name: str, columns: Columns) -> NDArray[np.bool_]:
        lacks = self.lacking[name]
        names = columns["workload"]
        found = np.zeros(len(names), dtype=np.bool_)
        for one in lacks:
            found |= names == one
        return found


def _values(by_name: Mapping[str, Axis], name: str) -> tuple[str, ...]:
    return by_name[name].values if name in by_name else ()


def _check_whole(study: Study) -> None:
    """Refuse what does not fit together."""
    space, names = study.space, {one.name for one in study.axes}
    for one in study.axes:
        if not one.values and space.sample.method == "grid":
            raise SpaceError(
                ("axes", one.name), "count: a grid needs steps; say how many, or list the values"
            )
        if space.sample.listed and one.name not in space.sample.listed[0] and len(one.values) != 1:
            raise SpaceError(
                ("axes", one.name),
                "wanted one value, the same for all listed points; several belong into the points",
            )
    if ("policy" in names) != ("tokens" in names):
        missing, there = sorted({"policy", "tokens"} - names) + sorted({"policy", "tokens"} & names)
        raise SpaceError((there,), f"a policy runs a token trace: say {missing} too")
    if "policy" in names and space.fidelity != "engine":
        raise SpaceError(("fidelity",), "policies are run by the engine: write fidelity: engine")
    if isinstance(study.machine, Gpu) and space.fidelity == "cost":
        raise SpaceError(
            ("fidelity",), "the cost model is of accelerators: write fidelity: engine for a GPU"
        )
    if isinstance(study.machine, Gpu) and study.device:
        raise SpaceError(
            ("device",), f"{study.machine.name} is a GPU, which no FPGA can be; leave it out"
        )
    sample = Columns()
    for one in study.axes:
        sample[one.name] = one.spread(np.zeros(1))
    for at, text in enumerate(space.constraints):
        for name in names_in(text):
            if _meant(name, sample) not in (*sample, *fields_of(study.machine)):
                known = (*sample, *fields_of(study.machine))
                raise SpaceError(
                    ("constraints", at), f"{name} is no axis and no field{nearest(name, known)}"
                )
        try:
            study.satisfies(text, sample)
        except ConstraintError as error:
            raise SpaceError(("constraints", at), str(error)) from None
    _ = study.size


def _meant(name: str, columns: Columns) -> str:
    """The axis that a constraint names: `kept_1` is `bind.kept_1`."""
    return f"{BIND}{name}" if name not in columns and f"{BIND}{name}" in columns else name


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
