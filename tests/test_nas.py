"""What candidates cost: laws of the sums, and the engine's whole networks beside them."""

from __future__ import annotations

import importlib.util
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nas_cases import blocks, engine, invented, made_up, quasar
from numpy.typing import NDArray

import tilewise
from tilewise.sim.nas import SearchSpace, SpaceError, search_space, space_names
from tilewise.sim.nas.evolution import evolved, found, scored
from tilewise.sim.nas.genes import GeneError
from tilewise.sim.nas.heatvit import HeatVit
from tilewise.sim.nas.quasar import QuasarVit
from tilewise.sim.nas.terms import Array, priced
from tilewise.sim.simulate import simulate
from tilewise.workloads import vit
from tilewise.workloads.zoo.quasar import (
    CHOICES,
    DEPTHS,
    EMBEDS,
    LAYERS,
    MLP_RATIOS,
    SHARES,
    from_genes,
    quasar_vit,
    sampled,
)
from tilewise.workloads.zoo.quasar import genes as genes_of

Genes = NDArray[np.int64]
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=["quasar", "made up", "blocks", "heatvit"])
def space(request: pytest.FixtureRequest) -> SearchSpace:
    made: dict[str, Any] = {
        "quasar": quasar,
        "made up": lambda: search_space("quasar-vit", engine(), table=made_up("quasar-vit")),
        "blocks": blocks,
        "heatvit": invented,
    }
    chosen: SearchSpace = made[request.param]()
    return chosen


def naive(space: SearchSpace, row: list[int]) -> float:
    """The sum, cell by cell."""
    cells = (term.latency_s[tuple(row[place] for place in term.places)] for term in space.terms)
    return float(sum(cells, 0.0))


def test_a_cost_is_the_sum_of_the_cells(space: SearchSpace) -> None:
    genes = space.random(50, seed=1)
    assert list(space.latency_s(genes)) == [naive(space, row) for row in genes.tolist()]
    assert space.latency_s(genes).dtype == np.float64


def test_rows_do_not_know_of_each_other(space: SearchSpace) -> None:
    """Whatever the order, whatever the number: across the seams between pieces too."""
    genes = space.random(70_000, seed=2)
    order = np.random.default_rng(0).permutation(len(genes))
    costs = space.latency_s(genes)
    assert np.array_equal(space.latency_s(genes[order]), costs[order])
    assert np.array_equal(space.latency_s(genes[32_760:32_780]), costs[32_760:32_780])
    assert np.array_equal(space.energy_j(genes[:1]), space.energy_j(genes)[:1])


def test_no_candidates_cost_nothing(space: SearchSpace) -> None:
    assert space.latency_s(space.random(0, seed=0)).shape == (0,)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64", "list", "fortran"])
def test_any_whole_numbers_will_do(kind: str) -> None:
    space = quasar()
    genes = space.random(30, seed=3)
    given: Any = genes.tolist() if kind == "list" else np.asfortranarray(genes)
    if "int" in kind:
        given = genes.astype(kind)
    assert np.array_equal(space.latency_s(given), space.latency_s(genes))


def test_genes_of_blocks_that_are_not_there_cost_nothing() -> None:
    space = quasar()
    genes = space.random(200, seed=4)
    other = space.random(200, seed=5)
    depth = np.array(DEPTHS)[genes[:, 1]]
    later = np.arange(len(CHOICES)) >= 4 + len(LAYERS) * depth[:, None]
    assert np.array_equal(space.latency_s(genes), space.latency_s(np.where(later, other, genes)))


def test_a_block_more_costs_more() -> None:
    space = quasar()
    genes = space.random(300, seed=6)
    by_depth: list[tuple[Array, Array]] = []
    for depth in range(len(DEPTHS)):
        genes[:, 1] = depth
        by_depth.append((space.latency_s(genes), space.energy_j(genes)))
    for (latency, energy), (more_latency, more_energy) in pairwise(by_depth):
        assert (more_latency > latency).all()
        assert (more_energy > energy).all()


