"""Blocks cut out of models, what they take at every token count, and which counts are advised."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tilewise.arch import OVERLAPS, Accelerator, Gpu, SystolicArray, load_machine
from tilewise.arch.array import Dataflow
from tilewise.reports.advice import advice_lines, advice_values, sentence
from tilewise.sim.advice import advice, advise
from tilewise.sim.cliff import Curve, Staircase, block_cycles, compute_cycles, dataflows, staircase
from tilewise.sim.errors import MappingError
from tilewise.sim.gpu.engines import ENGINES
from tilewise.sim.gpu.how import how
from tilewise.sim.simulate import execute, simulate
from tilewise.sim.sparsity import RATIOS, sparsity
from tilewise.sim.systolic import gemm_cycles
from tilewise.workloads import zoo
from tilewise.workloads.block import TOKENS, Place, besides, block, places, stacked
from tilewise.workloads.graph import BindingError, Workload
from tilewise.workloads.operator import Attention
from tilewise.workloads.unpruned import unpruned
from tilewise.workloads.zoo.vit import vit

SMALL = vit(depth=3, embed=64, heads=2, image=96, classes=10)  # 37 tokens
PRUNED = vit(depth=4, embed=64, heads=2, image=96, classes=10, selectors=(2, 3)).with_defaults(
    {"kept_1": 22, "kept_2": 9}
)


def machine(name: str = "edge-32x32") -> Accelerator:
    found = load_machine(name)
    assert isinstance(found, Accelerator)
    return found


def deit_block() -> Workload:
    return block(zoo.load("deit-small"))


# --- blocks --------------------------------------------------------------------------------------


def test_a_block_has_the_sizes_of_every_block_of_its_model() -> None:
    """The block cut from the dense model equals HeatViT's fourth, which follows a selector."""
    pruned = zoo.load("heatvit-deit-small").bind({"kept_1": 137})
    own = [o for o in pruned.operators if o.name.startswith("blocks.3")]
    cut = deit_block().bind({TOKENS: 139}).operators
    assert len(own) == len(cut) == 10
    for mine, theirs in zip(cut, own, strict=True):
        assert mine.elements == theirs.elements
        sizes = [operand.elements for operand in mine.operands]
        assert sizes == [operand.elements for operand in theirs.operands]
        same = replace(theirs, name=mine.name, shape=mine.shape, operands=mine.operands)
        assert mine == same


@pytest.mark.parametrize("name", ["deit-small", "heatvit-deit-small"])
def test_twelve_blocks_do_the_work_of_the_blocks_of_the_model(name: str) -> None:
    model = zoo.load(name)
    dense = unpruned(model) if name.startswith("heatvit") else model
    bound = dense.bind()
    inside = sum(o.macs for o in bound.operators if o.name.startswith("blocks."))
    assert stacked(block(model), 197, blocks=12).macs == inside


@pytest.mark.parametrize("name", ["edge-32x32", "edge-128x128", "zcu102-systolic", "a100-80gb"])
@pytest.mark.parametrize("images", [1, 4])
def test_a_block_takes_what_one_more_block_adds_to_a_model(name: str, images: int) -> None:
    on = load_machine(name)
    models = [vit(depth=d, embed=384, heads=6).bind({"batch": images}) for d in (3, 4)]
    three, four = (execute(model, on, on.default_format).spans.cycles for model in models)
    own = block_cycles(deit_block(), on, 197, images=images, format=on.default_format)
    # What of a GPU's weights is left in L2 depends, a little, on how much else the model has.
    assert own == pytest.approx(four - three, rel=1e-3 if isinstance(on, Gpu) else 0, abs=0)


def test_lengths_and_what_is_besides_the_patches() -> None:
    assert places(PRUNED) == (Place("", 37, 0), Place("kept_1", 24, 2), Place("kept_2", 11, 2))
    assert [place.tokens for place in places(PRUNED, {"kept_1": 30})] == [37, 32, 11]
    assert places(SMALL) == (Place("", 37, 0),)
    assert besides(PRUNED) == 2
    assert besides(SMALL) == 0


@pytest.mark.parametrize(
    "model",
    [
        zoo.load("sd15-unet"),  # cross-attention lies between its self-attentions
        vit(depth=1, embed=64, heads=2, image=96),  # nothing says where the block ends
        replace(SMALL, operators=SMALL.operators[:2], outputs=()),
    ],
    ids=["unet", "one block", "no block"],
)
def test_what_is_not_made_of_blocks_is_refused(model: Workload) -> None:
    with pytest.raises(BindingError, match="is not made of blocks"):
        block(model)


