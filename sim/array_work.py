"""What one tile costs the arrays: cycles at the port, the drain behind, PE-cycles by use."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..arch import ComputeArray, UnrolledArray
from .array_kinds import for_each_kind
from .formats import Widths
from .systolic import axes, ceil_div, fold_interval, fold_latency, larger, smaller
from .unrolled import Nest, nest, summed

__all__ = [
    "ArrayWork",
    "array_work",
    "drain_cycles",
    "port_cycles",
    "side_by_side",
    "stream_cycles",
    "stream_elements",
    "whole",
    "whole_units",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayWork:
    """One tile's share of the arrays.

    `cycles x PEs = streamed + throttled + idle + what is lost to filling, draining and reloading`,
    and `useful <= streamed`; the difference is the edge: rows and columns (or channels and heads)
    that a ragged fold leaves empty.

    Attributes:
        macs: Multiply-accumulates.
        cycles: For which the tile holds the input ports.
        latency: From its first word in to its last result out.
        useful: PE-cycles of MACs.
        streamed: PE-cycles of all folds while words stream.
        throttled: PE-cycles by which patches come too slowly from the input buffer, or for which
            an unrolled array waits for its ports.
        idle: PE-cycles of arrays without a column block of their own.
        input_reads, weight_reads: Elements read from the input and the weight buffer.
        sum_reads, sum_writes: Partial sums read back from, and written to, the accumulators.
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
    sum_reads: int
    sum_writes: int


