"""An ONNX file becomes a workload: nodes without what is free, patterns recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from .attention import written_out_attention
from .graph import Workload
from .onnx_file import load
from .onnx_graph import GraphReading, Made
from .onnx_ledger import OnnxError
from .onnx_tokens import Cut
from .patterns import written_out_function
from .rewrite import Reading, fused, fusing
from .selectors import with_selectors
from .stored import stored

__all__ = ["Located", "OnnxError", "located", "read", "read_cut", "read_unfused"]

_PATTERNS = (written_out_attention, written_out_function)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Located:
    """A workload and the file that it was read from.

    Attributes:
        model: The file, its local functions inlined.
        made: Operator -> where it, or the last of its parts, lies in the file.
    """

    workload: Workload
    model: onnx.ModelProto
    made: Mapping[str, Made]


def read(source: str | Path | bytes, name: str | None = None) -> Workload:
    """Reads an ONNX model.

    Args:
        source: Path of an `.onnx` or `.onnx.gz` file, or its bytes.  Weights may be inside, in
            external files, or missing.
        name: What to call the workload; the file's name if it is not given.

    Raises:
        OnnxError: The file cannot be read as a workload; the message is one line.
    """
    return read_cut(source, (), name)


def read_cut(source: str | Path | bytes, cuts: Sequence[Cut], name: str | None = None) -> Workload:
    """Reads a model whose number of tokens changes at some places.

    At each cut stands a `Movement` that is called after the cut's symbol and changes nothing but
    that size; what depends on the size behind it is symbolic, however fixed it is in the file.

    Args:
        source: As `read` takes it.
        cuts: The places.
        name: What to call the workload; the file's name if it is not given.

    Raises:
        OnnxError: The file cannot be read as a workload, or a node works for its own number of
            tokens only; the message is one line and names the node.
    """
    workload, graph = _unfused(source, cuts, name)
    return with_selectors(fused(workload, _PATTERNS, _how(graph)))


def read_unfused(source: str | Path | bytes, name: str | None = None) -> Workload:
    """Reads a model with an operator for each node that is any work, called after the node.

    Raises:
        OnnxError: The file cannot be read as a workload.
    """
    return _unfused(source, (), name)[0]


def located(source: str | Path | bytes, name: str | None = None) -> Located:
    """Reads a model as `read` does, and keeps where each operator lies in it.

    Raises:
        OnnxError: The file cannot be read as a workload.
    """
    unfused, graph = _unfused(source, (), name)
    workload, origins = fusing(unfused, _PATTERNS, _how(graph))
    made = {new: graph.made[old] for new, old in origins.items() if old in graph.made}
    return Located(workload=with_selectors(workload), model=graph.model, made=made)


def _unfused(
    source: str | Path | bytes, cuts: Sequence[Cut], name: str | None
) -> tuple[Workload, GraphReading]:
    model, folder = load(source)
    if name is None:
        name = "model" if isinstance(source, bytes) else Path(source).name.split(".onnx")[0]
    graph = GraphReading(model, folder, {cut.after: cut for cut in cuts})
    return stored(graph.workload(name)), graph


def _how(graph: GraphReading) -> Reading:
    return Reading(labels=graph.labels, crooked=graph.crooked)
