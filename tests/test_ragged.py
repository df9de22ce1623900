"""Which question: does every policy do exactly the work it says, and is all time accounted for?"""

import re
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragged_cases import HEATVIT, edge, images, kept, masks_of, ratios

from tilewise.arch import Accelerator
from tilewise.reports.ragged import ragged_view
from tilewise.reports.table import as_text
from tilewise.sim.buckets import bucket_edges
from tilewise.sim.lower import lower, plan
from tilewise.sim.policies import POLICIES, PolicyError, policies, policy
from tilewise.sim.program import total
from tilewise.sim.ragged import run_policies
from tilewise.sim.ragged_result import PolicyRun, RaggedRun
from tilewise.sim.sections import Sections
from tilewise.sim.simulate import execute, simulate
from tilewise.sim.waterfall import STEPS, by_step
from tilewise.workloads import zoo
from tilewise.workloads.extent import evaluate, known
from tilewise.workloads.graph import BindingError
from tilewise.workloads.packing import side_by_side
from tilewise.workloads.quantization import in_format
from tilewise.workloads.tokens import TokenTrace, trace
from tilewise.workloads.unpruned import kept_symbols, patches_of, static, unpruned

DEIT = zoo.load("deit-small")


# The model


def test_a_pruned_model_without_its_pruning_is_the_model_that_was_pruned() -> None:
    whole, dense = unpruned(HEATVIT), DEIT.bind()
    assert whole.operators == dense.operators
    assert (whole.parameters, whole.inputs) == (dense.parameters, dense.inputs)
    assert simulate(whole, edge()).cycles == simulate(DEIT, edge()).cycles


def test_a_model_without_selectors_has_no_ragged_tokens() -> None:
    with pytest.raises(BindingError, match="deit-small has no token selector"):
        unpruned(DEIT)


# 195 patches, CLS and package token are as many as 196 patches and CLS.
@pytest.mark.parametrize("name", ["edge-128x128", "zcu102-systolic", "tpu-v1"])
def test_with_all_tokens_kept_only_the_selectors_differ_from_dense(name: str) -> None:
    machine = edge(name)
    dense = lower(unpruned(HEATVIT), machine, "int8").kernels
    full = lower(static(kept(195, 195, 195)), machine, "int8").kernels
    rest = [kernel for kernel in full if not kernel.selector]
    assert [k.nodes for k in rest] == [k.nodes for k in dense]
    assert len(full) > len(rest)


def test_images_of_one_size_side_by_side_are_a_batch() -> None:
    together = side_by_side([DEIT.bind({"batch": 1})] * 8)
    batch = DEIT.bind({"batch": 8})
    assert together.macs == batch.macs
    assert together.images == batch.images == 8
    assert simulate(together, edge()).cycles == simulate(batch, edge()).cycles


@given(st.lists(st.tuples(*[st.integers(0, 196)] * 3), min_size=1, max_size=5))
def test_packing_loses_no_token(rows: list[tuple[int, int, int]]) -> None:
    images = [kept(*sorted(row, reverse=True)) for row in rows]
    together = side_by_side(images)
    assert together.macs == sum(image.macs for image in images)
    assert sum(o.elements for o in together.operators) == sum(
        o.elements for image in images for o in image.operators
    )
    names = {operator.name for operator in together.operators}
    sources = {s for o in together.operators for operand in o.operands for s in operand.sources}
    assert sources <= names | {name for name, _ in together.inputs}


def test_runs_of_two_models_do_not_go_side_by_side() -> None:
    with pytest.raises(ValueError, match="runs of one model"):
        side_by_side([DEIT.bind(), kept(100, 50, 25)])


# The plan


def test_a_plan_for_the_shape_it_was_made_for_is_what_would_be_chosen() -> None:
    largest, machine = kept(196, 196, 196), edge("edge-32x32")
    made = plan(largest, machine, "int8")
    assert lower(largest, machine, "int8", made) == lower(largest, machine, "int8")


@pytest.mark.parametrize("row", [(137, 69, 48), (60, 20, 0), (0, 0, 0)])
def test_a_plan_kept_for_a_smaller_shape_does_the_same_work(row: tuple[int, int, int]) -> None:
    machine = edge("edge-32x32")
    made = plan(kept(196, 196, 196), machine, "int8")
    one, own = (lower(kept(*row), machine, "int8", p) for p in (made, None))
    for kernel, as_chosen in zip(one.kernels, own.kernels, strict=True):
        assert kernel.name == as_chosen.name
        assert total(kernel.nodes).macs == total(as_chosen.nodes).macs


