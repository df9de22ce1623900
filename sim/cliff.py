"""Cliffs: what one block of a vision transformer takes at every token count.

The cost of a product is a staircase, because a ragged fold costs an array almost as much as a full
one.  Whether a machine shows the array's staircase depends on what else it waits for, so the array
alone, fed by an ideal memory, is counted beside the whole machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arch import OVERLAPS, Accelerator, ComputeArray, Gpu, SystolicArray
from ..workloads.block import TOKENS, block, stacked
from ..workloads.extent import evaluate, known
from ..workloads.graph import Workload
from ..workloads.operator import Attention, MatMul
from .array_work import array_work
from .formats import Formats, Widths
from .gpu.how import How, how
from .shares import alone, most_of, split_of
from .simulate import execute

__all__ = ["Curve", "Staircase", "block_cycles", "compute_cycles", "dataflows", "staircase"]

Column = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One block on one machine, by token count; the counts belong to the `Staircase`.

    Attributes:
        dataflow, overlap: Of the array; empty for a GPU and for an unrolled array.
        own: Whether the machine is built that way.
        compute_cycles: On the arrays alone, fed and emptied without waiting, `(counts,)`; None for
            a GPU.
        cycles: On the whole machine, `(counts,)`.
    """

    dataflow: str
    overlap: str
    own: bool
    compute_cycles: Column | None = field(repr=False)
    cycles: Column = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Staircase:
    """One block of a model at many token counts.

    Attributes:
        workload, machine, format: What ran on what.
        images: Run side by side.
        whole: Tokens of the model before pruning.
        tokens: Of one image, CLS and package token included, ascending, `(counts,)`.
        macs: Of the block for all images, `(counts,)`.
        clock_hz: Of the machine.
        macs_per_cycle: What it computes at most.
        sides: Rows and columns of a systolic array; empty for others.
        curves: The machine's own first.
        model: How a GPU was modelled: `kernels` or `roofline`; empty for an accelerator.
        engine: What ran the block on a GPU; empty where the model knows of none.
    """

    workload: str
    machine: str
    format: str
    images: int
    whole: int
    tokens: Column = field(repr=False)
    macs: Column = field(repr=False)
    clock_hz: float
    macs_per_cycle: float
    sides: tuple[int, ...]
    curves: tuple[Curve, ...]
    model: str = ""
    engine: str = ""

    @property
    def own(self) -> Curve:
        """The machine as it is built."""
        return self.curves[0]

    def seconds(self, cycles: Column) -> NDArray[np.float64]:
        """Time of a block, `(counts,)`."""
        return cycles / self.clock_hz

    def utilization(self, cycles: Column) -> NDArray[np.float64]:
        """MACs done over MACs possible, `(counts,)`."""
        return self.macs / (cycles * self.macs_per_cycle)


