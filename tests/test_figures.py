"""Figures: their size, fonts, numbers and files, and the commands that make them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run
from figure_laws import assert_text_lies_inside

from tilewise.arch import load_machine
from tilewise.reports.cliff import cliff_figure, cliff_notes, cliff_rows
from tilewise.reports.figures import INCHES, Width, csv_text, paths, save_figure, tex_table
from tilewise.reports.policies import policies_figure, policies_notes, policies_rows, policies_tex
from tilewise.reports.sparsity import (
    sparsity_figure,
    sparsity_notes,
    sparsity_rows,
    sparsity_tex,
    sparsity_values,
)
from tilewise.reports.waterfall import waterfall_figure, waterfall_notes, waterfall_rows
from tilewise.sim.cliff import Staircase, staircase
from tilewise.sim.policies import policy
from tilewise.sim.ragged import run_policies
from tilewise.sim.ragged_result import RaggedRun
from tilewise.sim.sparsity import Sparsity, sparsity
from tilewise.workloads.graph import Workload
from tilewise.workloads.tokens import TokenTrace, write_trace
from tilewise.workloads.zoo.vit import vit

PRUNED = vit(depth=3, embed=64, heads=2, image=96, classes=10, selectors=(2, 3)).with_defaults(
    {"kept_1": 22, "kept_2": 9}
)
COUNTS = np.array([[22, 9], [30, 20], [12, 4], [22, 10]])


@pytest.fixture(scope="module")
def steps() -> Staircase:
    return staircase(PRUNED, load_machine("gemmini-16x16"), sweep_dataflows=True)


@pytest.fixture(scope="module")
def run() -> RaggedRun:
    return run_policies(PRUNED, load_machine("gemmini-16x16"), COUNTS, batch=2)


@pytest.fixture(scope="module")
def table() -> Sparsity:
    return sparsity(PRUNED, load_machine("gemmini-16x16"))


@pytest.fixture(params=["cliff", "policies", "waterfall", "sparsity"])
def draw(
    request: pytest.FixtureRequest, steps: Staircase, run: RaggedRun, table: Sparsity
) -> Callable[[Width], Any]:
    """Every figure, by its width; Any, as matplotlib's types are not complete."""
    figures: Mapping[str, Callable[[Width], Any]] = {
        "cliff": lambda width: cliff_figure(steps, width=width, marked=(37, 24, 11)),
        "policies": lambda width: policies_figure(run, width=width),
        "waterfall": lambda width: waterfall_figure(run, run.policies[-1], width=width),
        "sparsity": lambda width: sparsity_figure(table, width=width),
    }
    return figures[request.param]


# --- what every figure is ------------------------------------------------------------------------


@pytest.mark.parametrize("width", INCHES)
def test_a_figure_is_as_wide_as_the_paper_wants(
    draw: Callable[[Width], Any], width: Width, tmp_path: Path
) -> None:
    pdf, png, _ = save_figure(draw(width), [], tmp_path, "x")
    boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf.read_bytes())
    assert [float(wide) for wide, _ in boxes] == [pytest.approx(72 * INCHES[width])]
    pixels = int.from_bytes(png.read_bytes()[16:20], "big")
    assert pixels == int(300 * INCHES[width])


def test_fonts_are_embedded_as_truetype(draw: Callable[[Width], Any], tmp_path: Path) -> None:
    content = save_figure(draw("column"), [], tmp_path, "x")[0].read_bytes()
    assert b"/FontFile2" in content, "embedded TrueType"
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content


def test_all_text_has_eight_points_and_lies_inside(draw: Callable[[Width], Any]) -> None:
    for width in INCHES:
        assert_text_lies_inside(draw(width), width)


