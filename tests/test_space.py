"""A space: its axes, its points by number, its constraints, and one line for what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.arch import OVERLAPS, Accelerator, SystolicArray, load_machine
from tilewise.sim.errors import SpaceError
from tilewise.sim.spaces.axes import Axis, axis
from tilewise.sim.spaces.constraints import ConstraintError, holds, names_in
from tilewise.sim.spaces.sampling import BLOCK, Sample, points_of, sample
from tilewise.sim.spaces.space import Space, differences
from tilewise.sim.spaces.study import Study
from tilewise.sim.variants import FieldError, check_field, fields_of, variant

EXAMPLE = Path(__file__).parents[1] / "examples" / "edge_space.yaml"
EDGE = load_machine("edge-32x32")
HEATVIT = "heatvit-digits16"


def space(axes: dict[str, Any], **more: Any) -> Space:
    return Space.of({"machine": "edge-32x32", "workload": "deit-small", "axes": axes, **more})


def study(axes: dict[str, Any], **more: Any) -> Study:
    return Study.of(space(axes, **more))


def everything(columns: Any) -> Any:
    return np.ones(len(next(iter(columns.values()))), dtype=np.bool_)


# --- axes ----------------------------------------------------------------------------------------

numbers = st.lists(st.integers(1, 10**6), min_size=1, max_size=6, unique=True)


@given(numbers)
def test_a_list_is_its_values(values: list[int]) -> None:
    assert axis("a", "int", values).values == tuple(values)
    assert axis("a", "float", values).values == tuple(map(float, values))


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(1, 50), st.booleans())
def test_a_range_rises_from_its_first_to_its_last_value(
    low: int, more: int, count: int, log: bool
) -> None:
    scale = "log" if log else "linear"
    found = axis("a", "int", {"from": low, "to": low + more, "count": count, "scale": scale}).values
    assert found[0] == low
    assert list(found) == sorted(set(found))
    assert count == 1 or found[-1] == low + more
    assert all(type(value) is int for value in found)


@given(st.integers(0, 20), st.integers(0, 10))
def test_powers_of_two_are_all_between_the_ends(low: int, more: int) -> None:
    given_ = {"from": 2**low, "to": 2 ** (low + more), "scale": "powers-of-two"}
    assert axis("a", "int", given_).values == tuple(2**p for p in range(low, low + more + 1))


shares = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8)


@given(st.integers(1, 1000), st.integers(1, 1000), st.booleans(), st.booleans(), shares)
def test_a_range_without_steps_is_spread_between_its_ends_in_order(
    low: int, more: int, log: bool, whole: bool, at: list[float]
) -> None:
    range_ = {"from": low, "to": low + more, "scale": "log" if log else "linear"}
    one = axis("a", "int" if whole else "float", range_)
    found = one.spread(np.array(sorted(at)))
    assert np.all(np.diff(found) >= 0)
    assert found.min() >= low
    assert found.max() <= low + more
    assert found.dtype == (np.int64 if whole else np.float64)


# --- points by number ----------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1, max_size=4))
def test_a_grid_has_every_combination_once(values: list[list[int]]) -> None:
    axes = [Axis(name=str(i), kind="int", values=tuple(v)) for i, v in enumerate(values)]
    size = Sample().size(axes)
    found, kept = points_of(Sample(), axes, np.arange(size), everything)
    rows = set(zip(*(found[one.name].tolist() for one in axes), strict=True))
    assert len(rows) == size == len(kept) == np.prod([len(v) for v in values])


@st.composite
def ways(draw: st.DrawFn) -> Sample:
    method: Any = draw(st.sampled_from(["grid", "random", "lhs"]))
    if method == "grid":
        return Sample()
    points = draw(st.integers(1, 2 * BLOCK + 5))
    return Sample(method=method, points=points, seed=draw(st.integers(0, 9)))


AXES = [
    Axis(name="rows", kind="int", values=(8, 16, 32, 64)),
    Axis(name="cols", kind="int", values=(8, 16, 32)),
    Axis(name="flow", kind="text", values=("ws", "os")),
]
RANGE = Axis(name="rate", kind="float", low=1.0, high=100.0, log=True)


@settings(max_examples=40)
@given(ways(), st.data())
def test_a_point_is_the_same_whatever_is_asked_for_beside_it(
    way: Sample, data: st.DataObject
) -> None:
    axes = AXES if way.method == "grid" else [*AXES, RANGE]
    size = way.size(axes)

    def allowed(columns: Any) -> Any:
        return columns["rows"] * columns["cols"] <= 512

    whole, kept = points_of(way, axes, np.arange(size), allowed)
    some = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True))
    part, numbers_ = points_of(way, axes, np.array(sorted(some)), allowed)
    assert set(numbers_) == set(kept) & set(some)
    at = np.flatnonzero(np.isin(kept, numbers_))
    for one in axes:
        assert part[one.name].tolist() == whole[one.name][at].tolist()
        assert part[one.name].dtype == one.dtype
    assert allowed(whole).all()


def test_random_points_are_as_many_as_asked_for_although_some_draws_are_refused() -> None:
    way = Sample(method="random", points=BLOCK + 7, seed=3)
    _, kept = points_of(
        way, AXES, np.arange(way.points), lambda columns: columns["rows"] * columns["cols"] < 100
    )
    assert kept.tolist() == list(range(way.points))


def test_another_seed_draws_other_points() -> None:
    one, other = (
        points_of(Sample(method="random", points=64, seed=s), [RANGE], np.arange(64), everything)
        for s in (0, 1)
    )
    assert not set(one[0]["rate"]) & set(other[0]["rate"])


@pytest.mark.parametrize("points", [1, 7, BLOCK])
def test_a_latin_hypercube_has_one_point_in_every_stratum_of_every_axis(points: int) -> None:
    axes = [Axis(name=name, kind="float", low=0.0, high=1.0) for name in "ab"]
    found, _ = points_of(Sample(method="lhs", points=points), axes, np.arange(points), everything)
    for column in found.values():
        assert sorted(np.floor(column * points).astype(int)) == list(range(points))


def test_listed_points_are_themselves() -> None:
    listed = [{"array.rows": 8, "batch": 2}, {"array.rows": 16, "batch": 1}]
    found = study({"array.cols": 32}, sample=listed).points([0, 1])
    assert found["array.rows"].tolist() == [8, 16]
    assert found["batch"].tolist() == [2, 1]
    assert found["array.cols"].tolist() == [32, 32]


def test_a_million_points_are_never_held() -> None:
    many = study(
        {name: list(range(1, 101)) for name in ("array.rows", "array.cols", "vector.lanes")},
        batch=[1, 2, 4, 8],
    )
    assert many.size == 4 * 10**6
    last = many.points([many.size - 1])
    assert last["array.rows"].tolist() == [100]
    assert last["vector.lanes"].tolist() == [100]


# --- constraints ---------------------------------------------------------------------------------

LEAVES = st.one_of(st.sampled_from(["rows", "cols"]), st.integers(0, 40).map(str))
ARITHMETIC = st.recursive(
    LEAVES,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=4,
)
COMPARISONS = st.tuples(
    ARITHMETIC, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), ARITHMETIC
).map(" ".join)
TRUTHS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"({' '.join(p)})"),
        inner.map(lambda one: f"(not {one})"),
    ),
    max_leaves=4,
)


@given(TRUTHS, st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=5))
def test_a_constraint_means_what_it_means_in_python(
    text: str, points: list[tuple[int, int]]
) -> None:
    columns = {name: np.array([p[i] for p in points]) for i, name in enumerate(("rows", "cols"))}
    expected = [bool(eval(text, {"rows": rows, "cols": cols})) for rows, cols in points]
    assert holds(text, columns).tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "rows.__class__ == 1",
        "(lambda: 1)() == 1",
        "[x for x in rows] == rows",
        "rows[0] == 1",
        "rows ** 9 ** 9 > 1",
        "rows if cols else 1",
        "f'{rows}' == ''",
        "rows in (1, 2)",
        "rows is cols",
        "True",
        "rows := 3",
        "rows <=",
        "",
        "rows + 1",
        "rows",
        "rows == 'ws'",
        "flow < 'ws'",
        "flow + 1 > 2",
        "(rows < 1) < 2",
        "not rows",
        "rows and cols",
        "(" * 300 + "rows" + ")" * 300 + " < 1",
        "rows < 1" + "0" * 400,
        "1" * 3000,
    ],
)
def test_what_is_no_comparison_of_numbers_or_words_is_refused(text: str) -> None:
    columns = {"rows": np.array([1]), "cols": np.array([2]), "flow": np.array(["ws"], object)}
    with pytest.raises((ConstraintError, KeyError)) as caught:
        holds(text, columns)
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, KeyError):  # a dotted name, which no axis has
        assert text.startswith("rows.__class__")


def test_a_division_by_zero_holds_nowhere_it_is_compared() -> None:
    columns = {"a": np.array([0, 1])}
    assert holds("1 / a <= 1", columns).tolist() == [False, True]
    assert holds("1 // 0 == 1 or a == 1", columns).tolist() == [False, True]


def test_the_names_of_a_constraint_are_dotted() -> None:
    assert names_in("array.rows * 2 < bind.kept_1 or not flow == 'x'") == (
        "array.rows", "bind.kept_1", "flow",
    )  # fmt: skip


# --- machines ------------------------------------------------------------------------------------


@given(
    st.sampled_from([8, 16, 64]),
    st.sampled_from(["ws", "os", "is"]),
    st.floats(1e9, 1e12, allow_nan=False),
)
def test_a_variant_differs_in_what_was_asked_for_and_in_the_overlap_that_follows(
    rows: int, dataflow: Any, rate: float
) -> None:
    changes = {"array.rows": rows, "array.dataflow": dataflow, "dram.bytes_per_s": rate}
    found = variant(EDGE, changes)
    assert isinstance(found, Accelerator)
    assert isinstance(found.array, SystolicArray)
    assert (found.array.rows, found.array.dataflow, found.dram.bytes_per_s) == (
        rows, dataflow, rate,
    )  # fmt: skip
    assert found.array.overlap == OVERLAPS[dataflow][0]
    back = {name: vars_at(EDGE, name) for name in (*changes, "array.overlap")}
    assert variant(found, back) == EDGE


def vars_at(machine: Any, key: str) -> Any:
    for part in key.split("."):
        machine = getattr(machine, part)
    return machine


def test_every_field_that_is_named_can_be_set_to_what_it_is() -> None:
    for name in ("edge-32x32", "zcu102-heatvit", "a100-80gb"):
        machine: Any = load_machine(name)
        for key in fields_of(machine):
            assert variant(machine, {key: vars_at(machine, key)}) == machine


def test_fields_that_do_not_fit_are_named() -> None:
    with pytest.raises(FieldError, match=r"array\.overlap: wanted one of .* for dataflow os"):
        variant(EDGE, {"array.dataflow": "os", "array.overlap": "single"})
    with pytest.raises(FieldError, match=r"wanted an integer, got 1\.5"):
        check_field(EDGE, "array.rows", 1.5)
    check_field(EDGE, "array.dataflow", "os")  # its overlap does not fit: another may


# --- a space and what it names -------------------------------------------------------------------


def test_a_space_reads_back_from_what_it_says() -> None:
    one = space(
        {"array.rows": [8, 16], "dram.bytes_per_s": {"from": 1e9, "to": 2e9, "count": 3}},
        sample={"method": "lhs", "points": 5, "seed": 2},
        constraints="array.rows < 16",
    )
    assert Space.of(one.as_dict()) == one
    assert Space.of(one.as_dict()).content_hash == one.content_hash
    listed = space({}, sample=[{"array.rows": 8}, {"array.rows": 16}])
    assert Space.of(listed.as_dict()) == listed


def test_the_hash_changes_with_what_changes_the_points() -> None:
    axes = {"array.rows": [8, 16], "array.cols": [8]}
    hashes = {
        space(axes).content_hash,
        space(axes, sample={"method": "random", "points": 4}).content_hash,
        space(axes, fidelity="engine").content_hash,
        space(axes, constraints=["array.rows > 8"]).content_hash,
        space(dict(reversed(axes.items()))).content_hash,
    }
    assert len(hashes) == 5


def test_a_device_is_part_of_the_space_and_its_path_counts_from_where_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = Space.of(space({"array.rows": [8]}).as_dict(), tmp_path / "spaces")
    named = free.on("zcu102")
    assert Space.of(named.as_dict()) == named
    assert len({one.content_hash for one in (free, named, free.on("zcu104"))}) == 3
    monkeypatch.chdir(tmp_path)
    assert free.on("boards/own.yaml").device == "../boards/own.yaml"


def test_differences_say_what_was_and_what_is() -> None:
    one, other = space({"array.rows": [8]}), space({"array.cols": [8]}, fidelity="engine")
    assert differences(one.as_dict(), other.as_dict()) == [
        'fidelity was "cost", is "engine"',
        "axes.array.rows was [8], is gone",
        "axes.array.cols is new: [8]",
    ]
    turned = Space.of({**space({"array.rows": [8], "batch": [1]}).as_dict()})
    back = {**turned.as_dict(), "axes": dict(reversed(list(turned.axes.items())))}
    assert "order of axes" in differences(turned.as_dict(), back)[0]


def test_a_study_survives_being_sent_elsewhere() -> None:
    one = study({"array.rows": [8, 16], "bits": ["W8A8", "W4A8"]})
    other: Study = pickle.loads(pickle.dumps(one))
    assert other.inputs == one.inputs
    pd.testing.assert_frame_equal(other.points(range(4)), one.points(range(4)))


def test_a_symbol_that_a_workload_lacks_is_empty_there_and_counted_once() -> None:
    both = study(
        {"bind.kept_1": [40, 30, 20], "array.rows": [8, 16]},
        workload=["deit-small", HEATVIT],
        constraints=["kept_1 <= 30"],
    )
    points = both.points(range(both.size))
    dense, pruned = (points[points["workload"] == name] for name in ("deit-small", HEATVIT))
    assert dense["bind.kept_1"].isna().all()
    assert sorted(dense["array.rows"]) == [8, 16]
    assert sorted(pruned["bind.kept_1"]) == [20, 20, 30, 30]


def test_a_constraint_may_name_what_the_base_machine_holds() -> None:
    few = study({"array.rows": [16, 32, 64]}, constraints=["array.rows * array.cols <= 1024"])
    assert few.points(range(3))["array.rows"].tolist() == [16, 32]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"axes": {"array.rowz": [8]}}, r"axes\.array\.rowz: .* the nearest is array\.rows"),
    ({"axes": {"bind.kept_1": [8]}}, r"deit-small has no symbol kept_1; there are batch"),
    ({"axes": {"bind.bach": [8]}}, r"no symbol bach; the nearest is batch"),
    ({"axes": {"array.rows": []}}, r"axes\.array\.rows: wanted at least one value"),
    ({"axes": {"array.rows": [8, 8]}}, "8 is there twice"),
    ({"axes": {"array.rows": [8.5]}}, "wanted a whole number, got 8.5"),
    ({"axes": {"array.rows": [True]}}, "wanted a whole number, got true"),
    ({"axes": {"array.rows": [0]}}, "wanted more than 0, got 0"),
    ({"axes": {"array.dataflow": ["wz"]}}, "wanted ws, os or is; got 'wz'; the nearest is ws"),
    ({"axes": {"array.rows": {"from": 8}}}, "to: missing key"),
    ({"axes": {"array.rows": {"from": 8, "too": 9}}}, "unknown key; the nearest is to"),
    ({"axes": {"array.rows": {"from": 9, "to": 8, "count": 2}}}, "it is empty"),
    ({"axes": {"array.rows": {"from": 8, "to": 16}}}, "a grid needs steps"),
    ({"axes": {"array.rows": {"from": 0, "to": 8, "scale": "log"}}}, "begins above 0"),
    ({"axes": {"array.rows": {"from": 8, "to": 9, "scale": "lgo"}}}, "the nearest is log"),
    ({"axes": {"array.rows": {"from": 6, "to": 8, "scale": "powers-of-two"}}}, "powers of two"),
    ({"axes": {"array.dataflow": {"from": 1, "to": 2}}}, "only numbers have one"),
    ({"axes": {"workload": ["deit-small"]}}, "it stands beside axes too"),
    ({"axes": {"batch": [0]}}, r"axes\.batch: wanted at least 1"),
    ({"axes": {"format": ["int9"]}}, "axes.format: wanted one of .*; the nearest is int8"),
    ({"axes": {"bits": ["W9"]}}, "axes.bits: wanted one of"),
    ({"axes": {}, "machine": "edge-32x33"}, "machine: .* the nearest is edge-32x32"),
    ({"axes": {}, "workload": "deit-smal"}, "axes.workload: .* did you mean deit-small"),
    ({"axes": {}, "fidelity": "engin"}, "fidelity: .* the nearest is engine"),
    ({"axes": {}, "sampl": "grid"}, "sampl: unknown key; the nearest is sample"),
    ({"axes": {}, "sample": "rnd"}, "method: wanted grid, random, lhs, got 'rnd'"),
    ({"axes": {}, "sample": {"method": "random"}}, "random wants how many to draw"),
    ({"axes": {}, "sample": {"method": "lhs", "points": 0}}, "lhs wants how many"),
    ({"axes": {}, "sample": {"method": "lhs", "points": 3, "seed": -1}}, "seed: wanted a whole"),
    ({"axes": {}, "sample": {"method": "grid", "points": 3}}, "leave points and seed out"),
    ({"axes": {}, "sample": []}, "wanted at least one point"),
    ({"axes": {}, "sample": [{"batch": 1}, {"array.rows": 1}]}, "the same axes as the first"),
    ({"axes": {"batch": [1, 2]}, "sample": [{"array.rows": 1}]}, "the same for all listed points"),
    ({"axes": {}, "constraints": ["a ** 2 < 1"]}, r"constraints\[0\]: wanted arithmetic"),
    ({"axes": {}, "constraints": ["array.rowz < 1"]}, "is no axis .* the nearest is array.rows"),
    ({"axes": {}, "constraints": ["array.rows"]}, r"constraints\[0\]: wanted a comparison"),
    ({"axes": {}, "constraints": [3]}, r"constraints\[0\]: wanted an expression, got 3"),
    ({"axes": {"policy": ["pack"]}}, "a policy runs a token trace: say tokens too"),
    ({"axes": {}, "machine": "a100-80gb"}, "the cost model is of accelerators"),
    ({"axes": {}, "device": "zcu10"}, r"device: wanted one of .* the nearest is zcu104"),
    ({"axes": {}, "device": 3}, "device: wanted the name of an FPGA, got 3"),
    (
        {"axes": {}, "machine": "a100-80gb", "fidelity": "engine", "device": "zcu102"},
        "device: a100-80gb is a GPU, which no FPGA can be",
    ),
]


@pytest.mark.parametrize(("given_", "wanted"), REFUSED, ids=[w for _, w in REFUSED])
def test_what_a_space_gets_wrong_is_told_in_one_line(given_: dict[str, Any], wanted: str) -> None:
    with pytest.raises(SpaceError, match=wanted) as caught:
        Study.of(Space.of({"machine": "edge-32x32", "workload": "deit-small", **given_}))
    assert "\n" not in str(caught.value)


def test_contradicting_constraints_are_told(tmp_path: Path) -> None:
    constraints = ["array.rows > 16", "array.rows < 16"]
    for way in ("grid", {"method": "random", "points": 3}, {"method": "lhs", "points": 3}):
        none = study({"array.rows": [8, 16, 32]}, constraints=constraints, sample=way)
        with pytest.raises(SpaceError, match=r"array\.rows > 16 and array\.rows < 16"):
            none.refuse_empty()


def test_an_error_in_a_file_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    text = (
        "machine: edge-32x32\nworkload: deit-small\naxes:\n  array.rows: [8]\n  array.colz: [8]\n"
    )
    path.write_text(text)
    with pytest.raises(SpaceError, match=r"space\.yaml:5: axes\.array\.colz: .*array\.cols"):
        Study.read(path)
    path.write_text("machine: edge-32x32\nworkload: deit-smal\n")
    with pytest.raises(SpaceError, match=r"space\.yaml:2: workload: "):
        Study.read(path)
    path.write_text("machine: [")
    with pytest.raises(SpaceError, match=r"space\.yaml:2: wanted YAML"):
        Study.read(path)
    with pytest.raises(SpaceError, match="no such file"):
        Study.read(tmp_path / "none.yaml")


def test_paths_in_a_space_count_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spaces"
    folder.mkdir()
    machines = Path(__file__).parents[1] / "arch" / "machines"
    (folder / "mine.yaml").write_text((machines / "a100-80gb.yaml").read_text())
    (folder / "bits.yaml").write_text("default: W8A8\n")
    (folder / "space.yaml").write_text(
        "machine: ./mine.yaml\nworkload: deit-small\nfidelity: engine\nbits: [bits.yaml, W4A8]\n"
    )
    monkeypatch.chdir(tmp_path)
    found = Study.read("spaces/space.yaml")
    assert found.machine == load_machine("a100-80gb")
    assert set(found.rules) == {"bits.yaml", "W4A8"}


def test_the_example_has_500_points_that_satisfy_what_it_says() -> None:
    example = Study.read(EXAMPLE)
    points = example.points(range(example.size))
    assert len(points) == example.size == 500
    sram = points[[name for name in example.fields if name.startswith("buffers.")]].sum(axis=1)
    assert sram.max() <= 6 * 2**20
    pruned = points.dropna()
    assert 150 < len(pruned) < 250  # both workloads have their share
    assert (pruned["bind.kept_3"] <= pruned["bind.kept_2"]).all()
    assert (pruned["bind.kept_2"] <= pruned["bind.kept_1"]).all()
    for dataflow, overlap in zip(points["array.dataflow"], points["array.overlap"], strict=True):
        assert overlap in OVERLAPS[dataflow]


def test_a_sample_is_read_from_a_word_a_mapping_or_a_list() -> None:
    assert sample("grid") == sample({"method": "grid"}) == Sample()
    assert sample([{"a": 1}]).size([]) == 1
