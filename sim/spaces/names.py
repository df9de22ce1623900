"""What a space names, found: machines, models, bits, traces and devices; or one line why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from ...arch import FORMATS, Accelerator, Gpu, MachineError
from ...arch.explain import nearest
from ...workloads import (
    BindingError,
    BitRules,
    OnnxError,
    QuantizationError,
    TraceError,
    UnknownModelError,
    Workload,
    bit_rules,
)
from ..errors import SpaceError
from ..policies import PolicyError, policy
from ..variants import FieldError, Kind, check_field
from .axes import Axis
from .space import RUN

__all__ = ["BIND", "check_values", "found", "kind_of", "lacking", "path_of", "rules_of"]

BIND = "bind."
"""What stands before a symbol of the workload in the name of an axis."""

_RUN_KINDS: dict[str, Kind] = {name: "int" if name == "batch" else "text" for name in RUN}
_P = ParamSpec("_P")
_T = TypeVar("_T")


def kind_of(name: str, fields: Mapping[str, Kind]) -> Kind:
    """What the values of an axis are: of its field, its symbol or its option.

    Raises:
        SpaceError: The machine has no such field.
    """
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


def check_values(axes: Iterable[Axis], machine: Accelerator | Gpu) -> None:
    """Refuse values that no point can have.

    Raises:
        SpaceError: There is one.
    """
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
                found("policy", policy, str(value))
        elif one.name == "batch" or one.name.startswith(BIND):
            if min(values) < (1 if one.name == "batch" else 0):
                raise SpaceError(key, f"wanted at least 1, got {min(values)}")
        elif one.name not in RUN:
            for value in values:
                try:
                    check_field(machine, one.name, int(value) if one.kind == "int" else value)
                except FieldError as error:
                    raise SpaceError(key, str(error)) from None


def lacking(name: str, workloads: Mapping[str, Workload]) -> frozenset[str]:
    """The workloads that do not have the symbol of an axis.

    Raises:
        SpaceError: None has it.
    """
    symbol = name.removeprefix(BIND)
    has = {key: [s.name for s in each.symbols] for key, each in workloads.items()}
    lacks = frozenset(key for key, symbols in has.items() if symbol not in symbols)
    if len(lacks) == len(workloads):
        known = sorted({one for symbols in has.values() for one in symbols})
        names = ", ".join(workloads)
        raise SpaceError(
            ("axes", name),
            f"{names} has no symbol {symbol}{nearest(symbol, known)}"
            f"; there {'are ' + ', '.join(known) if known else 'is none'}",
        )
    return lacks


def path_of(name: str, folder: str) -> str | Path:
    """A name as it is, and a path from where it counts."""
    path = Path(name)
    known = (".yaml", ".yml", ".onnx", ".gz", ".csv", ".npz")
    return Path(folder) / path if path.suffix in known or len(path.parts) > 1 else name


def rules_of(text: str, folder: str) -> BitRules:
    """The rules that a text or a file says, known by that text."""
    rules = bit_rules(path_of(text, folder))
    return replace(rules, where=text)


def found(key: str, find: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    """What `find` finds.

    Raises:
        SpaceError: It is not there; `key` says where the space names it.
    """
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
        at = (key,) if key in ("machine", "device") else ("axes", key)
        raise SpaceError(at, " ".join(str(error).split()).removeprefix(f"{key}: ")) from None