@pytest.mark.parametrize("width", INCHES)
def test_long_names_are_not_cut_off(run: RaggedRun, width: Width) -> None:
    own = replace(run.policies[-1], policy=policy("respecialise/batch/unknown"))
    renamed = replace(
        run, workload="x" * 120, machine="zcu102-heatvit", policies=(*run.policies, own), gpu=True
    )
    for figure in (
        policies_figure(renamed, width=width, tokens="dinov2-crops"),
        waterfall_figure(renamed, own, width=width, tokens="dinov2-crops"),
    ):
        drawn: Any = figure
        drawn.draw_without_rendering()
        title = drawn._suptitle.get_window_extent()
        assert title.x1 <= drawn.bbox.x1
        said = drawn._suptitle.get_text()
        assert "\n" in said
        assert "dinov2-crops" in said
        lowest = drawn.axes[0].get_tightbbox().y1
        assert title.y0 >= lowest, "the figure has grown by the title's lines"
        assert drawn.get_tightbbox().x1 <= INCHES[width]


def test_on_a_gpu_a_wait_is_launches_and_decisions(run: RaggedRun) -> None:
    for gpu, there in ((False, "waiting for decisions"), (True, "launches and decisions")):
        rows = waterfall_rows(replace(run, gpu=gpu), run.policies[-1])
        assert {row["what"] for row in rows if row["cause"] == "wait"} == {there}


def test_no_mark_of_a_percentile_hides_another(run: RaggedRun) -> None:
    figure: Any = policies_figure(run)
    marks = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    heights = [marks[name].get_ydata()[0] for name in ("p50", "p95", "p99")]
    points = 72 * figure.axes[0].get_window_extent().height / figure.dpi / len(run.policies)
    for above, below in pairwise(heights):
        assert (below - above) * points >= marks["p95"].get_markersize() - 0.5


def test_the_same_numbers_give_the_same_bytes(draw: Callable[[Width], Any], tmp_path: Path) -> None:
    written = [
        [path.read_bytes() for path in save_figure(draw("page"), [], tmp_path, name)]
        for name in ("a", "b")
    ]
    assert written[0] == written[1]


