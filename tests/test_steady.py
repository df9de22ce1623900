"""Which question: does the jump change nothing but the number of events?"""

import numpy as np
from hypothesis import given, settings
from strategies import EDGE, programs

from tilewise.arch import Accelerator
from tilewise.sim.engine import run
from tilewise.sim.losses import account
from tilewise.sim.program import KernelProgram, Loop, Program, Tile
from tilewise.sim.spans import Spans
from tilewise.sim.steady import Frame, Repeat, multiplicity, weights


def occurrences(spans: Spans) -> list[tuple[object, ...]]:
    return sorted(tuple(span) for span in spans)


@given(programs())
@settings(max_examples=600)
def test_with_the_jump_every_span_happens_when_it_does_without(
    case: tuple[Accelerator, Program],
) -> None:
    machine, program = case
    slow, fast = run(program, machine, jump=False), run(program, machine)
    assert fast.cycles == slow.cycles
    assert occurrences(fast) == occurrences(slow)
    assert account(program, fast, machine) == account(program, slow, machine)


def streaming(count: int) -> Program:
    """A kernel of `count` equal tiles that load, work and store."""
    tile = Tile(
        input_bytes=256, input_loads=1, vector_cycles=100, vector_frees=256, store_bytes=128
    )
    nodes = (Loop(count=count, body=(tile,)),)
    return Program(kernels=(KernelProgram(name="stream", kind="elementwise", nodes=nodes),))


def test_a_thousand_times_longer_loop_takes_no_more_events() -> None:
    short, long = run(streaming(100), EDGE), run(streaming(100_000), EDGE)
    assert len(long) == len(short)
    slow = run(streaming(100), EDGE, jump=False)
    assert short.cycles == slow.cycles
    period = (run(streaming(200), EDGE, jump=False).cycles - slow.cycles) // 100
    assert long.cycles == slow.cycles + 99_900 * period


def test_a_state_that_differs_does_not_jump() -> None:
    frame = Frame(remaining=10, first=0)
    assert frame.visit("a", 0, 0, 0, 0) is None
    assert frame.visit("b", 1, 4, 10, 10) is None
    assert frame.visit("a", 2, 8, 20, 20) == Repeat(0, 8, 0, 20, times=5, period=20)
    assert frame.remaining == 0


def test_a_jump_never_skips_part_of_a_period() -> None:
    frame = Frame(remaining=7, first=0)
    frame.visit("a", 0, 0, 0, 0)
    assert frame.visit("a", 3, 9, 30, 30) == Repeat(0, 9, 0, 30, times=2, period=30)
    assert frame.remaining == 1


def test_repeats_nest() -> None:
    repeats = [Repeat(1, 3, 10, 20, 4, 10), Repeat(0, 4, 0, 40, 2, 80)]
    assert multiplicity(5, repeats).tolist() == [3, 15, 15, 3, 1]
    assert weights(np.array([0, 10, 19, 20, 40]), repeats).tolist() == [3, 15, 15, 3, 1]