@settings(max_examples=20)
@given(SEEDS)
def test_the_table_agrees_with_whole_networks(seed: int) -> None:
    """On this machine no layer waits for its weights longer than in the table's networks."""
    space = quasar()
    (row,) = space.random(1, seed=seed)
    run = space.simulate(row)
    assert space.latency_s(row[None])[0] == pytest.approx(run.latency_s, rel=1e-6)
    assert space.energy_j(row[None])[0] == pytest.approx(run.energy_j, rel=1e-6)


def test_points_of_the_space_are_simulated_as_papers_are() -> None:
    space = quasar()
    (point,) = sampled(1, seed=9)
    assert from_genes(genes_of(point)) == point
    run = simulate(quasar_vit(point, activations=6), engine())
    assert space.simulate(genes_of(point)).cycles == run.cycles


def test_the_bias_is_measured_and_told() -> None:
    found = quasar().bias
    assert found is not None
    assert found.points >= 20
    assert found.latency.maximum < 1e-3
    assert found.energy.maximum < 1e-3
    assert "whole networks" in str(found)


@pytest.mark.slow
def test_neighbours_of_every_width_are_in_the_table_where_layers_wait_for_weights() -> None:
    space = search_space("quasar-vit", engine("edge-128x128"), cache=False)
    assert space.bias is not None
    assert space.bias.latency.mean_absolute < 1e-3
    assert space.bias.latency.maximum < 5e-3


def test_neighbours_are_in_the_table_where_layers_wait_for_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With networks of one width in the table only."""
    machine, widest = engine("edge-128x128"), EMBEDS[-1:]
    monkeypatch.setattr("tilewise.sim.nas.quasar.EMBEDS", widest)
    entries = QuasarVit(machine=machine).entries()
    monkeypatch.undo()
    full = made_up("quasar-vit")
    table = replace(full, entries={**full.entries, **entries})
    space = search_space("quasar-vit", machine, table=table)
    genes = space.random(12, seed=10)
    genes[:, 0] = EMBEDS.index(*widest)
    runs = np.array([space.simulate(row).latency_s for row in genes])
    errors = np.abs(space.latency_s(genes) / runs - 1)
    assert errors.mean() < 1e-3
    assert errors.max() < 5e-3
    costs = priced(
        table,
        "mlp.fc2",
        {"embed": widest, "mlp_ratio": MLP_RATIOS, "after": SHARES, "wide": SHARES},
    )
    assert np.ptp(costs.latency_s, axis=2).max() > 0.2 * costs.latency_s.min()


def test_the_table_is_small() -> None:
    assert len(quasar().table) < 2500


def test_a_stack_of_blocks_is_near_its_sum() -> None:
    space = blocks()
    assert space.bias is not None
    assert space.bias.latency.maximum < 0.01
    for row in space.random(5, seed=1):
        run = space.simulate(row)
        assert space.latency_s(row[None])[0] == pytest.approx(run.latency_s, rel=0.01)


@pytest.mark.parametrize("machine", ["zcu102-heatvit", "edge-32x32"])
def test_kept_counts_are_priced_as_whole_networks_are(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the counts of a few candidates in the table only."""
    rows = [[140, 90, 60], [196, 90, 0], [140, 140, 140]]
    chosen = HeatVit(machine=engine(machine), embed=192)
    counts = sorted({count for row in rows for count in row})
    monkeypatch.setattr("tilewise.sim.nas.heatvit.counted", lambda: counts)
    entries = chosen.entries()
    monkeypatch.undo()
    full = made_up("heatvit-deit-small")
    table = replace(full, entries={**full.entries, **entries})
    space = search_space("heatvit-deit-tiny", engine(machine), table=table)
    for row in rows:
        run = space.simulate(row)
        assert space.latency_s([row])[0] == pytest.approx(run.latency_s, rel=2e-3)
        assert space.energy_j([row])[0] == pytest.approx(run.energy_j, rel=2e-3)


