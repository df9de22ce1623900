"""Which question: does fused attention step with its tiles, and come close to what was measured?"""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gpu_cases import MEASURED
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.arch import Gpu, load_machine
from tilewise.arch.gpu_attention import attention_calibration, attention_calibrations
from tilewise.sim.errors import MappingError
from tilewise.sim.gpu.attention import attention
from tilewise.sim.gpu.fit_attention import calibrate_attention, predicted_s
from tilewise.sim.gpu.fitting import CalibrationError, held_out
from tilewise.sim.gpu.parts import Parts

NAMES = tuple(attention_calibrations().by_gpu)
names = st.sampled_from(NAMES)
copies = st.integers(1, 2048)
lengths = st.integers(1, 20_000)
head_dims = st.integers(8, 128)


def on(name: str, copies: Any, queries: Any, head_dim: Any, keys: Any = None) -> Parts:
    return attention(
        MEASURED[name],
        attention_calibration(name),
        copies=copies,
        queries=queries,
        keys=queries if keys is None else keys,
        head_dim=head_dim,
    )


# Held out of the fits: the measurements of aiconfigurator (ai-dynamo/aiconfigurator, Apache-2.0),
# of b200_sxm, h100_sxm and l40s: batch, heads, length, head dim, milliseconds.
HELD_OUT = [
    ("l40s", 8, 4, 64, 80, 0.0068267),
    ("l40s", 64, 16, 192, 64, 0.12681),
    ("l40s", 16, 32, 256, 80, 0.071851),
    ("l40s", 8, 16, 1024, 72, 0.23398),
    ("l40s", 2, 14, 9216, 64, 3.0061),
    ("h100", 4, 16, 1, 72, 0.012251),
    ("h100", 64, 16, 192, 64, 0.06384),
    ("h100", 8, 16, 1296, 80, 0.15469),
    ("h100", 8, 2, 4096, 64, 0.16862),
    ("h100", 1, 16, 16384, 80, 2.5619),
    ("b200", 16, 10, 104, 80, 0.014981),
    ("b200", 32, 2, 576, 64, 0.026107),
    ("b200", 8, 16, 1296, 80, 0.14791),
    ("b200", 8, 2, 4096, 64, 0.10025),
    ("b200", 1, 16, 16384, 80, 1.6361),
]


@pytest.mark.parametrize(("name", "batch", "heads", "length", "head_dim", "ms"), HELD_OUT)
def test_a_shape_that_no_fit_has_seen_is_within_a_fifth(
    name: str, batch: int, heads: int, length: int, head_dim: int, ms: float
) -> None:
    sizes = [np.asarray([size]) for size in (batch, length, heads, head_dim)]
    assert held_out(*sizes)[0] or held_out(sizes[1])[0]
    parts = on(name, batch * heads, length, head_dim)
    assert parts.total_s * 1e3 == pytest.approx(ms, rel=0.2)
    assert parts.confidence == "interpolated"


def test_they_are_within_a_tenth_on_average_where_the_roofline_misses_half() -> None:
    errors = [
        abs(on(name, batch * heads, length, head_dim).total_s * 1e3 / ms - 1)
        for name, batch, heads, length, head_dim, ms in HELD_OUT
    ]
    assert np.mean(errors) < 0.1
    for name in NAMES:
        evidence = attention_calibration(name).evidence
        assert evidence.held_out_mape < 0.12
        assert evidence.roofline_mape > 4 * evidence.held_out_mape


@given(names, copies, lengths, lengths, head_dims)
def test_no_part_is_negative_and_they_hold_the_arithmetic(
    name: str, copies: int, queries: int, keys: int, head_dim: int
) -> None:
    parts = on(name, copies, queries, head_dim, keys)
    assert min(parts[:6]) >= -1e-12 * parts.total_s
    peak = MEASURED[name].flops_per_s("bf16")
    assert parts.useful_s == pytest.approx(4 * copies * queries * keys * head_dim / peak)
    assert parts.total_s >= parts.useful_s + parts.launch_s


