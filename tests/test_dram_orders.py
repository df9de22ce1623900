"""Which question: what does each order of the DRAM promise, and what not?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EDGE, programs

from tilewise.arch import Accelerator
from tilewise.sim.engine import run
from tilewise.sim.losses import account
from tilewise.sim.program import KernelProgram, Program, Tile
from tilewise.sim.spans import Spans

ORDERS = ("program", "fifo", "priority")


def small(order: str, weight_bytes: int, input_bytes: int) -> Accelerator:
    """A machine whose DRAM moves a byte a cycle, at once."""
    return EDGE.replace(
        clock_hz=1e9,
        buffers=EDGE.buffers.replace(weight_bytes=weight_bytes, input_bytes=input_bytes),
        dram=EDGE.dram.replace(bytes_per_s=1e9, latency_s=0.0, setup_cycles=0, order=order),
    )


def tile(weights: int, inputs: int) -> Tile:
    """One cycle of vector work on operands that are loaded for it and dropped behind it."""
    return Tile(
        weight_bytes=weights,
        weight_loads=int(weights > 0),
        weights_freed=weights,
        input_bytes=inputs,
        input_loads=int(inputs > 0),
        vector_cycles=1,
        vector_frees=inputs,
    )


def chain(*kernels: tuple[Tile, ...]) -> Program:
    """Kernels that each wait for the one before."""
    return Program(
        kernels=tuple(
            KernelProgram(name=f"k{i}", kind="any", nodes=nodes, after=(i - 1,) if i else ())
            for i, nodes in enumerate(kernels)
        )
    )


# The third tile's inputs need room.  With more of it they are asked for sooner, and are served
# before the second tile's weights, which are needed before them.
EAGER_INPUTS = chain((tile(1, 3), tile(1, 0), tile(0, 2)))


@pytest.mark.parametrize("order", ["fifo", "priority"])
def test_a_deeper_input_buffer_may_be_slower_where_loads_contend(order: str) -> None:
    assert run(EAGER_INPUTS, small(order, 8, 4)).cycles == 8
    assert run(EAGER_INPUTS, small(order, 8, 8)).cycles == 9


# The same with weights: the last tile's are asked for sooner, and are served before inputs that are
# needed before them, or just as those become ready.
EAGER_WEIGHTS = {
    "fifo": (chain((tile(0, 0),), (tile(1, 1), tile(3, 1), tile(1, 0))), 8, 9),
    "priority": (chain((tile(0, 1), tile(3, 1), tile(0, 1), tile(2, 0))), 9, 10),
}


@pytest.mark.parametrize("order", sorted(EAGER_WEIGHTS))
def test_a_deeper_weight_buffer_may_be_slower_where_loads_contend(order: str) -> None:
    program, shallow, deep = EAGER_WEIGHTS[order]
    assert run(program, small(order, 4, 8)).cycles == shallow
    assert run(program, small(order, 8, 8)).cycles == deep


@pytest.mark.parametrize("program", [EAGER_INPUTS, *(case[0] for case in EAGER_WEIGHTS.values())])
def test_in_the_order_of_the_program_the_same_buffers_are_not(program: Program) -> None:
    base = run(program, small("program", 8, 8)).cycles
    assert run(program, small("program", 4, 8)).cycles >= base
    assert run(program, small("program", 8, 4)).cycles >= base


def bytes_moved(spans: Spans) -> int:
    return spans.busy_cycles("weights", "inputs", "store")


@given(programs(), st.sampled_from(ORDERS))
@settings(max_examples=100)
def test_every_order_does_the_same_work_and_accounts_for_all_of_it(
    case: tuple[Accelerator, Program], order: str
) -> None:
    machine, program = case[0].replace(dram=case[0].dram.replace(order=order)), case[1]
    spans, default = run(program, machine), run(program, case[0])
    assert bytes_moved(spans) == bytes_moved(default)
    assert spans.busy_cycles("array") == default.busy_cycles("array")
    assert spans.busy_cycles("vector") == default.busy_cycles("vector")
    losses = account(program, spans, machine)
    pes = machine.array.pes
    assert sum(loss.total for loss in losses) == pes * spans.cycles
    assert all(getattr(loss, cause) >= 0 for loss in losses for cause in loss.shares())
