"""Values that symbols have if nobody binds them, as an ONNX file states them.

`metadata_props` of the model say `tilewise.default.kept_1: 137`; other tools ignore it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import onnx

from .graph import Symbol
from .onnx_ledger import OnnxError

__all__ = ["state_defaults", "stated_defaults"]

_PREFIX = "tilewise.default."


def stated_defaults(model: onnx.ModelProto) -> dict[str, int]:
    """The default of each symbol that has one.

    Raises:
        OnnxError: One is no whole number.
    """
    found: dict[str, int] = {}
    for entry in model.metadata_props:
        key, value = str(entry.key), str(entry.value)  # of a damaged file they are bytes
        if not key.startswith(_PREFIX):
            continue
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise OnnxError(f"the model's metadata: {key}: wanted a whole number, got {value!r}")
        found[key.removeprefix(_PREFIX)] = int(value)
    return found


def state_defaults(model: onnx.ModelProto, symbols: Iterable[Symbol]) -> None:
    """Lets a model say the defaults of its symbols; one that depends on other symbols it cannot."""
    defaults = {_PREFIX + s.name: s.default for s in symbols if isinstance(s.default, int)}
    kept = [entry for entry in model.metadata_props if entry.key not in defaults]
    stated = [
        onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in defaults.items()
    ]
    del model.metadata_props[:]
    model.metadata_props.extend([*kept, *stated])
