"""Which question: is the mapping chosen from all that fits, and does more room never hurt?"""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import RATE, gemms, machines

from tilewise.arch import Accelerator, load_machine
from tilewise.sim import tiling
from tilewise.sim.simulate import simulate
from tilewise.workloads import zoo

BUFFERS = ("input_bytes", "weight_bytes", "output_bytes", "accumulator_bytes")


def with_larger(machine: Accelerator, buffer: str, times: int) -> Accelerator:
    sizes = machine.buffers
    return machine.replace(buffers=sizes.replace(**{buffer: times * getattr(sizes, buffer)}))


@given(st.data(), st.sampled_from(BUFFERS), st.integers(2, 8))
def test_a_larger_buffer_takes_no_tiling_away_and_slows_none(
    data: st.DataObject, buffer: str, times: int
) -> None:
    machine = data.draw(machines())
    product = data.draw(gemms(machine))
    larger = with_larger(machine, buffer, times)
    every = tiling.candidates_of(product, machine)
    fits, fits_larger = (tiling.fits(product, one, every) for one in (machine, larger))
    assert not (fits & ~fits_larger).any()
    if fits.any():
        before, after = (
            tiling.estimate_of(product, one, RATE, every.at(fits)) for one in (machine, larger)
        )
        assert (after.cycles == before.cycles).all()
        best = tiling.estimate_of(product, larger, RATE, every.at(fits_larger)).cycles.min()
        assert best <= before.cycles.min()


# What is chosen may be slower than the best by SLACK, where it moves fewer bytes.
@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize(
    "name", ["edge-32x32", "gemmini-16x16", "zcu102-heatvit", "zcu102-systolic"]
)
def test_a_model_on_a_machine_with_a_larger_buffer_is_not_slower(name: str, buffer: str) -> None:
    machine = load_machine(name)
    assert isinstance(machine, Accelerator)
    for workload in (zoo.load("deit-small"), zoo.load("heatvit-deit-small")):
        larger = simulate(workload, with_larger(machine, buffer, 2))
        assert larger.cycles <= cycles_on(workload.name, name) * tiling.SLACK


@cache
def cycles_on(workload: str, machine: str) -> int:
    return simulate(zoo.load(workload), load_machine(machine)).cycles
