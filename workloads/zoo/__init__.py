"""Models that come with Tilewise, each a graph without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..graph import Workload
from . import autoencoders, derived_vits, hart, text_encoders, unets, video, vits
from .model import Model

if TYPE_CHECKING:
    import onnx

__all__ = [
    "DerivedModelError",
    "UnknownModelError",
    "content",
    "defaults",
    "describe",
    "exports",
    "graph",
    "load",
    "names",
]


class UnknownModelError(LookupError):
    """No model of the zoo is called that."""

    def __str__(self) -> str:
        return str(self.args[0])  # a LookupError is shown as its message, not quoted


class DerivedModelError(UnknownModelError):
    """A model of the zoo has no file: it is made of another one's graph when it is loaded."""


_FAMILIES = (vits, derived_vits, unets, autoencoders, text_encoders, video, hart)
_MODELS: Mapping[str, Model] = MappingProxyType(
    {name: model for family in _FAMILIES for name, model in family.MODELS.items()}
)


def names() -> tuple[str, ...]:
    """What can be loaded."""
    return tuple(_MODELS)


def describe(name: str) -> str:
    """One line about a model.

    Raises:
        UnknownModelError: There is no such model.
    """
    return _model(name).description


@cache
def load(name: str) -> Workload:
    """A model of the zoo, with default values for its symbols.

    >>> load("deit-small").bind().macs
    4598882304

    Raises:
        UnknownModelError: There is no such model; the message names the nearest.
    """
    derive = _model(name).derive
    if derive:
        return replace(derive(), name=name).with_defaults(defaults(name))
    from ..onnx_reader import read  # onnx takes longer to import than everything else here

    return read(content(name), name).with_defaults(defaults(name), _model(name).least)


def content(name: str) -> bytes:
    """The graph of a model as it is shipped: a compressed ONNX file without weights.

    Raises:
        UnknownModelError: There is no such model.
        DerivedModelError: It has no file.
    """
    if _model(name).derive:
        raise DerivedModelError(
            f"{name} has no file: it is made of {graph(name)} when it is loaded; take that"
        )
    return resources.files(__name__).joinpath(f"graphs/{graph(name)}.onnx.gz").read_bytes()


def graph(name: str) -> str:
    """The model whose graph a model is, or is made of: its own, if nothing else is said.

    Raises:
        UnknownModelError: There is no such model.
    """
    return _model(name).graph or name


def exports() -> Mapping[str, Callable[[], onnx.ModelProto]]:
    """What makes each graph that is shipped, by the name of the model that it is."""
    return {name: model.export for name, model in _MODELS.items() if model.export}


def defaults(name: str) -> Mapping[str, int]:
    """What the symbols of a model are if nobody binds them.

    Raises:
        UnknownModelError: There is no such model.
    """
    return _model(name).defaults


def _model(name: str) -> Model:
    if name in _MODELS:
        return _MODELS[name]
    near = get_close_matches(name, _MODELS, n=1, cutoff=0.3)
    raise UnknownModelError(
        f"no model is called {name}"
        + (f"; did you mean {near[0]}?" if near else f". There are {', '.join(_MODELS)}")
    )
