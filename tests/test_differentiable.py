"""Costs that gradients flow through: exact at choices, linear between, right in their slopes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nas_cases import blocks, engine, invented, made_up
from optional import needed

from tilewise.sim.nas import SearchSpace, search_space
from tilewise.sim.nas.differentiable import differentiable
from tilewise.sim.nas.genes import GeneError
from tilewise.sim.nas.terms import Quantity, on_device


def made_up_quasar() -> SearchSpace:
    return search_space("quasar-vit", engine(), table=made_up("quasar-vit"))


SPACES: dict[str, Callable[[], SearchSpace]] = {
    "quasar": made_up_quasar,
    "blocks": blocks,
    "heatvit": invented,
}


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]()


def inside(space: SearchSpace, rows: int, seed: int = 0) -> Any:
    """Values amid the cells, as 64-bit floats: gradients have no kink there."""
    torch = needed("torch")
    random = np.random.default_rng(seed)
    columns: list[Any] = []
    for axis in space.axes:
        steps = np.array(axis.values, dtype=np.float64)
        below = random.integers(0, len(steps) - 1, rows)
        share = random.uniform(0.2, 0.8, rows)
        columns.append(steps[below] * (1 - share) + steps[below + 1] * share)
    return torch.tensor(np.stack(columns, axis=1))


@pytest.mark.export
def test_a_tensor_costs_what_its_array_does(space: SearchSpace) -> None:
    torch = needed("torch")
    genes = space.random(500, seed=1)
    quantities: tuple[Quantity, ...] = ("latency_s", "energy_j")
    for what in quantities:
        costs = getattr(space, what)(genes)
        found = getattr(space, what)(torch.from_numpy(genes))
        assert found.dtype == torch.float64
        assert np.array_equal(found.numpy(), costs)
        elsewhere = on_device(space.terms, torch.from_numpy(genes).int(), what)
        assert np.array_equal(elsewhere.numpy(), costs)


@pytest.mark.export
@pytest.mark.parametrize("kind", ["float32", "bool"])
def test_tensors_of_another_kind_are_refused(kind: str) -> None:
    torch = needed("torch")
    genes = torch.zeros((2, 3), dtype=getattr(torch, kind))
    with pytest.raises(GeneError, match=f"whole numbers, got torch.{kind}"):
        invented().latency_s(genes)
    with pytest.raises(GeneError, match=r"at row 1, place 1 \(kept_2\), got 197"):
        invented().latency_s(torch.tensor([[3, 2, 1], [5, 197, 1]]))


@pytest.mark.export
def test_at_a_choice_the_cost_is_the_tables(space: SearchSpace) -> None:
    torch = needed("torch")
    module, genes = differentiable(space), space.random(100, seed=2)
    values = torch.tensor(space.values(genes))
    assert module(values).numpy() == pytest.approx(space.latency_s(genes), rel=1e-12)
    assert module.energy_j(values).numpy() == pytest.approx(space.energy_j(genes), rel=1e-12)


@pytest.mark.export
def test_between_two_choices_the_cost_is_between_theirs_in_proportion(space: SearchSpace) -> None:
    torch = needed("torch")
    module, values = differentiable(space), inside(space, 40)
    for place, axis in enumerate(space.axes[:5]):
        low, high, amid = values.clone(), values.clone(), values.clone()
        low[:, place], high[:, place] = axis.values[0], axis.values[1]
        amid[:, place] = 0.25 * axis.values[0] + 0.75 * axis.values[1]
        wanted = 0.25 * module(low) + 0.75 * module(high)
        assert torch.allclose(module(amid), wanted, rtol=1e-10, atol=0)


@pytest.mark.export
@pytest.mark.parametrize("name", SPACES)
def test_gradients_are_right(name: str) -> None:
    torch = needed("torch")
    chosen = SPACES[name]()
    module = differentiable(chosen)
    values = inside(chosen, 2, seed=3).requires_grad_()
    fast = name == "quasar"  # of 60 genes, one direction at random instead of each by itself

    def scaled(values: Any) -> Any:
        return module.latency_s(values) * 1e4, module.energy_j(values) * 1e4

    assert torch.autograd.gradcheck(scaled, (values,), fast_mode=fast)


@pytest.mark.export
def test_gradients_of_expectations_are_right() -> None:
    torch = needed("torch")
    chosen = blocks()
    module = differentiable(chosen)
    torch.manual_seed(0)
    scores = [
        torch.randn(2, count, dtype=torch.float64, requires_grad=True) for count in chosen.choices
    ]

    def expected(*scores: Any) -> Any:
        return module.expected_latency_s([each.softmax(-1) for each in scores]) * 1e4

    assert torch.autograd.gradcheck(expected, tuple(scores))


@pytest.mark.export
def test_the_expectation_is_the_mean_over_all_architectures() -> None:
    torch = needed("torch")
    chosen = blocks()
    module = differentiable(chosen)
    torch.manual_seed(1)
    shares = [torch.rand(1, n, dtype=torch.float64).softmax(-1) for n in chosen.choices]
    every = np.stack(np.meshgrid(*map(np.arange, chosen.choices), indexing="ij"), -1)
    every = every.reshape(-1, len(chosen.axes))
    weight = np.prod([s[0].numpy()[every[:, i]] for i, s in enumerate(shares)], axis=0)
    assert weight.sum() == pytest.approx(1)
    for what in ("latency_s", "energy_j"):
        mean = (weight * getattr(chosen, what)(every)).sum()
        assert float(getattr(module, f"expected_{what}")(shares)) == pytest.approx(mean, rel=1e-12)


@pytest.mark.export
def test_an_architecture_that_is_certain_costs_itself(space: SearchSpace) -> None:
    torch = needed("torch")
    genes = torch.from_numpy(space.random(20, seed=4))
    shares = [
        torch.nn.functional.one_hot(genes[:, place], count).double()
        for place, count in enumerate(space.choices)
    ]
    module = differentiable(space)
    assert torch.allclose(module.expected_latency_s(shares), space.latency_s(genes), rtol=1e-12)


@pytest.mark.export
def test_a_supernet_trains_against_the_cost() -> None:
    """Gradient descent on sizes reaches a target, as a latency-aware loss wants."""
    torch = needed("torch")
    chosen = blocks()
    module = differentiable(chosen)
    assert list(module.parameters()) == []
    wanted = float(np.quantile(chosen.latency_s(chosen.random(200, seed=0)), 0.3))
    lowest = torch.tensor([axis.values[0] for axis in chosen.axes], dtype=torch.float64)
    width = torch.tensor([axis.values[-1] for axis in chosen.axes], dtype=torch.float64) - lowest
    scores = torch.zeros(1, len(chosen.axes), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (module(lowest + width * scores.sigmoid()) / wanted - 1).square().sum()
        loss.backward()
        optimizer.step()
    reached = module(lowest + width * scores.sigmoid()).detach()
    assert float(reached) == pytest.approx(wanted, rel=0.05)


@pytest.mark.export
def test_floats_of_32_bits_will_do(space: SearchSpace) -> None:
    torch = needed("torch")
    module, values = differentiable(space), inside(space, 10)
    found = module(values.float())
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), module(values), rtol=1e-4)
    assert module.expected_latency_s([torch.ones(3, n) / n for n in space.choices]).shape == (3,)


@pytest.mark.export
def test_what_the_table_does_not_say_is_refused() -> None:
    torch = needed("torch")
    module = differentiable(blocks())
    values = torch.tensor([[2.0, 96, 2, 10, 8], [2.0, 97, 2, 10, 8]])
    with pytest.raises(ValueError, match=r"wanted 48 to 96 at row 1, place 1 \(embed\), got 97"):
        module(values)
    with pytest.raises(ValueError, match="wanted 48 to 96 at row 0"):
        module(torch.tensor([[2.0, torch.nan, 2, 10, 8]]))
    with pytest.raises(ValueError, match=r"floats of shape \(n, 5\), got torch.int64"):
        module(torch.ones((1, 5), dtype=torch.int64))
    with pytest.raises(ValueError, match="wanted 5 tensors, got 1"):
        module.expected_latency_s([torch.ones(1, 3)])
    with pytest.raises(ValueError, match=r"wanted shape \(1, 2\) at place 1 \(embed\)"):
        module.expected_latency_s([torch.ones(1, 3)] * 5)


@pytest.mark.export
def test_the_module_is_pickled_with_its_space() -> None:
    needed("torch")
    module = differentiable(blocks())
    values = inside(blocks(), 5)
    assert (pickle.loads(pickle.dumps(module))(values) == module(values)).all()
    assert module.state_dict() == {}, "a checkpoint of a supernet does not carry the table"


def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from tilewise.sim.nas.differentiable import differentiable
from tilewise.workloads.extras import MissingExtraError
try:
    differentiable(None)
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 'pip install "tilewise[torch]"' in done.stdout, done.stderr
