"""What a user types, as values: names, bindings, array sizes; wrong ones raise with a cure."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .arch import Accelerator, Gpu, SystolicArray
    from .workloads import Workload

__all__ = [
    "UserError",
    "bindings",
    "bindings_for",
    "find_workload",
    "input_files",
    "is_path",
    "message",
    "nearest",
    "pruned_workload",
    "refuse_format",
    "refuse_repeats",
    "refuse_unbound_batch",
    "spread",
    "systolic_array",
]

_PAIR = re.compile(r"\w+=-?\w*")


class UserError(Exception):
    """Something the user must change; one line says what."""


def message(error: Exception) -> str | None:
    """What to tell the user about `error`, in one line; None if it is a mistake of ours."""
    from .arch import FormatError, MachineError
    from .arch.fpga import FpgaError
    from .reports.files import OutputError
    from .sim.errors import MappingError, PaperError, SpaceError, SweepError
    from .sim.policies import PolicyError
    from .workloads import (
        BindingError,
        OnnxError,
        PruningError,
        QuantizationError,
        TraceError,
        UnboundSymbolError,
        UnknownModelError,
    )
    from .workloads.deepcache import CutError
    from .workloads.extras import MissingExtraError

    ours = (
        BindingError,
        CutError,
        FormatError,
        FpgaError,
        MachineError,
        MappingError,
        MissingExtraError,
        OnnxError,
        OutputError,
        PaperError,
        PolicyError,
        PruningError,
        QuantizationError,
        SpaceError,
        SweepError,
        TraceError,
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


def refuse_repeats(arguments: Sequence[str]) -> None:
    """Refuse an option that is given twice, of which the parser would drop the first.

    Raises:
        UserError: One other than `--bind` is.
    """
    seen: set[str] = set()
    for argument in arguments:
        option, _, _ = argument.partition("=")
        if option == "--":
            return
        if option in seen:
            raise UserError(f"{option} is given twice; a command takes it once")
        if option.startswith("--") and option != "--bind":
            seen.add(option)


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
    """What of `given` concerns `workload`: all but symbols that only others of a command have.

    Raises:
        UserError: `batch` is bound and `workload` lacks it, so that it alone would take one image.
    """
    own = {symbol.name for symbol in workload.symbols}
    if "batch" in given and "batch" not in own:
        raise UserError(
            f"--bind batch={given['batch']}: {workload.name} has no symbol batch; "
            f"use --batch {given['batch']}, which every workload takes"
        )
    known = {symbol.name for each in all_workloads for symbol in each.symbols}
    return {name: value for name, value in given.items() if name in own or name not in known}


def refuse_unbound_batch(workload: Workload, given: Mapping[str, int], batch: int) -> None:
    """Say that an unbound symbol looks like the batch, which `--batch` would not set.

    Raises:
        UserError: The first size of the first input is a symbol without a value.
    """
    first = str(workload.inputs[0][1][0]) if workload.inputs and workload.inputs[0][1] else ""
    unbound = [s for s in workload.symbols if s.default is None and s.name not in given]
    if first == "batch" or first not in [symbol.name for symbol in unbound]:
        return
    others = [symbol for symbol in unbound if symbol.name != first]
    names = ", ".join(symbol.name for symbol in others)
    missing = f"{workload.name} needs a value for {first}, which looks like its batch"
    missing += f", and for {names}: " if others else ": "
    examples = "".join(f" {symbol.example}" for symbol in others)
    if batch == 1:
        raise UserError(
            f"{missing}bind {'them' if others else 'it'}, for example {first}=1{examples}"
        )
    raise UserError(f"{missing}instead of --batch {batch}, --bind {first}={batch}{examples}")


def refuse_format(machine: Accelerator | Gpu, format: str | None) -> None:
    """Refuse a `--format` that a machine does not compute in, before anything runs.

    Raises:
        UserError: It is none of the machine's, or none at all.
    """
    from .arch import Gpu
    from .arch.formats import FORMATS

    rates = machine.peak_flops if isinstance(machine, Gpu) else machine.array.macs_per_pe_cycle
    names = [name for name in rates.names if name in FORMATS]
    if format is not None and format not in names:
        raise UserError(f"{machine.name}: format: wanted one of {', '.join(names)}, got {format!r}")


def input_files(*names: str | None) -> list[Path]:
    """Which of the workloads and machines a command names are files of the user.

    >>> [path.name for path in input_files("deit-small", "vit.onnx", "./mine.yaml")]
    ['vit.onnx', 'mine.yaml']
    """
    from .arch import machine_names
    from .workloads import zoo

    shipped = (*zoo.names(), *machine_names())
    return [
        Path(name)
        for name in names
        if name is not None
        if is_path(name) or (name not in shipped and Path(name).exists())
    ]


def is_path(name: str) -> bool:
    """Whether a name is that of a file: it ends like one, or has a folder in it."""
    endings = (".onnx", ".onnx.gz", ".yaml", ".yml")
    return name.endswith(endings) or "/" in name or os.sep in name


def find_workload(name: str) -> Workload:
    """The model of that name, or in that file if it ends like one or has a folder in it.

    Raises:
        UnknownModelError: There is no such model.
        OnnxError: The file cannot be read as a workload.
    """
    from .workloads import read, workload

    return read(name) if is_path(name) else workload(name)


def pruned_workload(name: str, prune: str | None, keep: str | None) -> Workload:
    """The model of that name, its tokens or channels pruned if `prune` and `keep` say how.

    Args:
        name: What `find_workload` takes.
        prune: A method and the blocks where it prunes, as `heatvit@4,7,10`; or, for a UNet, `tome`,
            or with the modules that run over merged tokens, `tome@self,cross`; or `channels`.
        keep: The share of the input's patches left after each of them, as `0.7,0.5,0.35`; of the
            channels left in every layer, as `0.7`.

    Raises:
        UserError: One of the two is missing or malformed.
        PruningError: The model cannot be pruned so.
        UnknownModelError: There is no such model.
        OnnxError: The file cannot be read as a workload.
    """
    if prune is None and keep is None:
        return find_workload(name)
    if prune is None:
        raise UserError(f"--keep {keep}: say how to prune too, as in --prune heatvit@4,7,10")
    if prune == "channels":
        from .cli_workloads import narrowed_workload

        return narrowed_workload(name, keep)
    method, at, places = prune.partition("@")
    if method == "tome" and not re.match(r"\d", places) and not (at and not places):
        from .cli_workloads import merged_workload

        return merged_workload(name, places, keep)
    if not method or not re.fullmatch(r"\d{1,6}(,\d{1,6})*", places):
        raise UserError(
            f"--prune {prune}: wanted a method and blocks counted from 1, as in heatvit@4,7,10"
        )
    if keep is None:
        raise UserError(
            f"--prune {prune}: say what share of the patches is left after each block too, as in "
            "--keep 0.7,0.5,0.35"
        )
    if not re.fullmatch(r"\d*\.?\d+(,\d*\.?\d+)*", keep):
        raise UserError(f"--keep {keep}: wanted a share for each block, as in 0.7,0.5,0.35")
    from .workloads import pruned

    source = Path(name) if is_path(name) else name
    blocks, shares = map(int, places.split(",")), map(float, keep.split(","))
    return pruned(source, method, tuple(blocks), tuple(shares))


def systolic_array(
    size: str | None,
    dataflow: str | None,
    overlap: str | None,
    own: SystolicArray | None = None,
) -> SystolicArray:
    """One array of `size`, written as `32x32`; what is None is as `own` has it.

    Raises:
        UserError: The size, or the overlap for this dataflow, is none.
    """
    from .arch import OVERLAPS, SystolicArray

    own = own or SystolicArray(rows=32, cols=32)
    size = size or f"{own.rows}x{own.cols}"
    dataflow = dataflow or own.dataflow
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", size)
    if not found or not all(int(part) for part in found.groups()):
        raise UserError(
            f"--array {size}: wanted rows x columns, both at least 1 and at most 99999, as in 32x32"
        )
    if dataflow not in OVERLAPS:
        raise UserError(f"--dataflow {dataflow}: wanted one of {', '.join(OVERLAPS)}")
    known = OVERLAPS[cast("Any", dataflow)]
    overlap = overlap or (own.overlap if dataflow == own.dataflow else known[0])
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
