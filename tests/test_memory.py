"""Which question: does a run that waits for DRAM take what a pencil says?"""

from fractions import Fraction

import pytest
from strategies import EDGE

from tilewise.sim import gemm
from tilewise.sim.engine import run
from tilewise.sim.formats import Widths
from tilewise.sim.gemm import Gemm, GemmMapping, Shape
from tilewise.sim.losses import Losses, account
from tilewise.sim.program import KernelProgram, Program

# 1 byte per cycle, 5 cycles of latency, 2 of set-up; 4x4 PEs; 4 lanes of 1 cycle per element.
SLOW = EDGE.replace(
    array=EDGE.array.replace(rows=4, cols=4),
    dram=EDGE.dram.replace(bytes_per_s=1e9, latency_s=5e-9, setup_cycles=2),
    vector=EDGE.vector.replace(lanes=4),
)


def weights_only(columns: int, *, stores: bool) -> Program:
    """`(4, 4) @ (4, columns)`, a fold of four columns a tile, inputs on chip."""
    product = Gemm(
        shape=Shape(groups=1, repeats=1, m=4, k=4, n=columns),
        bits=Widths(8, 8, 8),
        loads_input=False,
        stores=stores,
        input_room=1 << 20,
        vector_cost=Fraction(1),
    )
    mapping = GemmMapping(groups=1, m=4, k=4, n=4, order="mn")
    nodes = gemm.nodes(product, mapping, SLOW, Fraction(1))
    return Program(kernels=(KernelProgram(name="x", kind="matmul", nodes=nodes),))


@pytest.mark.parametrize("folds", [1, 2, 7, 1000])
def test_a_product_that_waits_for_its_weights_takes_the_bus_time_and_one_ending(folds: int) -> None:
    # Each fold's 16 weights hold the bus for 2 + 16 cycles and arrive 5 later.  The array needs
    # max(4, 4) cycles a fold, so it always waits.  The last result leaves 2 * 4 + 4 + 4 - 2 = 14
    # cycles after its words went in, and the vector unit takes 16 sums in 4 cycles.
    spans = run(weights_only(4 * folds, stores=False), SLOW)
    assert spans.cycles == 18 * folds + 5 + 14 + 4


def test_a_store_stands_behind_the_loads_of_the_next_two_tiles() -> None:
    # Loads end at 18, 36 and 54; the third stands before the first store.  Results are out of the
    # vector unit at 18 + 5 + 18 = 41, 59 and 77.  Stores hold the bus for 18 cycles each: from 54
    # (behind the third load) to 72, to 90 and to 108, and are done 5 later.
    spans = run(weights_only(12, stores=True), SLOW)
    stores = sorted((s.start, s.end) for s in spans if s.unit == "store")
    assert stores == [(54, 72), (72, 90), (90, 108)]
    assert spans.cycles == 108 + 5


def test_waiting_for_weights_is_lost_to_memory() -> None:
    program = weights_only(4 * 100, stores=False)
    spans = run(program, SLOW)
    losses = Losses.sum(account(program, spans, SLOW))
    # Of the 18 cycles of a fold 4 are useful; the 14 in which the last fold drains hide 10 more.
    assert losses.useful == 16 * 4 * 100
    assert losses.memory == 16 * (spans.cycles - 4 * 100 - 10 * 100 - 4)
    assert losses.fill_drain == 16 * 10 * 100
    assert losses.vector == 16 * 4
