"""A training step does three times its forward, and its operators are those of the calculus."""

from dataclasses import replace

import pytest
from optional import needed

import tilewise as tw
from tilewise.arch import load_machine
from tilewise.sim.papers import trilevel as paper
from tilewise.workloads import bit_rules, quantized, read, vit, zoo
from tilewise.workloads.extent import known
from tilewise.workloads.graph import Workload
from tilewise.workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Operand,
    Operator,
    TokenSelection,
)
from tilewise.workloads.training import TrainingError, training_step
from tilewise.workloads.zoo import torch_vit
from tilewise.workloads.zoo import trilevel as schedule
from tilewise.workloads.zoo.vits import VitConfig

SMALL = VitConfig(image=32, patch=8, depth=2, embed=48, heads=3, classes=10)


def small(depth: int = 2) -> Workload:
    return vit(image=32, patch=8, depth=depth, embed=48, heads=3, classes=10, batch=1)


def by_name(workload: Workload) -> dict[str, Operator]:
    return {operator.name: operator for operator in workload.operators}


@pytest.mark.parametrize("batch", [1, 8])
def test_a_dense_step_takes_three_forwards_but_for_the_first_layers_input(batch: int) -> None:
    forward = zoo.load("deit-small").bind({"batch": batch})
    step = zoo.load("train-deit-small").bind({"batch": batch})
    assert step.macs == 3 * known(forward.macs) - known(forward.operators[0].macs)
    assert step.parameters == forward.parameters
    assert "patch_embed.proj/Conv.dX" not in by_name(step)
    assert "patch_embed.proj/Conv.dW" in by_name(step)


def test_every_trained_product_has_a_dx_and_a_dw_of_its_own_macs() -> None:
    operators = by_name(training_step(zoo.load("heatvit-digits16")).bind())
    layers = [o for o in operators.values() if isinstance(o, MatMul) and o.weights]
    forward = [o for o in layers if not o.name.endswith(".dX")]
    for layer in forward:
        dw = operators[f"{layer.name}.dW"]
        assert operators[f"{layer.name}.dX"].macs == dw.macs == layer.macs
        assert dw.elements == known(layer.k) * known(layer.n)
        assert operators[f"{layer.name}.db"].elements == layer.n
    assert len(forward) > 30


def test_attentions_backward_is_four_products_and_reads_what_the_forward_stored() -> None:
    model = small(depth=1)
    attention = next(o for o in model.operators if isinstance(o, Attention))
    operators = by_name(training_step(model))
    name = attention.name
    parts = [f"{name}.dX", f"{name}.dX_2", f"{name}/scores.dX", f"{name}/scores.dX_2"]
    assert sum(known(operators[part].macs) for part in parts) == 2 * known(attention.macs)
    d_value = operators[f"{name}.dX_2"]
    assert d_value.operands[0].sources == (f"{name}/softmax",)
    through = operators[f"{name}/softmax.dX"]
    assert [operand.sources for operand in through.operands] == [
        (f"{name}/softmax",), (f"{name}.dX",)
    ]  # fmt: skip


def test_gradients_are_added_where_the_stream_branches_and_nowhere_else() -> None:
    added = [o for o in training_step(small(depth=3)).operators if o.name.endswith(".dY")]
    assert len(added) == 2 * 3  # into attention and into the MLP of each block; Q, K, V lie apart
    assert all(isinstance(o, Elementwise) and len(o.operands) == 2 for o in added)


