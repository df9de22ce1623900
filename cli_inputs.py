"""What a user types, as values: names, bindings, array sizes; wrong ones raise with a cure."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .arch import SystolicArray
    from .workloads import Workload

__all__ = [
    "UserError",
    "bindings",
    "bindings_for",
    "find_workload",
    "message",
    "nearest",
    "spread",
    "systolic_array",
]

_PAIR = re.compile(r"\w+=-?\w*")


class UserError(Exception):
    """Something the user must change; one line says what."""


def message(error: Exception) -> str | None:
    """What to tell the user about `error`, in one line; None if it is a mistake of ours."""
    from .arch import FormatError, MachineError
    from .reports.files import OutputError
    from .sim.errors import MappingError
    from .workloads import BindingError, OnnxError, UnboundSymbolError, UnknownModelError

    ours = (
        BindingError,
        FormatError,
        MachineError,
        MappingError,
        OnnxError,
        OutputError,
        UnboundSymbolError,
        UnknownModelError,
        UserError,
    )
    # The parser's errors know their option; typer does not name their class.
    usage = getattr(error, "format_message", None)
    if usage is None and not isinstance(error, ours):
        return None
    return " ".join((str(error) if usage is None else str(usage())).split())


def spread(arguments: Sequence[str]) -> list[str]:
    """Let one `--bind` take several pairs.

    >>> spread(["run", "x", "--bind", "a=1", "b=2", "--batch", "4"])
    ['run', 'x', '--bind', 'a=1', '--bind', 'b=2', '--batch', '4']
    """
    spread_out: list[str] = []
    for argument in arguments:
        if _PAIR.fullmatch(argument) and spread_out[-2:-1] == ["--bind"]:
            spread_out.append("--bind")
        spread_out.append(argument)
    return spread_out


def bindings(pairs: Sequence[str]) -> dict[str, int]:
    """Read `name=number` pairs.

    >>> bindings(["kept_1=137", "kept_2=69"])
    {'kept_1': 137, 'kept_2': 69}

    Raises:
        UserError: A pair is malformed, or a name is bound twice.
    """
    found: dict[str, int] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not name or not re.fullmatch(r"[+-]?\d+", value):
            raise UserError(f"--bind {pair}: wanted a name and a whole number, such as kept_1=137")
        if name in found:
            raise UserError(f"--bind {pair}: {name} is already bound to {found[name]}")
        found[name] = int(value)
    return found


def bindings_for(
    workload: Workload, all_workloads: Iterable[Workload], given: Mapping[str, int]
) -> dict[str, int]:
    """What of `given` concerns `workload`: all but symbols that only others of a command have."""
    own = {symbol.name for symbol in workload.symbols}
    known = {symbol.name for each in all_workloads for symbol in each.symbols}
    return {name: value for name, value in given.items() if name in own or name not in known}


def find_workload(name: str) -> Workload:
    """The model of that name, or in that file if it ends like one or has a folder in it.

    Raises:
        UnknownModelError: There is no such model.
        OnnxError: The file cannot be read as a workload.
    """
    from .workloads import read, workload

    is_path = name.endswith((".onnx", ".onnx.gz")) or "/" in name or os.sep in name
    return read(name) if is_path else workload(name)


def systolic_array(size: str, dataflow: str, overlap: str | None) -> SystolicArray:
    """The array of `size`, written as `32x32`.

    Raises:
        UserError: The size, or the overlap for this dataflow, is none.
    """
    from .arch import OVERLAPS, SystolicArray

    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", size)
    if not found or not all(int(part) for part in found.groups()):
        raise UserError(f"--array {size}: wanted rows x columns, both at least 1, such as 32x32")
    if dataflow not in OVERLAPS:
        raise UserError(f"--dataflow {dataflow}: wanted one of {', '.join(OVERLAPS)}")
    known = OVERLAPS[cast("Any", dataflow)]
    overlap = overlap or known[0]
    if overlap not in known:
        raise UserError(
            f"--overlap {overlap}: wanted one of {', '.join(known)} with --dataflow {dataflow}"
        )
    rows, cols = map(int, found.groups())
    return SystolicArray(
        rows=rows, cols=cols, dataflow=cast("Any", dataflow), overlap=cast("Any", overlap)
    )


def nearest(name: str, known: Collection[str]) -> str:
    """A suggestion, if one of `known` resembles `name`.

    >>> nearest("edge32", ["edge-32x32", "tpu-v1"]), nearest("zzz", ["tpu-v1"])
    ('; did you mean edge-32x32?', '')
    """
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else ""
