"""Which question: are the closed forms the arrays they claim to be, no edge more or less?"""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tilewise.arch import OVERLAPS, Dataflow, Overlap, SystolicArray
from tilewise.sim.register_model import multiply
from tilewise.sim.systolic import fold_interval, folds, gemm_cycles

Ints = NDArray[np.int64]

ARRAYS = [(flow, way) for flow, ways in OVERLAPS.items() for way in ways if way != "scale-sim"]
SIDES = st.integers(1, 12)


@st.composite
def sizes(draw: st.DrawFn, side: int) -> int:
    """A size along one side of the array: from one to three folds, full or ragged."""
    return draw(st.integers(1, 3 * side))


def operands(m: int, k: int, n: int) -> tuple[Ints, Ints]:
    """Operands that are nowhere zero and so varied that a word out of place shows."""
    draw = np.random.default_rng((m, k, n))
    return draw.integers(1, 1 << 20, (m, k)), draw.integers(1, 1 << 20, (k, n))


def shape(flow: Dataflow, along_rows: int, along_cols: int, stream: int) -> tuple[int, int, int]:
    """`(m, k, n)` of what lies along the rows and the columns and of what streams."""
    return {
        "ws": (stream, along_rows, along_cols),
        "is": (along_cols, along_rows, stream),
        "os": (along_rows, stream, along_cols),
    }[flow]


@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
@settings(max_examples=120)
@given(data=st.data(), rows=SIDES, cols=SIDES, stream=st.integers(1, 40))
def test_the_closed_form_is_the_edge_of_the_last_output_and_the_product_is_right(
    flow: Dataflow, overlap: Overlap, data: st.DataObject, rows: int, cols: int, stream: int
) -> None:
    array = SystolicArray(rows=rows, cols=cols, dataflow=flow, overlap=overlap)
    m, k, n = shape(flow, data.draw(sizes(rows)), data.draw(sizes(cols)), stream)
    left, right = operands(m, k, n)
    out = multiply(array, left, right)
    assert out.product.tolist() == (left @ right).tolist()
    assert out.edges.min() > 0
    assert out.makespan == gemm_cycles(array, m, k, n)


@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
@settings(max_examples=60)
@given(data=st.data(), rows=SIDES, cols=SIDES, stream=st.integers(1, 40))
def test_the_interval_is_the_shortest_that_keeps_the_product_right(
    flow: Dataflow, overlap: Overlap, data: st.DataObject, rows: int, cols: int, stream: int
) -> None:
    array = SystolicArray(rows=rows, cols=cols, dataflow=flow, overlap=overlap)
    full = rows * data.draw(st.integers(1, 3))
    m, k, n = shape(flow, full, data.draw(sizes(cols)), stream)
    interval = fold_interval(array, stream)
    assume(folds(array, m, k, n).count > 1 and interval > 1)  # no two folds begin at one edge
    left, right = operands(m, k, n)
    truth = (left @ right).tolist()
    assert multiply(array, left, right, interval=interval - 1).product.tolist() != truth
    for longer in (interval, interval + data.draw(st.integers(1, 5))):
        assert multiply(array, left, right, interval=longer).product.tolist() == truth


def test_a_fold_that_leaves_rows_idle_would_bear_a_shorter_interval_than_hardware_uses() -> None:
    array = SystolicArray(rows=4, cols=3, dataflow="ws", overlap="single")
    left, right = operands(6, 3, 6)  # one row idle, two column blocks
    short = fold_interval(array, 6) - 1
    assert (multiply(array, left, right, interval=short).product == left @ right).all()
    left, right = operands(6, 4, 6)
    assert (multiply(array, left, right, interval=short).product != left @ right).any()


@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
def test_the_last_output_is_of_the_block_before_where_the_last_block_is_narrow(
    flow: Dataflow, overlap: Overlap
) -> None:
    array = SystolicArray(rows=1, cols=12, dataflow=flow, overlap=overlap)
    m, k, n = shape(flow, 1, 13, 1)
    left, right = operands(m, k, n)
    out = multiply(array, left, right)
    edges = out.edges.T if flow == "is" else out.edges
    assert out.makespan == gemm_cycles(array, m, k, n)
    # Where the drain is global, no column is done before the others.
    assert edges[0, 12] < out.makespan or overlap == "global-drain"
    assert edges[0, 11] == out.makespan or overlap == "global-drain"


@pytest.mark.parametrize(("flow", "overlap"), ARRAYS)
def test_outputs_leave_a_column_one_edge_after_its_left_neighbours(
    flow: Dataflow, overlap: Overlap
) -> None:
    array = SystolicArray(rows=3, cols=4, dataflow=flow, overlap=overlap)
    left, right = operands(*shape(flow, 3, 4, 5))
    out = multiply(array, left, right)
    edges = out.edges.T if flow == "is" else out.edges
    apart = 0 if overlap == "global-drain" else 1
    assert (np.diff(edges, axis=1) == apart).all()


@pytest.mark.parametrize(
    ("changes", "left", "right", "interval", "says"),
    [
        ({"overlap": "scale-sim"}, np.ones((1, 1), int), np.ones((1, 1), int), None, "overlap"),
        ({}, np.ones((2, 3), int), np.ones((2, 3), int), None, "(2, 3) and (2, 3)"),
        ({}, np.ones((2, 0), int), np.ones((0, 3), int), None, "(2, 0) and (0, 3)"),
        ({}, np.ones((0, 2), int), np.ones((2, 3), int), None, "(0, 2) and (2, 3)"),
        ({}, np.ones((1, 2), int), np.ones((2, 0), int), None, "none empty, got (1, 2) and (2, 0)"),
        ({}, np.ones(2, int), np.ones((2, 1), int), None, "wanted (m, k) and (k, n), got (2,)"),
        ({}, np.ones((1, 1)), np.ones((1, 1), int), None, "float64 and int64"),
        ({}, np.ones((1, 1), int), np.ones((1, 1), int), 0, "at least 1 clock edge, got 0"),
    ],
)
def test_operands_and_arrays_that_no_hardware_takes_are_refused(
    changes: dict[str, Any],
    left: NDArray[Any],
    right: NDArray[Any],
    interval: int | None,
    says: str,
) -> None:
    array = SystolicArray(rows=2, cols=2).replace(**changes)
    with pytest.raises(ValueError, match=re.escape(says)):
        multiply(array, left, right, interval=interval)