# The policies

IMAGES = 6  # two batches
SMALL = zoo.load("heatvit-digits16")  # of 64 patches


@pytest.fixture(scope="module")
def ran() -> RaggedRun:
    counts = ratios(64, IMAGES, 0)
    masks = masks_of(counts, 64, 0)
    return run_policies(SMALL, edge("edge-32x32"), counts, masks=masks, batch=3, tile=3)


def test_every_policy_runs_every_image(ran: RaggedRun) -> None:
    assert [one.policy for one in ran.policies] == list(POLICIES)
    assert not ran.left_out
    for one in ran.policies:
        assert one.images == IMAGES
        assert (one.latency_s > 0).all()
        assert one.busy_s == pytest.approx(one.latency_s[::3].sum())


def test_all_pe_cycles_of_every_policy_are_accounted_for(ran: RaggedRun) -> None:
    machine = edge("edge-32x32")
    for one in ran.policies:
        assert set(one.steps) == set(STEPS)
        assert all(part >= 0 for part in one.steps.values()), one.policy.name
        cycles = round(one.busy_s * float(machine.clock_hz))
        assert sum(one.steps.values()) == cycles * machine.array.pes


def by_name(ran: RaggedRun, name: str) -> PolicyRun:
    return next(one for one in ran.policies if one.policy.name == name)


def test_the_waterfall_leads_from_the_macs_to_the_throughput(ran: RaggedRun) -> None:
    for one in ran.policies:
        steps = ran.waterfall(one)
        assert [step.cause for step in steps] == list(STEPS)
        assert steps[-1].speedup == pytest.approx(ran.speedup(one))
    exact = by_name(ran, "exact")
    macs = SMALL.macs - sum(o.macs for o in SMALL.operators if o.selector)
    binding = {name: ran.counts[:, i] for i, name in enumerate(kept_symbols(SMALL))}
    done = int(evaluate(macs, binding).sum())
    dense = known(unpruned(SMALL).macs)
    assert ran.waterfall(exact)[0].speedup == pytest.approx(IMAGES * dense / done)


def test_gating_saves_energy_and_no_time(ran: RaggedRun) -> None:
    mask, gate = (by_name(ran, name) for name in ("mask", "gate"))
    assert (mask.latency_s == gate.latency_s).all()
    assert gate.energy_j < mask.energy_j


def test_every_policy_computes_what_it_says_and_some_only_what_is_kept(ran: RaggedRun) -> None:
    for one in ran.policies[1:]:
        binding = {name: one.executed[:, i] for i, name in enumerate(kept_symbols(SMALL))}
        assert one.macs == evaluate(SMALL.macs, binding).sum()
    for name in ("exact", "pack", "respecialise"):
        assert (by_name(ran, name).executed == ran.counts).all()
        assert by_name(ran, name).padding == 0
    padded = [by_name(ran, n).padding for n in ("pad-batch", "pad-max", "mask")]
    assert 0 < padded[0] <= padded[1] <= padded[2]


def test_padding_to_the_maximum_never_takes_an_array_less_than_exact_shapes() -> None:
    machine = edge("edge-32x32")
    counts = ratios(196, 6, 3)
    most = tuple(int(n) for n in counts.max(axis=0))
    made = plan(kept(196, 196, 196), machine, "int8")
    for row in counts:
        padded, exact = (
            lower(static(kept(*shape)), machine, "int8", made).kernels
            for shape in (most, (int(row[0]), int(row[1]), int(row[2])))
        )
        for more, less in zip(padded, exact, strict=True):
            assert total(more.nodes).array_cycles >= total(less.nodes).array_cycles, more.name


def test_an_image_alone_takes_under_exact_what_it_takes_by_itself() -> None:
    machine = edge("edge-32x32")
    counts = np.array([[137, 69, 48], [100, 60, 20]])
    found = run_policies(HEATVIT, machine, counts, policies=[policy("exact")]).policies[-1]
    made = plan(kept(196, 196, 196), machine, "int8")
    for row, latency_s in zip(counts, found.latency_s, strict=True):
        alone = execute(kept(*map(int, row)), machine, "int8", made)
        assert latency_s * float(machine.clock_hz) == pytest.approx(alone.spans.cycles)