def stream_cycles(stream: Any, rate: Fraction, demand: Any = 1) -> Any:
    """Cycles in which `stream` words pass a PE that takes `rate` of them per cycle.

    Args:
        stream: Words; an int or an array of them.
        rate: Words per cycle.
        demand: By how much they come too slowly, where above 1; a Fraction, or an array of floats.
    """
    if isinstance(demand, int | Fraction):
        slowed = rate / max(demand, 1)
        return -(-stream * slowed.denominator // slowed.numerator)
    slowed_cycles = stream * np.maximum(demand, 1) / float(rate)
    return np.ceil(slowed_cycles - 1e-6).astype(np.int64)  # what is whole stays so


@for_each_kind
def whole_units(array: ComputeArray) -> tuple[int, int, int]:
    """Sizes of m, k and n of which a tile should hold multiples, to keep folds whole."""
    if isinstance(array, UnrolledArray):
        return 1, array.tn * array.th, array.tm
    along_rows, along_cols, _ = axes(array.dataflow, 0, 1, 2)
    sides = {along_rows: array.rows, along_cols: array.cols}
    return sides.get(0, 1), sides.get(1, 1), sides.get(2, 1)


def side_by_side(array: ComputeArray) -> int:
    """Heads that can be taken at once: Th, or one on each array if arrays are dealt heads."""
    if isinstance(array, UnrolledArray):
        return array.th
    return 1 if array.split == "tile" else array.count


@for_each_kind
def stream_elements(array: ComputeArray, m: Any, k: Any) -> Any:
    """Elements of an `(m, k)` left operand that all arrays together read in a step of the stream.

    0 if the left operand does not stream.
    """
    if isinstance(array, UnrolledArray):
        return smaller(array.tn * array.th, k)
    along_rows = {"ws": k, "os": m, "is": 0}[array.dataflow]
    return smaller(array.rows, along_rows) * array.count


@for_each_kind
def drain_cycles(array: ComputeArray, m: Any, bits: Widths) -> Any:
    """Cycles from the end of a product's last fold at the port to its last result, about."""
    if isinstance(array, UnrolledArray):
        return nest(array, 1, m, 1, 1, bits=bits).store
    return fold_latency(array, 0, array.cols)


@for_each_kind
def port_cycles(
    array: ComputeArray,
    copies: Any,
    m: Any,
    k: Any,
    n: Any,
    *,
    bits: Widths,
    rate: Fraction,
    demand: Fraction,
) -> Any:
    """Cycles at the input port for `copies` products; ints, or arrays over candidate tilings."""
    if isinstance(array, UnrolledArray):
        slowed = rate / max(demand, Fraction(1))
        alone: Any = summed(array, m, k, n, bits=bits, rate=slowed)
        heads: Any = nest(array, copies, m, k, n, bits=bits, rate=slowed)
        held = heads.cycles - heads.store
        return held + (copies == 1) * (alone.cycles - alone.store - held)
    along_rows, along_cols, stream = axes(array.dataflow, m, k, n)
    blocks = -(-(copies * ceil_div(along_cols, array.cols)) // array.count)
    words = stream_cycles(stream, rate, demand)
    return blocks * ceil_div(along_rows, array.rows) * fold_interval(array, words)


@for_each_kind
def array_work(
    array: ComputeArray,
    copies: Any,
    m: Any,
    k: Any,
    n: Any,
    *,
    bits: Widths,
    rate: Fraction,
    demand: Any = Fraction(1),
    adds: bool = False,
    ends: Any = True,
) -> ArrayWork:
    """The work of `copies` products of `(m, k) @ (k, n)` that enter the arrays back to back.

    Sizes are ints, or columns of them; then so is the work.

    Several systolic arrays take whole column blocks in turn, copy after copy, whatever their
    `split`: what they do apart is `shares.abreast`.  An unrolled array takes several copies as its
    heads, and deals the input channels of a single one to them.

    Args:
        array: The arrays.
        copies: Products in the tile.
        m: Rows of the left operand.
        k: The dimension summed over.
        n: Columns of the right operand.
        bits: Of an element of the operands and of the output.
        rate: MACs of this number format per PE and cycle.
        demand: Bytes the stream wants from the input buffer over bytes it gives per cycle; above
            1 the stream slows by that factor.
        adds: True if the sums are added to those of an earlier tile.
        ends: False if a later tile adds to the sums, so that they need not leave the array; or a
            column of that.
    """
    if isinstance(array, UnrolledArray):
        slowed = rate / max(demand, Fraction(1))
        alone: Any = summed(array, m, k, n, bits=bits, rate=slowed)
        heads: Any = nest(array, copies, m, k, n, bits=bits, rate=slowed)
        loops = (replace(one, store=one.store * ends) for one in (alone, heads))
        summing, several = (
            _unrolled_work(array, one, copies, m, k, n, rate, adds) for one in loops
        )
        if isinstance(copies, int):
            return summing if copies == 1 else several
        pairs: dict[str, Any] = {
            f.name: (getattr(summing, f.name), getattr(several, f.name)) for f in fields(ArrayWork)
        }
        chosen: dict[str, Any] = {
            name: np.where(copies == 1, *pair) for name, pair in pairs.items()
        }
        return ArrayWork(**chosen)
    along_rows, along_cols, stream = axes(array.dataflow, m, k, n)
    words = stream_cycles(stream, rate)
    slowed = stream_cycles(stream, rate, demand)
    interval = fold_interval(array, slowed)
    per_block = ceil_div(along_rows, array.rows)
    blocks_each = ceil_div(along_cols, array.cols)
    blocks = copies * blocks_each
    turns = ceil_div(blocks, array.count)
    last = along_cols - (blocks_each - 1) * array.cols
    # The array with most turns ends on the ragged block only if nobody else has as many.
    ends_ragged = ((blocks - 1) % array.count == 0) | (blocks_each == 1)
    columns = array.cols + ends_ragged * (last - array.cols)
    latency = (turns * per_block - 1) * interval + fold_latency(array, slowed, columns)
    has_wider = ends_ragged & (turns > 1) & (blocks_each > 1)
    wider = ((turns - 1) * per_block - 1) * interval + fold_latency(array, slowed, array.cols)
    latency = larger(latency, has_wider * wider)
    pes = array.rows * array.cols
    folds = blocks * per_block
    left, right, sums = copies * m * k, copies * k * n, copies * m * n
    if array.dataflow == "os":  # both operands stream; a sum leaves once
        reads = left * blocks_each, right * per_block
        passes = 1
    else:  # one operand is put in place, the other streams once for each column block
        reads = (
            (left * blocks_each, right) if array.dataflow == "ws" else (left, right * blocks_each)
        )
        passes = per_block
    return ArrayWork(
        macs=copies * m * k * n,
        cycles=turns * per_block * interval,
        latency=latency,
        useful=_of_pes(copies * m * k * n, rate),
        streamed=folds * words * pes,
        throttled=folds * (slowed - words) * pes,
        idle=(turns * array.count - blocks) * per_block * interval * pes,
        input_reads=reads[0],
        weight_reads=reads[1],
        sum_reads=sums * (passes - 1 + adds),
        sum_writes=sums * passes,
    )


def _unrolled_work(
    array: UnrolledArray,
    loops: Nest[int],
    copies: int,
    m: int,
    k: int,
    n: int,
    rate: Fraction,
    adds: bool,
) -> ArrayWork:
    """J as a tile's share: its last store is latency behind the ports, which it does not hold."""
    words = stream_cycles(m, rate)
    slower = loops.rounds * loops.steps * (loops.stream - words)
    left, right, sums = copies * m * k, copies * k * n, copies * m * n
    return ArrayWork(
        macs=copies * m * k * n,
        cycles=loops.cycles - loops.store,
        latency=loops.cycles,
        useful=_of_pes(copies * m * k * n, rate),
        streamed=(loops.streamed - slower) * array.pes,
        throttled=(loops.waiting + slower) * array.pes,
        idle=0,
        input_reads=left * ceil_div(n, array.tm),
        weight_reads=right,
        sum_reads=sums * (loops.steps - 1 + adds),
        sum_writes=sums * loops.steps,
    )


def _of_pes(macs: Any, rate: Fraction) -> Any:
    """PE-cycles of MACs: exactly, or as floats for an array of them."""
    return whole(Fraction(macs) / rate) if isinstance(macs, int) else macs / float(rate)


def whole(value: Fraction) -> Fraction | int:
    """The same number, as an int if it is one."""
    return value.numerator if value.denominator == 1 else value
