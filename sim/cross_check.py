"""The cycles of one GEMM counted again, by every way there is.

The register model and the Verilog arrays multiply random int8 operands, and the product must be
right.  They are told the interval at which folds begin, so a right product shows that it is long
enough; that it is no longer than need be is for the tests to show.  Where all folds would take too
long a part is run, and each fold left out adds an interval.  The engine takes interval and latency
of a fold from `systolic.py`, runs every fold as a tile of its own with all operands on chip, and
shows that its events add up to the form for the whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..arch import Accelerator, PerProduct, SystolicArray, load_machine
from ..workloads import MatMul, Operand, Workload
from . import gemm
from .derivation import Derivation, derive
from .engine import run
from .formats import Widths
from .losses import CAUSES
from .program import KernelProgram, Program
from .register_model import multiply
from .registers import Ints
from .rtl import Rtl, RtlError, why_unavailable
from .simulate import simulate
from .systolic import gemm_cycles

__all__ = ["Count", "OnMachine", "closed_form", "engine", "on_machine", "register_model", "rtl"]

_AMPLE = 1 << 62  # bytes; more than any product of sizes that the command takes

# Assumed, to tell what takes too long: measured once on one core of a server.
_EDGE_S, _EDGE_CELL_S = 80e-6, 6e-9  # of the register model, and for each register beside
_RTL_PE_EDGE_S = 7e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What one way to count says.

    Attributes:
        way: Its name.
        cycles: Of the whole GEMM; None if it was not run.
        folds: That were run.
        run_cycles: What those took; the others add an interval each.
        product_right: False if a product came out wrong.
        not_run: Why it was not.
        all_folds_s: About how long all folds would take, in seconds, where not all were run.
    """

    way: str
    cycles: int | None
    folds: int = 0
    run_cycles: int = 0
    product_right: bool = True
    not_run: str = ""
    all_folds_s: float = 0.0

    def agrees(self, cycles: int) -> bool:
        """Whether it says `cycles`, and with a right product, if it was run at all."""
        return self.cycles is None or (self.cycles == cycles and self.product_right)


def closed_form(derivation: Derivation) -> Count:
    """The form that every simulation uses, and `tilewise gemm` prints."""
    d = derivation
    cycles = gemm_cycles(d.array, d.m, d.k, d.n)
    return Count(way="closed form", cycles=cycles, folds=d.split.count, run_cycles=cycles)


def register_model(derivation: Derivation, patience_s: float) -> Count:
    """The array register by register, in NumPy.

    Args:
        derivation: Of the GEMM.
        patience_s: About how many seconds it may take.
    """
    array = derivation.array
    cells = array.rows * array.cols + array.rows**2 + array.cols**2  # with the skew registers
    way = Count(way="register model", cycles=None)

    def passed(left: Ints, right: Ints) -> tuple[Ints, Ints]:
        out = multiply(array, left, right, interval=derivation.interval)
        return out.product, out.edges

    return _hardware(way, derivation, passed, _EDGE_S + _EDGE_CELL_S * cells, patience_s)


def rtl(derivation: Derivation, patience_s: float) -> Count:
    """The array in Verilog, under Icarus Verilog, where both are at hand.

    Args:
        derivation: Of the GEMM.
        patience_s: About how many seconds it may take.
    """
    array = derivation.array
    way = Count(way="RTL", cycles=None)
    if why := why_unavailable():
        return replace(way, not_run=why)

    def passed(left: Ints, right: Ints) -> tuple[Ints, Ints]:
        with tempfile.TemporaryDirectory() as folder:
            operands = left.astype(np.int8), right.astype(np.int8)
            product, edges = Rtl(Path(folder)).multiply(array, *operands, derivation.interval)
        return product, edges

    per_edge_s = _RTL_PE_EDGE_S * array.rows * array.cols
    try:
        return _hardware(way, derivation, passed, per_edge_s, patience_s)
    except RtlError as error:
        return replace(way, not_run=" ".join(str(error).split()))


def _hardware(
    way: Count,
    derivation: Derivation,
    passed: Callable[[Ints, Ints], tuple[Ints, Ints]],
    per_edge_s: float,
    patience_s: float,
) -> Count:
    if derivation.array.overlap == "scale-sim":
        return replace(way, not_run="scale-sim is a way to count, no hardware")
    all_folds_s = _edges(derivation) * per_edge_s
    part = derivation if all_folds_s <= patience_s else _part(derivation)
    if _edges(part) * per_edge_s > patience_s:
        why = "a few folds would take too long"
        return replace(way, not_run=why, all_folds_s=all_folds_s)
    draw = np.random.default_rng((part.m, part.k, part.n))
    left = draw.integers(-128, 128, (part.m, part.k))
    right = draw.integers(-128, 128, (part.k, part.n))
    product, edges = passed(left, right)
    # Sums in the Verilog are 32 bits wide.
    right_product = bool((product.astype(np.int32) == (left @ right).astype(np.int32)).all())
    run_cycles = int(edges.max())
    left_out = derivation.folds - part.folds
    return replace(
        way,
        cycles=run_cycles + left_out * derivation.interval,
        folds=part.folds,
        run_cycles=run_cycles,
        product_right=right_product and bool(edges.min() > 0),
        all_folds_s=all_folds_s if left_out else 0.0,
    )


