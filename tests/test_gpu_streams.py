"""Which question: do kernels that only move bytes take what their bytes take?"""

import re
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from gpu_cases import MEASURED
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch.gpu_streams import (
    StreamCalibration,
    StreamConstants,
    stream_calibration,
    stream_calibrations,
)
from tilewise.sim.gpu.fit_streams import OPERATORS, calibrate_streams, measured_s
from tilewise.sim.gpu.fitting import CalibrationError, held_out
from tilewise.sim.gpu.parts import Parts
from tilewise.sim.gpu.streams import StreamKind, stream

NAMES = tuple(stream_calibrations().by_gpu)
KINDS: tuple[StreamKind, ...] = get_args(StreamKind)
names, kinds = st.sampled_from(NAMES), st.sampled_from(KINDS)
rows, columns = st.integers(1, 1_000_000), st.integers(1, 16_384)


def on(name: str, kind: StreamKind, rows: Any, columns: Any) -> Parts:
    """Of fp32 rows that are read and written."""
    moved = rows * columns * 4
    return stream(
        MEASURED[name],
        stream_calibration(name),
        kind=kind,
        read_bytes=moved,
        written_bytes=moved,
        rows=rows,
        columns=columns,
    )


def sizes_of(op: str, rows: Any, columns: Any) -> dict[str, Any]:
    written = np.atleast_1d(rows).astype(np.int64) * columns * 4
    return {
        "read_bytes": written * OPERATORS[op].reads,
        "written_bytes": written,
        "rows": np.atleast_1d(rows),
        "columns": np.atleast_1d(columns),
    }


# Held out of the fits: NeuSight's operator measurements (Lee et al., ASPLOS 2025;
# sitar-lab/NeuSight), fp32 calls in PyTorch: GPU, operator, rows, columns, milliseconds.
HELD_OUT = [
    ("a100-40gb", "add", 5164, 3405, 0.17017),
    ("a100-40gb", "relu", 15214, 3449, 0.32022),
    ("a100-40gb", "ln", 7504, 2400, 0.17301),
    ("a100-40gb", "softmax", 15252, 1106, 0.15309),
    ("v100", "add", 32768, 3072, 1.4669),
    ("v100", "relu", 8253, 3894, 0.33385),
    ("v100", "ln", 868, 3812, 0.094667),
    ("v100", "softmax", 15252, 1106, 0.252),
    ("t4", "add", 5164, 3405, 0.87828),
    ("t4", "relu", 660, 2797, 0.082003),
    ("t4", "ln", 776, 492, 0.060917),
    ("t4", "softmax", 10689, 2043, 0.817),
]


@pytest.mark.parametrize(("name", "op", "rows", "columns", "ms"), HELD_OUT)
def test_a_shape_that_no_fit_has_seen_is_within_15_percent(
    name: str, op: str, rows: int, columns: int, ms: float
) -> None:
    assert held_out(np.asarray([rows]), np.asarray([columns]))[0]
    calibration, sizes = stream_calibration(name), sizes_of(op, rows, columns)
    seconds = measured_s(MEASURED[name], calibration, OPERATORS[op].kind, sizes)[0]
    assert seconds * 1e3 == pytest.approx(ms, rel=0.15)


def test_the_files_own_errors_keep_the_target() -> None:
    for name in NAMES:
        evidence = stream_calibration(name).evidence
        assert evidence.held_out_mape < 0.1
        assert evidence.roofline_mape > 4 * evidence.held_out_mape


@given(names, kinds, rows, columns)
def test_no_part_is_negative_and_the_bytes_never_beat_the_dram(
    name: str, kind: StreamKind, rows: int, columns: int
) -> None:
    parts, gpu = on(name, kind, rows, columns), MEASURED[name]
    assert min(parts[:6]) >= 0
    assert parts.launch_s == gpu.launch_s
    assert parts.memory_s >= 8 * rows * columns / gpu.dram.bytes_per_s
    assert parts.total_s == pytest.approx(parts.memory_s + parts.vector_s + parts.launch_s)


@given(names, kinds, st.lists(st.tuples(rows, columns), min_size=1, max_size=8))
def test_arrays_say_what_numbers_say(
    name: str, kind: StreamKind, sizes: list[tuple[int, int]]
) -> None:
    many = on(name, kind, *(np.asarray(column) for column in zip(*sizes, strict=True)))
    total = np.broadcast_to(many.total_s, (len(sizes),))
    assert total.tolist() == pytest.approx([on(name, kind, *size).total_s for size in sizes])