@given(names, st.lists(st.tuples(copies, lengths, head_dims), min_size=1, max_size=8))
def test_arrays_say_what_numbers_say(name: str, sizes: list[tuple[int, int, int]]) -> None:
    many = on(name, *(np.asarray(column) for column in zip(*sizes, strict=True)))
    for index, size in enumerate(sizes):
        one = on(name, *size)
        for field, array in zip(one[:6], many[:6], strict=True):
            value = float(np.broadcast_to(array, (len(sizes),))[index])
            assert value == pytest.approx(field, rel=1e-12, abs=1e-18)


@given(st.integers(1, 400), st.sampled_from((64, 80, 128)), st.integers(142, 2048))
def test_a_length_costs_what_its_last_tile_costs(tiles: int, head_dim: int, copies: int) -> None:
    # fa2 has 128 queries, and keys that divide 128; DRAM has no part in it below L2's size.
    least, most = 128 * (tiles - 1) + 1, 128 * tiles
    if 8 * copies * (most + 1) * head_dim > MEASURED["l40s"].l2_bytes:
        copies = 1
    times = [on("l40s", copies, n, head_dim, 128).total_s for n in (least, most, most + 1)]
    assert times[0] == pytest.approx(times[1], rel=1e-12)
    assert times[2] >= times[1] * (1 - 1e-12)


@given(names, st.integers(149, 1024), lengths, st.integers(1, 500), head_dims)
def test_a_longer_sequence_is_never_faster(
    name: str, copies: int, length: int, more: int, head_dim: int
) -> None:
    # With fewer tiles than SMs a kernel may split its keys, and then it may be: so were H100s.
    shorter, longer = on(name, copies, length, head_dim), on(name, copies, length + more, head_dim)
    assert longer.total_s >= shorter.total_s * (1 - 1e-12)


@given(st.sampled_from(("l40s", "h100", "b200")), copies, lengths, head_dims)
def test_twice_the_heads_are_never_faster(
    name: str, copies: int, length: int, head_dim: int
) -> None:
    copies = copies if name == "l40s" else copies + MEASURED[name].sms
    one, two = on(name, copies, length, head_dim), on(name, 2 * copies, length, head_dim)
    assert two.total_s >= one.total_s * (1 - 1e-12)


def test_one_tile_more_than_fill_the_sms_takes_another_wave() -> None:
    sms = MEASURED["h100"].sms
    full, spilled = on("h100", sms, 192, 64), on("h100", sms + 1, 192, 64)
    assert full.wave_s == pytest.approx(0, abs=1e-15)
    busy = full.total_s - full.launch_s
    assert spilled.total_s - spilled.launch_s == pytest.approx(2 * busy)


def test_head_dims_are_padded_as_the_kernel_pads_them() -> None:
    at = {
        name: {d: on(name, 4096, 1024, d).total_s for d in (64, 65, 72, 80, 96)} for name in NAMES
    }
    for name in ("l40s", "h100"):  # to 96
        assert at[name][65] == pytest.approx(at[name][96], rel=0.05)
        assert at[name][65] > 1.15 * at[name][64]
    assert at["b200"][72] == pytest.approx(at["b200"][80], rel=0.05)  # to a multiple of 16
    assert at["b200"][96] > 1.1 * at["b200"][80]


def test_the_exponentials_bind_64_columns_on_hopper() -> None:
    narrow, wide = on("h100", 4096, 1536, 64), on("h100", 4096, 1536, 128)
    assert narrow.vector_s > 0.25 * narrow.total_s
    assert wide.vector_s / wide.total_s < narrow.vector_s / narrow.total_s
    assert wide.total_s < 1.7 * narrow.total_s  # for twice the arithmetic


