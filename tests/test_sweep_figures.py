"""The figures of sweeps and searches: their size and type, and that they draw what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from figure_laws import assert_text_lies_inside
from optional import needed

from tilewise.arch import Accelerator, load_machine
from tilewise.reports.fidelity import fidelity_figure, fidelity_rows, fidelity_values
from tilewise.reports.figures import INCHES, Width, paths, save_figure
from tilewise.reports.metric_axes import scale_of
from tilewise.reports.parallel import parallel, parallel_figure, parallel_notes, parallel_rows
from tilewise.reports.pareto import pareto, pareto_figure, pareto_notes, pareto_rows
from tilewise.reports.search import write
from tilewise.reports.sensitivity import (
    sensitivity_figure,
    sensitivity_notes,
    sensitivity_rows,
    sensitivity_tex,
)
from tilewise.sim.cost import CostModel
from tilewise.sim.errors import SweepError
from tilewise.sim.fidelity import Fidelity, fidelity
from tilewise.sim.search import search
from tilewise.sim.sensitivity import SHARE, Sensitivity, sensitivity
from tilewise.sim.spaces.space import Space
from tilewise.sim.spaces.study import Study
from tilewise.sim.sweep import sweep
from tilewise.sim.variants import variant
from tilewise.workloads.graph import Workload
from tilewise.workloads.zoo.vit import vit

MODEL = vit(depth=2, embed=48, heads=2, image=64, classes=10)
SPACE: dict[str, Any] = {
    "machine": "edge-32x32",
    "workload": "heatvit-digits16",
    "axes": {"array.rows": [8, 16, 32], "array.cols": [8, 16], "array.dataflow": ["ws", "os"]},
}
GPU: dict[str, Any] = {  # milliseconds a point
    "machine": "a100-80gb",
    "fidelity": "engine",
    "workload": "heatvit-digits16",
    "axes": {"dram.bytes_per_s": [2e11, 1e12, 2e12], "batch": [1, 8, 64]},
}


def made_up(rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows as a sweep keeps them, some of them without metrics."""
    random = np.random.default_rng(seed)
    latency = random.lognormal(-6, 1, rows)
    frame = pd.DataFrame(
        {
            "point": np.arange(rows),
            "array.rows": random.choice([8, 16, 32, 64, 128], rows),
            "array.dataflow": random.choice(["ws", "os", "is"], rows),
            "buffers.accumulator_bytes": random.choice([2**15, 2**20], rows),
            "bind.kept_1": pd.array(random.integers(20, 90, rows), dtype="Int64"),
            "latency_s": latency,
            "energy_j": 1e-8 / latency * random.lognormal(0, 0.5, rows),
            "infeasible": "",
            "error": None,
        }
    )
    frame.loc[frame.index[::10], ["latency_s", "energy_j"]] = np.nan
    frame.loc[frame.index[::10], "infeasible"] = "buffers.input_bytes"
    frame.loc[frame.index[::4], "bind.kept_1"] = pd.NA
    return frame


@pytest.fixture(scope="module")
def moved() -> Sensitivity:
    machine = load_machine("edge-32x32")
    assert isinstance(machine, Accelerator)
    return sensitivity(MODEL, machine)


@pytest.fixture(scope="module")
def agreed() -> Fidelity:
    return fidelity(Study.of(Space.of(SPACE)), points=12, seed=0)


@pytest.fixture(params=["pareto", "parallel", "sensitivity", "fidelity"])
def draw(
    request: pytest.FixtureRequest, moved: Sensitivity, agreed: Fidelity
) -> Callable[[Width], Any]:
    """Every figure, by its width; Any, as matplotlib's types are not complete."""
    frame = made_up(120)
    front = pareto(frame, ("latency_s", "energy_j"), "made-up")
    lines = parallel(frame, list(frame.columns[1:5]), "latency_s", "made-up")
    figures: Mapping[str, Callable[[Width], Any]] = {
        "pareto": lambda width: pareto_figure(front, width=width),
        "parallel": lambda width: parallel_figure(lines, width=width),
        "sensitivity": lambda width: sensitivity_figure(moved, width=width),
        "fidelity": lambda width: fidelity_figure(agreed, width=width),
    }
    return figures[request.param]


