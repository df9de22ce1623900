"""How the cycles of one GEMM come about: its folds, and the closed form term by term.

The terms are written out from what the array does, edge by edge, apart from the closed forms in
`systolic.py`, which every simulation uses; `cross_check.py` holds both against other ways to count.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..arch import SystolicArray
from .systolic import Folds, axes, folds

__all__ = ["Derivation", "Side", "Term", "derive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A dimension of the GEMM that lies along one side of the array.

    Attributes:
        name: `M`, `K` or `N`.
        size: Of the dimension.
        pes: Along this side of the array.
    """

    name: str
    size: int
    pes: int

    @property
    def full(self) -> int:
        """Folds that use all PEs of the side."""
        return self.size // self.pes

    @property
    def ragged(self) -> int:
        """PEs in use in one more fold, the last; 0 if there is none."""
        return self.size % self.pes

    @property
    def folds(self) -> int:
        """All folds along the side."""
        return self.full + (self.ragged > 0)

    @property
    def last(self) -> int:
        """PEs in use in the last fold."""
        return self.ragged or self.pes


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A part of a sum of cycles: how it is written, how many, and what happens meanwhile."""

    symbol: str
    cycles: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """The cycles of `(m, k) @ (k, n)` on one array at one MAC per PE and cycle.

    Cycles are clock edges from the first operand word to the last result at the array's edge.

    Attributes:
        array: One array; its `count` and its rates play no part.
        m, k, n: Rows of the left operand; what is summed over; columns of the right operand.
        rows, cols: What lies along the array's rows and columns.
        stream_name: `M`, `K` or `N`: what streams.
        stream: Words that each fold streams.
        interval_terms: The sums of which the longest is the interval from fold to fold.
        latency_terms: Of a fold that uses as many columns as the last one does.
    """

    array: SystolicArray
    m: int
    k: int
    n: int
    rows: Side
    cols: Side
    stream_name: str
    stream: int
    interval_terms: tuple[tuple[Term, ...], ...]
    latency_terms: tuple[Term, ...]

    @property
    def split(self) -> Folds:
        """The folds as `systolic.py` counts them."""
        return folds(self.array, self.m, self.k, self.n)

    @property
    def folds(self) -> int:
        """Folds of all column blocks."""
        return self.rows.folds * self.cols.folds

    @property
    def interval(self) -> int:
        """Cycles from the beginning of a fold to that of the next."""
        return max(_sum(terms) for terms in self.interval_terms)

    @property
    def last_latency(self) -> int:
        """Cycles from the last fold's first word in to its last result out."""
        return _sum(self.latency_terms)

    @property
    def full_latency(self) -> int:
        """The same for a fold of a column block that uses every column."""
        if self.array.overlap in ("global-drain", "scale-sim"):
            return self.last_latency  # no column leaves before the others
        return self.last_latency + self.cols.pes - self.cols.last

    @property
    def ending(self) -> int:
        """When the last result of the last column block is out."""
        return (self.folds - 1) * self.interval + self.last_latency

    @property
    def wider(self) -> int | None:
        """When the last result of the block before is out; None if there is one block only."""
        if self.cols.folds == 1:
            return None
        return (self.folds - 1 - self.rows.folds) * self.interval + self.full_latency

    @property
    def elapsed(self) -> int:
        """All cycles that there are, from the terms."""
        return max(self.ending, self.wider or 0)

    @property
    def cycles(self) -> int:
        """What is reported: `elapsed`, or with `scale-sim` the last one's number, from zero."""
        return self.elapsed - (self.array.overlap == "scale-sim")

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.m * self.k * self.n

    @property
    def utilization(self) -> float:
        """Part of the PE-cycles that are MACs."""
        return self.macs / (self.array.rows * self.array.cols * self.elapsed)

    @property
    def pe_cycles(self) -> dict[str, int]:
        """Where the PE-cycles went; the parts add up to PEs x `elapsed`.

        `useful` are MACs.  `partial_rows` and `partial_columns` are PEs that a ragged fold leaves
        empty while words stream.  `between_folds` is the time for which a fold holds the port
        longer than its words stream, `fill_drain` what the last fold takes beyond its words.
        """
        pes = self.array.rows * self.array.cols
        across, down = self.cols.folds * self.cols.pes, self.rows.folds * self.rows.pes
        between = (self.folds - 1) * (self.interval - self.stream)
        return {
            "useful": self.macs,
            "partial_rows": (down - self.rows.size) * across * self.stream,
            "partial_columns": self.rows.size * (across - self.cols.size) * self.stream,
            "between_folds": between * pes,
            "fill_drain": (self.elapsed - between - self.folds * self.stream) * pes,
        }


