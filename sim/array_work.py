"""What one tile costs the arrays: cycles at the port, the drain behind, PE-cycles by use."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..arch import SystolicArray
from .systolic import axes, ceil_div, fold_interval, fold_latency

__all__ = ["ArrayWork", "array_work", "port_cycles", "stream_cycles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayWork:
    """One tile's share of the arrays.

    `cycles x PEs = streamed + throttled + idle + what is lost to filling, draining and reloading`,
    and `useful <= streamed`; the difference is the edge: rows and columns that a ragged fold leaves
    empty.

    Attributes:
        macs: Multiply-accumulates.
        cycles: For which the tile holds the input ports.
        latency: From its first word in to its last result out.
        useful: PE-cycles of MACs.
        streamed: PE-cycles of all folds while words stream.
        throttled: PE-cycles by which patches come too slowly from the input buffer.
        idle: PE-cycles of arrays without a column block of their own.
        input_reads, weight_reads: Elements read from the input and the weight buffer.
        sum_accesses: Partial sums written to, and read back from, the accumulators.
    """

    macs: int
    cycles: int
    latency: int
    useful: Fraction | int
    streamed: int
    throttled: int
    idle: int
    input_reads: int
    weight_reads: int
    sum_accesses: int


def stream_cycles(stream: Any, rate: Fraction) -> Any:
    """Cycles in which `stream` words pass a PE that takes `rate` of them per cycle."""
    return -(-stream * rate.denominator // rate.numerator)


def port_cycles(
    array: SystolicArray, copies: Any, m: Any, k: Any, n: Any, rate: Fraction, demand: Fraction
) -> Any:
    """Cycles at the input port for `copies` products; ints, or arrays over candidate tilings."""
    along_rows, along_cols, stream = axes(array.dataflow, m, k, n)
    blocks = -(-(copies * ceil_div(along_cols, array.cols)) // array.count)
    words = _slowed(stream_cycles(stream, rate), demand)
    return blocks * ceil_div(along_rows, array.rows) * fold_interval(array, words)


def array_work(
    array: SystolicArray,
    copies: int,
    m: int,
    k: int,
    n: int,
    *,
    rate: Fraction,
    demand: Fraction = Fraction(1),
    adds: bool = False,
) -> ArrayWork:
    """The work of `copies` products of `(m, k) @ (k, n)` that enter the arrays back to back.

    Several arrays take whole column blocks in turn, copy after copy.

    Args:
        array: The arrays.
        copies: Products in the tile.
        m: Rows of the left operand.
        k: The dimension summed over.
        n: Columns of the right operand.
        rate: MACs of this number format per PE and cycle.
        adds: True if the sums are added to those of an earlier tile.
        demand: Bytes the stream wants from the input buffer over bytes it gives per cycle; above
            1 the stream slows by that factor.
    """
    along_rows, along_cols, stream = axes(array.dataflow, m, k, n)
    words = stream_cycles(stream, rate)
    slowed = _slowed(words, demand)
    interval = fold_interval(array, slowed)
    per_block = ceil_div(along_rows, array.rows)
    blocks_each = ceil_div(along_cols, array.cols)
    blocks = copies * blocks_each
    turns = ceil_div(blocks, array.count)
    last = along_cols - (blocks_each - 1) * array.cols
    # The array with most turns ends on the ragged block only if nobody else has as many.
    ends_ragged = (blocks - 1) % array.count == 0 or blocks_each == 1
    latency = (turns * per_block - 1) * interval + fold_latency(
        array, slowed, last if ends_ragged else array.cols
    )
    if turns > 1 and ends_ragged and blocks_each > 1:
        wider = (turns - 1) * per_block - 1
        latency = max(latency, wider * interval + fold_latency(array, slowed, array.cols))
    pes = array.rows * array.cols
    folds = blocks * per_block
    left, right, sums = copies * m * k, copies * k * n, copies * m * n
    if array.dataflow == "os":  # both operands stream; a sum leaves once
        reads = left * blocks_each, right * per_block
        accesses = sums * (1 + adds)
    else:  # one operand is put in place, the other streams once for each column block
        reads = (
            (left * blocks_each, right) if array.dataflow == "ws" else (left, right * blocks_each)
        )
        accesses = sums * (2 * per_block - 1 + adds)
    return ArrayWork(
        macs=copies * m * k * n,
        cycles=turns * per_block * interval,
        latency=latency,
        useful=_whole(Fraction(copies * m * k * n) / rate),
        streamed=folds * words * pes,
        throttled=folds * (slowed - words) * pes,
        idle=(turns * array.count - blocks) * per_block * interval * pes,
        input_reads=reads[0],
        weight_reads=reads[1],
        sum_accesses=accesses,
    )


def _slowed(words: Any, demand: Fraction) -> Any:
    if demand <= 1:
        return words
    return -(-words * demand.numerator // demand.denominator)


def _whole(value: Fraction) -> Fraction | int:
    return value.numerator if value.denominator == 1 else value