def test_a_size_that_does_not_grow_with_the_tokens_is_refused() -> None:
    def biased(workload: Workload) -> Workload:
        operators = (
            replace(o, affine=37 * 37) if isinstance(o, Attention) else o
            for o in workload.operators
        )
        return replace(workload, operators=tuple(operators))

    with pytest.raises(BindingError, match="attention among a block's own tokens"):
        block(biased(SMALL))


# --- cycles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataflow", "tokens", "share"),
    [("os", 138, 0.987), ("os", 128, 0.457), ("ws", 138, 0.898), ("ws", 128, 0.801)],
)
def test_the_cliff_of_a_deit_s_block(dataflow: Dataflow, tokens: int, share: float) -> None:
    """Projections, MLP, and for each of the six heads Q K^T and A V."""
    array = SystolicArray(rows=128, cols=128, dataflow=dataflow, overlap="scale-sim")
    one = deit_block()
    found = compute_cycles(one, array, tokens) / compute_cycles(one, array, 197)
    assert round(found, 3) == share


@pytest.mark.parametrize("dataflow", OVERLAPS)
def test_products_add_up_to_the_closed_form(dataflow: Dataflow) -> None:
    for tokens in (1, 31, 64, 100, 197):
        products = [(1, tokens, 384, n) for n in (1152, 384, 1536)] + [(1, tokens, 1536, 384)]
        products += [(6, tokens, 64, tokens), (6, tokens, tokens, 64)]
        for overlap in OVERLAPS[dataflow]:
            array = SystolicArray(rows=32, cols=32, dataflow=dataflow, overlap=overlap)
            apart = sum(c * gemm_cycles(array, m, k, n) for c, m, k, n in products)
            found = compute_cycles(deit_block(), array, tokens)
            if overlap == "scale-sim":
                assert found == apart
            else:  # heads enter back to back, with at most an edge more between than a lone one has
                longest = max(gemm_cycles(array, m, k, n) for _, m, k, n in products)
                assert longest < found <= apart + 2 * 5


def test_images_side_by_side_lengthen_products_and_multiply_heads() -> None:
    array = SystolicArray(rows=32, cols=32, dataflow="os", overlap="scale-sim")
    one = block(SMALL)
    wide = [(64, 192), (64, 64), (64, 256), (256, 64)]
    apart = sum(gemm_cycles(array, 3 * 20, k, n) for k, n in wide)
    apart += 6 * (gemm_cycles(array, 20, 32, 20) + gemm_cycles(array, 20, 20, 32))
    assert compute_cycles(one, array, 20, images=3) == apart


def test_a_staircase_holds_every_count_and_every_dataflow() -> None:
    told: list[str] = []
    steps = staircase(SMALL, machine(), sweep_dataflows=True, progress=told.append)
    assert steps.tokens.tolist() == list(range(1, 38))
    assert [(curve.dataflow, curve.own) for curve in steps.curves] == [
        ("ws", True), ("is", False), ("os", False),
    ]  # fmt: skip
    assert len(told) == 3
    one = block(SMALL)
    assert steps.macs.tolist() == [stacked(one, t, blocks=1).macs for t in range(1, 38)]
    assert steps.macs_per_cycle == 1024
    for curve, built in zip(steps.curves, dataflows(machine()), strict=True):
        assert isinstance(built, Accelerator)
        assert curve.cycles[19] == block_cycles(one, built, 20, format="int8")
        assert curve.compute_cycles is not None
        assert curve.compute_cycles[19] == compute_cycles(one, built.array, 20)
        busy = steps.utilization(curve.compute_cycles)
        assert np.all((busy > 0) & (busy <= 1))
        expected = float(steps.macs[19]) / (1024 * int(curve.compute_cycles[19]))
        assert busy[19] == pytest.approx(expected)


