"""Partial steps are what is left of a UNet when its deep features are known; nothing else."""

from itertools import pairwise

import pytest
from unet_cases import SIDE, WIDTH, macs, tiny_unet

from tilewise.arch import load_machine
from tilewise.sim import papers
from tilewise.sim.simulate import simulate
from tilewise.workloads import zoo
from tilewise.workloads.deepcache import (
    CACHED,
    CutError,
    average,
    full_step,
    full_steps,
    partial_step,
    skips,
    uneven_steps,
)

UNET = tiny_unet()
CIFAR = zoo.load("ddpm-cifar10-unet")


def test_skip_connections_are_found_from_the_shallowest_on() -> None:
    assert [tuple(skip) for skip in skips(UNET)] == [("up", ("in",)), ("middle", ("down",))]


@pytest.mark.parametrize(("name", "count"), [("sd15-unet", 12), ("ddpm-celeba-unet", 15)])
def test_a_unet_has_a_connection_for_each_result_on_the_way_down(name: str, count: int) -> None:
    found = skips(zoo.load(name))
    assert len(found) == count
    assert found[0].kept == ("conv_in/Conv",)
    place = {operator.name: at for at, operator in enumerate(zoo.load(name).operators)}
    made = [place[skip.kept[0]] for skip in found]
    joined = [place[skip.deep] for skip in found]
    assert made == sorted(made)
    assert joined == sorted(joined, reverse=True), "the last made is the first joined"


@pytest.mark.parametrize("name", ["deit-small", "heatvit-deit-small", "clip-l-text"])
def test_what_is_no_unet_has_none(name: str) -> None:
    model = zoo.load(name)
    assert skips(model) == ()
    with pytest.raises(CutError, match=f"{name} has no skip connections: it is no UNet"):
        partial_step(model, 1)


@pytest.mark.parametrize(
    ("branch", "left"),
    [(1, ["in", "out"]), (2, ["in", "down", "below", "up", "out"])],
)
def test_a_partial_step_has_what_the_output_needs_besides(branch: int, left: list[str]) -> None:
    cut = partial_step(UNET, branch)
    assert [operator.name for operator in cut.operators] == left
    deep = {operator.name: operator for operator in UNET.operators}[skips(UNET)[branch - 1].deep]
    assert cut.inputs == (*UNET.inputs, (CACHED, deep.shape))
    assert (cut.symbols, cut.outputs) == (UNET.symbols, UNET.outputs)


def test_the_macs_and_parameters_of_a_partial_step_by_hand() -> None:
    cut = partial_step(UNET, 1).bind({"batch": 2})
    assert cut.macs == 2 * (macs((4, WIDTH), SIDE) + macs((2 * WIDTH, 4), SIDE))
    assert cut.parameters == 9 * (4 * WIDTH + 2 * WIDTH * 4)


def test_a_deeper_cut_leaves_more_and_changes_nothing_that_it_leaves() -> None:
    whole = {operator.name: operator.macs for operator in CIFAR.bind().operators}
    before: set[str] = set()
    for branch in range(1, 13):
        cut = partial_step(CIFAR, branch).bind()
        left = {operator.name: operator.macs for operator in cut.operators}
        assert left.items() <= whole.items()
        assert before < left.keys() < whole.keys()
        before = set(left)


@pytest.mark.parametrize("machine", ["edge-32x32", "zcu102-heatvit", "h200"])
def test_what_is_kept_is_written_to_dram_and_read_from_it(machine: str) -> None:
    on = load_machine(machine)
    plain, full, partial = (
        simulate(each, on) for each in (UNET, full_step(UNET, 2), partial_step(UNET, 2))
    )
    width = 2 if plain.format == "fp16" else 1
    kept = WIDTH * (SIDE // 2) ** 2 * width
    assert full.macs == plain.macs
    # A GPU writes every result.  An array could have kept this one on chip, and with it what it is
    # joined with, as parts that are read as one lie in one place: both are stored and loaded.
    more = full.dram_bytes - plain.dram_bytes
    assert more == 0 if plain.gpu else more >= 4 * kept
    reads = {o.name: o.dram_bytes for o in partial.operators}["below"]
    assert reads >= kept + 9 * 2 * WIDTH * WIDTH * width
    assert full.config_hash != plain.config_hash


def test_even_steps_are_every_nth_from_the_first() -> None:
    assert full_steps(50, 5) == tuple(range(0, 50, 5))
    assert len(full_steps(250, 20)) == 13, "ceil(250/20)"


@pytest.mark.parametrize("steps", [50, 100, 250])
@pytest.mark.parametrize("interval", [2, 3, 5, 10, 20])
def test_uneven_steps_are_as_many_and_begin_with_the_first(steps: int, interval: int) -> None:
    for center in (steps // 5, steps // 2):
        found = uneven_steps(steps, interval, center, power=1.4)
        assert len(found) == len(full_steps(steps, interval))
        assert found[0] == 0
        assert list(found) == sorted(set(found))
        assert found[-1] < steps


def test_uneven_steps_are_denser_around_the_centre() -> None:
    found = uneven_steps(250, 10, 125, power=1.4)
    gaps = [after - before for before, after in pairwise(found)]
    assert min(gaps[10:14]) < min(gaps[1], gaps[-1])


def test_an_average_step_weighs_full_and_partial_ones() -> None:
    assert average(10.0, 1.0, 50, 5) == pytest.approx((10 * 10 + 40 * 1) / 50)
    assert average(10.0, 1.0, 7, 3) == pytest.approx((3 * 10 + 4 * 1) / 7)


@pytest.mark.parametrize(("steps", "interval"), [(0, 1), (10, 0)])
def test_no_steps_and_no_interval_are_refused(steps: int, interval: int) -> None:
    with pytest.raises(CutError, match="wanted 1 step and an interval of 1 at least"):
        full_steps(steps, interval)


@pytest.mark.parametrize("branch", [0, 3])
def test_a_connection_that_is_not_there_is_named(branch: int) -> None:
    with pytest.raises(CutError, match=f"tiny-unet has skip connections 1 to 2, not {branch}"):
        full_step(UNET, branch)


def test_the_averages_of_the_paper_come_out_of_the_graphs() -> None:
    found = papers.reproduce("deepcache")
    off = {row.line.key for row in found.rows if abs(row.error or 0.0) > 0.01}
    assert off == {row.line.key for row in found.rows if row.note}
    assert off == {"sd15-n5", "cifar-b7", "cifar-b8"}
    assert len(found.rows) == 29


def test_the_printed_average_of_stable_diffusion_is_that_of_the_interval_before() -> None:
    unet = zoo.load("sd15-unet")
    full, partial = (each.bind().macs_without_attention for each in (unet, partial_step(unet, 2)))
    assert isinstance(full, int)
    assert isinstance(partial, int)
    assert average(full, partial, 50, 4) / 1e9 == pytest.approx(130.45, rel=1e-3)
    assert average(full, partial, 50, 5) / 1e9 == pytest.approx(113.5, rel=1e-3)
