"""Which question: are the closed forms of the array the ones they claim to be?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch import OVERLAPS, SystolicArray
from tilewise.sim.systolic import fold_interval, fold_latency, folds, gemm_cycles

ARRAYS = [(flow, overlap) for flow, overlaps in OVERLAPS.items() for overlap in overlaps]


@st.composite
def arrays(draw: st.DrawFn) -> SystolicArray:
    flow, overlap = draw(st.sampled_from(ARRAYS))
    side = st.integers(1, 40)
    return array(flow, overlap, draw(side), draw(side))


def array(flow: str, overlap: str, rows: int, cols: int) -> SystolicArray:
    fields = {"rows": rows, "cols": cols, "dataflow": flow, "overlap": overlap}
    return SystolicArray.model_validate(fields)


dims = st.integers(1, 300)


def deit_block(array: SystolicArray, tokens: int) -> int:
    """Compute cycles of the products of one DeiT-S block: embed 384, 6 heads of 64, MLP 1536."""
    linear = [(384, 1152), (384, 384), (384, 1536), (1536, 384)]
    heads = [(tokens, 64, tokens), (tokens, tokens, 64)]
    return sum(gemm_cycles(array, tokens, k, n) for k, n in linear) + 6 * sum(
        gemm_cycles(array, *shape) for shape in heads
    )


@pytest.mark.parametrize(
    ("flow", "at_138", "at_129", "at_128"),
    [("os", 0.987, 0.985, 0.457), ("ws", 0.898, None, 0.801)],
)
def test_the_cliffs_of_a_pruned_deit_block_are_where_the_design_says(
    flow: str, at_138: float, at_129: float | None, at_128: float
) -> None:
    made = array(flow, "scale-sim", 128, 128)
    dense = deit_block(made, 197)
    assert deit_block(made, 138) / dense == pytest.approx(at_138, abs=5e-4)
    assert deit_block(made, 128) / dense == pytest.approx(at_128, abs=5e-4)
    if at_129 is not None:
        assert deit_block(made, 129) / dense == pytest.approx(at_129, abs=5e-3)


@pytest.mark.parametrize(
    ("flow", "overlap", "interval", "latency"),
    [
        ("ws", "single", 2 * 8 + 20 - 2, 2 * 8 + 3 + 20 - 2),
        ("ws", "shadow-broadcast", 20, 2 * 8 + 3 + 20 - 2),
        ("ws", "shadow-gated", 20, 2 * 8 + 3 + 20 - 2),
        ("os", "global-drain", 2 * 8 + 4 + 20 - 2, 2 * 8 + 4 + 20 - 3),
        ("os", "pe-drain", 20, 2 * 8 + 3 + 20 - 3),
    ],
)
def test_interval_and_latency_are_the_designs_table(
    flow: str, overlap: str, interval: int, latency: int
) -> None:
    made = array(flow, overlap, 8, 4)
    assert fold_interval(made, 20) == interval
    assert fold_latency(made, 20, 3) == latency


@pytest.mark.parametrize(("overlap", "floor"), [("shadow-broadcast", 15), ("shadow-gated", 8)])
def test_a_short_stream_waits_for_the_next_weights(overlap: str, floor: int) -> None:
    made = array("ws", overlap, 8, 4)
    assert fold_interval(made, floor - 1) == floor
    assert fold_interval(made, floor + 1) == floor + 1


@given(arrays(), dims, dims, dims)
def test_is_equals_ws_with_the_operands_exchanged(
    array: SystolicArray, m: int, k: int, n: int
) -> None:
    if array.dataflow == "os":
        return
    other = array.replace(dataflow="is" if array.dataflow == "ws" else "ws")
    assert gemm_cycles(array, m, k, n) == gemm_cycles(other, n, k, m)


@given(arrays(), dims, dims, dims, st.sampled_from(["m", "k", "n"]))
def test_a_larger_product_is_never_faster(
    array: SystolicArray, m: int, k: int, n: int, grown: str
) -> None:
    larger = {"m": m, "k": k, "n": n}
    larger[grown] += 1
    assert gemm_cycles(array, **larger) >= gemm_cycles(array, m, k, n)


@given(arrays(), st.lists(st.tuples(dims, dims, dims), min_size=1, max_size=8))
def test_arrays_of_shapes_give_what_each_shape_gives(
    array: SystolicArray, shapes: list[tuple[int, int, int]]
) -> None:
    m, k, n = (np.array(axis, dtype=np.int64) for axis in zip(*shapes, strict=True))
    assert gemm_cycles(array, m, k, n).tolist() == [gemm_cycles(array, *s) for s in shapes]


@given(arrays(), dims, dims, dims)
def test_pes_are_never_more_than_fully_used(array: SystolicArray, m: int, k: int, n: int) -> None:
    cycles = gemm_cycles(array, m, k, n) + (array.overlap == "scale-sim")  # numbered from zero
    assert m * k * n <= cycles * array.pes


@given(arrays(), dims, dims, dims)
def test_folds_cover_the_product(array: SystolicArray, m: int, k: int, n: int) -> None:
    found = folds(array, m, k, n)
    assert 1 <= found.last_columns <= array.cols
    assert found.count * array.pes * found.stream >= m * k * n
    assert (found.blocks - 1) * array.cols + found.last_columns in (m, n)
