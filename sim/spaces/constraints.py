"""What the points of a space must satisfy: expressions over its axes, for many points at once.

An expression is arithmetic (`+ - * / // %`), comparisons, `and`, `or` and `not` over names, numbers
and words in quotes.  It is walked, never executed: nothing else is in the language.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .axes import Column

__all__ = ["ConstraintError", "holds", "names_in"]

Sort: TypeAlias = Literal["number", "text", "truth"]
Mask: TypeAlias = NDArray[np.bool_]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LONGEST = 2000


class ConstraintError(ValueError):
    """Text that is no constraint; says what was wanted and what was got."""


def names_in(text: str) -> tuple[str, ...]:
    """The names an expression reads, each once, in order.

    >>> names_in("array.rows * array.cols <= 4096 and kept_2 <= kept_1")
    ('array.rows', 'array.cols', 'kept_2', 'kept_1')

    Raises:
        ConstraintError: It is not in the language.
    """
    return _parsed(text)[1]


def holds(text: str, columns: Mapping[str, Column]) -> Mask:
    """Which points satisfy an expression.

    >>> columns = {"rows": np.array([8, 64]), "flow": np.array(["ws", "os"], dtype=object)}
    >>> holds("rows * 2 <= 32 or flow == 'os'", columns)
    array([ True,  True])

    Args:
        text: The expression.
        columns: A value for each point by name, `(points,)`; numbers are compared as float64,
            which is exact up to 2^53.

    Raises:
        ConstraintError: It is not in the language, does not compare anything, or compares text
            with numbers.
    """
    tree, _ = _parsed(text)
    sorts: dict[str, Sort] = {
        name: "text" if column.dtype.kind in "OU" else "number" for name, column in columns.items()
    }
    if _sort(tree, sorts) != "truth":
        raise ConstraintError(f"wanted a comparison, such as {text} <= 1; got {text!r}")
    with np.errstate(all="ignore"):  # what is divided by zero compares as false
        found = _value(tree, columns)
    points = len(next(iter(columns.values()))) if columns else 1
    return np.broadcast_to(np.asarray(found, dtype=np.bool_), (points,))


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[ast.expr, tuple[str, ...]]:
    """An expression that is in the language, and the names it reads."""
    if len(text) > _LONGEST:
        raise ConstraintError(f"wanted at most {_LONGEST} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConstraintError(
            f"wanted an expression such as array.rows * array.cols <= 4096, got {text!r}"
        ) from None
    found: dict[str, None] = {}
    _names(tree, found)
    return tree, tuple(found)


def _names(node: ast.expr, found: dict[str, None]) -> None:
    match node:
        case ast.Name() | ast.Attribute():
            found.setdefault(_name(node))
        case ast.BoolOp(values=parts):
            for part in parts:
                _names(part, found)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=part):
            _names(part, found)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            _names(left, found)
            _names(right, found)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARISONS for op in ops
        ):
            for part in (left, *others):
                _names(part, found)
        case ast.Constant(value=int() | float() | str()) if not isinstance(node.value, bool):
            pass
        case _:
            raise ConstraintError(
                "wanted arithmetic (+ - * / // %), comparisons, and, or, not; "
                f"got {ast.unparse(node)!r}"
            )


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{_name(owner)}.{name}"
        case _:
            raise ConstraintError(f"wanted the name of an axis, got {ast.unparse(node)!r}")


def _sort(node: ast.expr, sorts: Mapping[str, Sort]) -> Sort:
    """What an expression gives; refuses those that mix what cannot be mixed."""
    match node:
        case ast.BoolOp(values=parts):
            _all_are("truth", parts, sorts)
            return "truth"
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _all_are("truth", [part], sorts)
            return "truth"
        case ast.UnaryOp(operand=part):
            _all_are("number", [part], sorts)
            return "number"
        case ast.BinOp(left=left, right=right):
            _all_are("number", [left, right], sorts)
            return "number"
        case ast.Compare(left=left, ops=ops, comparators=others):
            wanted = _sort(left, sorts)
            orders = any(not isinstance(op, ast.Eq | ast.NotEq) for op in ops)
            if wanted == "truth" or (wanted == "text" and orders):
                raise ConstraintError(
                    f"wanted numbers, or words joined by == or !=, got {ast.unparse(node)!r}"
                )
            _all_are(wanted, others, sorts)
            return "truth"
        case ast.Constant(value=value):
            return "text" if isinstance(value, str) else "number"
        case _:
            return sorts[_name(node)]


def _all_are(wanted: Sort, parts: list[ast.expr], sorts: Mapping[str, Sort]) -> None:
    words = {"number": "a number", "text": "a word", "truth": "a comparison"}
    for part in parts:
        if (found := _sort(part, sorts)) != wanted:
            raise ConstraintError(
                f"wanted {words[wanted]}, got {words[found]}: {ast.unparse(part)!r}"
            )


def _value(node: ast.expr, columns: Mapping[str, Column]) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return functools.reduce(join, [_value(part, columns) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return np.logical_not(_value(part, columns))
        case ast.UnaryOp(op=op, operand=part):
            return -_value(part, columns) if isinstance(op, ast.USub) else _value(part, columns)
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_value(left, columns), _value(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=others):
            terms = [_value(part, columns) for part in (left, *others)]
            pairs = zip(ops, terms, terms[1:], strict=False)
            return functools.reduce(
                np.logical_and, [_COMPARISONS[type(op)](a, b) for op, a, b in pairs]
            )
        case ast.Constant(value=value):
            # An array, as a number of Python's may be divided by zero or be too large for float64.
            return value if isinstance(value, str) else np.asarray(_float(value))
        case _:
            column = columns[_name(node)]
            return column if column.dtype.kind in "OU" else column.astype(np.float64)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ConstraintError("wanted numbers of at most 1e308, got a larger one") from None
