"""A machine with some fields changed, each named by its dotted key, as `array.rows`."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args, get_origin

from pydantic import ValidationError

from ..arch import OVERLAPS, Accelerator, Dataflow, Gpu, SystolicArray
from ..arch.document import dotted
from ..arch.explain import explain
from ..arch.value import Value

__all__ = ["FieldError", "Kind", "check_field", "fields_of", "value_at", "variant"]

Kind: TypeAlias = Literal["int", "float", "bool", "text"]
"""What a field holds."""

_V = TypeVar("_V", bound=Value)
# Names are for people: they change nothing.  What was measured of a GPU is not to be chosen.
_LEFT = ("name", "description", "calibrations")


class FieldError(ValueError):
    """A value that a field, or the machine around it, does not allow; it names the field."""


def fields_of(machine: Value) -> dict[str, Kind]:
    """The fields that hold one number, word or truth, by dotted key.

    >>> from tilewise.arch import load_machine
    >>> fields = fields_of(load_machine("edge-32x32"))
    >>> fields["array.rows"], fields["dram.bytes_per_s"], fields["array.dataflow"]
    ('int', 'float', 'text')
    """
    found: dict[str, Kind] = {}
    for name, info in type(machine).model_fields.items():
        inside = getattr(machine, name)
        if name in _LEFT:
            continue
        if isinstance(inside, Value):
            found |= {f"{name}.{key}": kind for key, kind in fields_of(inside).items()}
        elif (kind := _kind(info.annotation)) is not None:
            found[name] = kind
    return found


def value_at(machine: Value, key: str) -> object:
    """What a field holds, a rational as a float."""
    found: object = machine
    for name in key.split("."):
        found = getattr(found, name)
    return float(found) if isinstance(found, Fraction) else found


def check_field(machine: Accelerator | Gpu, key: str, value: object) -> None:
    """Refuse a value that the field never allows, whatever the others hold.

    Raises:
        FieldError: It is of another type, out of range, or none of the words that are known.
    """
    *path, name = key.split(".")
    owner: Value = machine
    for part in path:
        owner = getattr(owner, part)
    try:
        owner.replace(**{name: value})
    except ValidationError as error:
        # What stands at no field is between fields, which others of the point may put right.
        own = [one for one in error.errors(include_url=False) if one["loc"]]
        if own:
            raise FieldError(explain(type(owner), own[0])[1]) from None


def variant(machine: Accelerator | Gpu, changes: Mapping[str, object]) -> Accelerator | Gpu:
    """The machine with other values at some fields, checked again as a whole.

    An overlap that the new dataflow does not know becomes that dataflow's default, unless an
    overlap is given too.

    >>> from tilewise.arch import load_machine
    >>> machine = variant(load_machine("edge-32x32"), {"array.rows": 8, "array.dataflow": "os"})
    >>> machine.array.rows, machine.array.overlap
    (8, 'pe-drain')

    Raises:
        FieldError: The values do not fit each other or their fields.
    """
    given = dict(changes)
    dataflow, array = given.get("array.dataflow"), getattr(machine, "array", None)
    if isinstance(array, SystolicArray) and dataflow in OVERLAPS:
        known = OVERLAPS[cast("Dataflow", dataflow)]
        if "array.overlap" not in given and array.overlap not in known:
            given["array.overlap"] = known[0]
    return _changed(machine, given, ())


def _changed(value: _V, changes: Mapping[str, object], at: tuple[str, ...]) -> _V:
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, object]] = {}
    for key, wanted in changes.items():
        head, _, rest = key.partition(".")
        if rest:
            parts.setdefault(head, {})[rest] = wanted
        else:
            own[head] = wanted
    for head, inside in parts.items():
        own[head] = _changed(getattr(value, head), inside, (*at, head))
    try:
        return value.replace(**own)
    except ValidationError as error:
        key_, text = explain(type(value), error.errors(include_url=False)[0])
        raise FieldError(f"{dotted((*at, *key_))}: {text}") from None


def _kind(annotation: object) -> Kind | None:
    """What a field of that type holds; None if it is no single number, word or truth."""
    if get_origin(annotation) is Literal:
        return "text"
    kinds: dict[object, Kind] = {int: "int", float: "float", Fraction: "float", bool: "bool"}
    if annotation in kinds:
        return kinds[annotation]
    if isinstance(annotation, type) or get_origin(annotation) is tuple:
        return None
    return next((kind for each in get_args(annotation) if (kind := _kind(each))), None)
