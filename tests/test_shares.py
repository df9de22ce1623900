"""Which question: what do several arrays gain, and what is lost where shares are uneven?"""

from dataclasses import replace
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EDGE, RATE, attentions, gemms, machines_with, systolic_arrays

from tilewise.arch import Accelerator, Split, SystolicArray, load_machine
from tilewise.sim import attention, gemm, tiling
from tilewise.sim.array_work import array_work
from tilewise.sim.engine import run
from tilewise.sim.errors import MappingError
from tilewise.sim.formats import Widths
from tilewise.sim.gemm import Gemm, GemmMapping, Shape
from tilewise.sim.lanes import rows_of, scores_of
from tilewise.sim.loops import parts
from tilewise.sim.lower import lower, plan
from tilewise.sim.program import KernelProgram, Program, total
from tilewise.sim.sections import Sections
from tilewise.sim.shares import Dealt, Product, abreast, alone, in_turn
from tilewise.sim.simulate import execute, simulate
from tilewise.sim.systolic import gemm_cycles
from tilewise.sim.waterfall import by_step
from tilewise.workloads import vit, zoo
from tilewise.workloads.graph import Workload
from tilewise.workloads.packing import side_by_side
from tilewise.workloads.quantization import in_format

SPLITS: tuple[Split, ...] = get_args(Split)
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=9)
DIM = st.integers(1, 70)
ROOM = 1 << 40


def arrays(split: Split, count: int = 4) -> Accelerator:
    machine = load_machine("edge-4x32x32")
    assert isinstance(machine, Accelerator)
    assert isinstance(machine.array, SystolicArray)
    return machine.replace(array=machine.array.replace(split=split, count=count))


def ideal(array: SystolicArray) -> Accelerator:
    """Memory and vector unit never make the arrays wait."""
    ample = EDGE.buffers.replace(
        accumulator_bytes=ROOM, input_bytes=ROOM, im2col_bytes_per_cycle=None
    )
    return EDGE.replace(array=array, buffers=ample)


def on_chip(shape: Shape) -> Gemm:
    return Gemm(
        shape=shape,
        bits=Widths(8, 8, 8),
        loads_input=False,
        loads_weight=False,
        stores=False,
        input_room=ROOM,
        vector_cost=Fraction(0),
    )


def form(array: SystolicArray, m: int, k: int, n: int) -> int:
    """Cycles of one of the arrays; SCALE-Sim numbers its cycles from zero."""
    return gemm_cycles(array, m, k, n) + (array.overlap == "scale-sim")


def counts(images: list[int]) -> Workload:
    """Images side by side that keep so many tokens in the second of two small blocks."""
    one = vit(depth=2, embed=64, heads=2, selectors=(2,), image=112)
    return side_by_side([one.bind({"kept_1": kept}) for kept in images])


# --- The rule


@given(SIZES, st.integers(1, 6))
def test_what_is_dealt_in_turn_is_dealt_whole_evenly_and_better_to_more_arrays(
    items: list[int], count: int
) -> None:
    shares = in_turn(items, count)
    assert sum(shares) == sum(items)
    assert list(shares) == sorted(shares, reverse=True)
    assert len(shares) == min(count, len(items))
    assert max(shares) - min(shares) <= max(items)
    assert max(in_turn(items, count + 1)) <= max(shares)
    assert shares == in_turn(reversed(items), count)


@given(SIZES, st.integers(1, 70))
def test_tiles_partition_every_arrays_share(shares: list[int], tile: int) -> None:
    cut = parts(shares, tile)
    assert [sum(sizes) for sizes in zip(*(part.shares for part in cut), strict=True)] == shares
    assert [part.size for part in cut] == [sum(part.shares) for part in cut]
    assert (cut[0].first, cut[-1].last) == (True, True)
    assert sum(part.first + part.last for part in cut) == 2


@given(st.data(), SIZES, DIM, DIM)
def test_the_longest_decides_and_the_others_idle_by_what_they_lack(
    data: st.DataObject, rows: list[int], k: int, n: int
) -> None:
    array = data.draw(systolic_arrays()).replace(count=len(rows) + data.draw(st.integers(0, 2)))
    work = abreast(array, [Product(1, m, k, n) for m in rows], bits=Widths(8, 8, 8), rate=RATE)
    each = [array_work(alone(array), 1, m, k, n, bits=Widths(8, 8, 8), rate=RATE) for m in rows]
    assert work.cycles == max(one.cycles for one in each)
    assert work.latency == max(one.latency for one in each)
    lacking = [work.cycles - one.cycles for one in each]
    lacking += [work.cycles] * (array.count - len(rows))
    assert work.idle == sum(lacking) * array.rows * array.cols
    assert work.macs == work.useful == sum(rows) * k * n
    assert work.streamed + work.throttled + work.idle <= work.cycles * array.pes


# --- In the engine