def derive(array: SystolicArray, m: int, k: int, n: int) -> Derivation:
    """The terms of `(m, k) @ (k, n)` on one array.

    >>> ws = SystolicArray(rows=32, cols=32)
    >>> fc1 = derive(ws, 197, 384, 1536)
    >>> fc1.folds, fc1.interval, fc1.last_latency, fc1.cycles
    (576, 197, 291, 113566)
    >>> " + ".join(f"{term.symbol}" for term in fc1.latency_terms)
    'R + M + (R - 1) + (c - 1)'
    """
    sizes = {"M": m, "K": k, "N": n}
    along_rows, along_cols, stream = axes(array.dataflow, "M", "K", "N")
    rows = Side(name=along_rows, size=sizes[along_rows], pes=array.rows)
    cols = Side(name=along_cols, size=sizes[along_cols], pes=array.cols)
    make = _output_stationary if array.dataflow == "os" else _operand_stationary
    words = Term(symbol=stream, cycles=sizes[stream], what="the words stream in")
    interval_terms, latency_terms = make(array, words, cols.last)
    return Derivation(
        array=array,
        m=m,
        k=k,
        n=n,
        rows=rows,
        cols=cols,
        stream_name=stream,
        stream=sizes[stream],
        interval_terms=interval_terms,
        latency_terms=latency_terms,
    )


_Terms = tuple[Term, ...]


def _operand_stationary(
    array: SystolicArray, words: Term, columns: int
) -> tuple[tuple[_Terms, ...], _Terms]:
    rows = array.rows
    kept = "weights" if array.dataflow == "ws" else "inputs"
    load = Term(symbol="R", cycles=rows, what=f"the {kept} shift in, a row of PEs an edge")
    down = _down(rows)
    latency = (load, words, down, _across("c", columns))
    match array.overlap:
        case "single":
            early = Term(
                symbol="-1", cycles=-1, what="the next shift takes the last product's edge"
            )
            return ((load, words, down, early),), latency
        case "shadow-broadcast":
            keep = Term(
                symbol="(R - 1)", cycles=rows - 1, what="until the last row has taken its own"
            )
            return ((words,), (load, keep)), latency
        case "shadow-gated":
            return ((words,), (load,)), latency
        case _:  # scale-sim: a fold ends before the next begins, and every one pays in full
            whole = (load, words, down, _across("C", array.cols))
            return (whole,), whole


def _output_stationary(
    array: SystolicArray, words: Term, columns: int
) -> tuple[tuple[_Terms, ...], _Terms]:
    rows, down = array.rows, _down(array.rows)
    out = Term(symbol="(R - 1)", cycles=rows - 1, what="the top row's sums shift down and out")
    every = _across("C", array.cols)
    match array.overlap:
        case "global-drain":
            empty = Term(symbol="R", cycles=rows, what="all sums shift down and out")
            return ((words, down, every, empty),), (words, down, every, out)
        case "pe-drain":
            drain = Term(
                symbol="R", cycles=rows, what="a column's drain registers shift R sums out"
            )
            return ((words,), (drain,)), (words, down, _across("c", columns), out)
        case _:
            return ((words, down, every),), (words, down, every)


def _down(rows: int) -> Term:
    return Term(symbol="(R - 1)", cycles=rows - 1, what="the last word's way down the rows")


def _across(symbol: str, columns: int) -> Term:
    used = "in use" if symbol == "c" else "of the array"
    return Term(symbol=f"({symbol} - 1)", cycles=columns - 1, what=f"and across the columns {used}")


def _sum(terms: _Terms) -> int:
    return sum(term.cycles for term in terms)
