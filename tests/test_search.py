"""Search: fronts that nothing beats, the same by seed, within the budget; blocks that evolve."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from optional import needed

from tilewise.arch import fpga
from tilewise.reports.search import kept
from tilewise.sim.errors import SpaceError, SweepError
from tilewise.sim.search import METHODS, Found, problem_of, search
from tilewise.sim.search import problem as search_problem
from tilewise.sim.search.evolving import Blocks, blocks_of, evolved
from tilewise.sim.search.front import hypervolume, knee, nondominated
from tilewise.sim.search.problem import SearchError
from tilewise.sim.simulate import simulate
from tilewise.sim.spaces.evaluate import METRICS
from tilewise.sim.spaces.space import Space
from tilewise.sim.spaces.study import Study
from tilewise.workloads import workload

SPACE: dict[str, Any] = {
    "machine": "edge-32x32",
    "workload": "heatvit-digits16",
    "axes": {
        "array.rows": [4, 8, 16, 32, 64],
        "array.cols": [4, 8, 16, 32, 64],
        "array.dataflow": ["ws", "os"],
        "dram.bytes_per_s": {"from": 1e9, "to": 2.56e10, "scale": "log"},
    },
    "constraints": ["array.rows * array.cols <= 1024"],
}
TINY: dict[str, Any] = {
    **SPACE,
    "axes": {
        "array.rows": [4, 8, 16, 32, 64],
        "array.cols": [4, 8, 16, 32],
        "array.dataflow": ["ws", "os"],
    },
}
"""38 designs that satisfy the constraint."""

OBJECTIVES = ("latency_s", "energy_j")


def instead(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """Stands in for the models: a conflict of two objectives, and designs that cannot be."""
    rows, cols = (points[f"array.{name}"].to_numpy(float) for name in ("rows", "cols"))
    slow = points["array.dataflow"].to_numpy() == "os"
    gigabytes = points.get("dram.bytes_per_s", pd.Series(8e9, points.index)).to_numpy(float) / 1e9
    latency = 1 / rows + 1 / cols + 1 / gigabytes + slow
    energy = rows + 2 * cols + gigabytes
    none = (rows == 8) & (cols == 4)
    columns: dict[str, Any] = {
        name: latency if kind is float else rows.astype(np.int64) for name, kind in METRICS.items()
    }
    columns |= {"latency_s": np.where(none, np.nan, latency), "energy_j": energy}
    columns["infeasible"] = np.where(none, "buffers.input_bytes", "").astype(object)
    return pd.DataFrame({**columns, "error": None}, index=points.index)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluates in no time."""
    needed("pymoo")
    needed("optuna")
    monkeypatch.setattr(search_problem, "evaluate", instead)


def values(found: Found) -> np.ndarray[Any, np.dtype[np.float64]]:
    return found.points[list(found.problem.objectives)].to_numpy(np.float64)


# --- fronts --------------------------------------------------------------------------------------

POINTS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.integers(2, 3)),
    elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0, 8.0, math.nan]),
)


@given(POINTS)
def test_nothing_on_a_front_is_dominated_and_all_else_is(points: Any) -> None:
    found = nondominated(points)
    for one, on_front in zip(points, found, strict=True):
        with np.errstate(invalid="ignore"):
            better = ((points <= one).all(axis=1) & (points < one).any(axis=1)).any()
        assert on_front == (np.isfinite(one).all() and not better)


@given(POINTS)
@settings(max_examples=40)
def test_hypervolume_never_falls_when_a_point_is_added_and_is_that_of_the_front(
    points: Any,
) -> None:
    needed("pymoo")
    reference = np.full(points.shape[1], 10.0)
    volumes = [hypervolume(points[:count], reference) for count in range(len(points) + 1)]
    assert volumes[0] == 0
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(volumes))
    assert volumes[-1] == pytest.approx(hypervolume(points[nondominated(points)], reference))


def test_hypervolume_of_two_boxes_is_their_union() -> None:
    needed("pymoo")
    points = np.array([[1.0, 2.0], [2.0, 1.0], [9.0, 0.0]])
    assert hypervolume(points, np.array([3.0, 3.0])) == pytest.approx(3.0)


