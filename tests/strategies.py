"""Random machines and programs, small enough to run by the hundred."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, get_args

from hypothesis import strategies as st

from tilewise.arch import (
    OVERLAPS,
    Accelerator,
    Split,
    SystolicArray,
    UnrolledArray,
    load_machine,
)
from tilewise.sim import attention, gemm, tiling, vector_work
from tilewise.sim.attention import Heads
from tilewise.sim.errors import MappingError
from tilewise.sim.formats import Widths
from tilewise.sim.gemm import Gemm, Shape
from tilewise.sim.lanes import Lane
from tilewise.sim.program import KernelProgram, Program
from tilewise.sim.shares import Dealt, in_turn, split_of

RATE = Fraction(1)
_EDGE = load_machine("edge-32x32")
assert isinstance(_EDGE, Accelerator)
EDGE: Accelerator = _EDGE


WIDTHS = st.builds(Widths, *[st.sampled_from([2, 4, 6, 8])] * 3)
"""Bits of the operands of a product and of its output."""


@st.composite
def systolic_arrays(draw: st.DrawFn, *, count: bool = True) -> SystolicArray:
    """Small arrays of every dataflow and overlap."""
    flow = draw(st.sampled_from(sorted(OVERLAPS)))
    return SystolicArray(
        rows=draw(st.integers(1, 12)),
        cols=draw(st.integers(1, 12)),
        count=draw(st.integers(1, 3)) if count else 1,
        split=draw(st.sampled_from(get_args(Split))),
        dataflow=flow,
        overlap=draw(st.sampled_from(OVERLAPS[flow])),
    )


@st.composite
def unrolled_arrays(draw: st.DrawFn, *, side: int = 12, heads: int = 4) -> UnrolledArray:
    """Small unrolled arrays, with ports from starved to ample."""
    ports = st.integers(1, 5)
    return UnrolledArray(
        tm=draw(st.integers(1, side)),
        tn=draw(st.integers(1, side)),
        th=draw(st.integers(1, heads)),
        word_bits=draw(st.sampled_from([8, 20, 32, 128])),
        input_ports=draw(ports),
        weight_ports=draw(ports),
        output_ports=draw(ports),
    )


@st.composite
def machines(draw: st.DrawFn) -> Accelerator:
    """Small machines around every kind of array, from starved to ample."""
    return draw(machines_with(draw(systolic_arrays() | unrolled_arrays())))


@st.composite
def machines_with(draw: st.DrawFn, array: SystolicArray | UnrolledArray) -> Accelerator:
    """Small machines around an array, from starved to ample."""
    size = st.integers(9, 14).map(lambda power: 1 << power)
    buffers = EDGE.buffers.replace(
        input_bytes=draw(size),
        weight_bytes=draw(size),
        output_bytes=draw(size),
        accumulator_bytes=4 * draw(size),
        im2col_bytes_per_cycle=draw(st.sampled_from([None, 1, Fraction(7, 2), 64])),
    )
    dram = EDGE.dram.replace(
        bytes_per_s=draw(st.sampled_from([5e8, 3.3e9, 1.28e10, 1e12])),
        latency_s=draw(st.sampled_from([0.0, 1e-8, 1e-7])),
        setup_cycles=draw(st.integers(0, 20)),
    )
    vector = EDGE.vector.replace(lanes=draw(st.integers(1, 64)))
    return EDGE.replace(array=array, buffers=buffers, dram=dram, vector=vector)


@st.composite
def gemms(draw: st.DrawFn, machine: Accelerator) -> Gemm:
    size = st.integers(1, 60)
    sizes = {"groups": draw(st.integers(1, 3)), "repeats": draw(st.integers(1, 3)), "m": draw(size)}
    array, dealt = machine.array, None
    if isinstance(array, SystolicArray) and split_of(array) != "tile":
        axis = draw(st.sampled_from(sorted(sizes)))
        items = draw(st.lists(st.integers(1, 20 if axis == "m" else 2), min_size=1, max_size=5))
        sizes[axis], dealt = sum(items), Dealt(axis, in_turn(items, array.count))
    shape = Shape(
        groups=sizes["groups"],
        repeats=sizes["repeats"],
        m=sizes["m"],
        k=draw(size),
        n=draw(size),
        dealt=dealt,
    )
    return Gemm(
        shape=shape,
        bits=draw(WIDTHS),
        loads_input=draw(st.booleans()),
        loads_weight=draw(st.booleans()),
        stores=draw(st.booleans()),
        input_room=machine.buffers.input_bytes,
        extra=draw(st.sampled_from([(), (8,), (4, 8)])),
        bias=draw(st.booleans()),
        once_bytes=draw(st.integers(0, 30)),
        once_trained_bytes=draw(st.integers(0, 30)),
        leaving=draw(st.sampled_from([Fraction(1), Fraction(1, 3)])),
        vector_cost=draw(st.sampled_from([Fraction(0), Fraction(1), Fraction(5, 2)])),
    )


@st.composite
def attentions(draw: st.DrawFn, machine: Accelerator) -> Heads:
    """Heads alike, or of images of different sizes where arrays are dealt heads or images."""
    tokens = st.integers(1, 40)
    lanes = [Lane(draw(st.integers(1, 3)), draw(tokens), draw(tokens))]
    dealt = split_of(machine.array) != "tile"
    if dealt:
        lanes += draw(st.lists(st.builds(Lane, st.integers(1, 2), tokens, tokens), max_size=4))
        sizes = (sorted((lane[axis] for lane in lanes), reverse=True) for axis in (1, 2))
        pairs = zip(lanes, *sizes, strict=True)
        lanes = [Lane(lane.copies, queries, keys) for lane, queries, keys in pairs]
    return Heads(
        copies=sum(lane.copies for lane in lanes),
        queries=max(lane.queries for lane in lanes),
        keys=max(lane.keys for lane in lanes),
        head_dim=draw(st.integers(1, 16)),
        value_dim=draw(st.integers(1, 16)),
        dealt=tuple(lanes) if dealt else (),
        bits=draw(WIDTHS),
        loads_input=draw(st.booleans()),
        loads_key=draw(st.booleans()),
        loads_value=draw(st.booleans()),
        stores=draw(st.booleans()),
        input_room=machine.buffers.input_bytes,
        loads_mask=draw(st.booleans()),
        extra=draw(st.sampled_from([(), (8,), (4, 8)])),
        once_bytes=draw(st.integers(0, 20)),
        softmax_cost=Fraction(4),
        vector_cost=Fraction(1),
        merge_cost=Fraction(2),
    )


@st.composite
def programs(draw: st.DrawFn) -> tuple[Accelerator, Program]:
    """Chains of products, attention and vector work, each reading some of those before it."""
    machine = draw(machines())
    kernels: list[KernelProgram] = []
    for index in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(["gemm", "attention", "vector", "decision"])):
            case "gemm":
                product = draw(gemms(machine))
                try:
                    mapping = tiling.choose(product, machine, RATE)
                except MappingError:
                    continue
                nodes = gemm.nodes(product, mapping, machine, RATE)
            case "attention":
                heads = draw(attentions(machine))
                try:
                    block = attention.choose(heads, machine, RATE)
                except MappingError:
                    continue
                nodes = attention.nodes(heads, block, machine, RATE)
            case kind:
                nodes = draw(vector_nodes(machine, host=50 if kind == "decision" else 0))
        after = draw(st.sets(st.integers(0, len(kernels) - 1))) if kernels else set[int]()
        kernels.append(
            KernelProgram(
                name=f"k{index}",
                kind="any",
                nodes=nodes,
                after=tuple(sorted(after)),
                weights_early=draw(st.booleans()),
            )
        )
    return machine, Program(kernels=tuple(kernels))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Accelerator, Program]:
    """A program's kernels several times over, each time waiting for the time before."""
    (machine, program), times = draw(programs()), draw(st.integers(3, 6))
    size = len(program.kernels)
    kernels = [
        replace(kernel, after=tuple(number * size + other for other in kernel.after))
        for number in range(times)
        for kernel in program.kernels
    ]
    for number in range(1, times if size else 0):
        first = kernels[number * size]
        kernels[number * size] = replace(first, after=(*first.after, number * size - 1))
    return machine, Program(kernels=tuple(kernels))


@st.composite
def vector_nodes(draw: st.DrawFn, machine: Accelerator, host: int) -> Any:
    rows, length = draw(st.integers(1, 30)), draw(st.integers(1, 300))
    work = vector_work.Rows(
        rows=rows,
        elements=rows * length,
        input_bits=draw(st.sampled_from([4, 6, 8])) * rows * length * draw(st.booleans()),
        output_bits=draw(st.sampled_from([4, 6, 8])) * rows * length * draw(st.booleans()),
        parameter_bytes=draw(st.integers(0, 40)),
        whole_row=draw(st.booleans()),
        reads=rows * length,
        outputs=rows * length,
        lane_cycles=Fraction(3 * rows * length),
        input_room=machine.buffers.input_bytes,
        operands=1,
        host_cycles=host,
    )
    return vector_work.nodes(work, vector_work.choose(work, machine), machine)
