"""Four kinds of kernels are calibrated alike: from a CSV to a file, and from the file to a run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from calibration_cases import MADE, described, loaded
from command_line import Run

from tilewise.arch.document import read_document
from tilewise.arch.gpu_calibration import CALIBRATIONS, Calibration
from tilewise.arch.gpu_own import KINDS, read_kind
from tilewise.arch.value import Value
from tilewise.sim.gpu.calibration_file import text_with
from tilewise.sim.gpu.calibration_kinds import FITS, kernel_of

TIMES = {kind: "latency_ms_median" if kind == "gemm" else "latency_ms" for kind in KINDS}


def by_format(kind: str, gpu: str, name: str) -> dict[str, Value]:
    """What comes with Tilewise for a GPU, under another name."""
    known = read_kind(kind, CALIBRATIONS / f"{kind}.yaml")[gpu]
    if kind == "gemm":
        return dict(known)
    assert isinstance(known, Calibration)
    return {"": known.replace(gpu=name)}


def shipped(kind: str) -> list[str]:
    return [*read_kind(kind, CALIBRATIONS / f"{kind}.yaml")]


def test_the_table_has_the_kinds_that_are_read() -> None:
    assert tuple(FITS) == KINDS == tuple(MADE)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_to_a_new_file_reads_back_equal(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}.yaml"
    for gpu in shipped(kind):
        written = by_format(kind, gpu, gpu)
        file.write_text(text_with(file, kind, gpu, written), encoding="utf-8")
        assert file.read_text().startswith(f"# Constants of {kind} kernels")
    assert read_kind(kind, file) == read_kind(kind, CALIBRATIONS / f"{kind}.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_other_gpus_keep_their_numbers_sources_and_families(kind: str, tmp_path: Path) -> None:
    source, file = CALIBRATIONS / f"{kind}.yaml", tmp_path / f"{kind}.yaml"
    file.write_bytes(source.read_bytes())
    first, *others = shipped(kind)
    for name in ("mine", others[0]):  # a new one, and one that is there already
        file.write_text(text_with(file, kind, name, by_format(kind, first, name)), "utf-8")
    before, after = read_kind(kind, source), read_kind(kind, file)
    assert set(after) == {*before, "mine"}
    assert all(after[name] == before[name] for name in before if name != others[0])
    assert dict(after["mine"]) == dict(by_format(kind, first, "mine")) or kind != "gemm"
    old, new = read_document(source), read_document(file)
    assert new.values.get("uses") == old.values.get("uses")
    gone = {key for key in old.sources if new.sources.get(key) != old.sources[key]}
    assert all(key.startswith((f"gpus.{others[0]}.", f"{others[0]}.")) for key in gone)
    assert file.read_text().splitlines()[0] == source.read_text().splitlines()[0]


def test_one_format_of_a_gpu_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "gemm.yaml"
    file.write_bytes((CALIBRATIONS / "gemm.yaml").read_bytes())
    new = {"fp8": by_format("gemm", "l40s", "h100")["fp8"]}
    file.write_text(text_with(file, "gemm", "h100", new), "utf-8")
    assert dict(read_kind("gemm", file)["h100"]) == by_format("gemm", "h100", "h100") | new


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_finds_constants_that_predict_what_the_model_made(
    tilewise: Run, tmp_path: Path, kind: str
) -> None:
    machine, csv, out = described(tmp_path), tmp_path / "made.csv", tmp_path / f"{kind}.yaml"
    rows = MADE[kind](loaded(machine))
    spoilt = rows.assign(**{TIMES[kind]: 1.0})
    both = pd.concat([spoilt.assign(gpu="other"), rows.assign(gpu="this one")])
    both.to_csv(csv, index=False)
    arguments = ("--gpu", str(machine), "--rows", "this one", "--out", str(out), "--data", "mine")
    kernel = ("--kernel", "fa3") if kind == "attention" else ()
    ended = tilewise("calibrate", kind, str(csv), *arguments, *kernel)
    assert ended.code == 0, ended.err
    found = re.fullmatch(
        rf"mine {kind}( fp16)?, rows of this one: (\d+) rows fitted, (\d+) held out: "
        r"MAPE ([\d.]+)%, a roofline's \d+%(; the data do not tell [\w., ]+)?\n",
        ended.out,
    )
    assert found, ended.out
    assert int(found[2]) + int(found[3]) == len(rows)
    assert float(found[4]) < 3
    known = read_kind(kind, out)["mine"]
    evidence = (known[0][1] if kind == "gemm" else known).evidence
    assert evidence.data == "mine"
    # The same rows from Python, the spoilt ones never seen.
    if kind != "gemm":  # twenty seconds of the same
        option = {"kernel": "fa3"} if kind == "attention" else {}
        again = FITS[kind].fit(rows, loaded(machine), data="mine", **option)
        assert known == again[""].calibration


def test_attention_takes_the_kernel_that_the_gpu_is_known_to_run(tmp_path: Path) -> None:
    assert [kernel_of(loaded(name)).name for name in ("a10", "h200", "b200")] == [
        "fa2",
        "fa3",
        "fa4",
    ]
    assert kernel_of(loaded("h200"), "fa2").name == "fa2"
    file = tmp_path / "attention.yaml"
    file.write_text(text_with(file, "attention", "mine", by_format("attention", "b200", "mine")))
    assert kernel_of(loaded(described(tmp_path, "calibrations: ."))).name == "fa4"


def refused(tilewise: Run, *arguments: str) -> str:
    """The one line with which a command line ends; the file is not made."""
    ended = tilewise("calibrate", *arguments)
    assert ended.code == 2, ended.out
    assert ended.err.count("\n") == 1
    assert not Path("out.yaml").exists()
    return ended.err


OUT = ("--gpu", "h200", "--out", "out.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_measurements_are_refused_with_the_row_of_the_file(tilewise: Run, kind: str) -> None:
    rows, column = MADE[kind](loaded("h200")), TIMES[kind]
    rows.drop(columns=column).to_csv("some.csv", index=False)
    assert f"add or rename {column}" in refused(tilewise, kind, "some.csv", *OUT)
    rows.head(3).to_csv("few.csv", index=False)
    assert "rows, got 3; measure more" in refused(tilewise, kind, "few.csv", *OUT)
    both = pd.concat([rows.assign(gpu="a"), rows.assign(gpu="b")], ignore_index=True)
    both.loc[len(rows) + 4, column] = -1.0
    both.to_csv("wrong.csv", index=False)
    text = refused(tilewise, kind, "wrong.csv", *OUT, "--rows", "b")
    line = len(rows) + 6  # counted from 1, and the header is the first
    assert f"row {line}: {column}: wanted a number above 0, got -1.0; drop the row" in text
    assert Path("wrong.csv").read_text().splitlines()[line - 1].endswith(("-1.0,b", "-1.0"))


COUNTED = {
    "gemm": "m",
    "attention": "sequence",
    "streams": "columns",
    "convolution": "in_channels",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e30, 1e19, 2.0**41])
def test_a_size_beyond_any_memory_is_refused(tilewise: Run, kind: str, size: float) -> None:
    rows, name = MADE[kind](loaded("h200")), COUNTED[kind]
    rows[name] = rows[name].astype(float)
    rows.loc[5, name] = size
    rows.to_csv("large.csv", index=False)
    text = refused(tilewise, kind, "large.csv", *OUT)
    assert f"row 7: {name}: wanted at most 1099511627776, got {size!r}; drop the row" in text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gemm"])
def test_sizes_whose_product_is_beyond_integers_are_refused(tilewise: Run, kind: str) -> None:
    rows = MADE[kind](loaded("h200"))
    columns = {
        "attention": ["batch", "heads"],
        "streams": ["rows", "columns"],
        "convolution": ["batch", "in_channels"],
    }[kind]
    rows.loc[5, columns] = 2**40
    rows.to_csv("large.csv", index=False)
    text = refused(tilewise, kind, "large.csv", *OUT)
    assert re.search(
        r"row 7: (\w+ x )+\w+: wanted at most 1125899906842624, got \d\.\d+e\+\d+;", text
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("time", ["1e-320", "1e300"])
def test_a_time_that_no_kernel_takes_is_refused(tilewise: Run, time: str) -> None:
    rows = MADE["streams"](loaded("h200"))
    rows.loc[5, "latency_ms"] = float(time)
    rows.to_csv("times.csv", index=False)
    text = refused(tilewise, "streams", "times.csv", *OUT)
    assert "row 7: latency_ms: wanted milliseconds from 1e-06 to 1e+09, got " in text


def test_a_head_that_no_tile_holds_is_refused_with_its_row(tilewise: Run) -> None:
    rows = MADE["attention"](loaded("h200"))
    rows.loc[5, "head_dim"] = 300
    rows.to_csv("wide.csv", index=False)
    text = refused(tilewise, "attention", "wide.csv", *OUT)
    assert text.endswith(
        "wide.csv: h200 attention: row 7: head_dim: wanted at most 256 for fa3, got 300; "
        "drop the row\n"
    )


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        (kind, times)
        if (kind == "gemm") == (times == "constant")
        else pytest.param(kind, times, marks=pytest.mark.slow)
        for kind in KINDS
        for times in ("microseconds", "constant")
    ],
)
def test_times_that_no_constants_explain_are_refused(tilewise: Run, kind: str, times: str) -> None:
    rows, column = MADE[kind](loaded("h200")), TIMES[kind]
    rows[column] = 1.0 if times == "constant" else 1e3 * rows[column]
    rows.assign(gpu="a board").to_csv("strange.csv", index=False)
    text = refused(tilewise, kind, "strange.csv", *OUT)
    assert re.search(
        rf"strange.csv: h200 {kind}( fp16)?, rows of a board: wanted a MAPE on the rows held out "
        r"below 50% and below a roofline's, got [\d.]+%, and [\d.]+% of the roofline; nothing is "
        r"written; look at the unit of the latencies \(ms\), and whether --gpu is the machine",
        text,
    )


def test_rows_of_no_gpu_are_not_those_of_one(tilewise: Run) -> None:
    rows = MADE["attention"](loaded("h200")).assign(gpu="b200_sxm")
    rows.assign(gpu=None).to_csv("none.csv", index=False)
    rows.loc[[4, 9], "gpu"] = None
    rows.to_csv("some.csv", index=False)
    text = refused(tilewise, "attention", "some.csv", *OUT)
    assert "some.csv: row 6: gpu: wanted the name of a GPU, got none; choose other" in text
    text = refused(tilewise, "attention", "none.csv", *OUT, "--rows", "nan")
    assert "--rows nan: wanted no name, as the column gpu is empty" in text
    out = ("--gpu", "h200", "--out", "attention.yaml")
    ended = tilewise("calibrate", "attention", "some.csv", *out, "--rows", "b200_sxm")
    found = re.match(r"h200 attention, rows of b200_sxm: (\d+) rows fitted, (\d+) held", ended.out)
    assert found, ended.err
    assert int(found[1]) + int(found[2]) == len(rows) - 2
    ended = tilewise("calibrate", "attention", "none.csv", *out)
    assert ended.out.startswith("h200 attention: "), ended.err


def test_a_file_named_after_another_kind_is_refused(tilewise: Run) -> None:
    MADE["attention"](loaded("h200")).to_csv("a.csv", index=False)
    for name in ("gemm.yaml", "streams.yml"):
        text = refused(tilewise, "attention", "a.csv", "--gpu", "h200", "--out", name)
        assert f"{name}: wanted a name that is not of other kernels" in text
        assert "a machine's calibrations wants attention in attention.yaml" in text
        assert not Path(name).exists()


def test_a_file_that_no_machine_would_read_is_written_and_said_so(tilewise: Run) -> None:
    MADE["attention"](loaded("h200")).to_csv("a.csv", index=False)
    hint = "; a machine's calibrations wants mine.yaml named attention.yaml\n"
    for name, said in (("mine.yaml", True), ("attention.yaml", False)):
        ended = tilewise("calibrate", "attention", "a.csv", "--gpu", "h200", "--out", name)
        assert ended.code == 0, ended.err
        assert ended.out.endswith(hint) is said
        assert ended.out.count("\n") == 1
        assert "rows of" not in ended.out  # no column says whose
        assert set(read_kind("attention", Path(name))) == {"h200"}


@pytest.mark.parametrize("kind", KINDS)
def test_one_shape_measured_often_is_refused(tilewise: Run, kind: str) -> None:
    rows = MADE[kind](loaded("h200"))
    pd.concat([rows.head(1)] * 300).to_csv("same.csv", index=False)
    text = refused(tilewise, kind, "same.csv", *OUT)
    assert re.search(r"wanted rows to fit and rows to hold out, got (300 and 0|0 and 300);", text)


def test_attention_is_calibrated_on_a_gpu_without_bf16() -> None:
    t4 = loaded("t4")
    assert "bf16" not in t4.peak_flops
    found = FITS["attention"].fit(MADE["attention"](t4), t4, data="made up", kernel="fa3")[""]
    assert found.report.held_out_mape < 0.05


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("stream", "a.csv", *OUT), "or convolution; did you mean streams?"),
        (("streams", "a.csv", "--gpu", "h20", "--out", "out.yaml"), "the nearest is h200"),
        (("streams", "a.csv", *OUT, "--kernel", "fa2"), "calibrate streams knows no kernels"),
        (("attention", "a.csv", *OUT, "--format", "fp8"), "calibrate attention knows no formats"),
        (("attention", "a.csv", *OUT, "--kernel", "fa5"), "--kernel: wanted fa2 or fa3 or fa4"),
        (("attention", "a.csv", "--gpu", "t4", "--out", "out.yaml"),
         "t4: which attention kernel it runs is not known; name it with --kernel: fa2"),
        (("attention", "a.csv", "--gpu", "h200", "--out", "no/out.yaml"), "there is no folder"),
        (("attention", "a.csv", "--gpu", "h200", "--out", "a.csv"), "a.csv is an input"),
        (("attention", "a.csv", "--gpu", "h200", "--out", "mine.yaml"), "mine.yaml:2: kind:"),
        (("gemm", "a.csv", *OUT, "--format", "fp9"), "--format fp9: wanted one of int8, fp8, fp16"),
    ],
)  # fmt: skip
def test_what_a_user_gets_wrong_is_one_line(
    tilewise: Run, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    described(tmp_path)
    made = MADE["gemm" if arguments[0] == "gemm" else "attention"](loaded("h200"))
    made.to_csv("a.csv", index=False)
    assert text in refused(tilewise, *arguments)