def test_a_knee_is_where_the_front_bends() -> None:
    front = np.array([[0.0, 100.0], [1.0, 10.0], [5.0, 9.0], [10.0, 0.0]])
    assert knee(front) == 1
    assert knee(front * [1e-6, 1e9] + 7) == 1
    with pytest.raises(ValueError, match="at least one point"):
        knee(front[:0])


# --- searches ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", METHODS)
def test_what_a_search_finds_is_feasible_and_nothing_beats_it(method: str) -> None:
    found = search(Space.of(TINY | SPACE), OBJECTIVES, method=method, evaluations=90, population=15)
    points, objectives = found.points, values(found)
    assert len(points) <= 90
    assert list(points["point"]) == list(range(len(points)))
    assert not points.duplicated([one.name for one in found.problem.study.axes]).any()
    assert (points["array.rows"] * points["array.cols"] <= 1024).all(), "constraints hold"
    assert (points["feasible"] == (points["infeasible"] == "")).all()
    front = points["front"].to_numpy()
    feasible = np.where(points["feasible"].to_numpy()[:, None], objectives, np.nan)
    assert list(front) == list(nondominated(feasible))
    assert found.knee in set(found.front["point"])
    assert found.front["latency_s"].is_monotonic_increasing
    assert found.front["energy_j"].is_monotonic_decreasing


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", METHODS)
def test_hypervolume_never_falls_over_evaluations(method: str) -> None:
    found = search(Space.of(SPACE), OBJECTIVES, method=method, evaluations=100, population=10)
    for trace in (found.trace, found.random):
        assert list(trace.hypervolume) == sorted(trace.hypervolume)
        assert all(0 <= volume <= 1 for volume in trace.hypervolume)
        assert trace.evaluations[-1] <= 100
        assert list(trace.evaluations) == sorted(set(trace.evaluations))
    assert (found.trace == found.random) == (method == "random")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_finds_the_same_and_another_something_else(method: str) -> None:
    def points(seed: int) -> pd.DataFrame:
        return search(
            Space.of(SPACE), OBJECTIVES, method=method, evaluations=60, population=10, seed=seed
        ).points

    pd.testing.assert_frame_equal(points(1), points(1))
    assert not points(1).equals(points(2))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", METHODS)
def test_the_front_of_a_space_that_can_be_enumerated_is_found(method: str) -> None:
    found = search(Space.of(TINY), OBJECTIVES, method=method, evaluations=1000, population=12)
    everything = Study.of(Space.of(TINY)).points(range(40))
    assert len(found.points) <= len(everything) == 38, "and then it stops"
    metrics = instead(found.problem.study, everything)
    numbers = metrics[list(OBJECTIVES)].to_numpy()
    best = numbers[nondominated(numbers)]
    assert {tuple(row) for row in values(found)[found.points["front"]]} == {*map(tuple, best)}


@pytest.mark.usefixtures("quick")
def test_accuracy_is_wanted_high_and_seen_by_the_search() -> None:
    def accuracy(designs: pd.DataFrame) -> Any:
        return designs["array.rows"].to_numpy() / 64

    found = search(
        Space.of(TINY), ("energy_j", "accuracy"), evaluations=200, population=10, accuracy=accuracy
    )
    assert list(found.front["array.rows"]) == [4, 16, 32, 64], "8 x 4 cannot be, 8 x 8 costs 16 x 4"
    assert found.front["accuracy"].is_monotonic_increasing
    with pytest.raises(SearchError, match=r"wanted a number for each of .* designs"):
        search(Space.of(TINY), ("energy_j", "accuracy"), accuracy=lambda designs: [1.0])


@pytest.mark.usefixtures("quick")
def test_a_device_excludes_what_it_cannot_hold() -> None:
    free = search(Space.of(TINY), ("latency_s", "dsp"), evaluations=40, population=10)
    none = search(
        Space.of({**TINY, "axes": TINY["axes"] | {"array.cols": [64, 128], "array.rows": [8, 16]}}),
        ("latency_s", "dsp"),
        evaluations=10,
        population=4,
        device=fpga.device("zcu102").replace(
            resources=fpga.device("zcu102").resources.replace(dsp=700)
        ),
    )
    refused = free.points["array.rows"].eq(8) & free.points["array.cols"].eq(4)
    assert (free.points["feasible"] == ~refused).all(), "all but those that the models refuse"
    for row in none.points.to_dict("records"):
        assert ("dsp" in row["infeasible"]) == (row["dsp"] > 700)
        assert row["feasible"] == (not row["infeasible"])
    assert 0 < none.points["feasible"].sum() < len(none.points)


