"""Which question: does a convolution on a GPU cost its products, in tiles, waves or Winograd's?"""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from gpu_cases import MEASURED
from hypothesis import given, settings
from hypothesis import strategies as st
from unet_cases import convolution as unet_convolution

from tilewise.arch.gpu_convolution import (
    ConvolutionCalibration,
    convolution_calibration,
    convolution_calibrations,
)
from tilewise.sim.gpu.convolution import AsGemm, convolution, convolution_as_gemm
from tilewise.sim.gpu.fit_convolution import SIZES, calibrate_convolution, measured_s
from tilewise.sim.gpu.fitting import CalibrationError, held_out
from tilewise.sim.gpu.parts import Parts
from tilewise.workloads.extent import known
from tilewise.workloads.operator import Convolution, Operand

NAMES = tuple(convolution_calibrations().by_gpu)
names = st.sampled_from(NAMES)
batches, channels, places = st.integers(1, 64), st.integers(1, 2048), st.integers(1, 256)


def on(name: str, batch: Any, in_channels: Any, out_channels: Any, out: Any, **how: int) -> Parts:
    return convolution(
        MEASURED[name],
        convolution_calibration(name),
        batch=batch,
        in_channels=in_channels,
        out_channels=out_channels,
        out_height=out,
        out_width=out,
        **how,
    )


def sizes_of(batch: Any, in_channels: Any, out_channels: Any, out: Any) -> dict[str, Any]:
    columns = (batch, in_channels, out_channels, 3, out, 1, 1)
    arrays = np.broadcast_arrays(*(np.atleast_1d(column) for column in columns))
    return dict(zip(SIZES, arrays, strict=True))


# Held out of the fits: NeuSight's operator measurements (Lee et al., ASPLOS 2025;
# sitar-lab/NeuSight), 3 x 3 in fp32: GPU, batch, channels in and out, output, milliseconds.
HELD_OUT = [
    ("a100-80gb", 37, 750, 1489, 6, 2.139),
    ("a100-80gb", 4, 55, 1886, 22, 0.3497),
    ("a100-80gb", 38, 332, 358, 10, 0.47386),
    ("v100", 37, 750, 1489, 6, 2.8479),
    ("v100", 4, 55, 1886, 22, 0.42182),
    ("v100", 38, 332, 358, 10, 0.5919),
    ("t4", 37, 750, 1489, 6, 5.7725),
    ("t4", 4, 55, 1886, 22, 0.83627),
    ("t4", 38, 332, 358, 10, 1.459),
]


@pytest.mark.parametrize(("name", "batch", "inputs", "outputs", "out", "ms"), HELD_OUT)
def test_a_shape_that_no_fit_has_seen_is_within_a_quarter(
    name: str, batch: int, inputs: int, outputs: int, out: int, ms: float
) -> None:
    sizes = sizes_of(batch, inputs, outputs, out)
    assert held_out(*sizes.values())[0]
    seconds = measured_s(MEASURED[name], convolution_calibration(name), sizes)[0]
    assert seconds * 1e3 == pytest.approx(ms, rel=0.25)
    assert on(name, batch, inputs, outputs, out).confidence == (
        "interpolated" if name == "t4" else "extrapolated"  # PCIe boards were measured
    )


def test_the_files_own_errors_are_less_than_half_of_the_rooflines() -> None:
    for name in NAMES:
        evidence = convolution_calibration(name).evidence
        assert evidence.held_out_mape < 0.2
        assert evidence.roofline_mape > 2 * evidence.held_out_mape


@given(names, batches, channels, channels, places, st.sampled_from((1, 3, 7)), st.integers(1, 2))
def test_no_part_is_negative(
    name: str, batch: int, inputs: int, outputs: int, out: int, kernel: int, stride: int
) -> None:
    parts = on(name, batch, inputs, outputs, out, kernel=kernel, stride=stride)
    assert min(parts[:6]) >= -1e-12 * parts.total_s
    assert parts.useful_s > 0
    assert parts.total_s == pytest.approx(sum(parts[:6]))


@given(names, st.lists(st.tuples(batches, channels, channels, places), min_size=1, max_size=6))
@settings(max_examples=50)
def test_arrays_say_what_numbers_say(name: str, sizes: list[tuple[int, int, int, int]]) -> None:
    many = on(name, *(np.asarray(column) for column in zip(*sizes, strict=True)))
    total = np.broadcast_to(many.total_s, (len(sizes),))
    assert total.tolist() == pytest.approx([on(name, *size).total_s for size in sizes])


@given(names, batches, channels, channels, places, st.sampled_from((1, 3, 5)))
def test_twice_the_images_are_never_faster(
    name: str, batch: int, inputs: int, outputs: int, out: int, kernel: int
) -> None:
    one, two = (on(name, n, inputs, outputs, out, kernel=kernel) for n in (batch, 2 * batch))
    # The harness's choice between two algorithms counts its calls, so it may turn by a launch.
    slack = (
        4 * MEASURED[name].launch_s + convolution_calibration(name).constants.winograd_overhead_s
    )
    assert two.total_s >= one.total_s - slack


