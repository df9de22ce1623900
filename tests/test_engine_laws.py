"""Which question: does every run obey the laws that any machine obeys?"""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.arch import OVERLAPS, Accelerator, load_machine
from tilewise.sim import attention, gemm, tiling, vector_work
from tilewise.sim.attention import Heads
from tilewise.sim.engine import Bus, run
from tilewise.sim.errors import MappingError
from tilewise.sim.gemm import Gemm, GemmMapping, Shape
from tilewise.sim.losses import CAUSES, account
from tilewise.sim.program import KernelProgram, Program, tiles, total
from tilewise.sim.spans import Spans
from tilewise.sim.systolic import gemm_cycles

RATE = Fraction(1)
_EDGE = load_machine("edge-32x32")
assert isinstance(_EDGE, Accelerator)
EDGE: Accelerator = _EDGE


@st.composite
def machines(draw: st.DrawFn, *, count: bool = True) -> Accelerator:
    """Small machines of every dataflow, from starved to ample."""
    flow = draw(st.sampled_from(sorted(OVERLAPS)))
    array = EDGE.array.replace(
        rows=draw(st.integers(1, 12)),
        cols=draw(st.integers(1, 12)),
        count=draw(st.integers(1, 3)) if count else 1,
        dataflow=flow,
        overlap=draw(st.sampled_from(OVERLAPS[flow])),
    )
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
    shape = Shape(
        groups=draw(st.integers(1, 3)),
        repeats=draw(st.integers(1, 3)),
        m=draw(size),
        k=draw(size),
        n=draw(size),
    )
    return Gemm(
        shape=shape,
        bits=8,
        loads_input=draw(st.booleans()),
        loads_weight=draw(st.booleans()),
        stores=draw(st.booleans()),
        input_room=machine.buffers.input_bytes,
        extra=draw(st.integers(0, 1)),
        once=draw(st.integers(0, 30)),
        vector_cost=draw(st.sampled_from([Fraction(0), Fraction(1), Fraction(5, 2)])),
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
                heads = Heads(
                    copies=draw(st.integers(1, 3)),
                    queries=draw(st.integers(1, 40)),
                    keys=draw(st.integers(1, 40)),
                    head_dim=draw(st.integers(1, 16)),
                    value_dim=draw(st.integers(1, 16)),
                    bits=8,
                    loads_input=draw(st.booleans()),
                    loads_weight=draw(st.booleans()),
                    stores=draw(st.booleans()),
                    input_room=machine.buffers.input_bytes,
                    loads_mask=draw(st.booleans()),
                    extra=draw(st.integers(0, 1)),
                    once=draw(st.integers(0, 20)),
                    softmax_cost=Fraction(4),
                    vector_cost=Fraction(1),
                    merge_cost=Fraction(2),
                )
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
def vector_nodes(draw: st.DrawFn, machine: Accelerator, host: int) -> Any:
    rows, length = draw(st.integers(1, 30)), draw(st.integers(1, 300))
    work = vector_work.Rows(
        rows=rows,
        input_elements=rows * length * draw(st.booleans()),
        output_elements=rows * length * draw(st.booleans()),
        parameters=draw(st.integers(0, 40)),
        whole_row=draw(st.booleans()),
        reads=rows * length,
        outputs=rows * length,
        lane_cycles=Fraction(3 * rows * length),
        bits=8,
        input_room=machine.buffers.input_bytes,
        operands=1,
        host_cycles=host,
    )
    return vector_work.nodes(work, vector_work.choose(work, machine), machine)


def busy(spans: Spans, *units: str) -> int:
    found = spans.of_unit(*units)
    return int((found.end - found.start).sum())


@given(programs())
@settings(max_examples=150)
def test_the_makespan_lies_between_the_longest_part_and_the_sum_of_all(
    case: tuple[Accelerator, Program],
) -> None:
    machine, program = case
    spans = run(program, machine)
    bus = busy(spans, "weights", "inputs", "store")
    array = busy(spans, "array")
    # A port may be held beyond the last result, which ends the run one cycle earlier.
    assert max(bus, array - 1, busy(spans, "vector")) <= spans.cycles
    everything = (spans.end - spans.start + abs(spans.tail)).sum()
    assert spans.cycles <= everything


@given(programs())
@settings(max_examples=150)
def test_losses_are_exact_and_none_is_negative(case: tuple[Accelerator, Program]) -> None:
    machine, program = case
    spans = run(program, machine)
    losses = account(program, spans, machine)
    for kernel in losses:
        assert all(getattr(kernel, cause) >= 0 for cause in CAUSES), kernel
    whole = sum((kernel.total for kernel in losses), Fraction(0))
    assert whole == machine.array.pes * spans.cycles
    macs = sum(total(kernel.nodes).macs for kernel in program.kernels)
    assert sum((kernel.useful for kernel in losses), Fraction(0)) == macs / RATE


@given(programs())
@settings(max_examples=100)
def test_the_bus_is_busy_for_the_bytes_of_every_tile(case: tuple[Accelerator, Program]) -> None:
    machine, program = case
    bus = Bus(machine)
    expected = 0
    for kernel in program.kernels:
        for tile in tiles(kernel.nodes):
            for size, loads in (
                (tile.weight_bytes, tile.weight_loads),
                (tile.input_bytes, tile.input_loads),
                (tile.store_bytes, 1),
            ):
                expected += bus.transfer_cycles(size, loads) if size else 0
    assert busy(run(program, machine), "weights", "inputs", "store") == expected


@given(programs(), st.sampled_from(["bandwidth", "latency", "setup", "buffers", "host"]))
@settings(max_examples=200)
def test_at_a_fixed_mapping_a_better_part_never_makes_it_slower(
    case: tuple[Accelerator, Program], part: str
) -> None:
    machine, program = case
    dram, buffers = machine.dram, machine.buffers
    better = {
        "bandwidth": machine.replace(dram=dram.replace(bytes_per_s=dram.bytes_per_s * 1.7)),
        "latency": machine.replace(dram=dram.replace(latency_s=dram.latency_s / 2)),
        "setup": machine.replace(dram=dram.replace(setup_cycles=dram.setup_cycles // 2)),
        "buffers": machine.replace(
            buffers=buffers.replace(
                input_bytes=buffers.input_bytes * 2,
                weight_bytes=buffers.weight_bytes * 3,
                output_bytes=buffers.output_bytes * 2,
                accumulator_bytes=buffers.accumulator_bytes + 4096,
            )
        ),
        "host": machine,
    }[part]
    faster = program
    if part == "host":
        faster = Program(
            kernels=tuple(
                replace(
                    kernel,
                    nodes=tuple(
                        replace(t, host_cycles=t.host_cycles // 2) for t in tiles(kernel.nodes)
                    ),
                )
                for kernel in program.kernels
            )
        )
    assert run(faster, better).cycles <= run(program, machine).cycles


@given(programs())
@settings(max_examples=60)
def test_a_run_repeats_exactly(case: tuple[Accelerator, Program]) -> None:
    machine, program = case
    assert list(run(program, machine)) == list(run(program, machine))


@given(st.data())
@settings(max_examples=200)
def test_tiles_partition_the_work_of_a_product(data: st.DataObject) -> None:
    machine = data.draw(machines())
    product = data.draw(gemms(machine))
    shape = product.shape
    try:
        mapping = tiling.choose(product, machine, RATE)
    except MappingError:
        return
    sums = total(gemm.nodes(product, mapping, machine, RATE))
    copies = shape.groups * shape.repeats
    outputs = copies * shape.m * shape.n
    assert sums.macs == sums.useful == outputs * shape.k
    assert sums.outputs == outputs
    assert sums.store_bytes == outputs * product.stores
    assert sums.weight_bytes >= shape.groups * shape.k * shape.n * product.loads_weight
    compulsory = copies * shape.m * shape.k * product.loads_input
    assert sums.input_bytes >= compulsory + product.extra * outputs + product.once
    assert sums.streamed + sums.throttled + sums.idle <= sums.array_cycles * machine.array.pes


@given(st.data())
@settings(max_examples=200)
def test_every_byte_taken_from_a_buffer_is_given_back(data: st.DataObject) -> None:
    machine, program = data.draw(programs())
    for kernel in program.kernels:
        steps = list(tiles(kernel.nodes))
        assert sum(t.weight_bytes - t.weights_freed for t in steps) == 0
        assert sum(t.input_bytes - t.inputs_freed - t.vector_frees for t in steps) == 0
        freed = sum(t.accumulators_freed + t.scores_freed for t in steps)
        assert sum(t.accumulator_bytes for t in steps) == freed
    run(program, machine)


@given(st.data())
@settings(max_examples=300)
def test_with_ideal_memory_the_engine_equals_the_whole_product_however_it_is_tiled(
    data: st.DataObject,
) -> None:
    machine = data.draw(machines(count=False))
    array = machine.array
    ample = machine.buffers.replace(accumulator_bytes=1 << 40, input_bytes=1 << 40)
    machine = machine.replace(buffers=ample.replace(im2col_bytes_per_cycle=None))
    m, k, n = (data.draw(st.integers(1, 70)) for _ in range(3))
    product = Gemm(
        shape=Shape(groups=1, repeats=1, m=m, k=k, n=n),
        bits=8,
        loads_input=False,
        loads_weight=False,
        stores=False,
        input_room=1 << 40,
        vector_cost=Fraction(0),
    )
    # Any cut that keeps folds whole: multiples of the array along its rows and columns.
    along_rows, along_cols = {"ws": ("k", "n"), "os": ("m", "n"), "is": ("k", "m")}[array.dataflow]
    cuts = {"m": m, "k": k, "n": n}
    cuts[along_rows] = array.rows * data.draw(st.integers(1, 5))
    cuts[along_cols] = array.cols * data.draw(st.integers(1, 5))
    mapping = GemmMapping(groups=1, order=data.draw(st.sampled_from(["mn", "nm"])), **cuts)
    nodes = gemm.nodes(product, mapping, machine, RATE)
    spans = run(Program(kernels=(KernelProgram(name="x", kind="matmul", nodes=nodes),)), machine)
    blocks = -(-{"m": m, "n": n}[along_cols] // array.cols)
    whole = gemm_cycles(array, m, k, n) + (array.overlap == "scale-sim")  # numbered from zero
    if array.dataflow == "os" and mapping.order == "mn" and cuts["m"] < m and blocks > 1:
        # Row blocks come outermost: the same folds in another order end on another column block.
        assert abs(spans.cycles - whole) <= array.cols
    else:
        assert spans.cycles == whole


@given(st.data())
@settings(max_examples=150)
def test_tiles_partition_the_work_of_attention(data: st.DataObject) -> None:
    machine = data.draw(machines())
    heads = Heads(
        copies=data.draw(st.integers(1, 3)),
        queries=data.draw(st.integers(1, 50)),
        keys=data.draw(st.integers(1, 50)),
        head_dim=data.draw(st.integers(1, 16)),
        value_dim=data.draw(st.integers(1, 16)),
        bits=8,
        input_room=machine.buffers.input_bytes,
        softmax_cost=Fraction(4),
        vector_cost=Fraction(1),
        merge_cost=Fraction(2),
    )
    try:
        mapping = attention.choose(heads, machine, RATE)
    except MappingError:
        return
    sums = total(attention.nodes(heads, mapping, machine, RATE))
    scores = heads.copies * heads.queries * heads.keys
    assert sums.macs == scores * (heads.head_dim + heads.value_dim)
    outputs = heads.copies * heads.queries * heads.value_dim
    assert sums.store_bytes == sums.outputs == outputs
    assert sums.input_bytes == heads.copies * heads.queries * heads.head_dim
    assert sums.weight_bytes >= heads.copies * heads.keys * (heads.head_dim + heads.value_dim)
