"""Sizes as ONNX exporters write them: a text becomes an int or an extent."""

from __future__ import annotations

import ast
from functools import reduce

from .extent import Size, maximum, minimum, product, symbol

__all__ = ["parse"]


def parse(text: str) -> Size:
    """Read a size as ONNX exporters write it: `kept_1 + 2`, `floor(height/2)`, `Max(1, u0)`.

    A text that is not such an expression names a symbol of its own, since ONNX allows any text as
    the name of a dimension.

    >>> parse("2*floor(height/2) + 1")
    Extent(2*floor(height/2) + 1)
    >>> parse("batch size")
    Extent(batch size)
    """
    try:
        return _read(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, _NotASizeError):
        return symbol(text)


_LARGEST_POWER = 8  # a rank is never larger, and a mere name such as `a**999999` stays cheap


class _NotASizeError(Exception):
    """The text is no arithmetic over symbols."""


def _read(node: ast.expr) -> Size:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _read(operand) * -1
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _read(left) + _read(right)
        case ast.BinOp(op=ast.Sub(), left=left, right=right):
            return _read(left) - _read(right)
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            return _read(left) * _read(right)
        case ast.BinOp(op=ast.FloorDiv() | ast.Div(), left=left, right=right):
            return _read(left) // _read(right)
        case ast.BinOp(op=ast.Pow(), left=left, right=ast.Constant(value=int(power))) if (
            0 <= power <= _LARGEST_POWER
        ):
            return product([_read(left)] * power)
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name.lower() == "floor":
            return _read(argument)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name.lower() in ("max", "min"):
            sizes = [_read(argument) for argument in arguments]
            return reduce(maximum if name.lower() == "max" else minimum, sizes)
        case _:
            raise _NotASizeError
