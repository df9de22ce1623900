"""Which question: does every run obey the laws that any machine obeys?"""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import RATE, gemms, machines, machines_with, programs, systolic_arrays

from tilewise.arch import Accelerator
from tilewise.sim import attention, gemm, tiling
from tilewise.sim.attention import Heads
from tilewise.sim.bus import Bus
from tilewise.sim.engine import run
from tilewise.sim.errors import MappingError
from tilewise.sim.formats import Widths
from tilewise.sim.gemm import Gemm, GemmMapping, Shape
from tilewise.sim.losses import CAUSES, Losses, account
from tilewise.sim.program import KernelProgram, Program, tiles, total
from tilewise.sim.spans import Spans
from tilewise.sim.systolic import gemm_cycles


@given(programs())
@settings(max_examples=200)
def test_a_run_obeys_every_law(case: tuple[Accelerator, Program]) -> None:
    # One test: programs take longer to draw than to run.
    machine, program = case
    spans = run(program, machine)
    bytes_taken_are_given_back(program)
    makespan_lies_between_the_longest_part_and_the_sum_of_all(spans)
    losses_are_exact_and_none_is_negative(machine, program, spans)
    bus_is_busy_for_the_bytes_of_every_tile(machine, program, spans)
    assert list(run(program, machine)) == list(spans), "a run repeats exactly"


def bytes_taken_are_given_back(program: Program) -> None:
    """To every buffer, by the kernel that took them."""
    for kernel in program.kernels:
        steps = list(tiles(kernel.nodes))
        assert sum(t.weight_bytes - t.weights_freed for t in steps) == 0
        assert sum(t.input_bytes - t.inputs_freed - t.vector_frees for t in steps) == 0
        freed = sum(t.accumulators_freed + t.scores_freed for t in steps)
        assert sum(t.accumulator_bytes for t in steps) == freed


def makespan_lies_between_the_longest_part_and_the_sum_of_all(spans: Spans) -> None:
    bus = spans.busy_cycles("weights", "inputs", "store")
    array = spans.busy_cycles("array")
    # A port may be held beyond the last result, which ends the run one cycle earlier.
    assert max(bus, array - 1, spans.busy_cycles("vector")) <= spans.cycles
    everything = ((spans.end - spans.start + abs(spans.tail)) * spans.counts).sum()
    assert spans.cycles <= everything


def losses_are_exact_and_none_is_negative(
    machine: Accelerator, program: Program, spans: Spans
) -> None:
    losses = account(program, spans, machine)
    for kernel in losses:
        assert all(getattr(kernel, cause) >= 0 for cause in CAUSES), kernel
    whole = sum((kernel.total for kernel in losses), Fraction(0))
    assert whole == machine.array.pes * spans.cycles
    together = Losses.sum(losses)
    for cause in CAUSES:
        assert getattr(together, cause) == sum(getattr(kernel, cause) for kernel in losses)
    macs = sum(total(kernel.nodes).macs for kernel in program.kernels)
    assert sum((kernel.useful for kernel in losses), Fraction(0)) == macs / RATE


def bus_is_busy_for_the_bytes_of_every_tile(
    machine: Accelerator, program: Program, spans: Spans
) -> None:
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
    assert spans.busy_cycles("weights", "inputs", "store") == expected


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
    if product.leaving == 1:
        assert sums.outputs == outputs
        assert 8 * sums.store_bytes >= outputs * product.bits.out * product.stores
    weights = shape.groups * (shape.k + product.bias) * shape.n
    weight_bits = weights * product.bits.right * product.loads_weight
    assert 8 * (sums.weight_bytes - product.once_trained_bytes) >= weight_bits
    leaving = outputs * product.leaving
    compulsory = copies * shape.m * shape.k * product.bits.left * product.loads_input
    beside = sum(product.extra) * leaving
    assert 8 * (sums.input_bytes - product.once_bytes) >= compulsory + beside
    assert sums.streamed + sums.throttled + sums.idle <= sums.array_cycles * machine.array.pes


@given(st.data())
@settings(max_examples=300)
def test_with_ideal_memory_the_engine_equals_the_whole_product_however_it_is_tiled(
    data: st.DataObject,
) -> None:
    array = data.draw(systolic_arrays(count=False))
    machine = data.draw(machines_with(array))
    ample = machine.buffers.replace(accumulator_bytes=1 << 40, input_bytes=1 << 40)
    machine = machine.replace(buffers=ample.replace(im2col_bytes_per_cycle=None))
    m, k, n = (data.draw(st.integers(1, 70)) for _ in range(3))
    product = Gemm(
        shape=Shape(groups=1, repeats=1, m=m, k=k, n=n),
        bits=Widths(8, 8, 8),
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
    whole = gemm_cycles(array, m, k, n) + (array.overlap == "scale-sim")  # numbered from zero
    uncut = cuts[along_rows] >= {"m": m, "k": k}[along_rows]
    one_block = cuts[along_cols] == array.cols
    if uncut or (one_block and (array.dataflow != "os" or mapping.order == "nm")):
        assert spans.cycles == whole
    else:  # the same folds in another order may end on a wider column block
        assert whole <= spans.cycles <= whole + array.cols - 1


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
        bits=Widths(8, 8, 8),
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