@pytest.mark.usefixtures("quick")
def test_the_device_of_a_space_is_the_searchs_unless_another_is_given() -> None:
    sides = {"array.rows": [16, 32], "array.cols": [16, 64, 128], "array.dataflow": ["ws"]}
    free: dict[str, Any] = {**TINY, "axes": sides, "constraints": []}
    space = Space.of({**free, "device": "zcu104"})
    own, other = problem_of(space, OBJECTIVES), problem_of(space, OBJECTIVES, "zcu102")
    assert own.as_dict() == problem_of(Space.of(free), OBJECTIVES, "zcu104").as_dict()
    assert other.as_dict() == problem_of(Space.of(free), OBJECTIVES, "zcu102").as_dict()
    found = search(own, method="random", evaluations=6)
    small = found.points["dsp"].gt(1728)  # what a ZU7EV has
    assert small.any()
    assert found.points["latency_s"][small].notna().any(), "priced, as a search learns from it"
    assert not found.points["feasible"][small].any()


class KilledError(Exception):
    """Stands in for kill -9."""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", ["nsga2", "optuna"])
def test_a_killed_search_goes_on_and_comes_to_the_same(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"method": method, "evaluations": 30, "population": 6, "seed": 3}
    whole = search(Space.of(TINY), OBJECTIVES, **asked)
    priced: list[int] = []

    def counted(study: Study, points: pd.DataFrame) -> pd.DataFrame:
        priced.append(len(points))
        if len(priced) == 3:
            raise KilledError
        return instead(study, points)

    monkeypatch.setattr(search_problem, "evaluate", counted)
    with pytest.raises(KilledError):
        search(Space.of(TINY), OBJECTIVES, keep=tmp_path / "kept", **asked)
    before = sum(priced[:2])
    (tmp_path / "kept" / "part-000000099.parquet").write_bytes(b"half a file")
    again = search(Space.of(TINY), OBJECTIVES, keep=tmp_path / "kept", **asked)
    pd.testing.assert_frame_equal(again.points, whole.points, check_dtype=False)
    assert again.trace == whole.trace
    assert again.random == whole.random
    assert 0 < before + sum(priced[3:]) <= 38, "no design was priced twice"


@pytest.mark.usefixtures("quick")
def test_what_is_kept_of_one_search_is_nothing_to_another(tmp_path: Path) -> None:
    parts: list[int] = []
    for machine in ("edge-32x32", "edge-128x128", "edge-32x32"):
        given = Space.of({**TINY, "machine": machine})
        search(given, OBJECTIVES, method="random", evaluations=10, keep=tmp_path)
        parts.append(len(list(tmp_path.glob("part-*"))))
    assert 0 < parts[0] < parts[1] == parts[2], "the third is the first again"
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match="file/in cannot be written: Not a directory"):
        search(Space.of(TINY), OBJECTIVES, evaluations=10, keep=tmp_path / "file" / "in")


def test_the_front_is_confirmed_by_the_engine() -> None:
    needed("pymoo")
    small = {**SPACE, "axes": {"array.rows": [8, 16], "array.cols": [8, 16, 32]}}
    found = search(Space.of(small), OBJECTIVES, evaluations=12, population=6, confirm=3)
    rows = found.confirmed
    assert 0 < len(rows) <= 3
    for row in rows.to_dict("records"):
        machine = found.problem.study.machine
        assert hasattr(machine, "array")
        own: Any = machine
        sides = {"rows": row["array.rows"], "cols": row["array.cols"]}
        own = own.replace(array=own.array.replace(**sides))
        ran = simulate(workload("heatvit-digits16"), own)
        assert row["engine_latency_s"] == ran.latency_s
        assert row["latency_s_off"] == pytest.approx(row["latency_s"] / ran.latency_s - 1)
        assert abs(row["latency_s_off"]) < 0.05
        assert abs(row["energy_j_off"]) < 0.05