@given(st.data(), DIM, DIM, DIM, st.sampled_from(["mn", "nm"]))
def test_with_ideal_memory_the_engine_takes_the_form_of_the_longest_share(
    data: st.DataObject, m: int, k: int, n: int, order: str
) -> None:
    array = data.draw(systolic_arrays()).replace(split="image")
    rows = [m, *data.draw(SIZES)]
    shares = in_turn(rows, array.count)
    dealt = Dealt("m", shares) if array.count > 1 else None
    product = on_chip(Shape(groups=1, repeats=1, m=sum(rows), k=k, n=n, dealt=dealt))
    # Cut along the stream and along the outer loop only, so that folds keep their order.
    cuts = {"m": max(shares), "k": k, "n": n}
    across = {"ws": "n", "os": "n", "is": "m"}[array.dataflow]
    cuts[across] = array.cols * data.draw(st.integers(1, 5))
    outer = {"n": "nm", "m": "mn"}[across]
    mapping = GemmMapping(groups=1, order=outer if array.dataflow == "os" else order, **cuts)
    machine = ideal(array)
    nodes = gemm.nodes(product, mapping.within(product.shape), machine, RATE)
    spans = run(Program(kernels=(KernelProgram(name="x", kind="matmul", nodes=nodes),)), machine)
    assert spans.cycles == form(array, max(shares), k, n)


@given(st.data(), st.integers(1, 9), DIM, DIM, DIM)
def test_with_ideal_memory_each_array_takes_the_time_of_its_own_heads(
    data: st.DataObject, heads: int, m: int, k: int, n: int
) -> None:
    array = data.draw(systolic_arrays()).replace(split="head")
    shares = in_turn([1] * heads, array.count)
    product = on_chip(Shape(groups=heads, repeats=1, m=m, k=k, n=n, dealt=Dealt("groups", shares)))
    together = data.draw(st.integers(1, max(shares)))
    mapping = GemmMapping(groups=together, m=m, k=k, n=n, order="mn")
    work = total(gemm.nodes(product, mapping, ideal(array), RATE))
    alone_cycles = array_work(alone(array), 1, m, k, n, bits=Widths(8, 8, 8), rate=RATE).cycles
    assert work.array_cycles == max(shares) * alone_cycles
    idle_heads = max(shares) * array.count - heads
    assert work.idle == idle_heads * alone_cycles * array.rows * array.cols
    if heads % array.count == 0:
        assert work.idle == 0


@given(st.data(), st.lists(DIM, min_size=1, max_size=6), DIM, DIM)
def test_with_ideal_memory_one_more_array_is_never_slower(
    data: st.DataObject, images: list[int], k: int, n: int
) -> None:
    array = data.draw(systolic_arrays())
    heads, m = len(images), sum(images)
    times: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for count in (array.count, array.count + 1):
        more = array.replace(count=count)
        times["tile"].append(array_work(more, 1, m, k, n, bits=Widths(8, 8, 8), rate=RATE).latency)
        heads_each = max(in_turn([1] * heads, count))
        whole = array_work(
            alone(more), heads_each, images[0], k, n, bits=Widths(8, 8, 8), rate=RATE
        )
        times["head"].append(whole.latency)
        times["image"].append(form(array, max(in_turn(images, count)), k, n))
    # By tile the last fold of all may use more columns, which drain later.
    times["tile"][0] += array.cols - 1
    assert all(after <= before for before, after in times.values())


@given(st.data())
@settings(max_examples=20)
def test_tiles_partition_the_work_of_attention_of_any_sizes(data: st.DataObject) -> None:
    array = data.draw(systolic_arrays()).replace(split=data.draw(st.sampled_from(SPLITS[1:])))
    machine = data.draw(machines_with(array))
    heads = replace(data.draw(attentions(machine)), bits=Widths(8, 8, 8))
    heads = replace(heads, extra=(8,) * len(heads.extra))
    try:
        mapping = attention.choose(heads, machine, RATE)
    except MappingError:
        return
    assert mapping.heads <= max(1, min(array.count, len(heads.dealt)))
    sums = total(attention.nodes(heads, mapping, machine, RATE))
    lanes = heads.dealt or next(heads.taken(heads.copies))[1]
    assert sums.macs == scores_of(lanes) * (heads.head_dim + heads.value_dim)
    assert sums.outputs == rows_of(lanes) * heads.value_dim
    assert sums.store_bytes == sums.outputs * heads.stores
    passing = scores_of(lanes) * heads.loads_mask + len(heads.extra) * sums.outputs
    queries = rows_of(lanes) * heads.head_dim * heads.loads_input
    assert sums.input_bytes == queries + passing + heads.once_bytes
    assert sums.weight_bytes >= heads.head_bytes(lanes)


