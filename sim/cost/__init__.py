"""Prices of whole frames of design points, by the engine's own closed forms called with columns."""

from .model import BIND, Cost, CostModel

__all__ = ["BIND", "Cost", "CostModel"]
