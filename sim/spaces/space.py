"""A space of designs: a machine, what of it and of the run varies, and how points are chosen.

A space is what a person writes, as a YAML file or in Python.  `Study` (`study.py`) is a space with
everything that it names found and checked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast

import numpy as np

from ...arch.document import Document, MachineError, read_document
from ...arch.explain import got, nearest
from ..errors import SpaceError
from .constraints import ConstraintError, names_in
from .sampling import Sample, sample

__all__ = ["FIDELITIES", "RUN", "Fidelity", "Space", "differences", "located"]

Fidelity: TypeAlias = Literal["cost", "engine"]
FIDELITIES: tuple[Fidelity, ...] = ("cost", "engine")

RUN = ("workload", "bits", "format", "batch", "tokens", "policy")
"""Parameters of a run, as the command line's options of these names; each may be an axis."""

_KEYS = ("machine", "device", "fidelity", *RUN, "axes", "sample", "constraints")


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is swept.

    >>> space = Space(machine="edge-32x32", axes={"workload": "deit-small", "array.rows": [8, 16]})
    >>> space.fidelity, space.sample.method
    ('cost', 'grid')

    Attributes:
        machine: The base machine, a name or the path of a YAML file.
        axes: By parameter a value, a list of values, or a range (`axes.py`).  A parameter is a
            field of the machine by dotted key, a symbol of the workload as `bind.kept_1`, or one of
            `RUN`.  `workload` must be among them.
        sample: How points are chosen; every combination if left out.
        constraints: What every point satisfies (`constraints.py`).
        fidelity: `cost` (the vectorised model) or `engine` (cycle by cycle, thousands of times
            slower).
        device: An FPGA that must hold every point, a name or the path of a YAML file; none if it is
            empty.
        folder: Where relative paths in it count from; not part of what is compared.

    Raises:
        SpaceError: A part is malformed; whether what it names exists, `Study.of` says.
    """

    machine: str
    axes: Mapping[str, Any]
    sample: Sample = field(default_factory=Sample)
    constraints: tuple[str, ...] = ()
    fidelity: Fidelity = "cost"
    device: str = ""
    folder: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        axes = {str(name): _plain(given) for name, given in self.axes.items()}
        way = sample(_plain(self.sample))
        if way.listed:
            axes = _with_listed(axes, way)
        if not axes:
            raise SpaceError(("axes",), "wanted at least one axis, got none")
        if "workload" not in axes:
            raise SpaceError((), "workload: missing key, wanted a name or an axis of names")
        machine, device = cast("object", self.machine), cast("object", self.device)
        if not isinstance(machine, str) or not machine:
            raise SpaceError(("machine",), f"wanted the name of a machine, got {got(machine)}")
        if not isinstance(device, str):
            raise SpaceError(("device",), f"wanted the name of an FPGA, got {got(device)}")
        if self.fidelity not in FIDELITIES:
            wanted = got(self.fidelity, FIDELITIES)
            raise SpaceError(("fidelity",), f"wanted cost or engine, got {wanted}")
        given = cast("object", self.constraints)
        constraints = (given,) if isinstance(given, str) else tuple(self.constraints)
        for at, text in enumerate(cast("tuple[object, ...]", constraints)):
            if not isinstance(text, str):
                raise SpaceError(("constraints", at), f"wanted an expression, got {got(text)}")
            try:
                names_in(text)
            except ConstraintError as error:
                raise SpaceError(("constraints", at), str(error)) from None
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "sample", way)
        object.__setattr__(self, "constraints", constraints)

    @classmethod
    def of(cls, given: Mapping[str, Any], folder: str | Path = "") -> Self:
        """The space that a mapping says, as it stands in a file.

        >>> Space.of({"machine": "edge-32x32", "workload": "deit-small", "batch": [1, 8]}).axes
        {'workload': 'deit-small', 'batch': [1, 8]}

        Args:
            given: `machine`, `workload` and perhaps the other parameters of `RUN`, `axes`,
                `sample`, `constraints`, `fidelity`, `device`.
            folder: Where relative paths count from.

        Raises:
            SpaceError: A key is unknown or missing, or what stands there is malformed.
        """
        for key in given:
            if key not in _KEYS:
                hint = nearest(key, _KEYS) or f"; wanted {', '.join(_KEYS)}"
                raise SpaceError((key,), f"unknown key{hint}")
        if "machine" not in given:
            raise SpaceError((), "machine: missing key, wanted the name of the base machine")
        under: object = given.get("axes") or {}
        if not isinstance(under, Mapping):
            raise SpaceError(("axes",), f"wanted axes and their values, got {got(under)}")
        axes = {name: given[name] for name in RUN if name in given}
        for name, values in cast("Mapping[str, Any]", under).items():
            if name in axes:
                raise SpaceError(("axes", name), f"it stands beside axes too; write {name} once")
            axes[name] = values
        constraints = given.get("constraints") or ()
        return cls(
            machine=given["machine"],
            axes=axes,
            sample=sample(_plain(given.get("sample", "grid"))),
            constraints=constraints,
            fidelity=given.get("fidelity", "cost"),
            device=given.get("device", ""),
            folder=str(folder),
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The space in a YAML file.

        Raises:
            SpaceError: The file cannot be read, or says no space; one line with file and line.
        """
        document = document_of(path)
        try:
            return cls.of(document.values, Path(path).resolve().parent)
        except SpaceError as error:
            raise located(error, document) from None

    def on(self, device: str | Path) -> Self:
        """The same space on an FPGA; a path counts from here, wherever the space's own count from.

        >>> Space.of({"machine": "edge-32x32", "workload": "deit-small"}).on("zcu102").device
        'zcu102'
        """
        path = Path(device)
        if path.suffix in (".yaml", ".yml"):
            # Relative, so that it is the same sweep wherever both files are moved.
            device = Path(os.path.relpath(path.resolve(), self.folder or ".")).as_posix()
        return replace(self, device=str(device))

    def as_dict(self) -> dict[str, Any]:
        """What it says, ready for JSON and YAML; `Space.of` reads it back."""
        return {
            "machine": self.machine,
            **({"device": self.device} if self.device else {}),
            "fidelity": self.fidelity,
            "axes": {name: it for name, it in self.axes.items() if name not in self._listed},
            "sample": self.sample.as_value(),
            "constraints": list(self.constraints),
        }

    @property
    def _listed(self) -> tuple[str, ...]:
        """The axes that listed points give."""
        return tuple(self.sample.listed[0]) if self.sample.listed else ()

    @property
    def content_hash(self) -> str:
        """SHA-256 of what it says; the order of axes, by which points are numbered, counts."""
        return hashlib.sha256(json.dumps(self.as_dict()).encode()).hexdigest()


