"""Which question: does an unrolled engine take what its form says, and what does it lose?"""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import RATE, WIDTHS, machines_with, unrolled_arrays

from tilewise.arch import Accelerator, UnrolledArray, load_machine
from tilewise.sim import attention, gemm
from tilewise.sim.array_work import array_work, port_cycles
from tilewise.sim.attention import AttentionMapping, Heads
from tilewise.sim.engine import run
from tilewise.sim.formats import Widths
from tilewise.sim.gemm import Gemm, GemmMapping, Shape
from tilewise.sim.program import KernelProgram, Node, Program, tiles
from tilewise.sim.simulate import simulate
from tilewise.sim.unrolled import nest, summed
from tilewise.sim.unrolled_model import multiply
from tilewise.workloads import zoo
from tilewise.workloads.zoo.vit import vit

ROOM = 1 << 40
SMALL = st.integers(1, 14)
BYTES = Widths(8, 8, 8)
DIMS = st.integers(1, 300)


def heatvit() -> tuple[Accelerator, UnrolledArray]:
    machine = load_machine("zcu102-heatvit")
    assert isinstance(machine, Accelerator)
    assert isinstance(machine.array, UnrolledArray)
    return machine, machine.array


def operands(heads: int, m: int, k: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    draw = np.random.default_rng((heads, m, k, n))
    return draw.integers(1, 1 << 20, (heads, m, k)), draw.integers(1, 1 << 20, (heads, k, n))


def dealt(operand: NDArray[np.int64], axis: int, groups: int) -> NDArray[np.int64]:
    """A matrix cut into equal groups along an axis, the last filled up with zeros."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (0, -operand.shape[axis] % groups)
    return np.stack(np.split(np.pad(operand, pad), groups, axis=axis))


# --- The closed form


@given(unrolled_arrays(), DIMS, DIMS, DIMS, st.integers(1, 20))
def test_the_form_is_the_one_that_is_recalled(
    array: UnrolledArray, f: int, n: int, m: int, h: int
) -> None:
    g = array.word_bits // 8
    j_in = ceil(Fraction(array.th * ceil(Fraction(array.tn, g)) * f, array.input_ports))
    j_wgt = ceil(Fraction(array.th * ceil(Fraction(array.tn, g)) * array.tm, array.weight_ports))
    j_out = ceil(Fraction(array.th * ceil(Fraction(array.tm, g)) * f, array.output_ports))
    rounds = ceil(Fraction(h, array.th)) * ceil(Fraction(m, array.tm))
    inner = ceil(Fraction(n, array.tn)) * max(j_in, j_wgt, f) + f
    assert nest(array, h, f, n, m, bits=BYTES).cycles == rounds * max(inner, j_out) + j_out


@given(unrolled_arrays(side=6, heads=3), st.integers(1, 5), SMALL, SMALL, SMALL)
@settings(max_examples=300)
def test_the_form_is_what_ports_and_multipliers_take_word_by_word_and_the_product_is_right(
    array: UnrolledArray, heads: int, m: int, k: int, n: int
) -> None:
    left, right = operands(heads, m, k, n)
    loops = nest(array, heads, m, k, n, bits=BYTES)
    for lockstep, cycles in ((True, loops.cycles), (False, loops.self_timed_cycles)):
        made = multiply(array, left, right, lockstep=lockstep)
        assert made.product.tolist() == (left @ right).tolist()
        assert made.cycles == cycles


@given(unrolled_arrays(side=6, heads=3), SMALL, SMALL, SMALL)
@settings(max_examples=200)
def test_a_lone_product_is_dealt_to_the_heads_and_summed(
    array: UnrolledArray, m: int, k: int, n: int
) -> None:
    left, right = (operand[0] for operand in operands(1, m, k, n))
    groups = dealt(left, 1, array.th), dealt(right, 0, array.th)
    made = multiply(array, *groups, summed=True)
    assert made.product[0].tolist() == (left @ right).tolist()
    assert made.cycles == summed(array, m, k, n, bits=BYTES).cycles


@given(unrolled_arrays(), DIMS, DIMS, DIMS, st.integers(1, 20))
def test_an_engine_that_skips_empty_halves_saves_the_first_loads_and_the_first_store(
    array: UnrolledArray, f: int, n: int, m: int, h: int
) -> None:
    loops = nest(array, h, f, n, m, bits=BYTES)
    skipped = max(0, f - loops.load)
    assert loops.self_timed_cycles <= loops.cycles
    if loops.store <= loops.steps * loops.phase + loops.stream - skipped:
        assert loops.cycles - loops.self_timed_cycles == loops.rounds * skipped


@given(unrolled_arrays(), DIMS, DIMS, DIMS, st.integers(1, 20), WIDTHS)
def test_the_parts_add_up_and_none_is_negative(
    array: UnrolledArray, f: int, n: int, m: int, h: int, bits: Widths
) -> None:
    for loops in (nest(array, h, f, n, m, bits=bits), summed(array, f, n, m, bits=bits)):
        parts = (loops.streamed, loops.waiting, loops.filling, loops.store)
        assert min(parts) >= 0
        assert sum(parts) == loops.cycles


@given(unrolled_arrays(), st.lists(st.tuples(DIMS, DIMS, DIMS, DIMS), min_size=1, max_size=6))
def test_arrays_of_shapes_give_what_each_shape_gives(
    array: UnrolledArray, shapes: list[tuple[int, int, int, int]]
) -> None:
    h, f, n, m = (np.array(axis, dtype=np.int64) for axis in zip(*shapes, strict=True))
    together = nest(array, h, f, n, m, bits=BYTES).cycles
    assert together.tolist() == [nest(array, *shape, bits=BYTES).cycles for shape in shapes]
    ports = port_cycles(array, h, f, n, m, bits=BYTES, rate=RATE, demand=RATE)
    works = [array_work(array, *shape, bits=BYTES, rate=RATE).cycles for shape in shapes]
    assert ports.tolist() == works


@given(
    unrolled_arrays(),
    DIMS,
    DIMS,
    DIMS,
    st.sampled_from(["f", "n", "m", "input_ports", "weight_ports", "output_ports"]),
)
def test_more_work_is_never_faster_and_more_ports_never_slower(
    array: UnrolledArray, f: int, n: int, m: int, grown: str
) -> None:
    before = summed(array, f, n, m, bits=BYTES).cycles
    if grown.endswith("ports"):
        better = array.replace(**{grown: getattr(array, grown) + 1})
        assert summed(better, f, n, m, bits=BYTES).cycles <= before
    else:
        sizes = {"f": f, "n": n, "m": m}
        sizes[grown] += 1
        assert summed(array, *sizes.values(), bits=BYTES).cycles >= before


# --- In the engine


@given(
    unrolled_arrays(),
    st.integers(1, 6),
    DIMS,
    DIMS,
    DIMS,
    st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 2)]),
    st.sampled_from([Fraction(1), Fraction(7, 2)]),
    st.booleans(),
)
def test_a_tiles_pe_cycles_are_accounted_for(
    array: UnrolledArray,
    copies: int,
    m: int,
    k: int,
    n: int,
    rate: Fraction,
    demand: Fraction,
    ends: bool,
) -> None:
    work = array_work(array, copies, m, k, n, bits=BYTES, rate=rate, demand=demand, ends=ends)
    assert 0 < work.useful <= work.streamed
    assert work.useful * rate == work.macs == copies * m * k * n
    assert work.throttled >= work.idle == 0
    assert work.streamed + work.throttled < work.cycles * array.pes
    assert work.latency >= work.cycles


def ideal_cycles(machine: Accelerator, nodes: tuple[Node, ...]) -> int:
    program = Program(kernels=(KernelProgram(name="x", kind="any", nodes=nodes),))
    return run(program, machine).cycles


def ample(array: UnrolledArray) -> Accelerator:
    """A machine whose memory and vector unit never make the array wait."""
    machine, _ = heatvit()
    buffers = machine.buffers.replace(accumulator_bytes=ROOM, input_bytes=ROOM)
    return machine.replace(array=array, buffers=buffers)


@given(unrolled_arrays(), st.integers(1, 5), DIMS, DIMS, DIMS, st.integers(1, 4), st.data())
def test_with_ideal_memory_the_engine_takes_the_form_however_outputs_are_cut(
    array: UnrolledArray, groups: int, m: int, k: int, n: int, cut: int, data: st.DataObject
) -> None:
    product = Gemm(
        shape=Shape(groups=groups, repeats=1, m=m, k=k, n=n),
        bits=BYTES,
        loads_input=False,
        loads_weight=False,
        stores=False,
        input_room=ROOM,
        vector_cost=Fraction(0),
    )
    # Heads go together; a lone product may be cut wherever an output tile ends.
    columns = n if groups > 1 else min(n, cut * array.tm)
    order = data.draw(st.sampled_from(["mn", "nm"]))
    mapping = GemmMapping(groups=groups, m=m, k=k, n=columns, order=order)
    machine = ample(array)
    cycles = ideal_cycles(machine, gemm.nodes(product, mapping, machine, RATE))
    loops = (
        nest(array, groups, m, k, n, bits=BYTES)
        if groups > 1
        else summed(array, m, k, n, bits=BYTES)
    )
    assert cycles == loops.cycles


@given(unrolled_arrays(), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60))
def test_attention_takes_as_many_heads_at_once_as_the_array(
    array: UnrolledArray, copies: int, tokens: int, width: int
) -> None:
    heads = Heads(
        copies=copies,
        queries=tokens,
        keys=tokens,
        head_dim=width,
        value_dim=width,
        bits=BYTES,
        loads_input=False,
        loads_key=False,
        loads_value=False,
        stores=False,
        input_room=ROOM,
        softmax_cost=Fraction(0),
        vector_cost=Fraction(0),
        merge_cost=Fraction(0),
    )
    together = min(array.th, copies)
    mapping = AttentionMapping(queries=tokens, keys=tokens, heads=together)
    machine = ample(array)
    nodes = attention.nodes(heads, mapping, machine, RATE)
    works = [tile.work for tile in tiles(nodes) if tile.work]
    assert len(works) == 2 * ceil(copies / together)
    assert sum(work.macs for work in works) == 2 * copies * tokens * tokens * width
    assume(copies % together != 1 and together > 1)  # a lone head would be summed
    forms = (
        nest(array, copies, tokens, width, tokens, bits=BYTES),
        nest(array, copies, tokens, tokens, width, bits=BYTES),
    )
    assert sum(work.cycles for work in works) == sum(form.cycles - form.store for form in forms)
    # Scores and sums wait for each other through the output ports.
    assert ideal_cycles(machine, nodes) >= sum(form.cycles - form.store for form in forms)


@given(st.data())
@settings(max_examples=50)
def test_a_machine_that_is_too_small_for_all_heads_takes_fewer(data: st.DataObject) -> None:
    machine = data.draw(machines_with(data.draw(unrolled_arrays())))
    heads = Heads(
        copies=4,
        queries=20,
        keys=20,
        head_dim=8,
        value_dim=8,
        bits=BYTES,
        input_room=machine.buffers.input_bytes,
        softmax_cost=Fraction(4),
        vector_cost=Fraction(1),
        merge_cost=Fraction(2),
    )
    chosen = attention.choose(heads, machine, RATE)
    assert isinstance(machine.array, UnrolledArray)
    assert chosen.heads <= machine.array.th
    assert attention.fits(heads, chosen, machine)


# --- Pruning


def block_form(array: UnrolledArray, tokens: int) -> int:
    """Cycles of the products of one DeiT-S block: embed 384, 6 heads of 64, MLP 1536."""
    linear = [(384, 1152), (384, 384), (384, 1536), (1536, 384)]
    heads = [(64, tokens), (tokens, 64)]
    return sum(summed(array, tokens, k, n, bits=BYTES).cycles for k, n in linear) + sum(
        nest(array, 6, tokens, k, n, bits=BYTES).cycles for k, n in heads
    )


def block_run(machine: Accelerator, tokens: int) -> int:
    """The same block in a run, between the first product and the last, vector work included."""
    workload = vit(depth=2, embed=384, heads=6, selectors=(2,))
    result = simulate(workload, machine, bind={"kept_1": tokens - 2})  # class and package token
    block = [o for o in result.operators if o.name.startswith("blocks.1.") and not o.selector]
    return block[-1].end_cycle - block[0].start_cycle


def test_pruning_gains_until_the_weight_ports_are_the_bound_and_then_next_to_nothing() -> None:
    machine, array = heatvit()
    bound = nest(array, 1, 1, 1, 1, bits=BYTES).load_weights
    assert bound == 72
    dense, at_bound, half, one = (block_form(array, n) for n in (197, bound, bound // 2, 1))
    assert (dense, at_bound, half, one) == (191_683, 66_168, 63_000, 59_910)
    # 197 to 72 tokens: 2.7x fewer, 2.9x less time.  72 to 36: 2x fewer, 5 % less.
    assert dense / at_bound > 2.85
    assert at_bound / half < 1.06
    ran = {tokens: block_run(machine, tokens) for tokens in (197, bound, bound // 2)}
    assert ran[197] / ran[bound] > 2.4
    assert ran[bound] / ran[bound // 2] < 1.15
    # Only because of the ports: with four times as many for weights, pruning goes on gaining.
    rich = machine.replace(array=array.replace(weight_ports=4 * array.weight_ports))
    assert block_run(rich, bound) / block_run(rich, bound // 2) > 1.5


@pytest.mark.parametrize(("k", "n"), [(384, 1152), (384, 384), (384, 1536), (1536, 384)])
def test_a_linear_layer_waits_for_its_weights_below_the_bound_and_not_at_it(k: int, n: int) -> None:
    _, array = heatvit()
    bound = summed(array, 1, k, n, bits=BYTES).load_weights
    assert summed(array, bound, k, n, bits=BYTES).waiting == 0
    below = summed(array, bound - 1, k, n, bits=BYTES)
    assert below.phase == bound
    assert below.waiting == below.rounds * below.steps


def test_waiting_for_weights_is_memory_in_the_losses() -> None:
    machine, _ = heatvit()
    few, many = (
        simulate(
            zoo.load("heatvit-deit-small"),
            machine,
            bind=dict.fromkeys(("kept_1", "kept_2", "kept_3"), kept),
        )
        for kept in (20, 190)
    )
    assert few.losses.shares()["memory"] > 0.3
    assert many.losses.shares()["memory"] < 0.06
