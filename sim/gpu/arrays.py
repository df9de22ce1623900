"""Choices between numbers or arrays, and kernels as plain numbers."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from .parts import Parts

__all__ = ["plain", "select"]


def select(condition: Any, yes: Any, no: Any) -> Any:
    """`np.where`, of numbers or arrays."""
    return cast("Any", np.where(condition, yes, no))


def plain(parts: Parts) -> Parts:
    """The same parts as plain numbers."""
    return Parts._make([*map(float, parts[:6]), parts.confidence])
