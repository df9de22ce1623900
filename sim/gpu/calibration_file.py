"""A file of calibrations with a GPU's put in; what it says of others stays as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode

from ...arch import MachineError
from ...arch.gpu_own import KINDS, file_name, read_kind
from ...arch.value import Value

__all__ = ["check_kind", "check_name", "text_with"]

_HEAD = "# Constants of {kind} kernels, fitted by `tilewise calibrate {kind}`.\n"


def check_kind(file: Path, kind: str) -> None:
    """Refuse to add to a file that holds something else.

    Raises:
        MachineError: if the file is there, is not empty, and holds no calibrations of this kind.
    """
    if file.is_file() and file.stat().st_size:
        read_kind(kind, file)


def check_name(file: Path, kind: str) -> str:
    """Refuse a file that is named after another kind, since a machine reads it as that kind.

    Returns:
        What to say of a name that no machine reads; nothing of the one it does.

    Raises:
        MachineError: if the file is named after another of `arch.gpu_own.KINDS`.
    """
    wanted = file_name(kind)
    if file.stem in KINDS and file.stem != kind:
        raise MachineError(
            f"{file}: wanted a name that is not of other kernels, got that of {file.stem}; "
            f"a machine's calibrations wants {kind} in {wanted}"
        )
    if file.name == wanted:
        return ""
    return f"; a machine's calibrations wants {file} named {wanted}"


def text_with(file: Path, kind: str, gpu: str, calibrations: Mapping[str, Value]) -> str:
    """Return the text of a file, new or not, in which a GPU has these calibrations.

    Comments are lost, but for those that the file begins with.

    Args:
        file: It is read if it is there, and not written.
        kind: One of `arch.gpu_own.KINDS`.
        gpu: The name of the GPU.
        calibrations: By number format; by `""` where one serves all.

    Raises:
        MachineError: as `check_kind`.
    """
    check_kind(file, kind)
    text = file.read_text(encoding="utf-8-sig") if file.is_file() else ""
    lines = text.splitlines(keepends=True)
    head = "".join(takewhile(lambda line: line.startswith("#"), lines))
    # Nodes, not values: numbers and their sources stay as somebody wrote them.
    root = yaml.compose(text, Loader=yaml.SafeLoader) or _node({})
    for format, calibration in calibrations.items():
        _put(root, (gpu, format) if kind == "gemm" else ("gpus", gpu), _node(_plain(calibration)))
    said: str = yaml.serialize(  # pyright: ignore[reportUnknownMemberType]
        root, Dumper=yaml.SafeDumper, width=100, allow_unicode=True
    )
    return (head or _HEAD.format(kind=kind)) + said


def _plain(calibration: Value) -> dict[str, Any]:
    """As YAML writes it: lists for tuples, nothing for None; the GPU is what it stands under."""
    return calibration.model_dump(mode="json", exclude={"gpu"}, exclude_none=True)


def _node(values: dict[str, Any]) -> Node:
    node = yaml.compose(yaml.safe_dump(values, sort_keys=False), Loader=yaml.SafeLoader)
    assert isinstance(node, MappingNode)
    node.flow_style = False
    return node


def _put(inside: Node, key: tuple[str, ...], value: Node) -> None:
    """Put a value at a key of a mapping, in place of what was there."""
    assert isinstance(inside, MappingNode)
    name, *rest = key
    names = [known.value for known, _ in inside.value]
    if name not in names:
        names.append(name)
        inside.value.append((ScalarNode("tag:yaml.org,2002:str", name), _node({})))
    place = names.index(name)
    if rest:
        _put(inside.value[place][1], tuple(rest), value)
    else:
        inside.value[place] = (inside.value[place][0], value)
