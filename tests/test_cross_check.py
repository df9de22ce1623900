"""Which question: is `explain gemm` right, and would it say so if it were not?"""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import EDGE, machines_with, systolic_arrays

from tilewise import cli
from tilewise.arch import OVERLAPS, Dataflow, Overlap, SystolicArray
from tilewise.reports.derivation import counts_view, derivation_values, derivation_view
from tilewise.reports.table import as_text
from tilewise.sim import cross_check, rtl
from tilewise.sim.derivation import Derivation, derive
from tilewise.sim.errors import MappingError
from tilewise.sim.systolic import fold_interval, fold_latency, folds, gemm_cycles

ARRAYS = [(flow, way) for flow, ways in OVERLAPS.items() for way in ways]
HARDWARE = [(flow, way) for flow, way in ARRAYS if way != "scale-sim"]
FOREVER = math.inf


@st.composite
def arrays(draw: st.DrawFn, side: int = 12) -> SystolicArray:
    flow, overlap = draw(st.sampled_from(ARRAYS))
    sides = st.integers(1, side)
    fields = {"rows": draw(sides), "cols": draw(sides), "dataflow": flow, "overlap": overlap}
    return SystolicArray.model_validate(fields)


sizes = st.integers(1, 40)


@given(arrays(side=300), *[st.integers(1, 5000)] * 3)
@settings(max_examples=500)
def test_the_terms_add_up_to_the_closed_form(array: SystolicArray, m: int, k: int, n: int) -> None:
    made = derive(array, m, k, n)
    split = folds(array, m, k, n)
    assert (made.folds, made.cols.folds, made.rows.folds) == (
        split.count, split.blocks, split.per_block
    )  # fmt: skip
    assert made.cols.last == split.last_columns
    assert made.interval == fold_interval(array, split.stream)
    assert made.last_latency == fold_latency(array, split.stream, split.last_columns)
    assert made.full_latency == fold_latency(array, split.stream, array.cols)
    assert made.cycles == gemm_cycles(array, m, k, n)


@given(arrays(side=300), *[st.integers(1, 5000)] * 3)
@settings(max_examples=300)
def test_pe_cycles_add_up_and_none_is_negative(
    array: SystolicArray, m: int, k: int, n: int
) -> None:
    made = derive(array, m, k, n)
    assert min(made.pe_cycles.values()) >= 0
    assert sum(made.pe_cycles.values()) == array.rows * array.cols * made.elapsed
    assert made.utilization == made.macs / sum(made.pe_cycles.values())


@st.composite
def derivations(draw: st.DrawFn) -> Derivation:
    """Of at most three folds along each side, full or ragged: each fold is run edge by edge."""
    array = draw(arrays())
    along_rows, along_cols = (draw(st.integers(1, 3 * side)) for side in (array.rows, array.cols))
    stream = draw(sizes)
    match array.dataflow:
        case "ws":
            return derive(array, stream, along_rows, along_cols)
        case "is":
            return derive(array, along_cols, along_rows, stream)
        case "os":
            return derive(array, along_rows, stream, along_cols)


@given(derivations())
@settings(max_examples=300)
def test_every_way_counts_the_same(made: Derivation) -> None:
    array = made.array
    counts = [
        cross_check.closed_form(made),
        cross_check.register_model(made, FOREVER),
        cross_check.engine(made),
    ]
    assert all(count.agrees(made.cycles) for count in counts)
    missing = [count.way for count in counts if count.cycles is None]
    assert missing == (["register model"] if array.overlap == "scale-sim" else [])
    assert all(count.folds == made.folds for count in counts if count.cycles is not None)


@given(arrays(), sizes, sizes, sizes)
@settings(max_examples=300)
def test_a_part_of_the_folds_stands_for_all(array: SystolicArray, m: int, k: int, n: int) -> None:
    assume(array.overlap != "scale-sim")
    made = derive(array, m, k, n)
    refused = cross_check.register_model(made, 0)
    assert refused.cycles is None
    assert refused.not_run
    count = cross_check.register_model(made, refused.all_folds_s * 0.9999)
    assume(count.cycles is not None)  # there are no fewer folds than these
    assert 0 < count.folds < made.folds
    assert count.agrees(made.cycles)


@pytest.mark.parametrize(("flow", "overlap"), HARDWARE)
@pytest.mark.parametrize(("m", "k", "n"), [(5, 3, 6), (17, 33, 29), (1, 1, 41)])
def test_the_verilog_counts_the_same(
    flow: Dataflow, overlap: Overlap, m: int, k: int, n: int
) -> None:
    if why := rtl.why_unavailable():
        pytest.skip(f"NOT CHECKED AGAINST RTL: {why}")
    made = derive(SystolicArray(rows=4, cols=5, dataflow=flow, overlap=overlap), m, k, n)
    whole = cross_check.rtl(made, FOREVER)
    assert (whole.cycles, whole.folds, whole.product_right) == (made.cycles, made.folds, True)
    part = cross_check.rtl(made, cross_check.rtl(made, 0).all_folds_s * 0.9999)
    assert part.agrees(made.cycles)


