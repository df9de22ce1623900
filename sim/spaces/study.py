"""A space with everything it names found and checked: ready to be cut into points and evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...arch import FORMATS, Accelerator, Gpu, MachineError, load_machine
from ...arch.explain import nearest
from ...workloads import (
    BindingError,
    BitRules,
    OnnxError,
    QuantizationError,
    TokenTrace,
    TraceError,
    UnknownModelError,
    Workload,
    bit_rules,
    trace,
    workload,
)
from ..errors import SpaceError
from ..policies import PolicyError, policy
from ..variants import FieldError, Kind, check_field, fields_of, value_at
from .axes import Axis, axis
from .constraints import ConstraintError, holds, names_in
from .sampling import BLOCK, Columns, points_of
from .space import RUN, Space, document_of, located

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BIND", "Study"]

BIND = "bind."
"""What stands before a symbol of the workload in the name of an axis."""

_RUN_KINDS: dict[str, Kind] = {name: "int" if name == "batch" else "text" for name in RUN}
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, eq=False)  # compared by `inputs` and its space, not here
class Study:
    """A space, and what it names; it can be sent to another process or machine, files and all.

    Attributes:
        space: What was written.
        machine: The base machine.
        workloads, rules, traces: What the axes `workload`, `bits` and `tokens` name.
        axes: The axes with values of the right type, in the order of the space.
        lacking: By axis of a symbol, the workloads that do not have it: there it is empty.
    """

    space: Space
    machine: Accelerator | Gpu
    workloads: Mapping[str, Workload]
    rules: Mapping[str, BitRules] = field(default_factory=dict[str, BitRules])
    traces: Mapping[str, TokenTrace] = field(default_factory=dict[str, TokenTrace])
    axes: tuple[Axis, ...]
    lacking: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, space: Space) -> Self:
        """Find what a space names.

        Raises:
            SpaceError: Something is not there (the text names the nearest that is), a value is none
                that its field or the run takes, or an axis or a grid is empty.
        """
        machine = _found("machine", load_machine, _path(space.machine, space.folder))
        fields = fields_of(machine)
        axes: list[Axis] = []
        for name, given in space.axes.items():
            axes.append(axis(name, _kind_of(name, fields), given))
        by_name = {one.name: one for one in axes}
        workloads = {
            name: _found("workload", workload, _path(name, space.folder))
            for name in by_name["workload"].values
        }
        _check_values(axes, machine)
        study = cls(
            space=space,
            machine=machine,
            workloads=workloads,
            rules={
                text: _found("bits", _rules, text, space.folder)
                for text in _values(by_name, "bits")
            },
            traces={
                name: _found("tokens", trace, _path(name, space.folder))
                for name in _values(by_name, "tokens")
            },
            axes=tuple(axes),
            lacking={
                one.name: _without(one.name, workloads) for one in axes if one.name.startswith(BIND)
            },
        )
        _check_whole(study)
        return study

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The space in a YAML file, with everything it names.

        Raises:
            SpaceError: As `Space.read` and `of`, with file and line.
        """
        space = Space.read(path)
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


def _kind_of(name: str, fields: Mapping[str, Kind]) -> Kind:
    if name in _RUN_KINDS:
        return _RUN_KINDS[name]
    if name.startswith(BIND):
        return "int"
    if name not in fields:
        known = (*fields, *RUN)
        raise SpaceError(
            ("axes", name),
            f"the machine has no such field{nearest(name, known)}; a symbol is written bind.NAME",
        )
    return fields[name]


def _values(by_name: Mapping[str, Axis], name: str) -> tuple[str, ...]:
    return by_name[name].values if name in by_name else ()


def _check_values(axes: Iterable[Axis], machine: Accelerator | Gpu) -> None:
    """Refuse values that no point can have."""
    for one in axes:
        key = ("axes", one.name)
        values = one.values or (one.low, one.high)
        if one.name == "format":
            for value in values:
                if value not in FORMATS:
                    wanted = f"wanted one of {', '.join(FORMATS)}"
                    raise SpaceError(key, f"{wanted}; got {value!r}{nearest(str(value), FORMATS)}")
        elif one.name == "policy":
            for value in values:
                _found("policy", policy, str(value))
        elif one.name == "batch" or one.name.startswith(BIND):
            if min(values) < (1 if one.name == "batch" else 0):
                raise SpaceError(key, f"wanted at least 1, got {min(values)}")
        elif one.name not in RUN:
            for value in values:
                try:
                    check_field(machine, one.name, int(value) if one.kind == "int" else value)
                except FieldError as error:
                    raise SpaceError(key, str(error)) from None


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


def _without(name: str, workloads: Mapping[str, Workload]) -> frozenset[str]:
    symbol = name.removeprefix(BIND)
    has = {key: [s.name for s in each.symbols] for key, each in workloads.items()}
    lacking = frozenset(key for key, symbols in has.items() if symbol not in symbols)
    if len(lacking) == len(workloads):
        known = sorted({one for symbols in has.values() for one in symbols})
        names = ", ".join(workloads)
        raise SpaceError(
            ("axes", name),
            f"{names} has no symbol {symbol}{nearest(symbol, known)}"
            f"; there {'are ' + ', '.join(known) if known else 'is none'}",
        )
    return lacking


def _path(name: str, folder: str) -> str | Path:
    """A name as it is, and a path from where it counts."""
    path = Path(name)
    known = (".yaml", ".yml", ".onnx", ".gz", ".csv", ".npz")
    return Path(folder) / path if path.suffix in known or len(path.parts) > 1 else name


def _rules(text: str, folder: str) -> BitRules:
    rules = bit_rules(_path(text, folder))
    return replace(rules, where=text)


def _found(key: str, find: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    try:
        return find(*given, **named)
    except (
        BindingError,
        MachineError,
        OnnxError,
        PolicyError,
        QuantizationError,
        TraceError,
        UnknownModelError,
    ) as error:
        at = (key,) if key == "machine" else ("axes", key)
        raise SpaceError(at, " ".join(str(error).split())) from None


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