def document_of(path: str | Path) -> Document:
    """A YAML file with its lines.

    Raises:
        SpaceError: It cannot be read.
    """
    try:
        return read_document(Path(path))
    except MachineError as error:
        raise SpaceError((), str(error)) from None


def located(error: SpaceError, document: Document) -> SpaceError:
    """The same error with the file and the line where the space says it."""
    key = error.key
    if key[:1] == ("axes",) and len(key) > 1 and key[1] in RUN and key not in document.lines:
        key = key[1:]  # a parameter of the run may stand beside the axes
    return SpaceError(key, error.text, f"{document.file}:{document.line(key)}")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What changed from one to the other, key by key.

    >>> differences({"axes": {"rows": [8]}, "seed": 0}, {"axes": {"rows": [8, 16]}, "seed": 0})
    ['axes.rows was [8], is [8, 16]']
    """
    before, after = _flat(one), _flat(other)
    found: list[str] = []
    for key in dict.fromkeys([*before, *after]):
        if key not in after:
            found.append(f"{key} was {_short(before[key])}, is gone")
        elif key not in before:
            found.append(f"{key} is new: {_short(after[key])}")
        elif before[key] != after[key]:
            found.append(f"{key} was {_short(before[key])}, is {_short(after[key])}")
    if not found and json.dumps(one) != json.dumps(other):
        found.append(f"the order of axes was {', '.join(before)}, is {', '.join(after)}")
    return found


def _flat(given: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping):
            found |= _flat(cast("Mapping[str, Any]", value), f"{at}{key}.")
        else:
            found[f"{at}{key}"] = value
    return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(given: Any) -> Any:
    """Values as JSON has them, so that what is written reads back the same."""
    if isinstance(given, Mapping):
        return {str(key): _plain(one) for key, one in cast("Mapping[object, Any]", given).items()}
    if isinstance(given, np.ndarray | np.generic):
        return cast("Any", given).tolist()
    if isinstance(given, list | tuple | range):
        return [_plain(one) for one in cast("list[Any]", given)]
    if isinstance(given, Fraction):
        return float(given)
    return str(given) if isinstance(given, Path) else given


def _with_listed(axes: dict[str, Any], way: Sample) -> dict[str, Any]:
    """The axes of listed points: what they give, and what is the same for all."""
    for name in way.listed[0]:
        values = list(dict.fromkeys(_hashable(one[name]) for one in way.listed))
        if axes.setdefault(name, values) != values:
            raise SpaceError(("sample", 0, name), "it is an axis too; say it in one place")
    return axes


def _hashable(value: Any) -> Any:
    if isinstance(value, dict | list):
        seen = got(cast("object", value))
        raise SpaceError(("sample",), f"a listed point gives each axis one value, got {seen}")
    return value