# In sections


def sections(machine: Accelerator, images: int) -> Sections:
    largest = side_by_side([kept(196, 196, 196)] * images)
    return Sections(
        workload=in_format(HEATVIT, "int8"),
        names=kept_symbols(HEATVIT),
        others={},
        machine=machine,
        plan=plan(largest, machine, "int8"),
        largest=(196, 196, 196),
    )


@pytest.mark.parametrize(
    ("name", "images", "seeds"),
    [
        ("edge-32x32", 1, range(6)),
        ("edge-128x128", 1, range(5)),
        ("edge-32x32", 3, range(3)),
        ("tpu-v1", 2, range(4)),
        pytest.param("edge-32x32", 1, range(6, 20), marks=pytest.mark.slow),
        pytest.param("edge-128x128", 1, range(5, 10), marks=pytest.mark.slow),
        pytest.param("edge-32x32", 3, range(3, 8), marks=pytest.mark.slow),
        pytest.param("tpu-v1", 2, range(4, 12), marks=pytest.mark.slow),
    ],
)
def test_the_sum_of_sections_is_the_whole(name: str, images: int, seeds: range) -> None:
    machine = edge(name)
    cut = sections(machine, images)
    for seed in seeds:
        rows = [(int(a), int(b), int(c)) for a, b, c in ratios(196, images, seed)]
        part = cut.run(rows)
        whole = execute(side_by_side([kept(*row) for row in rows]), machine, "int8", cut.plan)
        assert part.cycles == whole.spans.cycles
        assert part.steps == by_step(whole.operators)
        assert part.macs == sum(o.macs for o in whole.operators)
        joules = sum(sum(o.energy_j.values()) for o in whole.operators)
        assert part.energy_j == pytest.approx(joules)
        assert cut.run(rows) == part


# What is executed


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9), st.integers(1, 4))
def test_buckets_pad_least(counts: list[int], buckets: int) -> None:
    edges = bucket_edges(np.array(counts), buckets)
    assert len(edges) <= buckets
    sizes = sorted(set(counts))

    def padding(chosen: tuple[int, ...]) -> int:
        return sum(min(size for size in chosen if size >= count) - count for count in counts)

    least = min(
        padding((*inner, sizes[-1]))
        for n in range(min(buckets, len(sizes)))
        for inner in combinations(sizes[:-1], n)
    )
    assert padding(edges) == least


@given(st.integers(1, 20), st.integers(1, 8), st.integers(0, 99), st.integers(1, 64))
def test_shapes_are_never_smaller_than_what_is_kept(
    number: int, batch: int, seed: int, tile: int
) -> None:
    counts = ratios(196, number, seed)
    masks = masks_of(counts, 196, seed)
    some = images(counts, masks=masks, batch=batch, tile=tile, order="queue")
    for one in POLICIES:
        shape = some.executed(one, some.batches(one))
        assert (np.diff(shape, axis=1) <= 0).all()
        assert (shape <= 196).all()
        if one.shape not in ("mean", "fit"):
            assert (shape >= counts).all()


# A policy of one's own


def test_a_name_says_what_runs_together_and_what_is_known() -> None:
    own = policy("exact/batch/known")
    exact = policy("exact")
    assert (own.shape, own.mapping) == (exact.shape, exact.mapping)
    assert (own.grouping, own.known, own.name) == ("batch", True, "exact/batch/known")
    assert policy("exact/known/batch").grouping == "batch"
    for one in POLICIES:
        assert policy(one.name) is one


def test_to_know_ahead_saves_the_questions_and_nothing_else() -> None:
    host = edge().host.model_copy(update={"round_trip_s": 1e-3})
    machine = edge().model_copy(update={"host": host})
    counts = ratios(64, 2, 2)
    for name in ("exact", "bucket/image", "pack"):
        both = [policy(f"{name}/{when}") for when in ("unknown", "known")]
        asked, ahead = run_policies(SMALL, machine, counts, policies=both, batch=2).policies[1:]
        questions = 3 if name == "pack" else 6
        assert 0.98e-3 * questions < asked.busy_s - ahead.busy_s <= 1e-3 * questions + 1e-6, name
        assert ahead.steps["useful"] == asked.steps["useful"]


