"""What is wrong with a value, in a sentence: what was wanted, what was got, the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final, Literal, get_args, get_origin

from .value import Value

_WANTED: Final[dict[str, str]] = {
    "int_type": "wanted an integer",
    "int_from_float": "wanted an integer",
    "float_type": "wanted a number",
    "is_instance_of": "wanted a number",
    "string_type": "wanted text",
    "tuple_type": "wanted a list",
    "finite_number": "wanted a finite number",
    "greater_than": "wanted more than {gt:g}",
    "greater_than_equal": "wanted at least {ge:g}",
    "less_than_equal": "wanted at most {le:g}",
    "too_short": "wanted at least {min_length} entries",
}


def explain(cls: type[Value], problem: Mapping[str, Any]) -> tuple[tuple[str | int, ...], str]:
    """Turn one error of pydantic's, met while making a `cls`, into its key and a sentence."""
    key, kind, value = problem["loc"], problem["type"], problem["input"]
    context: dict[str, Any] = problem.get("ctx", {})
    if kind == "value_error":
        text = str(context["error"])
        # A check across fields begins with the field it blames, and says itself what it got.
        name, _, rest = text.partition(": ")
        blamed = name in _keys(_type_at(cls, key))
        return ((*key, name), rest) if blamed else (key, text)
    if kind == "extra_forbidden":
        known = _keys(_type_at(cls, key[:-1]))
        return key, "unknown key" + (nearest(key[-1], known) or f"; wanted {_either(known)}")
    if kind == "missing":
        return key, f"missing key, wanted {_describe(_type_at(cls, key))}"
    if kind in ("literal_error", "model_type"):
        choices = get_args(_core(_type_at(cls, key)))
        return key, f"wanted {_describe(_type_at(cls, key))}; got {got(value, choices)}"
    wanted = _WANTED.get(kind)
    return key, f"{wanted.format(**context) if wanted else problem['msg']}, got {got(value)}"


def got(value: object, choices: Iterable[str] = ()) -> str:
    """Say what was got, and which of the choices is nearest to it.

    >>> got("hmb2", ["hbm2", "ddr4"]), got(None), got({})
    ("'hmb2'; the nearest is hbm2", 'nothing', 'a mapping')
    """
    if value is None:
        return "nothing"
    if isinstance(value, dict | tuple | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, Fraction) else repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text + (nearest(value, choices) if isinstance(value, str) else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; the nearest is ...`, or nothing if no known name is near.

    What somebody began to write is nearer than what is spelled alike.

    >>> nearest("A100", ["a10", "a100-40gb"])
    '; the nearest is a100-40gb'
    """
    by_lower = {choice.lower(): choice for choice in known}
    begun = [choice for choice in by_lower if len(name) > 2 and choice.startswith(name.lower())]
    found = difflib.get_close_matches(
        name.lower(), begun or by_lower, n=1, cutoff=0.0 if begun else 0.5
    )
    return f"; the nearest is {by_lower[found[0]]}" if found else ""


def _core(annotation: Any) -> Any:
    """Strip `| None` and `Annotated` from a type."""
    while not isinstance(annotation, type) and get_origin(annotation) not in (Literal, tuple):
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    return annotation


def _type_at(cls: type[Value], key: Iterable[str | int]) -> Any:
    """Return the type wanted at a key of a `cls`."""
    annotation: Any = cls
    for part in key:
        core = _core(annotation)
        inside = get_args(core)[0] if isinstance(part, int) else core.model_fields[part].annotation
        annotation = inside
    return annotation


def _keys(annotation: Any) -> tuple[str, ...]:
    core = _core(annotation)
    if not isinstance(core, type) or not issubclass(core, Value):
        return ()
    fields: dict[str, Any] = core.model_fields
    return tuple(fields)


def _describe(annotation: Any) -> str:
    core = _core(annotation)
    if get_origin(core) is Literal:
        return _either(get_args(core))
    if keys := _keys(core):
        return f"a mapping of {', '.join(keys)}"
    if get_origin(core) is tuple:
        return "a list"
    return {int: "an integer", str: "text"}.get(core, "a number")


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