def _edges(derivation: Derivation) -> int:
    array = derivation.array
    return derivation.folds * derivation.interval + 2 * array.rows + array.cols + derivation.stream


def _part(derivation: Derivation) -> Derivation:
    """A few of the folds: two column blocks, the last as it is, of a few folds each.

    A block is left whole, or as long as the array is wide, so that the result that is last to leave
    the part is the one that is last to leave the whole.
    """
    rows, cols = derivation.rows, derivation.cols
    blocks = min(cols.folds, 2)
    per_block = min(rows.folds, max(2, -(-cols.pes // derivation.interval)))
    sizes = {
        derivation.stream_name: derivation.stream,
        rows.name: rows.size - (rows.folds - per_block) * rows.pes,
        cols.name: cols.size - (cols.folds - blocks) * cols.pes,
    }
    return derive(derivation.array, sizes["M"], sizes["K"], sizes["N"])


def engine(derivation: Derivation) -> Count:
    """The SimPy engine with ideal memory: each fold a tile, from the first to the last event."""
    d = derivation
    edge = load_machine("edge-32x32")  # of which nothing but the array is used
    assert isinstance(edge, Accelerator)
    machine = edge.replace(
        array=d.array,
        buffers=edge.buffers.replace(accumulator_bytes=_AMPLE, im2col_bytes_per_cycle=None),
    )
    product = gemm.Gemm(
        shape=gemm.Shape(groups=1, repeats=1, m=d.m, k=d.k, n=d.n),
        bits=Widths(8, 8, 8),
        loads_input=False,
        loads_weight=False,
        stores=False,
        input_room=_AMPLE,
        vector_cost=Fraction(0),
    )
    cuts = {d.rows.name: d.rows.pes, d.cols.name: d.cols.pes, d.stream_name: d.stream}
    mapping = gemm.GemmMapping(groups=1, m=cuts["M"], k=cuts["K"], n=cuts["N"], order=_order(d))
    nodes = gemm.nodes(product, mapping, machine, Fraction(1))
    spans = run(Program(kernels=(KernelProgram(name="gemm", kind="matmul", nodes=nodes),)), machine)
    cycles = spans.cycles - (d.elapsed - d.cycles)
    folds = int(spans.counts[spans.is_of("array")].sum())
    return Count(way="engine", cycles=cycles, folds=folds, run_cycles=cycles)


def _order(derivation: Derivation) -> str:
    """Column blocks outermost: along n, or along m where that lies along the columns."""
    return "mn" if derivation.cols.name == "M" else "nm"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnMachine:
    """The GEMM on a whole machine: operands from DRAM, results through the vector unit to DRAM.

    Attributes:
        machine: Its name.
        format: Of the operands.
        mapping: How the product was cut into tiles.
        dram_bytes: Loaded and stored.
        ideal_cycles: With ideal memory and nothing behind the array.
        cycles: From the first load to the last store.
        added: Cycles over the ideal, by the cause of the loss; they add up exactly.
        notes: What of the machine was set aside.
    """

    machine: str
    format: str
    mapping: str
    dram_bytes: int
    ideal_cycles: int
    cycles: int
    added: dict[str, Fraction]
    notes: tuple[str, ...]


def on_machine(derivation: Derivation, machine: Accelerator) -> OnMachine:
    """Run the GEMM with trained weights, and nothing before or after it, on `machine`.

    The array is that of the derivation, one of it, at one MAC per PE and cycle.

    Raises:
        MappingError: A buffer cannot hold one tile.
        TypeError: The machine's array is not systolic.
    """
    d, format = derivation, machine.default_format
    own = machine.array
    if not isinstance(own, SystolicArray):
        raise TypeError(f"wanted a machine with a systolic array, got {own!r}")
    notes = [f"one of its {own.count} arrays"] if own.count > 1 else []
    if own.macs_per_pe_cycle.get(format) != 1:
        notes.append(f"one MAC per PE and cycle, where it does {own.macs_per_pe_cycle.get(format)}")
    rates = PerProduct(**{format: Fraction(1)})
    array = d.array.replace(count=1, macs_per_pe_cycle=rates)
    lead = MatMul(
        name="gemm",
        operands=(Operand(sources=("x",), elements=d.m * d.k),),
        shape=(d.m, d.n),
        m=d.m,
        k=d.k,
        n=d.n,
        weights=1,
    )
    workload = Workload(
        name="gemm",
        operators=(lead,),
        inputs=(("x", (d.m, d.k)),),
        outputs=("gemm",),
        parameters=lead.parameters,
    )
    result = simulate(workload, machine.replace(array=array))
    pes = array.pes
    parts = d.pe_cycles
    ideal = {
        "useful": parts["useful"],
        "edge": parts["partial_rows"] + parts["partial_columns"],
        "fill_drain": parts["between_folds"] + parts["fill_drain"],
    }
    added = {cause: (getattr(result.losses, cause) - ideal.get(cause, 0)) / pes for cause in CAUSES}
    (kernel,) = result.operators
    return OnMachine(
        machine=machine.name,
        format=format,
        mapping=kernel.mapping,
        dram_bytes=result.dram_bytes,
        ideal_cycles=d.elapsed,
        cycles=result.cycles,
        added={cause: cycles for cause, cycles in added.items() if cycles},
        notes=tuple(notes),
    )
