"""Models that come with Tilewise, each a graph without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType

from ..graph import Workload

__all__ = ["UnknownModelError", "content", "defaults", "describe", "load", "names"]


class UnknownModelError(LookupError):
    """No model of the zoo is called that."""

    def __str__(self) -> str:
        return str(self.args[0])  # a LookupError is shown as its message, not quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    description: str
    defaults: Mapping[str, int]


_MODELS: Mapping[str, _Model] = MappingProxyType(
    {
        "deit-small": _Model(
            description="DeiT-S: 12 blocks of width 384, 197 tokens of a 224 x 224 image",
            defaults={"batch": 1},
        ),
        "heatvit-deit-small": _Model(
            description="DeiT-S with HeatViT token selectors before blocks 4, 7 and 10",
            defaults={"kept_1": 137, "kept_2": 69, "kept_3": 48},
        ),
        "heatvit-digits16": _Model(
            description="a small ViT with HeatViT token selectors, trained on digits: 64 patches",
            defaults={"kept_1": 40, "kept_2": 9, "kept_3": 5},  # the means of the trace digits16
        ),
        "quasar-vit-small": _Model(
            description="12 blocks of width 240, rows of 8 and 4 bits; sizes and bits are assumed",
            defaults={"batch": 1},
        ),
        "quasar-vit-medium": _Model(
            description="13 blocks of width 288, rows of 8 and 4 bits; sizes and bits are assumed",
            defaults={"batch": 1},
        ),
        "quasar-vit-large": _Model(
            description="12 blocks of width 384, rows of 8 and 4 bits; sizes and bits are assumed",
            defaults={"batch": 1},
        ),
        "sd15-unet": _Model(
            description="the Stable Diffusion 1.5 UNet, one denoising step of a 512 x 512 image",
            defaults={"batch": 1, "height": 64, "width": 64, "text_tokens": 77},
        ),
        "sdxl-unet": _Model(
            description="the SDXL base UNet, one denoising step of a 1024 x 1024 image",
            defaults={"batch": 1, "height": 128, "width": 128, "text_tokens": 77},
        ),
    }
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
    from ..onnx_reader import read  # onnx takes longer to import than everything else here

    return read(content(name), name).with_defaults(defaults(name))


def content(name: str) -> bytes:
    """The graph of a model as it is shipped: a compressed ONNX file without weights.

    Raises:
        UnknownModelError: There is no such model.
    """
    _model(name)
    return resources.files(__name__).joinpath(f"graphs/{name}.onnx.gz").read_bytes()


def defaults(name: str) -> Mapping[str, int]:
    """What the symbols of a model are if nobody binds them.

    Raises:
        UnknownModelError: There is no such model.
    """
    return _model(name).defaults


def _model(name: str) -> _Model:
    if name in _MODELS:
        return _MODELS[name]
    near = get_close_matches(name, _MODELS, n=1, cutoff=0.3)
    raise UnknownModelError(
        f"no model is called {name}"
        + (f"; did you mean {near[0]}?" if near else ".")
        + f" There are {', '.join(_MODELS)}"
    )