def test_a_gpu_has_one_curve_and_no_array() -> None:
    gpu = load_machine("a100-80gb")
    assert isinstance(gpu, Gpu)
    steps = staircase(SMALL, gpu, [10, 37], images=2, sweep_dataflows=True)
    (curve,) = steps.curves
    assert (curve.dataflow, curve.compute_cycles, steps.sides) == ("", None, ())
    assert steps.macs_per_cycle * 2 * float(gpu.clock_hz) == pytest.approx(312e12)
    assert steps.macs[1] == 2 * stacked(block(SMALL), 37, blocks=1).macs


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_on_a_gpu_runs_under_every_engine(engine: str) -> None:
    gpu = load_machine("h200")
    steps = staircase(SMALL, gpu, [37], images=64, engine=engine)
    assert (steps.model, steps.engine) == ("kernels", engine)
    cycles = block_cycles(
        block(SMALL), gpu, 37, images=64, format="fp16", chosen=how(gpu, None, engine)
    )
    assert steps.own.cycles.tolist() == [cycles]


def test_an_engine_and_a_model_change_every_number_of_a_gpu() -> None:
    gpu = load_machine("h200")
    ways = [(None, None), ("eager", None), (None, "roofline")]
    tables = [sparsity(SMALL, gpu, [0.5], engine=engine, model=model) for engine, model in ways]
    assert [(table.model, table.engine) for table in tables] == [
        ("kernels", "compiled"), ("kernels", "eager"), ("roofline", ""),
    ]  # fmt: skip
    assert len({table.rows[0].latency_s for table in tables}) == 3
    reports = [advise(SMALL, gpu, engine=engine, model=model) for engine, model in ways]
    assert len({int(report.steps.own.cycles[0]) for report in reports}) == 3
    assert advice_lines(reports[1])[1] == "  GPU model kernels, eager"
    assert advice_values(reports[2])["model"] == "roofline"
    assert "model" not in advice_values(advise(SMALL, machine()))
    for run in (staircase, sparsity, advise):
        with pytest.raises(MappingError, match="engine=eager: wanted a GPU"):
            run(SMALL, machine(), engine="eager")