@given(st.data())
def test_the_mapping_knows_what_is_loaded_and_stored(data: st.DataObject) -> None:
    array = data.draw(systolic_arrays()).replace(split="image")
    machine = data.draw(machines_with(array))
    product = replace(data.draw(gemms(machine)), bias=False, leaving=Fraction(1), extra=())
    shape = replace(product.shape, groups=1, repeats=1)
    if shape.dealt is not None:
        shape = replace(shape, m=sum(shape.dealt.shares), dealt=Dealt("m", shape.dealt.shares))
    product = replace(product, shape=shape, bits=Widths(8, 8, 8))
    every = tiling.candidates_of(product, machine)
    fitting = every.at(tiling.fits(product, machine, every))
    estimate = tiling.estimate_of(product, machine, RATE, fitting)
    for index in {0, len(fitting.m) // 2, len(fitting.m) - 1} if len(fitting.m) else set[int]():
        groups, m, k, n, order = (int(axis[index]) for axis in fitting)
        mapping = GemmMapping(groups=groups, m=m, k=k, n=n, order="nm" if order else "mn")
        sums = total(gemm.nodes(product, mapping, machine, RATE))
        assert (sums.dram_bytes, sums.tiles) == (estimate.dram_bytes[index], estimate.tiles[index])


# --- In a model


def test_one_array_takes_the_same_whatever_its_split() -> None:
    runs = [execute(counts([49, 20, 7]), arrays(split, count=1), "int8") for split in SPLITS]
    assert all(ran.operators == runs[0].operators for ran in runs)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("images", [[30], [30] * 4, [49, 20, 7], [49, 45, 30, 30, 12, 1]])
def test_all_arrays_together_do_all_macs_and_losses_add_up(split: Split, images: list[int]) -> None:
    workload, machine = counts(images), arrays(split)
    result = simulate(workload, machine)
    assert result.losses.total == machine.array.pes * result.cycles
    assert sum(operator.macs for operator in result.operators) == workload.macs
    one = simulate(workload, arrays(split, count=1))
    assert result.losses.useful == one.losses.useful
    assert result.cycles <= one.cycles


def test_equal_images_on_as_many_arrays_leave_none_idle_and_a_lone_one_leaves_all_others() -> None:
    machine = arrays("image")
    assert simulate(zoo.load("deit-small"), machine, batch=4).losses.imbalance == 0
    pes = machine.array.pes // 4
    program = lower(zoo.load("deit-small").bind(), machine, "int8")
    for kernel in program.kernels:
        work = total(kernel.nodes)
        assert work.idle == 3 * pes * work.array_cycles


def test_heads_that_arrays_divide_leave_none_idle() -> None:
    deit = zoo.load("deit-small")  # 6 heads
    assert simulate(deit, arrays("head"), batch=2).losses.imbalance == 0
    attention_idles = {
        split: sum(
            float(o.losses.imbalance)
            for o in simulate(deit, arrays(split)).operators
            if o.kind == "attention"
        )
        for split in SPLITS
    }
    assert attention_idles["head"] < attention_idles["tile"] < attention_idles["image"]


def test_the_imbalance_of_uneven_counts_is_what_a_hand_finds() -> None:
    kept, machine = [49, 45, 30, 12, 1], arrays("image")
    tokens = [n + 2 for n in kept]  # class and package token
    shares = [tokens[0] + tokens[4], tokens[1], tokens[2], tokens[3]]
    program = lower(counts(kept), machine, "int8")
    (kernel,) = (k for k in program.kernels if k.name.startswith("blocks.1.mlp.fc1"))
    # 64 x 256 weights: 2 folds down, 8 across, each for as long as the tokens, at least 32 cycles.
    cycles = [2 * 8 * max(share, 32) for share in shares]
    work = total(kernel.nodes)
    assert work.array_cycles == max(cycles)
    assert work.idle == sum(max(cycles) - own for own in cycles) * 32 * 32
    # 2 heads; first four images at once, then the last alone.
    heads = [k for k in program.kernels if k.kind == "attention" and "blocks.1" in k.name]
    assert [bool(k.nodes) for k in heads] == [True] + [False] * 4
    assert {k.mapping for k in heads[1:]} == {f"with {heads[0].name}"}

    def one(n: int) -> int:  # Q K^T and A V of a head of 32
        return -(-n // 32) * max(n, 32) * 2

    times = [[one(n) for n in wave] for wave in (tokens[:4], tokens[4:])]
    work = total(heads[0].nodes)
    assert work.array_cycles == 2 * sum(max(wave) for wave in times)
    busy = 2 * sum(sum(wave) for wave in times)
    assert work.idle == (4 * work.array_cycles - busy) * 32 * 32


@pytest.mark.parametrize("split", SPLITS[1:])
def test_the_sum_of_sections_is_the_whole_with_several_arrays(split: Split) -> None:
    model, machine = vit(depth=3, embed=64, heads=2, selectors=(2, 3), image=112), arrays(split, 3)
    largest = (49, 49)

    def image(row: tuple[int, ...]) -> Workload:
        return model.bind(dict(zip(("kept_1", "kept_2"), row, strict=True)))

    made = plan(side_by_side([image(largest)] * 4), machine, "int8")
    cut = Sections(in_format(model, "int8"), ("kept_1", "kept_2"), {}, machine, made, largest)
    for rows in ([(49, 20), (30, 30), (12, 5), (12, 1)], [(9, 9), (40, 2), (41, 40), (9, 3)]):
        part = cut.run(rows)
        whole = execute(side_by_side([image(row) for row in rows]), machine, "int8", made)
        assert part.cycles == whole.spans.cycles
        assert part.steps == by_step(whole.operators)
