"""Number formats in ONNX: element types, and a note where no element type says it.

ONNX has integers of 2, 4, 8 and 16 bits.  Numbers of another width lie in the next wider type, and
`metadata_props` of what holds them (a `QuantizeLinear`, a graph input, a stored tensor) say
`tilewise.format`; so does any other node that makes numbers which ONNX cannot quantize, such as
indices.  Signed and unsigned integers are the same work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import TensorProto

from .bit_widths import WIDTHS
from .onnx_ledger import OnnxError

__all__ = ["FORMATS", "KEY", "format_of", "stated", "widest"]

KEY = "tilewise.format"
"""The name of the note."""

_NAMES = {
    **{f"{sign}INT{bits}": f"int{bits}" for bits in (2, 4, 8, 16) for sign in ("", "U")},
    **{f"FLOAT8{kind}": "fp8" for kind in ("E4M3FN", "E4M3FNUZ", "E5M2", "E5M2FNUZ")},
    "FLOAT4E2M1": "fp4",
}

FORMATS: Mapping[int, str] = {
    code: _NAMES[name] for name, code in TensorProto.DataType.items() if name in _NAMES
}
"""Element types of quantized numbers, as far as this version of onnx knows them -> format."""

_KNOWN = frozenset({*(f"int{bits}" for bits in WIDTHS), *FORMATS.values()})


def format_of(
    code: int, notes: Iterable[onnx.StringStringEntryProto] = (), where: str = ""
) -> str | None:
    """The format of numbers of an element type; None if they are not quantized.

    Args:
        code: The element type.
        notes: The `metadata_props` of what holds the numbers.
        where: What to call that in an error.

    Raises:
        OnnxError: A note names a format that does not exist.
    """
    return stated(notes, where) or FORMATS.get(code)


def stated(notes: Iterable[onnx.StringStringEntryProto], where: str) -> str | None:
    """The format that a note states; None if there is no such note.

    Raises:
        OnnxError: It names a format that does not exist.
    """
    for entry in notes:
        if entry.key == KEY:
            if entry.value not in _KNOWN:
                wanted = ", ".join(sorted(_KNOWN, key=_width))
                raise OnnxError(f"{where}: {KEY}: wanted one of {wanted}, got {entry.value}")
            return entry.value
    return None


def widest(formats: Iterable[str]) -> str | None:
    """The format with the most bits, the first of several; None of none.

    >>> widest(["int4", "fp8", "int8"])
    'fp8'
    """
    return max(formats, key=_width, default=None)


def _width(format: str) -> int:
    return int(format.lstrip("abcdefghijklmnopqrstuvwxyz"))
