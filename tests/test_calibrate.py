"""Calibration: what the model itself made is found again, and what cannot be fitted is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Run
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch import Gpu, load_machine
from tilewise.arch.gpu_gemm import GemmConstants, gemm_calibrations
from tilewise.sim.gpu.calibrate import (
    GEMM_BOUNDS,
    CalibrationError,
    GemmReport,
    calibrate_gemm,
    roofline_seconds,
)
from tilewise.sim.gpu.fit import Bounds, errors, fit, held_out
from tilewise.sim.gpu.gemm import gemm_seconds, hardware

TRUE = GemmConstants(
    launch_s=3.1e-6,
    peak_fraction=0.82,
    fill_cycles=500.0,
    step_cycles=320.0,
    l2_bytes_per_cycle=42.0,
    output_bytes_per_cycle=14.0,
    reduction_s=2.2e-6,
    reduction_bytes_per_cycle=20.0,
    dram_fraction=0.71,
    l2_read_share=0.45,
    l2_write_share=0.8,
    l2_sharpness=6.0,
    overlap=3.6,
    sustained_fraction=0.75,
    burst_s=0.8e-3,
)
"""Constants that no GPU was fitted to, all away from where the fit begins."""


@pytest.fixture(scope="module")
def machine() -> Gpu:
    found = load_machine("a100-80gb")
    assert isinstance(found, Gpu)
    return found


@pytest.fixture(scope="module")
def made(machine: Gpu) -> pd.DataFrame:
    """Latencies that the model makes with `TRUE`, of shapes as a benchmark would choose them."""
    random = np.random.default_rng(3)
    m, n, k = (np.exp(random.uniform(np.log(32), np.log(high), 700)) for high in (3e4, 2e4, 2e4))
    m, n, k = m.round(), (n / 32).round().clip(1) * 32, (k / 32).round().clip(1) * 32
    seconds = gemm_seconds(hardware(machine, "bf16"), TRUE, m, n, k)
    columns = {"m": m.astype(int), "n": n.astype(int), "k": k.astype(int)}
    return pd.DataFrame({**columns, "dtype": "bfloat16", "latency_ms_median": seconds * 1e3})


@pytest.fixture(scope="module")
def report(machine: Gpu, made: pd.DataFrame) -> GemmReport:
    return calibrate_gemm(made, machine, data="made", restarts=0)


def test_constants_are_found_again_in_what_they_made(report: GemmReport) -> None:
    found = report.calibration.constants
    for name in ("launch_s", "dram_fraction", "peak_fraction", "step_cycles", "reduction_s"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=0.05), name
    assert report.calibration.evidence.mape < 0.5
    assert report.calibration.evidence.converged


def test_shapes_held_out_are_not_fitted(report: GemmReport, made: pd.DataFrame) -> None:
    known = report.calibration.evidence
    assert known.rows == len(made)
    assert known.fitted == report.training.sum()
    assert known.held_out == (~report.training).sum()
    assert 0.1 * known.rows < known.held_out < 0.3 * known.rows


def test_spoilt_held_out_rows_change_the_errors_but_not_the_constants(
    machine: Gpu, made: pd.DataFrame, report: GemmReport
) -> None:
    spoilt = made.copy()
    spoilt.loc[~report.training, "latency_ms_median"] *= 2
    again = calibrate_gemm(spoilt, machine, data="made", restarts=0)
    assert again.calibration.constants == report.calibration.constants
    assert again.calibration.evidence.mape == pytest.approx(50, abs=1)


def test_the_hull_is_that_of_the_rows(report: GemmReport, made: pd.DataFrame) -> None:
    hull = report.calibration.hull
    assert hull.m == (made.m.min(), made.m.max())
    assert hull.holds(made.m.min(), made.n.max(), made.k.max())
    assert not hull.holds(made.m.min() - 1, made.n.max(), made.k.max())
    assert not hull.holds(made.m.min(), made.n.max(), made.k.max() + 1)


def test_a_constant_that_is_known_is_not_fitted(machine: Gpu, made: pd.DataFrame) -> None:
    known = {name: getattr(TRUE, name) for name in GEMM_BOUNDS if name != "launch_s"}
    found = calibrate_gemm(made, machine, fixed=known, restarts=0).calibration.constants
    assert found == TRUE


def test_what_quantizes_activations_is_left_out_of_the_constants(machine: Gpu) -> None:
    random = np.random.default_rng(4)
    m, n, k = (np.exp(random.uniform(4, 9, 500)).round() for _ in range(3))
    seconds = gemm_seconds(hardware(machine, "int8"), TRUE, m, n, k)
    beside = 4e-6 + 3 * m * k / (0.5 * machine.dram.bytes_per_s)
    frame = pd.DataFrame({"m": m, "n": n, "k": k, "latency_ms_median": (seconds + beside) * 1e3})
    known = {"launch_s": TRUE.launch_s, "l2_sharpness": TRUE.l2_sharpness}
    found = calibrate_gemm(frame, machine, "int8", fixed=known, restarts=0)
    assert found.calibration.evidence.mape < 1
    assert found.calibration.constants.dram_fraction == pytest.approx(TRUE.dram_fraction, rel=0.1)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("dtype", "fp8", "dtype: wanted bf16, got fp8"),
        ("k", 0, "row 0: k: wanted a number above 0, got 0; drop the row"),
        ("n", 1.5, "row 0: n: wanted a whole number, got 1.5; drop the row"),
        ("latency_ms_median", float("nan"), "row 0: latency_ms_median: wanted a number above 0"),
        ("m", "many", "row 0: m: wanted a number above 0, got 'many'"),
    ],
)
def test_measurements_that_are_wrong_are_refused(
    machine: Gpu, made: pd.DataFrame, column: str, value: str | float, text: str
) -> None:
    wrong = made.copy()
    wrong[column] = value
    with pytest.raises(CalibrationError, match=text):
        calibrate_gemm(wrong, machine)


def test_missing_columns_and_too_few_rows_are_refused(machine: Gpu, made: pd.DataFrame) -> None:
    with pytest.raises(CalibrationError, match=r"latency_ms_median; got m, .*; add or rename n"):
        calibrate_gemm(made.drop(columns="n"), machine)
    with pytest.raises(CalibrationError, match=r"got dtype, latency.*; add or rename m, n, k$"):
        calibrate_gemm(made.drop(columns=["m", "n", "k"]), machine)
    with pytest.raises(CalibrationError, match="gemm bf16: wanted at least 150 rows"):
        calibrate_gemm(made.head(20), machine)


@given(
    st.lists(st.tuples(*[st.integers(1, 2**31)] * 3), min_size=1, max_size=40, unique=True),
    st.randoms(),
)
def test_a_shape_is_held_out_whatever_else_there_is(
    shapes: list[tuple[int, int, int]], random: np.random.Generator
) -> None:
    rows = np.array(shapes, dtype=np.int64)
    whole, single = held_out(rows[:, 1:], rows)
    assert not (whole & single).any()
    order = list(range(len(rows)))
    random.shuffle(order)
    mixed = rows[order]
    again = held_out(mixed[:, 1:], mixed)
    assert (again[0] == whole[order]).all()
    assert (again[1] == single[order]).all()


def test_a_fifth_is_held_out_in_groups_and_one_by_one() -> None:
    n, k, m = (axis.ravel() for axis in np.meshgrid(range(32, 1024, 32), range(1, 60), range(40)))
    rows = np.stack([m, n, k], axis=1)
    whole, single = held_out(rows[:, 1:], rows)
    assert whole.mean() == pytest.approx(0.1, abs=0.02)
    assert single.mean() == pytest.approx(0.1, abs=0.01)
    for pair in {(n[i], k[i]) for i in np.flatnonzero(whole)[:200]}:
        assert whole[(n == pair[0]) & (k == pair[1])].all()


def test_a_fit_stays_within_its_bounds_and_says_so() -> None:
    x = np.linspace(1, 10, 50)
    found = fit(
        lambda v: v["a"] * x + v["b"], 3 * x + 2, {"a": Bounds(1, 0.1, 2), "b": Bounds(1, 0.1, 9)}
    )
    assert found.values["a"] == pytest.approx(2, rel=0.05)
    assert found.at_bound[0] == "a"


def test_errors_are_in_per_cent_of_what_was_measured() -> None:
    found = errors(np.array([1.1, 0.8, 1.0]), np.ones(3))
    assert found.mape == pytest.approx(10)
    assert found.bias == pytest.approx(-10 / 3)
    assert found.median == pytest.approx(10)


def test_the_plain_roofline_is_the_longer_of_two_and_a_launch(machine: Gpu) -> None:
    m, n, k = np.array([8192.0, 32.0]), np.array([8192.0, 4096.0]), np.array([8192.0, 4096.0])
    found = roofline_seconds(hardware(machine, "bf16"), 1e-6, m, n, k)
    assert found[0] == pytest.approx(2 * 8192**3 / 312e12 + 1e-6)
    assert found[1] == pytest.approx(2 * (4096**2 + 2 * 32 * 4096) / 2039e9 + 1e-6)


def test_the_command_writes_a_file_that_reads_as_what_was_found(
    tilewise: Run, tmp_path: Path, made: pd.DataFrame
) -> None:
    csv, out = tmp_path / "made.csv", tmp_path / "gemm.yaml"
    made.assign(gpu="mine").head(300).to_csv(csv, index=False)
    ended = tilewise("calibrate", "gemm", str(csv), "--gpu", "a100-80gb", "--out", str(out))
    assert ended.code == 0, ended.err
    assert ended.out.startswith("a100-80gb gemm bf16, rows of mine: ")
    assert "held out: MAPE" in ended.out
    known = gemm_calibrations(out)["a100-80gb"]["bf16"]
    assert known.evidence.data == "made.csv"
    assert known.constants.launch_s == pytest.approx(TRUE.launch_s, rel=0.1)


def test_rows_of_one_format_need_no_dtype_but_an_option(
    tilewise: Run, tmp_path: Path, made: pd.DataFrame
) -> None:
    csv, out = tmp_path / "made.csv", tmp_path / "gemm.yaml"
    made.drop(columns="dtype").head(200).to_csv(csv, index=False)
    given_ = ("calibrate", "gemm", str(csv), "--gpu", "a100-80gb", "--out", str(out))
    ended = tilewise(*given_)
    assert ended.code == 2
    assert ended.err.endswith(
        "a100-80gb gemm: wanted a column dtype, got none; "
        "if all rows are of one format, name it: --format fp16\n"
    )
    ended = tilewise(*given_, "--format", "bf16")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("a100-80gb gemm bf16: ")
    assert set(gemm_calibrations(out)["a100-80gb"]) == {"bf16"}


def test_the_command_keeps_other_gpus(tilewise: Run, tmp_path: Path, made: pd.DataFrame) -> None:
    csv, out = tmp_path / "made.csv", tmp_path / "gemm.yaml"
    made.head(200).to_csv(csv, index=False)
    for name in ("a100-80gb", "l40s"):
        ended = tilewise("calibrate", "gemm", str(csv), "--gpu", name, "--out", str(out))
        assert ended.code == 0, ended.err
    assert set(gemm_calibrations(out)) == {"a100-80gb", "l40s"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("gem", "{csv}", "--gpu", "h200"), "streams or convolution; did you mean gemm?"),
        (("gemm", "none.csv", "--gpu", "h200"), "none.csv: cannot be read: No such file"),
        (("gemm", "{csv}", "--gpu", "edge-32x32"), "--gpu edge-32x32: wanted a GPU"),
        (("gemm", "{csv}", "--gpu", "h200"), "wanted one GPU, got one, two; choose with --rows"),
        (("gemm", "{csv}", "--gpu", "h200", "--rows", "tw"), "--rows tw: wanted one of one, two"),
        (("gemm", "{csv}", "--gpu", "h200", "--rows", "one"), "wanted the columns m, n, k"),
        (("gemm", "{csv}", "--gpu", "h200", "--rows", "one", "--format", "bf15"),
         "--format bf15: wanted one of int8, fp8, fp16, bf16, tf32, fp32, which h200 computes "
         "in; did you mean bf16?"),
    ],
)  # fmt: skip
def test_what_a_user_gets_wrong_is_one_line(
    tilewise: Run, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    csv = tmp_path / "wrong.csv"
    csv.write_text("gpu,m,n,dtype\none,1,2,bfloat16\ntwo,1,2,bfloat16\n")
    given_ = [argument.format(csv=csv) for argument in arguments]
    ended = tilewise("calibrate", *given_, "--out", str(tmp_path / "out.yaml"))
    assert ended.code == 2
    assert text in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "out.yaml").exists()