def test_a_choice_of_tokens_has_no_gradient_and_nor_has_what_only_it_depends_on() -> None:
    step = zoo.load("train-trilevel-deit-small")
    operators = by_name(step)
    assert sum(isinstance(o, TokenSelection) for o in step.operators) == 3
    gradients = [name for name in operators if name.startswith("selectors.0/") and ".d" in name]
    assert gradients == ["selectors.0/Gather.dY", "selectors.0/Gather.dX"]
    # Of CLS, MLP's norm and the sum behind it give one token, the patches that stay 138.
    stream = operators["blocks.3/Add.dY"].bound({"batch": 1} | schedule.kept(0.7))
    assert [o.elements for o in stream.operands] == [384, 384, 138 * 384]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolutions_gradients_take_its_own_macs(transposed: bool) -> None:
    sizes = ((4, 4), (8, 8)) if transposed else ((8, 8), (4, 4))
    first = MatMul(
        name="first", operands=(Operand(sources=("x",), elements=2 * 6 * 64),),
        shape=(2, 6, 8, 8), m=2 * 64, k=6, n=6, weights=1,
    )  # fmt: skip
    conv = Convolution(
        name="conv", operands=(Operand(sources=("first",), elements=2 * 6 * 64),),
        shape=(2, 4, *sizes[1]), batch=2, in_channels=6, out_channels=4, groups=2, kernel=(3, 3),
        stride=(2, 2), dilation=(1, 1), padding=(2, 2), in_size=sizes[0], out_size=sizes[1],
        transposed=transposed, bias=True,
    )  # fmt: skip
    model = Workload(
        name="two layers", operators=(first, conv), inputs=(("x", (2, 6, 8, 8)),),
        outputs=("conv",), parameters=36 + conv.parameters,
    )  # fmt: skip
    operators = by_name(training_step(model))
    assert operators["conv.dX"].macs == operators["conv.dW"].macs == conv.macs
    assert operators["conv.dX"].elements == 2 * 6 * known(sizes[0][0]) ** 2
    assert operators["conv.dW"].elements == conv.parameters - 4
    assert operators["conv.db"].elements == 4


def test_the_update_moves_32_bytes_for_each_trained_number_in_fp16() -> None:
    result = tw.simulate(training_step(small()), tw.machine("h200"), format="fp16")
    moved = {o.name: o.dram_bytes for o in result.operators}
    assert moved["optimizer/AdamW"] + moved["optimizer/Cast"] == 32 * result.parameters


@pytest.mark.parametrize("machine", ["edge-32x32", "zcu102-heatvit", "h200"])
def test_a_step_runs_on_every_kind_of_machine(machine: str) -> None:
    model = small(depth=1)
    step, forward = training_step(model), tw.simulate(model, tw.machine(machine))
    result = tw.simulate(step, tw.machine(machine))
    assert result.macs == step.macs == sum(o.macs for o in result.operators)
    assert result.cycles > 2 * forward.cycles
    assert result.losses.total > 0
    assert result.energy_j > forward.energy_j


def test_what_cannot_be_trained_says_why() -> None:
    with pytest.raises(TrainingError, match=r"vit is quantized, at patch_embed.proj/Conv"):
        training_step(quantized(small(), bit_rules("W4A8")))
    with pytest.raises(TrainingError, match="no operator that makes its first output"):
        training_step(replace(small(), outputs=("image",)))


def test_time_between_two_simulated_ratios_is_near_what_is_simulated_there() -> None:
    machine, step = load_machine("a100-80gb"), schedule.step()
    times = [
        tw.simulate(step, machine, batch=256, bind=schedule.kept(ratio)).latency_s
        for ratio in (0.9, 0.925, 0.95)
    ]
    assert (times[0] + times[2]) / 2 == pytest.approx(times[1], rel=5e-3)


def test_an_epoch_of_trilevel_is_its_examples_times_its_tokens() -> None:
    machine = load_machine("a100-80gb")
    # With all examples and tokens only the ranking is more than a dense step.
    assert 1 < paper.relative_macs(1.0, examples=1) < 1.001
    assert 1 < paper.relative_time(machine, 1.0, examples=1) < 1.03
    found = [paper.relative_time(machine, target) for target in (0.7, 0.8, 0.9)]
    assert found == sorted(found)
    assert all(
        paper.relative_macs(target) < time < 0.8 * 1.03
        for target, time in zip((0.7, 0.8, 0.9), found, strict=True)
    )
    assert paper.relative_time(machine, 0.7, examples=1) == pytest.approx(
        found[0] / schedule.EXAMPLES
    )


@pytest.mark.export
def test_torch_counts_the_same_macs_forward_and_backward() -> None:
    torch = needed("torch")
    needed("onnxscript")
    counter = needed("torch.utils.flop_counter").FlopCounterMode(display=False)
    with torch.device("meta"):
        module, image = torch_vit.build(SMALL), torch.zeros(1, 3, 32, 32)
    with counter:
        module(image)[0].sum().backward()
    exported = read(torch_vit.export_vit(SMALL).SerializeToString()).with_defaults({"batch": 1})
    assert 2 * known(training_step(exported).bind().macs) == counter.get_total_flops()
