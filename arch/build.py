"""A value from what stands at a key of a document; what is wrong there is told with its line."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from .document import Document, Key
from .explain import explain
from .value import Value

__all__ = ["build"]

_V = TypeVar("_V", bound=Value)


def build(cls: type[_V], fields: Any, document: Document, at: Key = ()) -> _V:
    """Make a value of what stands at a key of a document.

    Raises:
        MachineError: if it is wrong; one line that names file, line, key, wanted and got.
    """
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    # An unknown key explains a missing one beside it, so it is told first; then by line.
    problems.sort(key=lambda p: (p["type"] != "extra_forbidden", document.line((*at, *p["loc"]))))
    key, text = explain(cls, problems[0])
    document.fail((*at, *key), text)
