"""What each ONNX operation makes of its inputs: one table of rules for each kind of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..onnx_node import Node, Result
from .constants import RULES as CONSTANTS
from .convolution import RULES as CONVOLUTION
from .einsum import einsum
from .layout import RULES as LAYOUT
from .movement import RULES as MOVEMENT
from .movement import unknown
from .parts import RULES as PARTS
from .pointwise import MICROSOFT
from .pointwise import RULES as POINTWISE
from .products import RULES as PRODUCTS
from .quantized import MICROSOFT as MICROSOFT_QUANTIZED
from .quantized import RULES as QUANTIZED

__all__ = ["RULES", "unknown"]

RULES: Mapping[str, Mapping[str, Callable[[Node], Result]]] = {
    "": {
        **CONSTANTS,
        **CONVOLUTION,
        **LAYOUT,
        **MOVEMENT,
        **PARTS,
        **POINTWISE,
        **PRODUCTS,
        **QUANTIZED,
        "Einsum": einsum,
    },
    "com.microsoft": {**MICROSOFT, **MICROSOFT_QUANTIZED},
}
"""By domain and operation."""