def test_the_base_is_the_batch_without_pruning_whatever_else_is_asked_for() -> None:
    alone = [policy("dense/image")]
    run = run_policies(HEATVIT, edge(), ratios(196, 2, 2), policies=alone, batch=2)
    assert [one.policy.name for one in run.policies] == ["dense", "dense/image"]
    assert run.base is run.policies[0]
    assert run.speedup(run.policies[1]) < 1, "weights are loaded for each image"


def test_images_that_run_alone_are_not_padded_to_others() -> None:
    some = images(ratios(196, 6, 0), batch=3)
    own = policy("pad-batch/image")
    assert (some.executed(own, some.batches(own)) == some.counts).all()


def test_two_processes_give_exactly_what_one_gives() -> None:
    counts = trace("digits16").array()[:6]
    chosen = [policy(name) for name in ("pad-batch", "exact", "pack", "exact/image")]
    one, two = (
        run_policies(
            zoo.load("heatvit-digits16"), edge("edge-32x32"), counts,
            policies=chosen, batch=3, workers=workers,
        )
        for workers in (1, 2)
    )  # fmt: skip
    assert [run.policy.name for run in two.policies] == ["dense", *(each.name for each in chosen)]
    np.testing.assert_equal(asdict(two), asdict(one))


# What a user can get wrong


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(PolicyError, match="no policy is called pak; did you mean pack"):
        policy("pak")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exact/bach", "wanted batch or image, and known or unknown, behind exact, got bach; did"),
        ("exact/", "behind exact, got nothing"),
        ("exact/batch/image", "image contradicts or repeats"),
        ("exact/known/known", "known contradicts or repeats"),
        ("own/batch", "no policy is called own.* There are dense, mask"),
    ],
)
def test_a_policy_that_is_none_is_refused_in_one_line(name: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said) as caught:
        policy(name)
    assert "\n" not in str(caught.value)


def test_a_policy_named_twice_or_not_at_all_is_refused() -> None:
    assert [one.name for one in policies("exact, pack/known")] == ["exact", "pack/known"]
    with pytest.raises(PolicyError, match="policy exact is named twice"):
        policies("exact,pack,exact")
    for none in ("", "exact,"):
        with pytest.raises(PolicyError, match="wanted the name of a policy, got nothing"):
            policies(none)


@pytest.mark.parametrize("width", [50, 60, 80, 120])
@pytest.mark.parametrize("gpu", [False, True])
def test_names_of_policies_are_never_cut(ran: RaggedRun, width: int, gpu: bool) -> None:
    own = replace(by_name(ran, "exact"), policy=policy("respecialise/batch/unknown"))
    run = replace(ran, policies=(*ran.policies, own), gpu=gpu)
    trace = TokenTrace.of("hand", 196, ran.counts, "by hand")
    text = as_text(ragged_view(run, trace, width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert len(re.findall(f"^{own.policy.name} ", text, re.MULTILINE)) >= 2
    assert all(re.search(f"^{one.policy.name} ", text, re.MULTILINE) for one in run.policies)
    assert ("read its ends" in " ".join(text.split())) == gpu
    assert (" launch" in text) == gpu
    named = {word for line in text.splitlines() for word in line.split()}
    assert {"MACs", "select", "vector"} <= named, "every cause is there at any width"


def test_masks_of_other_counts_and_sizes_out_of_range_are_refused() -> None:
    counts = np.array([[100, 50, 25]])
    for masks in (np.ones((1, 3, 196), dtype=np.bool_), masks_of(counts, 195, 0)):
        with pytest.raises(PolicyError, match=r"wanted masks of shape \(1, 3, 196\)"):
            run_policies(HEATVIT, edge(), counts, masks=masks)
    for name in ("batch", "buckets", "tile"):
        wrong: dict[str, Any] = {name: 0}
        with pytest.raises(PolicyError, match=f"{name}=0 is out of range"):
            run_policies(HEATVIT, edge(), counts, **wrong)


def test_a_trace_of_another_number_of_selectors_is_refused() -> None:
    with pytest.raises(BindingError, match="has 3 selectors, the trace has 2"):
        run_policies(HEATVIT, edge(), np.array([[100, 50]]))


def test_patches_are_those_of_the_first_selector() -> None:
    assert patches_of(HEATVIT) == 196