@given(st.data())
@settings(max_examples=100)
def test_what_a_machine_adds_is_exact_and_waiting_is_never_less_than_none(
    data: st.DataObject,
) -> None:
    array = data.draw(systolic_arrays())
    machine = data.draw(machines_with(array))
    made = derive(array, *(data.draw(sizes) for _ in range(3)))
    try:
        on = cross_check.on_machine(made, machine)
    except MappingError:
        assume(False)
        return
    assert on.ideal_cycles + sum(on.added.values(), Fraction(0)) == on.cycles
    assert on.cycles > on.ideal_cycles
    assert all(on.added.get(cause, 0) >= 0 for cause in ("edge", "memory", "vector"))
    assert on.added.keys() <= {"edge", "fill_drain", "memory", "vector"}
    assert len(on.notes) == (array.count > 1)


# --- it would say so -----------------------------------------------------------------------------


def explain(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(("explain", "gemm", *arguments))
    captured = capsys.readouterr()
    assert exit_.value.code == code, captured.err
    return captured.out, captured.err


SMALL = ("5", "3", "6", "--array", "4x4")


def test_a_wrong_closed_form_is_said_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(array: SystolicArray, m: int, k: int, n: int) -> int:
        return gemm_cycles(array, m, k, n) + 1

    monkeypatch.setattr(cross_check, "gemm_cycles", wrong)
    out, _ = explain(capsys, *SMALL, code=1)
    assert "NOT EQUAL: closed form" in out
    assert "all equal" not in out


def test_a_wrong_product_is_said_although_its_edges_are_right() -> None:
    made = derive(SystolicArray(rows=4, cols=4), 5, 3, 6)
    count = replace(cross_check.register_model(made, FOREVER), product_right=False)
    shown = as_text(counts_view(made, [count]))
    assert "product WRONG" in shown
    assert "NOT EQUAL: register model" in shown
    assert derivation_values(made, [count], None)["all_equal"] is False


def test_an_interval_that_is_too_short_makes_the_product_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = derive(SystolicArray(rows=4, cols=4), 2, 8, 6)
    ((words,), _) = made.interval_terms
    short = replace(made, interval_terms=((words,),))  # the reload of the weights forgotten
    assert short.interval < made.interval
    assert not cross_check.register_model(short, FOREVER).product_right


# --- the command ---------------------------------------------------------------------------------


def test_the_command_prints_every_way_and_the_numbers_as_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "x.json"
    out, err = explain(capsys, *SMALL, "--on", "edge-32x32", "--json", str(file))
    assert err == ""
    for words in ("M = 5, K = 3, N = 6", "max(18, 15)", "register model  18", "on edge-32x32"):
        assert words in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    values = json.loads(file.read_text())
    assert (values["m"], values["k"], values["n"], values["cycles"]) == (5, 3, 6, 18)
    assert values["all_equal"] is True
    ran = [count["way"] for count in values["counts"] if count["cycles"] == 18]
    assert {"closed form", "register model", "engine"} <= set(ran)
    assert values["machine"]["cycles"] == 18 + sum(values["machine"]["added_cycles"].values())


def test_the_array_is_the_machines_unless_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    def array(*options: str) -> tuple[str, str, str]:
        values = json.loads(explain(capsys, "5", "3", "6", *options, "--json", "-")[0])
        return values["array"], values["dataflow"], values["overlap"]

    assert array() == ("32x32", "ws", "shadow-gated")
    own = array("--on", "gemmini-16x16")
    assert own[:2] == ("16x16", "ws")
    assert array("--on", "gemmini-16x16", "--array", "4x4") == ("4x4", *own[1:])
    given_flow = array("--on", "gemmini-16x16", "--dataflow", "os")
    assert given_flow == ("16x16", "os", "pe-drain")


@pytest.mark.parametrize(("missing", "says"), [("tool", "iverilog not found"), ("v", "checkout")])
def test_without_icarus_or_the_verilog_the_rtl_is_not_run_and_that_is_no_error(
    missing: str, says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    if missing == "tool":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(rtl, "_SOURCES", tmp_path)
    out, err = explain(capsys, *SMALL)
    assert err == ""
    assert "RTL              -  not run: " in out
    assert says in out
    assert "equal in the 4 ways that were run: 18 cycles" in out


def test_an_icarus_that_fails_is_told_and_is_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("iverilog", "vvp"):
        (tmp_path / name).write_text("#!/bin/sh\necho too old >&2\nexit 3\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    out, _ = explain(capsys, *SMALL)
    assert "not run: iverilog failed: too old" in out


@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
def test_the_view_fits_a_terminal_and_writes_what_it_adds(flow: Dataflow, overlap: Overlap) -> None:
    array = SystolicArray(rows=32, cols=32, dataflow=flow, overlap=overlap)
    made = derive(array, 197, 384, 1536)
    for width in (80, 100):
        shown = as_text(derivation_view(made), width)
        assert max(map(len, shown.splitlines())) <= width
        assert "…" not in shown
        assert f"{made.cycles:,} cycles" in shown
        assert f"= {made.interval:,} cycles" in shown


def test_a_machine_that_computes_faster_is_taken_at_one_mac_and_says_so() -> None:
    rates = EDGE.array.macs_per_pe_cycle.model_copy(update={"int8": Fraction(2)})
    machine = EDGE.replace(array=EDGE.array.replace(macs_per_pe_cycle=rates))
    made = derive(SystolicArray(rows=32, cols=32), 64, 64, 64)
    fast, plain = cross_check.on_machine(made, machine), cross_check.on_machine(made, EDGE)
    assert fast.cycles == plain.cycles
    assert fast.notes == ("one MAC per PE and cycle, where it does 2",)