@pytest.mark.parametrize(
    ("objectives", "more", "error"),
    [
        (("latency_s",), {}, "wanted two or more"),
        (("latency_s", "latency_s"), {}, "latency_s is there twice"),
        (("latency_s", "enrgy_j"), {}, "no objective is called enrgy_j; the nearest is energy_j"),
        (("latency_s", "accuracy"), {}, "accuracy is a function of yours"),
        (OBJECTIVES, {"accuracy": len}, "name accuracy among the objectives"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(
    objectives: tuple[str, ...], more: Mapping[str, Any], error: str
) -> None:
    with pytest.raises(SearchError, match=error):
        problem_of(Space.of(SPACE), objectives, **more)


def test_spaces_that_cannot_be_searched_are_refused() -> None:
    listed: dict[str, Any] = {**SPACE, "axes": {}, "sample": [{"array.rows": 8}], "constraints": []}
    with pytest.raises(SearchError, match="a search chooses its points"):
        problem_of(Space.of(listed), OBJECTIVES)
    gpu = {"machine": "a100-80gb", "fidelity": "engine", "workload": "deit-small", "batch": [1, 2]}
    with pytest.raises(SearchError, match="a100-80gb is a GPU"):
        problem_of(Space.of(gpu), ("latency_s", "dsp"))
    with pytest.raises(SpaceError, match=r"array\.rowz"):
        problem_of(Space.of({**SPACE, "axes": {"array.rowz": [1]}}), OBJECTIVES)


@pytest.mark.usefixtures("quick")
def test_constraints_that_contradict_each_other_are_said() -> None:
    never = {**SPACE, "constraints": ["array.rows < 4"]}
    with pytest.raises(SearchError, match=r"no design was found .* array\.rows < 4"):
        search(Space.of(never), OBJECTIVES, evaluations=1000)


def test_without_the_extra_a_search_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilewise.sim.search.run.find_spec", {"pymoo": 1}.get)
    with pytest.raises(SearchError, match=r"needs optuna: .* 'tilewise\[search\]'"):
        search(Space.of(SPACE), method="optuna")


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def tilewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs `tilewise search` in this process, on a space in `space.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("space.yaml").write_text(json.dumps(SPACE))  # JSON is YAML

    return Run(capsys, "search", "space.yaml")


@pytest.mark.usefixtures("quick")
def test_the_command_prints_the_front_and_keeps_everything(tilewise: Any) -> None:
    asked = ("--evaluations", "60", "--population", "12", "--device", "zcu102", "--out", "out")
    code, out, err = tilewise(*asked)
    assert (code, err) == (0, "")
    assert "random search with the same budget and seed" in out
    assert "latency_s" in out
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert set(before) == {"points.parquet", "front.csv", "confirmed.csv", "search.json"}
    again = kept(Path("out"))
    assert len(again.points) == again.summary["evaluations"] == 60
    assert again.summary["problem"]["device"] == "zcu102"
    assert len(again.summary["front"]) == len(pd.read_csv("out/front.csv"))
    assert tilewise(*asked)[0] == 0
    assert not Path("out/priced").exists(), "all of it stands in the four files"
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--objectives", "latency_s,dspp"), "no objective is called dspp; the nearest is dsp"),
        (("--method", "nsga"), "method: wanted one of nsga2, optuna, random; got 'nsga'"),
        (("--device", "zcu10"), "device: wanted one of"),
        (("--out", "file"), "file cannot be written: File exists"),
        (("--out", "sweep"), "sweep holds a sweep"),
        (("--out", "other"), "other holds the search of another problem: objectives was"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_loses_nothing(
    tilewise: Any, arguments: tuple[str, ...], error: str
) -> None:
    Path("file").touch()
    Path("sweep").mkdir()
    Path("sweep/manifest.json").write_text("{}")
    if arguments[-1] == "other":
        kept_before = tilewise("--objectives", "latency_s,dsp", "--evaluations", "10", *arguments)
        assert kept_before[0] == 0
    code, out, err = tilewise(*arguments)
    assert (code, out) == (2, "")
    assert error in err
    assert err.count("\n") == 1
    assert Path("sweep/manifest.json").read_text() == "{}"


# --- architecture evolving -----------------------------------------------------------------------

BLOCKS = st.dictionaries(
    st.sampled_from("abcdefghij"),
    st.tuples(st.floats(0.1, 10), st.floats(-5, 50)),
    min_size=1,
)


@given(BLOCKS, st.floats(0, 1), st.floats(0, 5), st.integers(1, 4))
def test_evolving_meets_its_target_by_the_worst_first_and_copies_the_best(
    given_: Mapping[str, tuple[float, float]], share: float, rest: float, most: int
) -> None:
    latency = {name: seconds for name, (seconds, _) in given_.items()}
    worth = {name: value for name, (_, value) in given_.items()}
    blocks = Blocks(latency_s=latency, rest_s=rest)
    target = rest + share * 1.5 * sum(latency.values())

    def value(copies: Mapping[str, int]) -> float:
        return math.fsum(worth[name] * count for name, count in copies.items())

    found = evolved(blocks, value, target, most=most)
    assert found.latency_s <= target
    assert found.latency_s == blocks.total_s(found.copies)
    actions = [step.action for step in found.steps]
    assert actions == sorted(actions, reverse=True), "first what must, then what may"
    there = dict.fromkeys(latency, 1)
    for step in found.steps:
        ratio = {name: worth[name] / latency[name] for name in latency}
        assert step.score == pytest.approx(ratio[step.block], rel=1e-6, abs=1e-9)
        if step.action == "remove":
            assert blocks.total_s(there) > target, "nothing goes while there is time"
            assert all(step.score <= ratio[name] + 1e-6 for name in there if there[name])
            there[step.block] -= 1
        else:
            for name, count in there.items():
                if 0 < count < most and blocks.total_s({**there, name: count + 1}) <= target:
                    assert step.score >= ratio[name] - 1e-6
            assert step.score > 0
            there[step.block] += 1
    assert there == found.copies
    assert max(there.values()) <= most


def test_values_are_asked_anew_after_every_step() -> None:
    """Of two blocks that do the same, one is worthless beside the other, and dear without it."""
    blocks = Blocks(latency_s={"a": 1.0, "twin": 1.1, "b": 1.0})

    def value(copies: Mapping[str, int]) -> float:
        return 10.0 * bool(copies["a"] or copies["twin"]) + 4.0 * copies["b"]

    found = evolved(blocks, value, 1.1, most=1)
    assert [(step.block, step.score) for step in found.steps] == [("a", 0), ("b", 4)]
    assert found.value == 10, "the twin is dear once a is gone"


def test_what_is_kept_stays_and_a_target_below_it_is_refused() -> None:
    blocks = Blocks(latency_s={"a": 2.0, "b": 3.0}, rest_s=1.0)
    found = evolved(blocks, lambda copies: copies["b"], 3.0, kept=["a"])
    assert dict(found.copies) == {"a": 1, "b": 0}
    with pytest.raises(ValueError, match="wanted 2500 ms or less, but what stays takes 3000 ms"):
        evolved(blocks, lambda copies: 0.0, 2.5, kept=["a"])
    with pytest.raises(ValueError, match="c is no block; there are a, b"):
        evolved(blocks, lambda copies: 0.0, 9.0, kept=["c"])
    with pytest.raises(ValueError, match="a: wanted seconds above 0"):
        Blocks(latency_s={"a": 0.0})


def test_the_blocks_of_a_unet_add_up_and_evolve_to_a_target() -> None:
    """Worth here is MACs: a stand-in that says nothing of images, as no accuracy is known."""
    from tilewise.arch import load_machine

    ran = simulate(workload("sd15-unet"), load_machine("edge-128x128"))

    def block_of(name: str) -> str | None:
        parts = name.split(".")
        inside = len(parts) > 3 and ("resnets" in parts or "attentions" in parts)
        return ".".join(parts[: parts.index("resnets" if "resnets" in parts else "attentions") + 2]
                        ) if inside else None  # fmt: skip

    blocks = blocks_of(ran, block_of)
    assert len(blocks.latency_s) == 22 + 16, "residual and attention blocks of Stable Diffusion 1.5"
    assert blocks.total_s(dict.fromkeys(blocks.latency_s, 1)) == pytest.approx(ran.latency_s)
    macs: dict[str, float] = {}
    for operator in ran.operators:
        if (name := block_of(operator.name)) is not None:
            macs[name] = macs.get(name, 0.0) + operator.macs
    found = evolved(
        blocks, lambda copies: sum(macs[name] * n for name, n in copies.items()),
        0.7 * ran.latency_s, kept=[name for name in macs if name.endswith("resnets.0")],
    )  # fmt: skip
    assert found.latency_s <= 0.7 * ran.latency_s
    gone = [step for step in found.steps if step.action == "remove"]
    scores = [step.score for step in gone]
    assert scores == sorted(scores)
    assert not any(step.block.endswith("resnets.0") for step in gone)