@given(names, kinds, rows, columns, st.integers(1, 1000))
def test_more_rows_are_never_faster(
    name: str, kind: StreamKind, rows: int, columns: int, more: int
) -> None:
    fewer, all_ = on(name, kind, rows, columns), on(name, kind, rows + more, columns)
    # A row's time is added up as bytes and the rest, which rounds: equal times differ by a bit.
    assert all_.total_s >= fewer.total_s * (1 - 4 * np.finfo(float).eps)


@given(names, st.integers(1, 1 << 20), columns)
def test_the_bandwidth_seen_rises_with_size(name: str, rows: int, columns: int) -> None:
    one, two = (on(name, "elementwise", n, columns).total_s for n in (rows, 2 * rows))
    assert two < 2 * one


def test_long_rows_are_read_again() -> None:
    # A norm's second reading finds 1 KB of a row on chip, and not 64 KB; a softmax has two more.
    for name in NAMES:
        for kind, most in (("normalization", 1.5), ("softmax", 2.0)):
            assert kind in KINDS
            calibration = stream_calibration(name)
            constants: StreamConstants = getattr(calibration, kind)
            moved = 1 << 30
            long = on(name, kind, moved // 4 // (1 << 18), 1 << 18).memory_s
            once = 2 * moved / MEASURED[name].dram.bytes_per_s / constants.bandwidth_share
            assert long == pytest.approx(most * once)


@given(names)
def test_confidence_says_how_far_from_the_measurements_it_is(name: str) -> None:
    inside = "interpolated" if name == "t4" else "extrapolated"  # PCIe boards were measured
    assert on(name, "softmax", 1 << 16, 1024).confidence == inside
    assert on(name, "elementwise", 1, 1024).confidence == "extrapolated"
    assert on(name, "softmax", 1 << 12, 1 << 20).confidence == "extrapolated"
    other = MEASURED[name].replace(name="other")
    moved = {"read_bytes": 1 << 28, "written_bytes": 1 << 28}
    parts = stream(other, stream_calibration(name), kind="elementwise", **moved)
    assert parts.confidence == "uncalibrated"


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    count = 1500
    return pd.DataFrame(
        {
            "op": random.choice(list(OPERATORS), count),
            "rows": random.integers(500, 200_000, count),
            "columns": random.choice([128, 384, 768, 1024, 1536, 3072, 4096, 8192, 16384], count),
        }
    )


def harness(calibration: StreamCalibration, data: pd.DataFrame) -> list[float]:
    gpu = MEASURED[calibration.gpu]
    rows = zip(data["op"], data["rows"], data["columns"], strict=True)
    return [
        float(measured_s(gpu, calibration, OPERATORS[op].kind, sizes_of(op, r, c))[0]) * 1e3
        for op, r, c in rows
    ]


def test_a_fit_finds_the_constants_that_made_its_data() -> None:
    known, data = stream_calibration("t4"), frame()
    data["latency_ms"] = harness(known, data)
    found, report = calibrate_streams(data, MEASURED["t4"], data="made up", date="2026-11-23")
    assert report.held_out_mape < 0.01
    for kind in ("elementwise", "normalization", "short_softmax", "softmax"):
        wanted: StreamConstants = getattr(known, kind)
        got: StreamConstants = getattr(found, kind)
        assert got.bandwidth_share == pytest.approx(wanted.bandwidth_share, rel=0.03), kind
        assert got.overhead_s == pytest.approx(wanted.overhead_s, rel=0.2), kind


def test_wrong_measurements_are_refused_in_a_line() -> None:
    good = frame().assign(latency_ms=1.0)
    cases = {
        "wanted the columns rows, columns, latency_ms; got op, rows, latency_ms": good.drop(
            columns="columns"
        ),
        "wanted the column op, got none": good.drop(columns="op"),
        "row 0: op: wanted one of add, mul, relu, gelu, ln, softmax, got 'conv'": good.assign(
            op="conv"
        ),
        "rows of normalization, got 0": good[good["op"] != "ln"].reset_index(drop=True),
    }
    for text, wrong in cases.items():
        with pytest.raises(CalibrationError, match=re.escape(text)) as info:
            calibrate_streams(wrong, MEASURED["t4"], data="made up", date="2026-11-23")
        assert "\n" not in str(info.value)
