"""What builds the networks that other libraries define, each with where that was seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

__all__ = ["arguments", "class_path"]


def arguments(name: str) -> Mapping[str, Any]:
    """Arguments of the class that builds a network of `configs.yaml`."""
    return MappingProxyType(_configs()[name]["arguments"])


def class_path(name: str) -> str:
    """The class that builds it, as `diffusers.UNet2DConditionModel`."""
    return str(_configs()[name]["class"])


@cache
def _configs() -> dict[str, Any]:
    text = resources.files(__package__ or __name__).joinpath("configs.yaml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found