# --- what every figure is ------------------------------------------------------------------------


@pytest.mark.parametrize("width", INCHES)
def test_text_has_eight_points_and_lies_inside(draw: Callable[[Width], Any], width: Width) -> None:
    assert_text_lies_inside(draw(width), width)


@pytest.mark.parametrize("width", INCHES)
def test_no_label_of_an_axis_lies_over_another(draw: Callable[[Width], Any], width: Width) -> None:
    figure = draw(width)
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            texts = [
                text for text in axis.get_ticklabels() if text.get_text() and text.get_visible()
            ]
            low, high = sorted(axis.get_view_interval())
            places = zip(axis.get_ticklocs(), texts, strict=False)
            shown = [text for at, text in places if low <= at <= high and text.get_text()]
            boxes = [text.get_window_extent() for text in shown]
            for at, one in enumerate(boxes):
                assert not any(one.overlaps(other) for other in boxes[at + 1 :])


@pytest.mark.parametrize("width", INCHES)
def test_a_legend_lies_outside_the_data(draw: Callable[[Width], Any], width: Width) -> None:
    figure = draw(width)
    figure.draw_without_rendering()
    for legend in figure.legends:
        frame = legend.get_window_extent()
        assert not any(frame.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert not any(axes.get_legend() for axes in figure.axes)


def test_the_same_numbers_give_the_same_bytes(draw: Callable[[Width], Any], tmp_path: Path) -> None:
    written = [
        [path.read_bytes() for path in save_figure(draw("column"), [], tmp_path, name)]
        for name in ("a", "b")
    ]
    assert written[0] == written[1]
    assert b"/FontFile2" in written[0][0], "embedded TrueType"


# --- the numbers are those that are drawn --------------------------------------------------------


def test_the_paretos_front_is_what_nothing_beats_and_its_knee_is_on_it() -> None:
    frame = made_up(200)
    found = pareto(frame, ("latency_s", "energy_j"), "made-up")
    rows = pareto_rows(found)
    assert len(rows) + found.infeasible == 200
    assert found.infeasible == 20
    for one in rows:
        better = any(
            other["latency_s"] <= one["latency_s"]
            and other["energy_j"] <= one["energy_j"]
            and (other["latency_s"], other["energy_j"]) != (one["latency_s"], one["energy_j"])
            for other in rows
        )
        assert one["front"] == (not better)
    (knee,) = [row for row in rows if row["knee"]]
    assert knee["front"]
    figure: Any = pareto_figure(found)
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    front = [row for row in rows if row["front"]]
    drawn = sorted(lines["front"].get_xdata())
    assert drawn == pytest.approx(sorted(1e3 * row["latency_s"] for row in front))
    label = next(name for name in lines if name.startswith("knee"))
    assert f"point {knee['point']}," in label
    assert list(lines[label].get_xdata()) == pytest.approx([1e3 * knee["latency_s"]])
    assert "20 infeasible not drawn" in pareto_notes(found)[0]
    assert "20 infeasible not drawn" in figure._suptitle.get_text().replace("\n", " ")


def test_rows_of_which_none_is_feasible_have_no_figure() -> None:
    frame = made_up(20).assign(infeasible="dram")
    with pytest.raises(SweepError, match="none of 20 rows is feasible"):
        pareto(frame, ("latency_s", "energy_j"), "x")
    with pytest.raises(SweepError, match="none of 20 rows has a latency_s"):
        parallel(frame, ["array.rows"], "latency_s", "x")
    with pytest.raises(SweepError, match="no parameter differs"):
        parallel(made_up(20).assign(**{"array.rows": 8}), ["array.rows"], "latency_s", "x")


def test_parallel_coordinates_draw_the_best_last_and_say_how_many_they_draw() -> None:
    frame = made_up(1000)
    found = parallel(frame, ["array.rows", "array.dataflow"], "latency_s", "made-up")
    rows = parallel_rows(found)
    drawn = [row for row in rows if row["drawn"]]
    assert len(rows) == 900
    assert [row["latency_s"] for row in rows] == sorted(row["latency_s"] for row in rows)
    assert len(drawn) <= 400
    assert all(row["drawn"] for row in rows[:20]), "the best"
    assert rows[-1]["drawn"], "and the worst"
    figure: Any = parallel_figure(found)
    lines = figure.axes[0].collections[-1].get_segments()
    assert len(lines) == len(drawn)
    sides = [8, 16, 32, 64, 128].index(drawn[0]["array.rows"]) / 4
    assert lines[-1][0][0] == pytest.approx(sides), "equal factors are equally far apart"
    assert f"{len(drawn)} drawn; 100 infeasible" in parallel_notes(found)[0]


def test_a_tornado_has_the_cost_models_numbers(moved: Sensitivity) -> None:
    machine = load_machine("edge-32x32")
    assert isinstance(machine, Accelerator)
    rows = {(row["field"], row["way"]): row for row in sensitivity_rows(moved)}
    base = CostModel(machine).predict(MODEL)
    quick = machine.replace(clock_hz=machine.clock_hz * (1 + SHARE))
    more = rows["clock_hz", "more"]
    assert more["latency_s"] == CostModel(quick).predict(MODEL).latency_s
    assert more["latency_s_change"] == pytest.approx(more["latency_s"] / base.latency_s - 1)
    for field in ("buffers.weight_bytes", "vector.lanes"):  # a whole number, and a group of its own
        own = CostModel(variant(machine, {field: rows[field, "less"]["value"]})).predict(MODEL)
        assert rows[field, "less"]["energy_j"] == own.energy_j
    for row in rows.values():
        assert abs(row["value"] - row["base"]) <= 0.2 * abs(row["base"])
        assert (row["value"] > row["base"]) == (row["way"] == "more")
    assert "array.count" in moved.still, "a second array is no tenth more"
    assert "array.count" in sensitivity_notes(moved)[-1]
    figure: Any = sensitivity_figure(moved)
    axes = figure.axes[0]
    widths = [abs(bar.get_width()) / 100 for bar in axes.patches if bar.get_width()]
    assert max(widths) == pytest.approx(max(abs(row["latency_s_change"]) for row in rows.values()))
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(set(names)) == len(names) > 4
    assert "clock_hz" in names
    body = sensitivity_tex(moved).split(r"\midrule")[1]
    assert r"clock\_hz" in body


def test_the_fidelity_scatter_says_how_far_the_model_is_off(agreed: Fidelity) -> None:
    rows, said = fidelity_rows(agreed), fidelity_values(agreed)
    assert len(rows) == said["points"] == 12
    for metric in ("latency_s", "energy_j"):
        off = [abs(row[f"cost_{metric}"] / row[f"engine_{metric}"] - 1) for row in rows]
        assert said[metric]["mape"] == pytest.approx(np.mean(off))
        assert said[metric]["p95"] == pytest.approx(np.quantile(off, 0.95))
        assert said[metric]["worst"] == pytest.approx(max(off)) != 0
        assert 0.8 < said[metric]["kendall_tau"] <= 1
        assert said[metric]["worst"] < 0.2
    figure: Any = fidelity_figure(agreed)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [text.count("MAPE") for text in texts] == [1, 1]
    assert f"MAPE {100 * said['latency_s']['mape']:.2f} %" in texts[0]


def test_a_space_without_a_cost_model_has_no_fidelity() -> None:
    with pytest.raises(SweepError, match="does not price a100-80gb"):
        fidelity(Study.of(Space.of(GPU)), points=4, seed=0)


def test_scales_have_short_numbers_and_units() -> None:
    assert scale_of("energy_j", np.array([0.0047])).text(0.0047) == "4.70 mJ"
    assert scale_of("dram.bytes_per_s", np.array([3.2e9, 1.02e11])).label.endswith("(GB/s)")
    assert scale_of("array.rows", np.array([8.0, 128.0])) == (1.0, "", "array.rows")
    assert scale_of("latency_s", np.array([np.nan])).label == "latency (s)"


# --- the commands --------------------------------------------------------------------------------


def found(name: str) -> Workload:
    """The small model, whatever its name."""
    return MODEL


@pytest.fixture
def tilewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs `tilewise figure` in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("tilewise.cli_inputs.find_workload", found)

    return Run(capsys, "figure")


@pytest.mark.parametrize("what", ["pareto", "parallel"])
def test_a_folder_of_a_sweep_or_a_search_is_drawn(tilewise: Run, tmp_path: Path, what: str) -> None:
    needed("pymoo")
    sweep(Space.of(GPU), "swept", workers=1)
    Path("found").mkdir()
    objectives = ("energy_j", "latency_s")
    write(search(Space.of(GPU), objectives, evaluations=9, population=4), Path("found"))
    for folder in ("swept", "found"):
        code, out, err = tilewise(what, folder, "--out", "figures", "--width", "page")
        assert (code, err) == (0, "")
        written = paths(tmp_path / "figures", f"{what}-{folder}")
        assert all(path.stat().st_size for path in written)
        assert out.count("wrote ") == len(written)
    columns = Path(f"figures/{what}-found.csv").read_text()
    assert "energy_j" in columns


def test_sensitivity_and_fidelity_write_tables_too(
    tilewise: Run, tmp_path: Path, moved: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(model: Workload, machine: Accelerator, **options: Any) -> Sensitivity:
        assert (model.name, machine.name) == (moved.workload, moved.machine)
        assert options == {"bind": {}, "format": None, "images": 1}
        return moved

    monkeypatch.setattr("tilewise.sim.sensitivity.sensitivity", known)
    Path("space.yaml").write_text(json.dumps(SPACE))
    for name, arguments in (
        ("fidelity-space", ("fidelity", "space.yaml", "--points", "4", "--seed", "1")),
        ("sensitivity-vit-edge-32x32-energy_j",
         ("sensitivity", "m", "--on", "edge-32x32", "--objectives", "energy_j")),
    ):  # fmt: skip
        code, _, err = tilewise(*arguments, "--out", "figures")
        assert (code, err) == (0, "")
        written = paths(tmp_path / "figures", name, table=True)
        assert all(path.stat().st_size for path in written)
        json.loads(written[-1].read_text())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("paretto", "x"), "figure paretto: wanted one of .*did you mean pareto?"),
        (("pareto", "nowhere"), "nowhere holds no sweep"),
        (("pareto", "swept", "--on", "x"), "--on x: figure pareto does not take that option"),
        (("pareto", "swept", "--batch", "4"), "--batch 4: figure pareto does not take"),
        (("pareto", "swept", "--points", "9"), "--points 9: figure pareto does not take"),
        (("pareto", "swept", "--objectives", "latency_s"), "--objectives latency_s: wanted 2"),
        (("parallel", "swept", "--objectives", "latenc_s"), ".*did you mean latency_s?"),
        (("fidelity", "nowhere.yaml"), "nowhere.yaml: wanted a YAML file, got no such file"),
        (("fidelity", "s.yaml", "--objectives", "x"), "--objectives x: figure fidelity does not"),
        (("sensitivity", "m"), "figure sensitivity wants --on MACHINE"),
        (("sensitivity", "m", "--on", "a100-80gb"), "--on a100-80gb: the cost model is of"),
        (("cliff", "m"), "figure cliff wants --on MACHINE"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    tilewise: Run, arguments: tuple[str, ...], error: str
) -> None:
    if "swept" in arguments:
        sweep(Space.of(GPU), "swept", workers=1)
    code, printed, err = tilewise(*arguments, "--out", "out")
    assert (code, printed) == (2, "")
    assert re.match(f"tilewise: {error}", err), err
    assert err.count("\n") == 1
    assert not Path("out").exists() or not list(Path("out").iterdir())