def test_with_as_many_tokens_as_before_a_stage_costs_what_a_dense_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """195 patches, CLS and the package token are 197 tokens: keep all, and pay as before."""
    monkeypatch.setattr("tilewise.sim.nas.heatvit.counted", lambda: [195])
    entries = HeatVit(machine=engine("zcu102-heatvit"), embed=192).entries()
    assert entries["block-kept:195"].latency_s == pytest.approx(
        entries["dense"].latency_s, rel=1e-12
    )
    assert entries["block-kept:195"].energy_j == pytest.approx(entries["dense"].energy_j, rel=1e-9)
    dense = simulate(vit(depth=12, embed=192, heads=3, batch=1), engine("zcu102-heatvit"))
    blocks_of = entries["dense-first"].latency_s + 11 * entries["dense"].latency_s
    assert entries["stem"].latency_s + blocks_of < dense.latency_s
    assert entries["stem"].latency_s + blocks_of == pytest.approx(dense.latency_s, rel=0.02)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([5, 5, 197], r"wanted 0 to 196 at row 1, place 2 \(kept_3\), got 197"),
        ([-1, -2, -3], r"wanted 0 to 196 at row 1, place 0 \(kept_1\), got -1"),
        ([5, 6, 0], r"at most the 5 of kept_1 at row 1, place 1 \(kept_2\), got 6"),
    ],
)
def test_a_gene_out_of_range_is_named(row: list[int], message: str) -> None:
    with pytest.raises(GeneError, match=message):
        invented().latency_s(np.array([[3, 2, 1], row, [9, 9, 9]]))


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        (np.zeros(3, int), r"wanted shape \(n, 3\), one row a candidate, got \(3,\)"),
        (np.zeros((2, 4), int), r"got \(2, 4\)"),
        (np.zeros((2, 3)), "whole numbers, got float64"),
        (np.zeros((2, 3), bool), "whole numbers, got bool"),
    ],
)
def test_genes_of_another_shape_or_type_are_refused(genes: Any, message: str) -> None:
    with pytest.raises(GeneError, match=message):
        invented().latency_s(genes)


def test_a_space_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(SpaceError, match="called quasarvit; did you mean quasar-vit"):
        search_space("quasarvit", engine())
    with pytest.raises(TypeError, match=r"wants a machine, got 'zcu102'; tilewise.machine\(name\)"):
        search_space("quasar-vit", "zcu102")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(SpaceError, match="no option activation; did you mean activations"):
        search_space("quasar-vit", engine(), activation=8)
    with pytest.raises(ValueError, match="tokens: wanted rising values"):
        search_space("vit-blocks", engine(), tokens=(20, 10))
    with pytest.raises(ValueError, match="must be blocks 2 to 12, in order"):
        search_space("heatvit-deit-small", engine(), selectors=(1, 4))
    assert set(space_names()) >= {"quasar-vit", "heatvit-deit-small", "vit-blocks"}


def test_values_are_what_genes_stand_for() -> None:
    space = quasar()
    values = space.values(np.array([genes_of(sampled(1, seed=3)[0])]))
    (point,) = sampled(1, seed=3)
    assert tuple(values[0, :4]) == (point.embed, point.depth, point.heads, point.mlp_ratio)
    assert values[0, 4] == float(point.wide[0])


def test_a_space_is_the_same_after_pickling(space: SearchSpace) -> None:
    genes = space.random(10, seed=8)
    again: SearchSpace = pickle.loads(pickle.dumps(space))
    assert np.array_equal(again.latency_s(genes), space.latency_s(genes))
    assert again.table == space.table
    assert again.choices == space.choices