@given(names, st.just(64), st.integers(512, 2048), st.integers(512, 2048))
def test_winograd_pays_for_whole_tiles_of_4_x_4(
    name: str, batch: int, inputs: int, outputs: int
) -> None:
    # An output of 13 x 13 takes as many tiles as one of 16 x 16 does.
    work = {out: on(name, batch, inputs, outputs, out) for out in (13, 16)}
    arithmetic = {out: sum(parts[:3]) for out, parts in work.items()}
    assert arithmetic[13] == pytest.approx(arithmetic[16])
    assert work[13].useful_s / work[16].useful_s == pytest.approx(13 * 13 / 256)
    direct = 2 * batch * 256 * inputs * outputs * 9 / MEASURED[name].vector_flops
    assert work[16].useful_s == pytest.approx(direct / 4)


def test_strided_grouped_and_pointwise_ones_are_implicit_products_and_extrapolated() -> None:
    for name in NAMES:
        for how in ({"stride": 2}, {"groups": 4}, {"kernel": 1}, {"kernel": 5}):
            parts = on(name, 8, 256, 256, 32, **how)
            taps = how.get("kernel", 3) ** 2
            flop = 2 * 8 * 32 * 32 * 256 * 256 * taps / how.get("groups", 1)
            assert parts.useful_s == pytest.approx(flop / MEASURED[name].vector_flops)
            assert parts.confidence == "extrapolated"


def test_on_another_gpu_it_is_uncalibrated() -> None:
    other = MEASURED["t4"].replace(name="other")
    parts = convolution(
        other,
        convolution_calibration("other"),
        batch=8,
        in_channels=64,
        out_channels=64,
        out_height=56,
        out_width=56,
    )
    assert parts.confidence == "uncalibrated"


@st.composite
def operators(draw: st.DrawFn) -> Convolution:
    dimensions = draw(st.integers(1, 3))

    def numbers(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(dimensions))

    groups, out_size, kernel = draw(st.integers(1, 8)), numbers(1, 64), numbers(1, 7)
    return Convolution(
        name="convolution",
        operands=(Operand(sources=("image",), elements=1),),
        shape=(1,),
        batch=draw(batches),
        in_channels=groups * draw(st.integers(1, 64)),
        out_channels=groups * draw(st.integers(1, 64)),
        groups=groups,
        kernel=kernel,
        stride=numbers(1, 3),
        dilation=(1,) * dimensions,
        padding=numbers(0, 3),
        in_size=numbers(1, 64),
        out_size=out_size,
        transposed=draw(st.booleans()),
    )


@given(operators())
def test_a_convolution_is_the_products_with_as_many_multiplications(operator: Convolution) -> None:
    product = convolution_as_gemm(operator)
    assert product.m * product.n * product.k * product.copies == known(operator.macs)
    assert product.copies == operator.groups


def test_the_products_of_a_convolution_that_can_be_counted_by_hand() -> None:
    # Two images of 32 x 32, 3 x 3 taps over 16 channels, to 16 channels.
    example = unet_convolution("x", ("image",), (16, 16), (32, 32)).bound({"batch": 2})
    assert convolution_as_gemm(example) == AsGemm(m=2 * 32 * 32, n=16, k=9 * 16, copies=1)


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    count = 900
    sizes = {
        "batch": random.integers(1, 64, count),
        "in_channels": random.integers(3, 1024, count),
        "out_channels": random.integers(3, 1024, count),
        "kernel": np.full(count, 3),
        "input_size": random.choice([5, 7, 8, 12, 14, 28, 56], count),
        "stride": np.ones(count, dtype=np.int64),
        "padding": np.ones(count, dtype=np.int64),
    }
    return pd.DataFrame(sizes)


def test_a_fit_finds_the_constants_that_made_its_data() -> None:
    known_: ConvolutionCalibration = convolution_calibration("t4")
    gpu, data = MEASURED["t4"], frame()
    sizes = {column: data[column].to_numpy(dtype=np.int64) for column in SIZES}
    data["latency_ms"] = measured_s(gpu, known_, sizes) * 1e3
    found, report = calibrate_convolution(data, gpu, data="made up", date="2026-11-23")
    assert report.held_out_mape < 0.02
    for field in ("overhead_s", "transform_dram_share", "filter_dram_share"):
        wanted = getattr(known_.constants, field)
        assert getattr(found.constants, field) == pytest.approx(wanted, rel=0.15), field


def test_wrong_measurements_are_refused_in_a_line() -> None:
    good = frame().assign(latency_ms=1.0)
    cases = {
        "add or rename padding": good.drop(columns="padding"),
        "row 0: kernel: wanted 3, got 5; drop the row": good.assign(kernel=5),
        "row 0: stride: wanted 1, got 2; drop the row": good.assign(stride=2),
    }
    for text, wrong in cases.items():
        with pytest.raises(CalibrationError, match=re.escape(text)) as info:
            calibrate_convolution(wrong, MEASURED["t4"], data="made up", date="2026-11-23")
        assert "\n" not in str(info.value)
