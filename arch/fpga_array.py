"""LUTs and flip-flops of an array, by equations fitted to what Yosys makes of its Verilog.

`synthesis/yosys.csv` holds the runs (`make synth` makes it again); a table below holds, for each
module, what may cost something: registers and multiplexers of a PE go with the operands' bits,
adders with the bits of the sums, a multiplier of LUTs with the square of the bits, the triangles of
registers in front of the array (`skew.v`) with the squares of its sides.  Coefficients are the
least squares of the *relative* error over the rows marked `fit`.  Rows marked `held` (all of 6 x 6
PEs or of 6 bits, and the largest of each module) are used for nothing but `errors`.

Yosys maps and neither places nor routes.  It counts a LUT for each function, although a site may
hold two, and leaves the registers of sums outside the DSP slices, which have room for them: the
counts are estimates, rather high than low.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from .value import Count, NotNegative, Value, Whole

__all__ = [
    "MACS",
    "Design",
    "FitError",
    "Kind",
    "Mac",
    "Run",
    "equation",
    "errors",
    "estimate",
    "luts_per_mac",
    "runs",
    "tool",
]

Mac = Literal["dsp", "dsp-multiply", "lut"]
MACS: Final[tuple[Mac, ...]] = get_args(Mac)
"""A MAC in a DSP slice; its product in a slice and its addition in LUTs; both in LUTs."""

Kind = Literal[
    "single", "shadow-broadcast", "shadow-gated", "global-drain", "pe-drain", "unrolled",
    "sequencer",
]  # fmt: skip
Fitted = Literal["lut", "ff"]
_TABLE: Final = Path(__file__).resolve().parent / "synthesis" / "yosys.csv"


class Design(Value, frozen=True):
    """What was or would be synthesised; `rows`, `cols`, `heads` are Tm, Tn, Th if unrolled.

    `kind` is the overlap of a systolic array; an input-stationary one is weight-stationary
    hardware. `bits` is the width of both operands, `sum_bits` that of a partial sum.
    """

    kind: Kind
    mac: Mac
    rows: Count
    cols: Count
    heads: Count = 1
    bits: Count
    sum_bits: Count = 32

    @property
    def pes(self) -> int:
        """MACs a cycle."""
        return self.rows * self.cols * self.heads


class Run(Value, frozen=True):
    """A design and what Yosys made of it."""

    design: Design
    role: Literal["fit", "held", "fact"]
    dsp: Whole
    lut: Whole
    ff: Whole


class FitError(Value, frozen=True):
    """How far an equation is off, as a share, on the runs that it was not fitted to."""

    resource: Fitted
    runs: Count
    mean: NotNegative
    largest: NotNegative


_Terms: TypeAlias = dict[str, Callable[[Design], float]]


def _skew(design: Design) -> int:
    """Registers in front of the array: lane i is delayed by i edges."""
    return (design.rows * (design.rows - 1) + design.cols * (design.cols - 1)) // 2


_MULTIPLIER: Final[_Terms] = {
    "PEs x bits^2, of LUTs": lambda d: d.pes * d.bits**2 * (d.mac == "lut")
}
_LUT: Final[_Terms] = {
    **_MULTIPLIER,
    "PEs x bits": lambda d: d.pes * d.bits,
    "PEs": lambda d: d.pes,
    "PEs x sum bits": lambda d: d.pes * d.sum_bits,
    "cols x sum bits": lambda d: d.cols * d.sum_bits,
}
_WS_FF: Final[_Terms] = {
    "PEs x bits": lambda d: d.pes * d.bits,
    "PEs": lambda d: d.pes,
    # The first row's sums are products.
    "sums' bits": lambda d: d.cols * ((d.rows - 1) * d.sum_bits + 2 * d.bits),
    "skew x bits": lambda d: _skew(d) * (d.bits + 2),  # two flags beside an operand
    "rows x bits": lambda d: d.rows * d.bits,  # there is nothing right of the last column
}
_OS_FF: Final[_Terms] = {
    "PEs x bits": lambda d: d.pes * d.bits,
    "PEs": lambda d: d.pes,
    "sums' bits": lambda d: d.pes * d.sum_bits,
    "skew x bits": lambda d: _skew(d) * (d.bits + 1),  # two flags on one side
    "sides x bits": lambda d: (d.rows + d.cols) * d.bits,
}
_SHADOW: Final[_Terms] = {
    "PEs x bits, without a shadow register": lambda d: d.pes * d.bits * (d.kind == "single"),
    "PEs, shifting row by row": lambda d: d.pes * (d.kind == "shadow-gated"),
    "cols, shifting row by row": lambda d: d.cols * (d.kind == "shadow-gated"),
}
_DRAIN: Final[_Terms] = {
    "PEs x sum bits, with drain registers": lambda d: d.pes * d.sum_bits * (d.kind == "pe-drain"),
    "PEs, with drain registers": lambda d: d.pes * (d.kind == "pe-drain"),
    "drain counter": lambda d: d.kind == "global-drain",
}
_TREE: Final[_Terms] = {
    "PEs x bits": lambda d: d.pes * d.bits,
    "PEs": lambda d: d.pes,
    "outputs": lambda d: d.rows * d.heads,
}
_WS: Final[Mapping[Fitted, _Terms]] = {"lut": _LUT | _SHADOW, "ff": _WS_FF | _SHADOW}
_OS: Final[Mapping[Fitted, _Terms]] = {"lut": _LUT | _DRAIN, "ff": _OS_FF | _DRAIN}
_TERMS: Final[Mapping[Kind, Mapping[Fitted, _Terms]]] = MappingProxyType(
    {
        "single": _WS, "shadow-broadcast": _WS, "shadow-gated": _WS,
        "global-drain": _OS, "pe-drain": _OS,
        "unrolled": {"lut": _MULTIPLIER | _TREE, "ff": _TREE},
    }
)  # fmt: skip


def estimate(design: Design) -> dict[Fitted, int]:
    """Return the LUTs and flip-flops of a design, by its equations; rounded up."""
    return {each: max(0, math.ceil(_value(design, each))) for each in get_args(Fitted)}


def luts_per_mac(bits: int, kind: Kind) -> float:
    """Return the LUTs that a MAC takes beyond those of a PE whose MAC is in a DSP slice.

    For mixed arrays: a PE of a 16 x 16 array, with sums of 32 bits. Yosys builds multipliers of
    LUTs larger than vendors' tools do, and in steps: `errors` says how far off this is.
    """
    of_luts = Design(kind=kind, mac="lut", rows=16, cols=16, bits=bits)
    difference = _value(of_luts, "lut") - _value(of_luts.replace(mac="dsp"), "lut")
    return difference / of_luts.pes


def errors(kind: Kind, mac: Mac) -> tuple[FitError, ...]:
    """Return the errors of the equations for a kind of array, on the runs held back from them."""
    found: list[FitError] = []
    for resource in get_args(Fitted):
        held = [run for run in _like(kind, mac, resource) if run.role == "held"]
        off = [abs(_value(run.design, resource) / getattr(run, resource) - 1) for run in held]
        mean = sum(off) / len(off)
        found.append(FitError(resource=resource, runs=len(off), mean=mean, largest=max(off)))
    return tuple(found)


@functools.cache
def runs() -> tuple[Run, ...]:
    """Return every run of the synthesis table."""
    with _TABLE.open(newline="") as file:
        next(file)  # the tool
        return tuple(_run(row) for row in csv.DictReader(file))


def tool() -> str:
    """Return what made the synthesis table, and when."""
    with _TABLE.open() as file:
        return next(file).removeprefix("# ").strip()


def _run(row: Mapping[str, Any]) -> Run:
    names = {"kind", "mac"}
    fields = {name: row[name] if name in names else int(row[name]) for name in Design.model_fields}
    counts = {name: int(row[name]) for name in ("dsp", "lut", "ff")}
    return Run.model_validate({"design": fields, "role": row["role"], **counts})


def _like(kind: Kind, mac: Mac, resource: Fitted) -> list[Run]:
    """Runs that share an equation; registers are the same whatever makes the MACs."""
    # An unrolled array registers its products, so that no slice has anything to add.
    mac = "dsp" if kind == "unrolled" and mac == "dsp-multiply" else mac
    return [
        run
        for run in runs()
        if _TERMS.get(run.design.kind) is _TERMS[kind]
        and (resource == "ff" or run.design.mac == mac)
    ]


def _value(design: Design, resource: Fitted) -> float:
    coefficients = equation(design.kind, design.mac, resource).values()
    terms = _TERMS[design.kind][resource].values()
    pairs = zip(coefficients, terms, strict=True)
    return sum(coefficient * term(design) for coefficient, term in pairs)


@functools.cache
def equation(kind: Kind, mac: Mac, resource: Fitted) -> Mapping[str, float]:
    """Return the coefficients of a kind of array's LUTs or flip-flops, by term."""
    import numpy as np  # here: a machine is read without it

    fitted = [run for run in _like(kind, mac, resource) if run.role == "fit"]
    counts = np.array([getattr(run, resource) for run in fitted], dtype=np.float64)
    terms = _TERMS[kind][resource]
    matrix = np.array([[float(term(run.design)) for term in terms.values()] for run in fitted])
    solution, *_ = np.linalg.lstsq(matrix / counts[:, None], np.ones(len(fitted)), rcond=None)
    return MappingProxyType(dict(zip(terms, map(float, solution), strict=True)))
