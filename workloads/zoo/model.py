"""What the zoo knows of one of its models before its graph is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from ..graph import Workload

__all__ = ["Model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An entry of the zoo.

    Attributes:
        description: One line for people.
        defaults: What the symbols of its graph are if nobody binds them.
        least: The least values of symbols that may be 0, as tokens that are cached may.
        export: Makes the graph; it needs the `export` extra, which nothing else here does.
        graph: The model whose graph it is, if only the defaults differ, or that it is derived from;
            then nothing is exported.
        derive: Makes the workload, where it is a graph of the zoo and what is done to it.
    """

    description: str
    defaults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"batch": 1}))
    least: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    export: Callable[[], onnx.ModelProto] | None = None
    graph: str = ""
    derive: Callable[[], Workload] | None = None