def test_the_whole_model_is_advised_under_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed-ups of the whole model are ratios of what the engine takes, not of the default."""

    def targets(*_: object) -> dict[str, int]:
        return {"kept_1": 18, "kept_2": 9}  # whatever the blocks say

    monkeypatch.setattr("tilewise.sim.advice._targets", targets)
    gpu = load_machine("h200")
    found = advise(PRUNED, gpu, engine="eager").whole
    assert found
    dense, now = (
        simulate(model, gpu, format="fp16", engine="eager").cycles
        for model in (unpruned(PRUNED), PRUNED)
    )
    assert found.now == dense / now


def test_a_format_that_the_machine_lacks_is_refused() -> None:
    with pytest.raises(MappingError, match="fp8"):
        staircase(SMALL, machine(), [3], format="fp8")


# --- the latency-sparsity table ------------------------------------------------------------------


def test_the_table_looks_up_blocks_by_kept_patches() -> None:
    table = sparsity(PRUNED, machine())
    assert [row.keep_ratio for row in table.rows] == [float(ratio) for ratio in RATIOS]
    # 36 patches; CLS and package token on top, but for the model that prunes nothing
    assert [row.patches for row in table.rows] == [36, 33, 29, 26, 22, 18, 15, 11, 8, 4]
    assert [row.tokens for row in table.rows] == [37, 35, 31, 28, 24, 20, 17, 13, 10, 6]
    one = block(PRUNED)
    for row in table.rows:
        cycles = block_cycles(one, machine(), row.tokens, format="int8")
        assert row.latency_s == pytest.approx(cycles / float(machine().clock_hz))
        assert row.speed_up == pytest.approx(table.rows[0].latency_s / row.latency_s)
        whole, part = (stacked(one, t, blocks=1).macs for t in (37, row.tokens))
        assert isinstance(whole, int)
        assert isinstance(part, int)
        assert row.mac_ratio == pytest.approx(whole / part)


def test_the_table_needs_no_counts_and_takes_other_ratios() -> None:
    bare = vit(depth=4, embed=64, heads=2, image=96, selectors=(2, 3))
    rows = sparsity(bare, machine(), [0.5, Fraction(1, 3)]).rows
    assert [row.tokens for row in rows] == [20, 14]
    assert [row.tokens for row in sparsity(SMALL, machine(), [0.5]).rows] == [19]


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01])
def test_a_keep_ratio_is_a_part(ratio: float) -> None:
    with pytest.raises(BindingError, match="keep ratio"):
        sparsity(SMALL, machine(), [ratio])


# --- advice --------------------------------------------------------------------------------------


def steps_of(cycles: list[int], macs: list[int]) -> Staircase:
    """A staircase that is made up."""
    tokens = np.arange(1, len(cycles) + 1)
    curve = Curve(
        dataflow="os", overlap="scale-sim", own=True, compute_cycles=None, cycles=np.array(cycles)
    )
    return Staircase(
        workload="made-up", machine="none", format="int8", images=1, whole=len(cycles),
        tokens=tokens, macs=np.array(macs), clock_hz=1e9, macs_per_cycle=1.0, sides=(128, 128),
        curves=(curve,),
    )  # fmt: skip


def test_the_issues_example_in_a_sentence() -> None:
    """DeiT-S on 128x128 OS without overlap: 2.2x at 128 tokens, 1.01x at 138."""
    array = SystolicArray(rows=128, cols=128, dataflow="os", overlap="scale-sim")
    one = deit_block()
    counts = range(1, 198)
    macs = [768 * t * t + 1769472 * t for t in counts]
    steps = steps_of([compute_cycles(one, array, t) for t in counts], macs)
    text = sentence(advice(steps, Place("kept_1", 138, 2)), 197)
    assert text.startswith(
        "kept_1=126 instead of 136, 128 instead of 138 tokens: 2.19x, not 1.01x "
        "(MACs promise 1.58x, not 1.46x)"
    )
    assert text.endswith("; up to 182 tokens cost at most 1 % more")


@pytest.mark.parametrize("now", [2, 17, 20, 33, 40])
def test_the_nearest_step_below_is_found(now: int) -> None:
    """Steps at multiples of 16; a count on the edge of one has the next as its target."""
    tokens = range(1, 41)
    steps = steps_of([100 * -(-t // 16) for t in tokens], [1000 * t for t in tokens])
    found = advice(steps, Place("", now, 0))
    below = [t for t in range(1, now) if -(-t // 16) < -(-now // 16)]
    target = max(below) if below else None
    assert (found.target.tokens if found.target else None) == target
    assert found.verdict == ("cliff" if target else "flat")
    assert found.free.tokens == min(16 * -(-now // 16), 40)


def test_where_time_follows_the_macs_no_count_is_special() -> None:
    steps = steps_of([50 * t for t in range(1, 41)], [1000 * t for t in range(1, 41)])
    found = advice(steps, Place("", 30, 0))
    assert (found.target, found.verdict) == (None, "follows")
    assert sentence(found, 40) == (
        "30 tokens: no smaller count is worth more than its MACs; time follows the MACs: half as "
        "many (15) give 2.67x, not 1.33x (MACs promise 2.67x, not 1.33x)"
    )


def test_the_counts_advised_are_run_in_the_whole_model() -> None:
    on = machine("gemmini-16x16")
    os_ = on.replace(array=on.array.replace(dataflow="os", overlap="scale-sim"))
    report = advise(PRUNED, os_)
    assert [one.place.symbol for one in report.advice] == ["kept_1", "kept_2"]
    first = report.advice[0]
    assert first.target is not None
    assert first.target.tokens == 16
    assert report.whole is not None
    assert report.whole.kept == {"kept_1": 14, "kept_2": 9}
    dense = simulate(unpruned(PRUNED), os_).cycles
    now = simulate(PRUNED, os_).cycles
    then = simulate(PRUNED, os_, bind=report.whole.kept).cycles
    assert report.whole.now == pytest.approx(dense / now)
    assert report.whole.then == pytest.approx(dense / then)
    lines = advice_lines(report)
    assert lines[-1].startswith("  with kept_1=14, kept_2=9: ")
    values = advice_values(report)
    assert values["advice"][0]["target"]["tokens"] == 16
    assert len(values["block_cycles"]) == 37


def test_a_model_without_selectors_is_advised_too() -> None:
    report = advise(SMALL, machine(), images=2)
    (one,) = report.advice
    assert one.place == Place("", 37, 0)
    assert report.whole is None
    assert "2 images side by side" in advice_lines(report)[0]


def test_everything_kept_makes_one_token_more_than_before_pruning() -> None:
    report = advise(PRUNED, machine(), bind={"kept_1": 36, "kept_2": 36})
    assert [one.now.tokens for one in report.advice] == [38, 38]
