"""A systolic array register by register: every output and the clock edge at which it leaves.

This is the oracle of the closed forms in `tilewise.sim.systolic`, and the tests hold it equal to
Verilog arrays, output by output and edge by edge.  The numbers come out of registers that all move
at each clock edge; NumPy moves the PEs together.

- `ws`: weights shift down the columns, inputs go right, partial sums go down and leave at the
  bottom edge, where accumulators add the folds of a column block.  `single` shifts the very weights
  that the PEs multiply by.  With a shadow register the weights shift in behind them, and a PE takes
  its next weight when the first input of the fold comes by.  The shift moves all rows of a column
  (`shadow-broadcast`), or each row only until it has its own word (`shadow-gated`).
- `is`: `ws` with the operands exchanged.
- `os`: both operands move, sums stay.  `global-drain` shifts the sums down and out, all columns at
  once, when the last PE is done.  `pe-drain` copies each finished sum into a drain register; these
  shift down, column by column, while the next fold computes.

Edges count from 1, which takes the first operand word.  A fold begins every `interval` edges
whether or not the array is ready: too short an interval gives a wrong product, as in hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch import SystolicArray
from .registers import FIELDS, FIRST, LAST, VALID, VALUE, Collector, Ints, Port, Skew
from .systolic import fold_interval, folds

__all__ = ["Emission", "multiply"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Emission:
    """What left the array, and when.

    Attributes:
        product: `(m, n)`; zero where an output never left.
        edges: `(m, n)`: the clock edge that put the output on the array's edge; zero if none did.
    """

    product: Ints
    edges: Ints

    @property
    def makespan(self) -> int:
        """Clock edges from the first operand word to the last useful output."""
        return int(self.edges.max())


def multiply(
    array: SystolicArray, left: NDArray[Any], right: NDArray[Any], *, interval: int | None = None
) -> Emission:
    """Pass `left @ right` through the registers of one array.

    Args:
        array: The array; its `count` and its rates play no part.
        left: Integers, `(m, k)`.
        right: Integers, `(k, n)`.
        interval: Clock edges from the begin of a fold to that of the next; by default the closed
            form's.

    >>> array = SystolicArray(rows=2, cols=2, dataflow="os")
    >>> out = multiply(array, np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2))
    >>> out.product.tolist(), out.edges.tolist(), out.makespan
    ([[10, 13], [28, 40]], [[5, 6], [4, 5]], 6)

    Raises:
        ValueError: if the operands are not two integer matrices that fit each other, the interval
            is less than 1, or the overlap is `scale-sim`, which is a way to count, not hardware.
    """
    _check(array, left, right, interval)
    if array.dataflow == "is":
        turned = multiply(array.replace(dataflow="ws"), right.T, left.T, interval=interval)
        return Emission(product=turned.product.T, edges=turned.edges.T)
    rows, cols = array.rows, array.cols
    (m, k), n = left.shape, right.shape[1]
    count = folds(array, m, k, n)
    interval = fold_interval(array, count.stream) if interval is None else interval
    # Enough for the last fold to come in, cross the array and drain, whatever the closed form says.
    edges = (count.count - 1) * interval + 2 * rows + cols + count.stream
    out = Collector(m, n, cols, count.per_block)
    block, step = np.divmod(np.arange(count.count), count.per_block)
    if array.dataflow == "ws":
        # The bottom row's weights go first; the inputs follow when all rows have theirs.
        weights = Port(_tiles(right, rows, cols)[step, block, ::-1], interval)
        inputs = Port(_tiles(left, m, rows)[0], interval, order=step, delay=rows)
        _weight_stationary(array.overlap, weights, inputs, edges, out)
    else:
        lefts = Port(_tiles(left.T, k, rows)[0], interval, order=step)
        rights = Port(_tiles(right, k, cols)[0], interval, order=block)
        drain = _pe_drain if array.overlap == "pe-drain" else _global_drain
        drain(lefts, rights, edges, out)
    return Emission(product=out.product, edges=out.edges)


def _check(
    array: SystolicArray, left: NDArray[Any], right: NDArray[Any], interval: int | None
) -> None:
    if array.overlap == "scale-sim":
        raise ValueError("overlap: wanted one that hardware has, got 'scale-sim', a way to count")
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise ValueError(f"operands: wanted (m, k) and (k, n), got {left.shape} and {right.shape}")
    if 0 in left.shape + right.shape:
        raise ValueError(f"operands: wanted none empty, got {left.shape} and {right.shape}")
    if not all(np.issubdtype(operand.dtype, np.integer) for operand in (left, right)):
        raise ValueError(f"operands: wanted integers, got {left.dtype} and {right.dtype}")
    if interval is not None and interval < 1:
        raise ValueError(f"interval: wanted at least 1 clock edge, got {interval}")


def _tiles(matrix: NDArray[Any], height: int, width: int) -> Ints:
    """Cut into tiles `(down, across, height, width)`, the ragged ones filled up with zeros."""
    down, across = -(-matrix.shape[0] // height), -(-matrix.shape[1] // width)
    whole = np.zeros((down * height, across * width), dtype=np.int64)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    return whole.reshape(down, height, across, width).swapaxes(1, 2)


# Below, arrays have one row or column more than the array has PEs: index 0 is the wire into the
# first PE, index i + 1 the register in PE i.  So x[:-1] is what waits at the PEs, x[1:] what they
# hold, and an edge is one assignment.


def _weight_stationary(
    overlap: str, weights: Port, inputs: Port, edges: int, out: Collector
) -> None:
    rows, cols = inputs.lanes, weights.lanes
    from_left, from_top = Skew(rows), Skew(cols)
    right = np.zeros((FIELDS, rows, cols + 1), dtype=np.int64)
    chain = np.zeros((rows + 1, cols), dtype=np.int64)
    held = np.zeros((rows, cols), dtype=np.int64)
    sums = np.zeros((rows + 1, cols), dtype=np.int64)
    shifted = np.zeros((rows + 1, cols), dtype=np.bool_)
    for edge in range(1, edges + 1):
        right[:, :, 0] = from_left.edge(inputs.at(edge))
        weight = from_top.edge(weights.at(edge))
        here = right[:, :, :-1]

        swap = here[FIRST] != 0
        held = chain[1:].copy() if overlap == "single" else np.where(swap, chain[1:], held)
        sums[1:] = sums[:-1] + held * here[VALUE]

        chain[0] = weight[VALUE]
        shifts = weight[VALID] != 0  # all rows of a column
        if overlap == "shadow-gated":
            # A row joins in one edge after the row above it, and all stop with the fold's last
            # word: row r shifts rows - r times, and keeps its word until the next fold gets there.
            above_did = shifted[:-1] & (weight[FIRST] == 0)
            above_did[0] = True
            shifts = shifts & above_did
            shifted[1:] = shifts
        chain[1:] = np.where(shifts, chain[:-1], chain[1:])
        right[:, :, 1:] = here
        out.sums(edge, right[VALID, -1, 1:], right[FIRST, -1, 1:], sums[-1])


def _global_drain(lefts: Port, rights: Port, edges: int, out: Collector) -> None:
    rows, cols = lefts.lanes, rights.lanes
    from_left, from_top = Skew(rows), Skew(cols)
    right = np.zeros((FIELDS, rows, cols + 1), dtype=np.int64)
    down = np.zeros((FIELDS, rows + 1, cols), dtype=np.int64)
    sums = np.zeros((rows + 1, cols), dtype=np.int64)
    draining = 0
    for edge in range(1, edges + 1):
        right[:, :, 0] = from_left.edge(lefts.at(edge))
        down[:, 0] = from_top.edge(rights.at(edge))
        if draining:
            # Zeros come in from above, so that the array is empty after `rows` edges.
            sums[1:] = sums[:-1]
            draining -= 1
        else:
            sums[1:] += right[VALUE, :, :-1] * down[VALUE, :-1]
        right[:, :, 1:] = right[:, :, :-1]
        down[:, 1:] = down[:, :-1]
        if right[LAST, -1, -1]:
            draining = rows
        leaves = np.full(cols, draining > 0, dtype=np.int64)
        out.rows(edge, leaves, leaves * (draining == rows), sums[-1], rows)


def _pe_drain(lefts: Port, rights: Port, edges: int, out: Collector) -> None:
    rows, cols = lefts.lanes, rights.lanes
    from_left, from_top = Skew(rows), Skew(cols)
    right = np.zeros((FIELDS, rows, cols + 1), dtype=np.int64)
    down = np.zeros((FIELDS, rows + 1, cols), dtype=np.int64)
    sums = np.zeros((rows, cols), dtype=np.int64)
    drain = np.zeros((rows + 1, cols), dtype=np.int64)
    shifts = np.zeros((rows + 1, cols), dtype=np.bool_)
    below_top = np.ones((rows, cols), dtype=np.bool_)
    below_top[0] = False
    for edge in range(1, edges + 1):
        right[:, :, 0] = from_left.edge(lefts.at(edge))
        down[:, 0] = from_top.edge(rights.at(edge))
        here = right[:, :, :-1]
        sums = np.where(here[FIRST] != 0, 0, sums) + here[VALUE] * down[VALUE, :-1]
        done = here[LAST] != 0

        leaves = done[-1] | shifts[-1]
        drain[1:] = np.where(done, sums, np.where(shifts[1:], drain[:-1], drain[1:]))
        # The bottom row's sum sets the rows below the top moving; each stops one edge after the
        # row above it, so that row r takes the r sums from above and is then free again.
        shifts[1:] = np.where(done[-1], below_top, shifts[:-1])
        first = done[-1].astype(np.int64)
        right[:, :, 1:] = here
        down[:, 1:] = down[:, :-1]
        out.rows(edge, leaves.astype(np.int64), first, drain[-1], rows)