def test_drawing_leaves_the_users_settings_alone(draw: Callable[[Width], Any]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw("column")
    assert dict(mpl.rcParams) == before


def test_another_width_is_refused(table: Sparsity) -> None:
    with pytest.raises(ValueError, match="wanted column or page, got 'poster'"):
        sparsity_figure(table, width="poster")  # type: ignore[arg-type] # pyright: ignore


# --- the numbers are those that are drawn --------------------------------------------------------


def test_the_cliffs_numbers_are_its_lines(steps: Staircase) -> None:
    rows = cliff_rows(steps)
    panels: Any = cliff_figure(steps, marked=(24,)).axes
    assert len(rows) == 3 * 37
    for panel, key, scale in (
        (0, "compute_latency_s", 1e6),
        (1, "latency_s", 1e6),
        (2, "compute_utilization", 100),
        (3, "utilization", 100),
    ):
        lines = {line.get_label(): line for line in panels[panel].get_lines()}
        for flow, name in (("ws", "WS, as built"), ("is", "IS"), ("os", "OS")):
            own = [row for row in rows if row["dataflow"] == flow]
            x, y = lines[name].get_data()
            assert list(x) == [row["tokens"] for row in own]
            assert list(y) == pytest.approx([scale * row[key] for row in own])
    (marked,) = [line for line in panels[1].get_lines() if "counts" in str(line.get_label())]
    assert list(marked.get_xdata()) == [24]
    lone = {line.get_xdata()[0] for line in panels[0].get_lines() if len(line.get_xdata()) == 2}
    assert lone == {16, 32}, "multiples of the array"
    assert "counts of the model: 37, 24" in cliff_notes(steps, (37, 24))[-1]


def test_the_policies_numbers_are_its_bars(run: RaggedRun) -> None:
    rows = policies_rows(run)
    figure: Any = policies_figure(run, width="page")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [one.policy.name for one in run.policies]
    for one in run.policies:
        own = [row for row in rows if row["policy"] == one.policy.name]
        for row in own:
            longer = float((one.latency_s > row["latency_s"]).mean())
            assert row["taking_longer"] == pytest.approx(longer)
        assert own[-1]["latency_s"] == one.latency_s.max()
        assert own[0]["p95_s"] == one.percentile_s(95)
    marks = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    for percent in (50, 95, 99):
        expected = [1e3 * one.percentile_s(percent) for one in run.policies]
        scale = 1e3 if max(expected) < 1 else 1  # the axis is in microseconds if times are short
        assert list(marks[f"p{percent}"].get_xdata()) == pytest.approx(
            [scale * time for time in expected]
        )
    widths = [bar.get_width() for bar in figure.axes[1].patches]
    assert widths == pytest.approx([run.speedup(one) for one in run.policies])


def test_the_waterfall_runs_from_the_promise_to_what_there_is(run: RaggedRun) -> None:
    for one in run.policies[1:]:
        rows = waterfall_rows(run, one)
        steps = {step.cause: step.speedup for step in run.waterfall(one)}
        assert (rows[0]["from"], rows[0]["to"]) == (0, steps["useful"])
        assert rows[-1]["to"] == pytest.approx(run.speedup(one))
        for before, after in pairwise(rows[:-1]):
            assert after["from"] == before["to"]
            assert after["to"] == steps[after["cause"]]
        bars: Any = waterfall_figure(run, one).axes[0].patches
        drawn = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
        assert drawn == [pytest.approx((row["from"], row["to"])) for row in rows]
        assert "by hand" in " ".join(waterfall_notes(run, one, "counted by hand"))


def test_the_tables_numbers_are_its_bars(table: Sparsity) -> None:
    rows = sparsity_rows(table)
    patches: Any = sparsity_figure(table).axes[0].patches
    bars = [bar.get_height() for bar in patches]
    times = [row["latency_ms"] for row in rows] + [row["proportional_ms"] for row in rows]
    assert bars == pytest.approx([1e3 * time for time in times])
    for row in rows:
        whole = rows[0]["latency_ms"]
        assert row["proportional_ms"] == pytest.approx(whole / row["mac_ratio"])
    values = json.loads(json.dumps(sparsity_values(table)))
    assert [row["keep_ratio"] for row in values["rows"]] == [k / 10 for k in range(10, 0, -1)]


def test_a_csv_is_read_back_as_it_was(steps: Staircase) -> None:
    rows = cliff_rows(steps)
    text = csv_text(rows, ["two\nlines", "and one"])
    assert text.startswith("# two lines\n# and one\ndataflow,")
    body = io.StringIO("".join(line for line in text.splitlines(True) if line[0] != "#"))
    for read, row in zip(csv.DictReader(body), rows, strict=True):
        assert int(read["cycles"]) == row["cycles"]
        assert float(read["utilization"]) == row["utilization"]


def test_tables_are_set_with_booktabs(table: Sparsity, run: RaggedRun) -> None:
    for text, rows in (
        (sparsity_tex(table), 10),
        (policies_tex(run, "50 % & more_or_less"), len(run.policies)),
    ):
        for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert text.count(rule) == 1
        body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
        assert body.count(r"\\") == rows
        columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
        assert columns
        cells = {len(line.split(" & ")) for line in body.strip().splitlines()}
        assert cells == {len(columns[1])}
    assert r"50 \% \& more\_or\_less" in policies_tex(run, "50 % & more_or_less")
    assert tex_table(["a"], [["x_1"]], caption="c", label="l").count(r"x\_1") == 1


def test_notes_say_what_ran_on_what(steps: Staircase, run: RaggedRun, table: Sparsity) -> None:
    for notes in (cliff_notes(steps), policies_notes(run, "sampled"), sparsity_notes(table)):
        assert notes[0].startswith("heatvit on gemmini-16x16, int8")
    assert "sampled; 4 images" in policies_notes(run, "sampled")[1]
    assert cliff_notes(staircase(PRUNED, load_machine("a100-80gb"), [3]))[1:] == [
        "one transformer block inside a model; tokens of one image, CLS and package included",
        "GPU model kernels, compiled",
    ]


# --- the commands --------------------------------------------------------------------------------


def found(name: str) -> Workload:
    """The small model, whatever its name."""
    return PRUNED


@pytest.fixture
def tilewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs a command line in this process, on a small model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("tilewise.cli_inputs.find_workload", found)

    return Run(capsys)


@pytest.fixture
def traced(tmp_path: Path) -> None:
    """A token trace in `hand.csv`."""
    write_trace(TokenTrace.of("hand", 36, COUNTS, "made by hand"), tmp_path / "hand.csv")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("what", "more", "named"),
    [
        ("cliff", (), ""),
        ("policies", ("--tokens", "hand.csv", "--batch", "2"), "-hand-batch2"),
        ("waterfall", (), "-exact"),
        (
            "waterfall",
            ("--tokens", "hand.csv", "--policy", "exact/batch", "--width", "page"),
            "-hand-exact-batch",
        ),
        ("sparsity", ("--width", "page"), ""),
    ],
)
@pytest.mark.parametrize(
    "machine",
    ["gemmini-16x16", "a100-80gb", pytest.param("zcu102-heatvit", marks=pytest.mark.slow)],
)
def test_figure_writes_its_files(
    tilewise: Run, tmp_path: Path, what: str, more: tuple[str, ...], named: str, machine: str
) -> None:
    code, out, err = tilewise("figure", what, "m", "--on", machine, "--out", "new/folder", *more)
    assert (code, err) == (0, "")
    table = what in ("policies", "sparsity")
    written = paths(tmp_path / "new" / "folder", f"{what}-heatvit-{machine}{named}", table=table)
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(written)
    assert out.count("wrote ") == len(written)
    pdf, png, numbers = (path.read_bytes() for path in written[:3])
    assert pdf.startswith(b"%PDF")
    assert png.startswith(b"\x89PNG")
    text = numbers.decode()
    assert f"# heatvit on {machine}" in text
    assert ("read its ends" in out) == (what == "waterfall" and machine == "a100-80gb")
    if what in ("policies", "waterfall"):
        assert ("(made by hand)" if more else "keeps kept_1=22, kept_2=9") in text


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("what", "more", "named"),
    [
        ("cliff", ("--engine", "eager"), "eager"),
        ("policies", ("--tokens", "hand.csv", "--engine", "tensorrt"), "hand-tensorrt"),
        ("waterfall", ("--gpu-model", "roofline"), "exact-roofline"),
        ("sparsity", ("--engine", "eager", "--gpu-model", "kernels"), "eager-kernels"),
    ],
)
def test_a_figure_says_what_ran_it_on_a_gpu(
    tilewise: Run, tmp_path: Path, what: str, more: tuple[str, ...], named: str
) -> None:
    code, _, err = tilewise("figure", what, "m", "--on", "a100-80gb", "--out", ".", *more)
    assert (code, err) == (0, "")
    text = (tmp_path / f"{what}-heatvit-a100-80gb-{named}.csv").read_text()
    engine = next((name for name in ("eager", "tensorrt") if name in more), "")
    said = f"kernels, {engine}" if engine else "roofline"
    assert f"# GPU model {said}\n" in text
    if what in ("policies", "sparsity"):
        values = json.loads((tmp_path / f"{what}-heatvit-a100-80gb-{named}.json").read_text())
        assert (values["model"], values["engine"]) == ("kernels", engine)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("clif",), "figure clif: wanted one of cliff, .*; did you mean cliff?"),
        (("cliff", "--width", "pag"), "--width pag: wanted one of column, page; did you mean page"),
        (("cliff", "--tokens", "x"), "--tokens x: figure cliff does not take"),
        (("policies", "--policy", "pack"), "--policy pack: figure policies does not take"),
        (("policies",), "figure policies wants --tokens"),
        (("waterfall", "--policy", "exct"), "no policy is called exct; did you mean exact?"),
        (("waterfall", "--tokens", "digits"), "no token trace is called digits; did you mean"),
        (("waterfall", "--policy", "dense"), "--policy dense: it is what"),
        (("waterfall", "--bind", "kept_1=99"), "kept_1=99 is out of range"),
        (("waterfall", "--policy", ""), "wanted the name of a policy, got nothing"),
        (("waterfall", "--policies", "pack"), "--policies pack: figure waterfall does not take"),
        (
            ("policies", "--tokens", "dinov2-crops", "--policies", "pack,pack"),
            "policy pack is named twice; name each once",
        ),
        (("cliff", "--keep", "0.5"), "--keep 0.5: say how to prune too"),
        (("cliff", "--format", "fp8"), "gemmini-16x16: format: wanted"),
        (("sensitivity", "--format", "fp8"), "gemmini-16x16: format: wanted one of int8, got"),
        *(
            ((what, *more), f"{named}: wanted a GPU, got gemmini-16x16, which is an accelerator")
            for what in ("cliff", "waterfall", "sparsity", "sensitivity")
            for *more, named in (
                ("--engine", "eager", "engine=eager"),
                ("--gpu-model", "kernels", "model=kernels"),
            )
        ),
        (("cliff", "--out", "file/x"), "file/x cannot be written: Not a directory"),
        (("cliff", "--out", "file"), "file cannot be written: File exists"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    tilewise: Run, tmp_path: Path, arguments: tuple[str, ...], error: str
) -> None:
    (tmp_path / "file").touch()
    what, *more = arguments
    out = () if "--out" in more else ("--out", "out")
    code, printed, err = tilewise("figure", what, "m", "--on", "gemmini-16x16", *out, *more)
    assert (code, printed) == (2, "")
    assert re.match(f"tilewise: {error}", err), err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_images_of_different_sizes_are_drawn_too(
    tilewise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    sizes = TokenTrace.of("two", 225, [[64], [225]], "by hand", over=("patches",))
    write_trace(sizes, tmp_path / "two.csv")
    for what, more in (("waterfall", ("--policy", "exact")), ("policies", ("--policies", "exact"))):
        code, _, err = tilewise(
            "figure", what, "deit-small", "--on", "edge-32x32", "--tokens", "two.csv",
            "--out", ".", *more,
        )  # fmt: skip
        assert (code, err) == (0, "")
    (numbers,) = tmp_path.glob("waterfall*.csv")
    assert "speed-up over the largest size" in numbers.read_text()


@pytest.mark.usefixtures("traced")
def test_advise_prints_sentences_and_numbers(tilewise: Run) -> None:
    code, out, err = tilewise("advise", "m", "--on", "gemmini-16x16", "--json", "a.json")
    assert (code, err) == (0, "")
    assert re.search(r"^  kept_1=", out, re.MULTILINE)
    values = json.loads(Path("a.json").read_text())
    assert [one["symbol"] for one in values["advice"]] == ["kept_1", "kept_2"]
    assert [one["now"]["tokens"] for one in values["advice"]] == [24, 11]
    assert max(map(len, out.splitlines())) <= 80
    assert "GPU model" not in out
    _, out, _ = tilewise("advise", "m", "--on", "a100-80gb", "--engine", "eager")
    assert "\n  GPU model kernels, eager\n" in out
    code, _, err = tilewise("advise", "m", "--on", "gemmini-16x16", "--engine", "eager")
    assert code == 2
    assert "engine=eager: wanted a GPU, got gemmini-16x16" in err
    code, out, err = tilewise(
        "advise", "m", "--on", "gemmini-16x16", "--tokens", "hand.csv", "--json", "-"
    )
    assert code == 0
    assert "the means of hand" in err
    assert [one["now"]["tokens"] for one in json.loads(out)["advice"]] == [24, 13]
