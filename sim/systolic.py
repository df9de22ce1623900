"""Cycles of a systolic array: closed forms over a sequence of folds, for ints or NumPy arrays.

An array of R rows and C columns computes `(m, k) @ (k, n)` in *folds*, one filling of its PEs each.
What lies along the rows, along the columns, and what streams through is the dataflow:

    dataflow   rows   columns   stream   stays in the PEs
    ws         k      n         m        weights (the right operand)
    os         m      n         k        outputs
    is         k      m         n        inputs (the left operand): ws with the operands exchanged

The array is a pipeline.  A fold holds the input port for `interval` cycles, then the next fold may
enter; its last result leaves `latency` cycles after it entered.  Both count clock edges from the
first operand word to the last useful result at the array's edge.  Folds of one column block follow
each other (the rows' dimension innermost), column blocks come outermost, so for F folds, P of them
in a column block, and a last block that uses c columns:

    cycles = max((F - 1) interval + latency(c), (F - 1 - P) interval + latency(C))

with the second term only where there is more than one column block.  A partial block of *rows*
saves nothing.  The forms hold against register-by-register models of the arrays; `scale-sim`
is SCALE-Sim 3.0.0's array (Samajdar et al., ISPASS 2020): no fold overlaps another, each ragged
fold pays in full, and the outputs need no drain.  SCALE-Sim numbers its cycles from zero and
reports the last number, one less than the cycles there were; `gemm_cycles` reports the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arch import SystolicArray

__all__ = [
    "Folds",
    "Int",
    "axes",
    "ceil_div",
    "fold_interval",
    "fold_latency",
    "folds",
    "gemm_cycles",
    "larger",
    "smaller",
]

# Shapes are ints, or int64 arrays over design points; the answer is of the same kind.
Int = TypeVar("Int", int, NDArray[np.int64])
Item = TypeVar("Item")


def ceil_div(a: Int, b: Int | int) -> Int:
    """`ceil(a / b)`."""
    return -(-a // b)


def larger(a: Int, b: Int | int) -> Int:
    """The larger, item by item."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return np.maximum(a, b)  # pyright: ignore[reportReturnType]


def smaller(a: Any, b: Any) -> Any:
    """The smaller, item by item."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b)


def fold_interval(array: SystolicArray, stream: Int) -> Int:
    """Cycles for which a fold that streams `stream` words holds the array's input port.

    Without a shadow register the weights of the next fold shift in once the last word of this one
    has passed; with one they shift in behind its back, over 2R - 1 cycles if one broadcast signal
    moves all rows and R if each row has its own.  Output-stationary PEs either empty through their
    neighbours (`global-drain`) or through a drain register of their own (`pe-drain`).
    """
    rows, cols = array.rows, array.cols
    match array.dataflow, array.overlap:
        case (("ws" | "is"), "single"):
            return 2 * rows + stream - 2
        case (("ws" | "is"), "shadow-broadcast"):
            return larger(stream, 2 * rows - 1)
        case (("ws" | "is"), "shadow-gated"):
            return larger(stream, rows)
        case (("ws" | "is"), _):
            return stream + 2 * rows + cols - 2
        case _, "global-drain":
            return 2 * rows + cols + stream - 2
        case _, "pe-drain":
            return larger(stream, rows)
        case _:
            return stream + rows + cols - 2


def fold_latency(array: SystolicArray, stream: Int, columns: Int | int) -> Int:
    """Cycles from a fold's first word in to its last result out, with `columns` columns in use."""
    rows, cols = array.rows, array.cols
    if array.overlap == "scale-sim":
        return fold_interval(array, stream)
    if array.dataflow == "os":
        width = cols if array.overlap == "global-drain" else columns
        return 2 * rows + width + stream - 3
    return 2 * rows + columns + stream - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """How a product falls into folds.

    Attributes:
        blocks: Column blocks.
        per_block: Folds in a column block.
        last_columns: Columns in use in the last block.
        stream: Words that each fold streams.
    """

    blocks: int
    per_block: int
    last_columns: int
    stream: int

    @property
    def count(self) -> int:
        """Folds of all column blocks."""
        return self.blocks * self.per_block


def axes(dataflow: str, m: Item, k: Item, n: Item) -> tuple[Item, Item, Item]:
    """What lies along the rows, along the columns, and what streams."""
    if dataflow == "ws":
        return k, n, m
    if dataflow == "os":
        return m, n, k
    return k, m, n


def folds(array: SystolicArray, m: int, k: int, n: int) -> Folds:
    """The folds of `(m, k) @ (k, n)` on one array."""
    along_rows, along_cols, stream = axes(array.dataflow, m, k, n)
    blocks = ceil_div(along_cols, array.cols)
    return Folds(
        blocks=blocks,
        per_block=ceil_div(along_rows, array.rows),
        last_columns=along_cols - (blocks - 1) * array.cols,
        stream=stream,
    )


def gemm_cycles(array: SystolicArray, m: Int, k: Int, n: Int) -> Int:
    """Compute cycles of `(m, k) @ (k, n)` on one array at one MAC per PE and cycle.

    >>> ws = SystolicArray(rows=32, cols=32, dataflow="ws", overlap="scale-sim")
    >>> gemm_cycles(ws, 197, 384, 1536)  # 12 * 48 folds of 197 + 94 cycles
    167615
    """
    along_rows, along_cols, stream = axes(array.dataflow, m, k, n)
    blocks = ceil_div(along_cols, array.cols)
    per_block = ceil_div(along_rows, array.rows)
    interval = fold_interval(array, stream)
    last = along_cols - (blocks - 1) * array.cols
    ending = (blocks * per_block - 1) * interval + fold_latency(array, stream, last)
    # Only where an earlier, wider block's last result can leave after the last block's.
    wider = (blocks * per_block - 1 - per_block) * interval + fold_latency(
        array, stream, array.cols
    )
    numbered_from = 1 if array.overlap == "scale-sim" else 0
    if isinstance(blocks, int):
        return (larger(ending, wider) if blocks > 1 else ending) - numbered_from
    return np.where(blocks > 1, np.maximum(ending, wider), ending) - numbered_from
