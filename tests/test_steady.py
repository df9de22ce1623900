"""Which question: does the jump change nothing but the number of events?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import EDGE, blocks, programs

from tilewise.arch import Accelerator
from tilewise.sim.engine import run
from tilewise.sim.losses import account
from tilewise.sim.program import KernelProgram, Loop, Program, Tile
from tilewise.sim.spans import Spans
from tilewise.sim.steady import Frame, Repeat, multiplicity, weights


def occurrences(spans: Spans) -> list[tuple[object, ...]]:
    return sorted(tuple(span) for span in spans)


def stretched(program: Program, times: int) -> Program:
    """The same kernels with their outermost loops longer, so that there is something to skip."""
    return Program(
        kernels=tuple(
            replace(
                kernel,
                nodes=tuple(
                    replace(node, count=node.count * times) if isinstance(node, Loop) else node
                    for node in kernel.nodes
                ),
            )
            for kernel in program.kernels
        )
    )


def agree(machine: Accelerator, program: Program, fast: Spans, slow: Spans) -> None:
    assert not slow.repeats
    assert fast.cycles == slow.cycles
    assert occurrences(fast) == occurrences(slow)
    assert account(program, fast, machine) == account(program, slow, machine)


# Of these about one in nine jumps; the tests below draw programs that all do.
@given(programs())
@settings(max_examples=200)
def test_with_the_jump_every_span_happens_when_it_does_without(
    case: tuple[Accelerator, Program],
) -> None:
    machine, program = case
    agree(machine, program, run(program, machine), run(program, machine, jump=False))


@pytest.mark.slow
@given(programs())
@settings(max_examples=600)
def test_with_the_jump_every_span_of_many_programs_happens_when_it_does_without(
    case: tuple[Accelerator, Program],
) -> None:
    machine, program = case
    agree(machine, program, run(program, machine), run(program, machine, jump=False))


def skips_and_agrees(case: tuple[Accelerator, Program], times: int) -> None:
    machine, program = case[0], stretched(case[1], times)
    fast = run(program, machine)
    assume(fast.repeats)  # a run that skips nothing shows nothing
    slow = run(program, machine, jump=False)
    assert len(fast) < len(slow)
    agree(machine, program, fast, slow)


@given(programs(), st.integers(2, 5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
def test_what_is_skipped_happens_when_it_would_have(
    case: tuple[Accelerator, Program], times: int
) -> None:
    skips_and_agrees(case, times)


@pytest.mark.slow
@given(programs(), st.integers(2, 5))
@settings(max_examples=500, suppress_health_check=[HealthCheck.filter_too_much])
def test_what_is_skipped_happens_when_it_would_have_in_many_programs(
    case: tuple[Accelerator, Program], times: int
) -> None:
    skips_and_agrees(case, times)


def replays_and_agrees(case: tuple[Accelerator, Program], times: int) -> None:
    machine, program = case[0], stretched(case[1], times)
    fast = run(program, machine)
    assume(fast.executed < len(fast))  # a run that takes nothing over shows nothing
    agree(machine, program, fast, run(program, machine, jump=False))


# About every other random chain of blocks is taken over in part; these all are.
@given(blocks(), st.integers(1, 3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
def test_blocks_that_come_again_happen_as_they_would_have(
    case: tuple[Accelerator, Program], times: int
) -> None:
    replays_and_agrees(case, times)


@pytest.mark.slow
@given(blocks(), st.integers(1, 3))
@settings(max_examples=500, suppress_health_check=[HealthCheck.filter_too_much])
def test_blocks_that_come_again_happen_as_they_would_have_in_many_programs(
    case: tuple[Accelerator, Program], times: int
) -> None:
    replays_and_agrees(case, times)


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