def test_few_tiles_split_their_keys_if_the_kernel_can() -> None:
    full = {"l40s": 142 // 8, "h100": 132 // 6, "b200": 148 // 4}  # copies of 1024 queries
    for name, copies in full.items():
        alone, wave = (on(name, n, 1024, 64, 8192).total_s for n in (1, copies))
        if name == "l40s":
            assert alone == pytest.approx(wave)
        else:
            assert alone < 0.5 * wave


@given(names, lengths)
def test_confidence_says_how_far_from_the_measurements_it_is(name: str, length: int) -> None:
    assert on(name, 16, length, 64).confidence == "interpolated"
    assert on(name, 16, length, 128).confidence == "extrapolated"
    assert on(name, 16, 65_536 + length, 64).confidence == "extrapolated"
    other = MEASURED[name].replace(name="other")
    calibration = attention_calibration(name)
    parts = attention(other, calibration, copies=16, queries=length, keys=length, head_dim=64)
    assert parts.confidence == "uncalibrated"


def test_a_gpu_without_measurements_runs_its_familys_kernel() -> None:
    kernels = {"a100-80gb": "fa2", "h200": "fa3", "b200": "fa4", "some-gpu": "fa2"}
    for name, kernel in kernels.items():
        assert attention_calibration(name).kernel.name == kernel
    h200 = load_machine("h200")
    assert isinstance(h200, Gpu)
    parts = attention(
        h200, attention_calibration("h200"), copies=192, queries=197, keys=197, head_dim=64
    )
    assert parts.confidence == "uncalibrated"
    assert parts.total_s == pytest.approx(on("h100", 192, 197, 64).total_s, rel=0.1)


def test_a_head_too_wide_is_refused_in_a_line() -> None:
    with pytest.raises(MappingError, match="head_dim: wanted at most 256 for fa3, got 512") as info:
        on("h100", 1, 4096, 512)
    assert "\n" not in str(info.value)


def frame(rows: int = 1200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "batch": random.choice([1, 2, 4, 8, 16, 32], rows),
            "sequence": random.choice(
                [1, 16, 64, 100, 197, 256, 577, 1024, 2304, 4096, 9216], rows
            ),
            "heads": random.choice([1, 3, 6, 12, 16, 24], rows),
            "head_dim": random.choice([64, 72, 80], rows),
        }
    )


@pytest.mark.parametrize("name", ["h100", "l40s"])
def test_a_fit_finds_the_constants_that_made_its_data(name: str) -> None:
    known = attention_calibration(name)
    known = known.replace(
        constants=known.constants.replace(
            launch_s=5e-6, tile_s=2e-6, tensor_share=0.66, exponential_share=0.9, fill_share=1.5
        )
    )
    gpu, data = MEASURED[name], frame()
    sizes = {column: data[column].to_numpy(dtype=np.int64) for column in data.columns}
    noise = np.random.default_rng(1).lognormal(0, 0.01, len(data))
    data["latency_ms"] = predicted_s(gpu, known, sizes) * 1e3 * noise
    found, report = calibrate_attention(data, gpu, known.kernel, data="made up", date="2026-11-23")
    assert report.held_out_mape < 0.02
    assert report.held_out_mape == pytest.approx(found.evidence.held_out_mape, abs=1e-4)
    assert report.fitted_shapes + report.held_out_shapes == len(data)
    for field in ("launch_s", "tensor_share", "exponential_share"):
        wanted = getattr(known.constants, field)
        assert getattr(found.constants, field) == pytest.approx(wanted, rel=0.1), field


def test_wrong_measurements_are_refused_in_a_line() -> None:
    gpu, kernel = MEASURED["h100"], attention_calibration("h100").kernel
    good = frame(200).assign(latency_ms=1.0)
    cases = {
        "add or rename head_dim": good.rename(columns={"head_dim": "hd"}),
        "row 3: latency_ms: wanted a number above 0, got": good.assign(
            latency_ms=[1.0] * 3 + [float("nan")] + [1.0] * 196
        ),
        "row 0: sequence: wanted a number above 0, got": good.assign(sequence=-1),
        "wanted at least 20 rows, got 5": good.head(5),
    }
    for text, wrong in cases.items():
        with pytest.raises(CalibrationError, match=re.escape(text)) as info:
            calibrate_attention(wrong, gpu, kernel, data="made up", date="2026-11-23")
        assert "\n" not in str(info.value)


@given(st.lists(st.tuples(copies, lengths), min_size=1, max_size=50, unique=True))
@settings(max_examples=30)
def test_the_split_depends_on_the_sizes_alone(sizes: list[tuple[int, int]]) -> None:
    columns = [np.asarray(column, dtype=np.int64) for column in zip(*sizes, strict=True)]
    chosen = held_out(*columns)
    assert chosen.tolist() == [
        bool(held_out(*(np.asarray([size]) for size in row))[0]) for row in sizes
    ]
