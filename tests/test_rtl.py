"""Which question: is the register model the hardware, output by output and edge by edge?

The arrays of `tests/rtl/` run random products under Icarus Verilog.  The sequencing is theirs: a
fold begins every `interval` edges, whether or not the array is ready, and so it does in the model.
"""

import os

import numpy as np
import pytest
from numpy.typing import NDArray

from tilewise.arch import OVERLAPS, Dataflow, Overlap, SystolicArray
from tilewise.sim.register_model import multiply
from tilewise.sim.rtl import Rtl, why_unavailable
from tilewise.sim.systolic import fold_interval, folds, gemm_cycles

Words = NDArray[np.int8]

ARRAYS = [(flow, way) for flow, ways in OVERLAPS.items() for way in ways if way != "scale-sim"]
SIDES = [(1, 1), (1, 5), (5, 1), (3, 2), (4, 4), (8, 4), (4, 9)]
OFTEN = [(1, 1), (5, 1), (3, 2), (4, 9)]
# `is` runs the Verilog of `ws`: enough that it does so at the small sides.
VERILOG = [(flow, way) for flow, way in ARRAYS if flow != "is"]


@pytest.fixture(scope="module")
def rtl(tmp_path_factory: pytest.TempPathFactory) -> Rtl:
    if why := why_unavailable():
        reason = f"NOT CHECKED AGAINST RTL: {why} (apt-get install iverilog)"
        if os.environ.get("TILEWISE_REQUIRE_RTL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Rtl(tmp_path_factory.mktemp("rtl"))


def array_of(flow: Dataflow, overlap: Overlap, rows: int, cols: int) -> SystolicArray:
    return SystolicArray(rows=rows, cols=cols, dataflow=flow, overlap=overlap)


def shape(flow: Dataflow, along_rows: int, along_cols: int, stream: int) -> tuple[int, int, int]:
    """`(m, k, n)` of what lies along the rows and the columns and of what streams."""
    return {
        "ws": (stream, along_rows, along_cols),
        "is": (along_cols, along_rows, stream),
        "os": (along_rows, stream, along_cols),
    }[flow]


def random_operands(
    draw: np.random.Generator, array: SystolicArray, longest: int
) -> tuple[Words, Words]:
    """Operands of a few folds, mostly ragged, that may stream as little as one word."""
    along_rows = int(draw.integers(1, 2 * array.rows + 3))
    along_cols = int(draw.integers(1, 2 * array.cols + 3))
    stream = int(draw.integers(1, longest + 1))
    m, k, n = shape(array.dataflow, along_rows, along_cols, stream)
    return (
        draw.integers(-128, 128, (m, k), dtype=np.int8),
        draw.integers(-128, 128, (k, n), dtype=np.int8),
    )


def assert_equal_runs(rtl: Rtl, array: SystolicArray, seed: int, longest: int) -> None:
    draw = np.random.default_rng(seed)
    left, right = random_operands(draw, array, longest)
    (m, k), n = left.shape, right.shape[1]
    interval = fold_interval(array, folds(array, m, k, n).stream)
    product, edges = rtl.multiply(array, left, right, interval)
    assert product.tolist() == (left.astype(np.int64) @ right).tolist()
    assert edges.tolist() == multiply(array, left, right).edges.tolist()
    assert edges.max() == gemm_cycles(array, m, k, n)
    # At any other interval too, and where it is too short both are wrong in the same way.
    other = int(draw.integers(max(1, interval - 3), interval + 4))
    product, edges = rtl.multiply(array, left, right, other)
    model = multiply(array, left, right, interval=other)
    assert product.tolist() == model.product.tolist()
    assert edges.tolist() == model.edges.tolist()


@pytest.mark.parametrize(
    ("rows", "cols"),
    [s if s in OFTEN else pytest.param(*s, marks=pytest.mark.slow) for s in SIDES],
)
@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
def test_the_model_is_the_verilog_array_output_by_output_and_edge_by_edge(
    rtl: Rtl, flow: Dataflow, overlap: Overlap, rows: int, cols: int
) -> None:
    for seed in range(5):
        assert_equal_runs(rtl, array_of(flow, overlap, rows, cols), seed, longest=24)


@pytest.mark.parametrize(
    ("rows", "cols"),
    [(16, 16), *(pytest.param(*sides, marks=pytest.mark.slow) for sides in ((16, 6), (7, 16)))],
)
@pytest.mark.parametrize(("flow", "overlap"), VERILOG)
def test_the_model_is_the_verilog_array_up_to_16_by_16(
    rtl: Rtl, flow: Dataflow, overlap: Overlap, rows: int, cols: int
) -> None:
    for seed in range(2):
        assert_equal_runs(rtl, array_of(flow, overlap, rows, cols), seed, longest=40)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "cols"), [(32, 32), (32, 12), (12, 32)])
@pytest.mark.parametrize(("flow", "overlap"), VERILOG)
def test_the_model_is_the_verilog_array_up_to_32_by_32(
    rtl: Rtl, flow: Dataflow, overlap: Overlap, rows: int, cols: int
) -> None:
    for seed in range(2):
        assert_equal_runs(rtl, array_of(flow, overlap, rows, cols), seed, longest=80)


@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
def test_one_edge_less_between_folds_breaks_the_verilog_array(
    rtl: Rtl, flow: Dataflow, overlap: Overlap
) -> None:
    array = array_of(flow, overlap, 4, 4)
    draw = np.random.default_rng(0)
    for stream in (1, 3, 9):
        m, k, n = shape(flow, 8, 6, stream)
        left = draw.integers(1, 128, (m, k), dtype=np.int8)
        right = draw.integers(1, 128, (k, n), dtype=np.int8)
        truth = (left.astype(np.int64) @ right).tolist()
        interval = fold_interval(array, stream)
        assert rtl.multiply(array, left, right, interval)[0].tolist() == truth
        assert rtl.multiply(array, left, right, interval - 1)[0].tolist() != truth