def staircase(
    workload: Workload,
    machine: Accelerator | Gpu,
    tokens: Sequence[int] | None = None,
    *,
    images: int = 1,
    format: str | None = None,
    bind: Mapping[str, int] | None = None,
    sweep_dataflows: bool = False,
    engine: str | None = None,
    model: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Staircase:
    """Run one block at every token count.

    Args:
        workload: A vision transformer, pruned or not.
        machine: What it runs on.
        tokens: Counts, ascending; all from 1 to the model's by default.
        images: That run side by side.
        format: Number format; the machine's own if None.
        bind: Values for symbols other than kept counts.
        sweep_dataflows: Also run the machine with the other dataflows; see `dataflows`.
        engine: What runs it on a GPU, as of `simulate`.
        model: How a GPU is modelled, as of `simulate`.
        progress: Told what comes next.

    Raises:
        BindingError: The model is not made of blocks; see `workloads.block`.
        MappingError: The machine does not compute in `format` or cannot hold a tile; or an engine
            or a model does not apply to it.
    """
    chosen = how(machine, model, engine)
    one = block(workload, bind)
    format = format or machine.default_format
    whole = int(one.binding()[TOKENS])
    counts = np.array(tokens or range(1, whole + 1), dtype=np.int64)
    machines = dataflows(machine) if sweep_dataflows else (machine,)
    curves: list[Curve] = []
    for built in machines:
        systolic = _systolic(built)
        progress(f"{systolic.dataflow if systolic else 'tokens'} {counts[0]} to {counts[-1]}")
        curves.append(_curve(one, built, counts, images, format, chosen, own=built is machine))
    return Staircase(
        workload=workload.name,
        machine=machine.name,
        format=format,
        images=images,
        whole=whole,
        tokens=counts,
        macs=images * evaluate(one.macs, {TOKENS: counts}),
        clock_hz=float(machine.clock_hz),
        macs_per_cycle=_peak(machine, format),
        sides=(array.rows, array.cols) if (array := _systolic(machine)) else (),
        curves=tuple(curves),
        model=chosen.model if chosen else "",
        engine=chosen.engine.name if chosen and chosen.engine else "",
    )


def dataflows(machine: Accelerator | Gpu) -> tuple[Accelerator | Gpu, ...]:
    """The machine, then the same with every other dataflow and that one's default overlap.

    A GPU and an unrolled array know none, and stay alone.
    """
    array = _systolic(machine)
    if array is None or isinstance(machine, Gpu):
        return (machine,)
    others = (
        array.replace(dataflow=flow, overlap=overlaps[0])
        for flow, overlaps in OVERLAPS.items()
        if flow != array.dataflow
    )
    return machine, *(machine.replace(array=other) for other in others)


def block_cycles(
    block: Workload,
    machine: Accelerator | Gpu,
    tokens: int,
    *,
    images: int = 1,
    format: str,
    chosen: How | None = None,
) -> int:
    """Cycles of a block inside a model, from the end of the block before to its own.

    While one block runs, the weights of the next are loaded, so a block in a model costs less than
    one alone.  The third of four is taken: beginning and end are far enough away.

    Args:
        block: From `workloads.block`.
        machine: What it runs on.
        tokens: Of each image.
        images: That run side by side.
        format: Number format.
        chosen: How a GPU is modelled; by its default if None.

    Raises:
        MappingError: The machine does not compute in `format` or cannot hold a tile.
    """
    four = stacked(block, tokens, blocks=4, images=images)
    kernels = execute(four, machine, format, chosen=chosen).operators
    each = len(kernels) // 4
    _, second, third, _ = (kernel.end_cycle for kernel in kernels[each - 1 :: each])
    return third - second


def compute_cycles(
    block: Workload,
    array: ComputeArray,
    tokens: int,
    *,
    images: int = 1,
    format: str = "int8",
) -> int:
    """Cycles of a block's products on the arrays alone, one product after another.

    What counts are the products with trained weights, over the tokens of all images, and for each
    head of each image Q K^T and A V.  Softmax and norms, memory and the vector unit do not.  With
    `scale-sim` the sum is that of SCALE-Sim's reports; otherwise an operator's products enter the
    arrays back to back, and each operator drains before the next begins.

    >>> from tilewise.workloads import vit
    >>> one = block(vit(depth=2, embed=384, heads=6))
    >>> array = SystolicArray(rows=128, cols=128, dataflow="os", overlap="scale-sim")
    >>> [compute_cycles(one, array, tokens) for tokens in (128, 138, 197)]
    [24866, 53684, 54392]

    Args:
        block: From `workloads.block`.
        array: The arrays.
        tokens: Of each image.
        images: That run side by side.
        format: Number format.

    Raises:
        FormatError: The arrays do not compute in `format`.
    """
    rate = array.macs_per_pe_cycle.most(format, format)
    width = Widths.of(Formats(format, format, format))
    scale_sim = isinstance(array, SystolicArray) and array.overlap == "scale-sim"
    split = split_of(array)
    images = most_of(images, array) if split == "image" else images
    total = 0
    for operator in block.bind({TOKENS: tokens}).operators:
        by_head = split == "head" and not (isinstance(operator, MatMul) and operator.weights == 1)
        # Of arrays that work apart, the one with most to do is the last to be ready.
        last = alone(array) if by_head or split == "image" else array
        for copies, m, k, n in _products(operator, images):
            most = most_of(copies, array) if by_head else copies
            work = array_work(last, most, m, k, n, bits=width, rate=rate)
            total += work.latency - most * scale_sim
    return total


def _products(operator: object, images: int) -> list[tuple[int, int, int, int]]:
    """Copies, m, k and n of what an operator multiplies."""
    match operator:
        case MatMul(weights=1, copies=1):
            return [(1, known(operator.m) * images, known(operator.k), known(operator.n))]
        case MatMul():
            copies = known(operator.copies) * images
            return [(copies, known(operator.m), known(operator.k), known(operator.n))]
        case Attention():
            heads, queries = known(operator.copies) * images, known(operator.queries)
            keys, width = known(operator.keys), known(operator.head_dim)
            return [
                (heads, queries, width, keys),
                (heads, queries, keys, known(operator.value_dim)),
            ]
        case _:
            return []


def _curve(
    block: Workload,
    machine: Accelerator | Gpu,
    counts: Column,
    images: int,
    format: str,
    chosen: How | None,
    *,
    own: bool,
) -> Curve:
    cycles = [
        block_cycles(block, machine, int(count), images=images, format=format, chosen=chosen)
        for count in counts
    ]
    systolic = _systolic(machine)
    compute = None
    if not isinstance(machine, Gpu):
        array = machine.array
        alone = [compute_cycles(block, array, int(t), images=images, format=format) for t in counts]
        compute = np.array(alone)
    return Curve(
        dataflow=systolic.dataflow if systolic else "",
        overlap=systolic.overlap if systolic else "",
        own=own,
        compute_cycles=compute,
        cycles=np.array(cycles),
    )


def _systolic(machine: Accelerator | Gpu) -> SystolicArray | None:
    if isinstance(machine, Gpu) or not isinstance(machine.array, SystolicArray):
        return None
    return machine.array


def _peak(machine: Accelerator | Gpu, format: str) -> float:
    """MACs a cycle at most."""
    if isinstance(machine, Gpu):
        return machine.flops_per_s(format) / 2 / float(machine.clock_hz)
    return float(machine.array.macs_per_cycle(format))
