"""Which question: are tiles of tokens filled where they can be, and only empty ones skipped?"""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragged_cases import HEATVIT, edge, kept, masks_of, ratios, stationary

from tilewise.arch import load_machine
from tilewise.sim.lower import plan
from tilewise.sim.policies import POLICIES, PolicyError, policy
from tilewise.sim.ragged import run_policies
from tilewise.sim.simulate import execute
from tilewise.sim.token_tiles import Layout, layout, live_counts, token_tile, whole_counts
from tilewise.workloads import trace, zoo
from tilewise.workloads.in_place import in_place


def test_a_tile_is_what_lies_along_the_array() -> None:
    assert token_tile(stationary("ws")) == 1
    assert token_tile(stationary("os")) == 48
    assert token_tile(stationary("is")) == 32
    assert token_tile(load_machine("zcu102-heatvit")) == 1
    assert token_tile(load_machine("a100-80gb")) == 1


def test_cls_lies_before_the_patches_and_a_package_token_behind() -> None:
    assert layout(HEATVIT, {}) == Layout(196, 1, (2, 2, 2))


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2), st.integers(0, 2), st.data())
def test_live_tiles_hold_every_kept_token_and_no_dead_tile(
    patches: int, tile: int, before: int, behind: int, data: st.DataObject
) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=patches, max_size=patches))
    kept = np.array(mask)[None, None]
    beside = before + behind
    sequence = [True] * before + mask + [True] * behind
    tiles = [sequence[first : first + tile] for first in range(0, len(sequence), tile)]
    live = sum(len(one) for one in tiles if any(one))
    assert live_counts(kept, tile, Layout(patches, before, (beside,)))[0, 0] == live - beside
    assert sum(mask) <= live - beside <= patches
    alone = live_counts(kept, 1, Layout(patches, before, (beside,)))
    assert alone[0, 0] == sum(mask)


@given(st.integers(1, 200), st.integers(1, 70), st.integers(0, 200), st.integers(0, 3))
def test_a_fitted_count_is_the_nearest_that_is_whole(
    patches: int, tile: int, count: int, beside: int
) -> None:
    count = min(count, patches)
    found = whole_counts(np.array([count]), tile, Layout(patches, beside, (beside,)))[0]
    assert 0 <= found <= patches
    whole = [n for n in range(patches + tile) if n + beside and (n + beside) % tile == 0]
    nearest = min(whole, key=lambda n: (abs(n - count), -n))
    assert found == (min(nearest, patches) if count + beside else 0)


def test_a_static_count_that_fits_leaves_no_fold_of_a_product_with_weights_ragged() -> None:
    machine = stationary("os")
    fit, plain = policy("top-k-fit"), policy("top-k")
    for batch, unit in ((1, 48), (4, 12)):
        found = run_policies(
            HEATVIT, machine, ratios(196, 4, 1), policies=[plain, fit], batch=batch
        )
        assert found.tile == 48
        assert ((found.policies[2].executed[0] + 2) % unit == 0).all()
        top, fitted = (one.steps["edge"] / one.steps["useful"] for one in found.policies[1:])
        assert fitted < top
        moved = found.policies[2].executed - found.policies[1].executed
        assert 0 < abs(moved).max() <= unit / 2


def test_where_tokens_stream_every_static_count_fits() -> None:
    both = [policy("top-k"), policy("top-k-fit")]
    top, fit = run_policies(HEATVIT, edge(), ratios(196, 4, 1), policies=both).policies[1:]
    assert top.busy_s == fit.busy_s
    assert (top.executed == fit.executed).all()


def test_skipping_single_tokens_is_exact_without_the_gather() -> None:
    machine, counts = edge(), ratios(196, 2, 5)
    both = [policy("exact"), policy("tile-skip")]
    masks = masks_of(counts, 196, 5)
    run = run_policies(HEATVIT, machine, counts, masks=masks, policies=both, tile=1)
    exact, skip = run.policies[1:]
    assert (skip.executed == exact.executed).all()
    assert (skip.macs, skip.padding) == (exact.macs, 0)
    assert skip.steps["gather"] == 0 < exact.steps["gather"]
    assert skip.steps["useful"] == exact.steps["useful"]
    made = plan(in_place(kept(196, 196, 196)), machine, "int8")
    for row, latency_s in zip(counts, skip.latency_s, strict=True):
        alone = execute(in_place(kept(*map(int, row))), machine, "int8", made)
        assert latency_s * float(machine.clock_hz) == pytest.approx(alone.spans.cycles)


def test_with_every_patch_kept_no_tile_is_skipped() -> None:
    counts = np.full((2, 3), 196)
    masks = np.ones((2, 3, 196), dtype=np.bool_)
    names = [policy("mask/image/unknown"), policy("tile-skip")]
    run = run_policies(HEATVIT, stationary("os"), counts, masks=masks, policies=names)
    mask, skip = run.policies[1:]
    assert (skip.executed == 196).all()
    assert (skip.macs, skip.padding, mask.padding) == (mask.macs, 0, 0)
    assert skip.busy_s < mask.busy_s, "the gather"


def test_scattered_tokens_leave_few_tiles_to_skip_and_gathered_ones_many() -> None:
    counts = np.array([[98, 49, 24]])
    side_by_side = np.arange(196) < counts[0][:, None]
    skip = [policy("tile-skip")]
    machine = stationary("os")
    lined, scattered = (
        run_policies(HEATVIT, machine, counts, masks=masks, policies=skip).policies[1]
        for masks in (side_by_side[None], masks_of(counts, 196, 0))
    )
    # 96 or 48 tokens of live tiles in front, and 6 with the package token in the last
    assert lined.executed.tolist() == [[144 + 6 - 2, 96 + 6 - 2, 48 + 6 - 2]]
    assert (scattered.executed > lined.executed).all()
    assert lined.busy_s < scattered.busy_s
    assert 0 < lined.padding < scattered.padding


def test_live_tiles_of_the_shipped_masks_are_as_documented() -> None:
    document = (Path(__file__).parents[1] / "docs" / "ragged.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", document, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "4", "8", "16", "32"]
    masks = trace("dinov2-crops").fitted(196).masks()
    assert masks is not None
    for tile, *said in rows:
        tokens = live_counts(masks, int(tile), layout(HEATVIT, {})) + 2
        assert [f"{mean:.1f}" for mean in tokens.mean(axis=0)] == said


def test_in_place_nothing_is_gathered_and_all_else_is_done() -> None:
    placed = in_place(HEATVIT)
    moved = {o.name for o in HEATVIT.operators} - {o.name for o in placed.operators}
    assert moved == {f"selectors.{number}/Gather_3" for number in range(3)}
    names = {o.name for o in placed.operators} | {name for name, _ in placed.inputs}
    assert {s for o in placed.operators for operand in o.operands for s in operand.sources} <= names
    assert placed.macs == HEATVIT.macs
    deit = zoo.load("deit-small")
    assert in_place(deit) == deit


def test_without_masks_tiles_are_not_skipped() -> None:
    counts = np.array([[100, 50, 25]])
    with pytest.raises(PolicyError, match="tile-skip cannot be run: which patches"):
        run_policies(HEATVIT, edge(), counts, policies=[policy("tile-skip")])
    run = run_policies(HEATVIT, edge(), counts)
    assert list(run.left_out) == ["tile-skip"]
    assert len(run.policies) == len(POLICIES) - 1