def test_threads_share_a_space(space: SearchSpace) -> None:
    pieces = [space.random(3000, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(space.latency_s, pieces))
    for piece, costs in zip(pieces, together, strict=True):
        assert np.array_equal(space.latency_s(piece), costs)


def test_terms_cannot_be_written_to(space: SearchSpace) -> None:
    with pytest.raises(ValueError, match="read-only"):
        space.terms[-1].latency_s[...] = 0


def _costs(space: SearchSpace, genes: Genes) -> NDArray[np.float64]:
    return space.latency_s(genes)


def test_spawned_workers_say_the_same() -> None:
    space = quasar()
    pieces = [space.random(100, seed=seed) for seed in range(4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        together = pool.map(partial(_costs, space), pieces)
    for piece, costs in zip(pieces, together, strict=True):
        assert np.array_equal(space.latency_s(piece), costs)


def test_the_cached_table_is_the_built_one(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options: dict[str, Any] = {"depth": (1, 2), "embed": (48,), "heads": (2,), "tokens": (10, 12)}
    once = search_space("vit-blocks", engine(), **options)
    again = search_space("vit-blocks", engine(), **options)
    never = search_space("vit-blocks", engine(), cache=False, **options)
    assert once.table == again.table == never.table
    assert len(list((tmp_path / "tilewise" / "tables").iterdir())) == 1
    search_space("vit-blocks", engine().replace(clock_hz=3e8), **options)
    assert len(list((tmp_path / "tilewise" / "tables").iterdir())) == 2


def test_a_recipe_says_everything_that_its_table_depends_on() -> None:
    one, other = QuasarVit(machine=engine()), QuasarVit(machine=engine(), activations=8)
    assert repr(one) == repr(QuasarVit(machine=engine()))
    assert repr(one) != repr(other)


def kept(genes: Genes) -> NDArray[np.float64]:
    """What a candidate is worth in these tests: the more patches the better."""
    total: NDArray[np.float64] = genes.sum(axis=1).astype(np.float64)
    return total


def test_evolution_keeps_the_target_and_beats_chance() -> None:
    space = invented()
    target_s = float(np.quantile(space.latency_s(space.random(1000, seed=0)), 0.2))
    best = evolved(space, kept, target_s, population=64, generations=20, seed=3)
    assert best.latency_s <= target_s
    assert best.latency_s == space.latency_s(best.genes[None])[0]
    assert best.value == best.genes.sum()
    drawn = space.random(best.evaluations, seed=3)
    chance = found(space, kept, target_s, drawn, evaluations=best.evaluations)
    assert best.value >= chance.value
    again = evolved(space, kept, target_s, population=64, generations=20, seed=3)
    assert np.array_equal(again.genes, best.genes)


def test_who_misses_the_target_is_worth_less_than_any_who_keeps_it() -> None:
    space = invented()
    genes = space.random(500, seed=1)
    latency_s = space.latency_s(genes)
    target_s = float(np.median(latency_s))
    worth = scored(space, lambda genes: -1e9 * kept(genes), target_s, genes)
    late = latency_s > target_s
    assert worth[late].max() < worth[~late].min()
    order = np.argsort(latency_s[late])
    assert (np.diff(worth[late][order]) <= 0).all()


def test_a_target_that_none_keeps_is_said() -> None:
    with pytest.raises(ValueError, match=r"no candidate takes .* the quickest that was seen takes"):
        evolved(invented(), kept, 1e-9, population=16, generations=1)


def _given(space: SearchSpace, *_: object) -> SearchSpace:
    return space


def example(name: str) -> Any:
    """A script of examples/, as a module."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_quasar_example_finds_a_model_and_says_what_it_rests_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tilewise, "search_space", partial(_given, quasar()), raising=False)
    script = example("quasar_search")
    script.main(population=64, generations=5)
    printed = capsys.readouterr().out
    for said in ("PROXY", "residuals", "Quasar-ViT large", "by the engine"):
        assert said in printed
    weights, residuals = script.fitted()
    assert weights[1] > 0, "more MACs, more accuracy"
    assert weights[2] < 0, "coarser steps, less accuracy"
    assert abs(residuals).max() < 2.5
    genes = quasar().random(100, seed=1)
    share = script.share_wide(genes)
    assert ((share >= 0) & (share <= 1)).all()
    genes[:, 4:] = 4
    assert script.share_wide(genes) == pytest.approx(1)


def test_the_heatvit_example_finds_counts_and_tries_them_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = invented()
    monkeypatch.setattr(tilewise, "search_space", partial(_given, space), raising=False)
    script = example("heatvit_keep_ratios")
    monkeypatch.setattr(script, "TARGET_S", float(space.latency_s([[90, 60, 30]])[0]))
    script.main(population=64, generations=5)
    printed = capsys.readouterr().out
    for said in ("PROXY", "of 1,293,699 candidates", "the engine says"):
        assert said in printed
    assert script.fitted().slope > 0, "more tokens, more accuracy"
    assert abs(script.fitted().residuals).max() < 1.5


def test_the_front_door_knows_the_spaces() -> None:
    assert tilewise.search_space is search_space
    assert tilewise.SearchSpace is SearchSpace
