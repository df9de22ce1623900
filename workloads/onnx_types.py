"""Element types and how many elements are looked into."""

from __future__ import annotations

from onnx import TensorProto

__all__ = ["FLOATING", "LARGEST", "LARGEST_FLOATS", "WEIGHT"]

_FLOATS = (
    "FLOAT FLOAT16 BFLOAT16 DOUBLE COMPLEX64 COMPLEX128 FLOAT8E4M3FN FLOAT8E4M3FNUZ FLOAT8E5M2 "
    "FLOAT8E5M2FNUZ FLOAT4E2M1 FLOAT8E8M0"
)
_SHORT_INTEGERS = "INT8 UINT8 INT4 UINT4 INT2 UINT2"


def _codes(names: str) -> frozenset[int]:
    """The numbers of element types; those that this version of onnx does not know are left out."""
    known = TensorProto.DataType.items()
    return frozenset(number for name, number in known if name in names.split())


FLOATING = _codes(_FLOATS)
"""Types of floating-point numbers."""

WEIGHT = _codes(f"{_FLOATS} {_SHORT_INTEGERS}")
"""Types that trained numbers come in: floating point, and integers of at most 8 bits."""

LARGEST = 1024
"""Tensors with more elements are no shape arithmetic."""

LARGEST_FLOATS = 16
"""Floating-point contents matter only for the scales of a resize, one for each dimension."""
