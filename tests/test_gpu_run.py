"""Which question: is a GPU's time accounted for, host included, and can the roofline be had?"""

import json
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch import Gpu, load_machine, machine_names
from tilewise.sim.errors import MappingError
from tilewise.sim.gpu.engines import ENGINES
from tilewise.sim.gpu.how import how
from tilewise.sim.gpu.recent import Recent
from tilewise.sim.gpu.run import launches_of
from tilewise.sim.pipeline import run_pipeline
from tilewise.sim.policies import policies
from tilewise.sim.ragged import run_policies
from tilewise.sim.result import Result
from tilewise.sim.roofline import run_kernels
from tilewise.sim.simulate import simulate
from tilewise.sim.spans import UNITS
from tilewise.workloads import vit, zoo
from tilewise.workloads.quantization import bit_rules, quantized
from tilewise.workloads.zoo.pipelines import pipeline

DEIT = zoo.load("deit-small")
MODELS = ("deit-small", "heatvit-deit-small", "sd15-unet")
KEPT = {"kept_1": 137, "kept_2": 69, "kept_3": 48}


def card(name: str = "a100-80gb") -> Gpu:
    found = load_machine(name)
    assert isinstance(found, Gpu)
    return found


GPUS = [name for name in machine_names() if isinstance(load_machine(name), Gpu)]


def ran(model: str, gpu: Gpu, engine: str, **options: Any) -> Result:
    bind = KEPT if model.startswith("heatvit") else None
    return simulate(zoo.load(model), gpu, bind=bind, engine=engine, **options)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_all_time_is_some_kernels_and_has_a_cause(model: str, engine: str) -> None:
    result = ran(model, card(), engine)
    assert result.losses.total == result.cycles == result.spans.cycles
    assert result.operators[0].start_cycle == 0
    for kernel in result.operators:
        assert kernel.losses.total == kernel.cycles
        assert min(Fraction(share) for share in kernel.losses.shares().values()) >= 0
    for one, following in pairwise(result.operators):
        assert one.end_cycle == following.start_cycle
    assert sum(result.confidence.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (name, model)
        if model != "sd15-unet" or name in ("h200", "rtx-4090")
        else pytest.param(name, model, marks=pytest.mark.slow)
        for name in GPUS
        for model in MODELS
    ],
)
def test_every_gpu_runs_every_engine_and_compiled_is_never_slower(name: str, model: str) -> None:
    took = {engine: ran(model, card(name), engine).cycles for engine in ENGINES}
    assert took["eager-autocast"] >= took["eager"] >= took["compiled-no-graphs"]
    assert took["compiled-no-graphs"] >= took["compiled"]


@pytest.mark.parametrize("format", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", GPUS)
def test_who_does_more_takes_longer_in_every_format(name: str, format: str) -> None:
    gpu = card(name)
    engines = [one for one in ENGINES.values() if format == "fp16" or not one.autocast]
    took = {e.name: ran("deit-small", gpu, e.name, format=format, batch=8).cycles for e in engines}
    assert took["eager-torch-2.1"] >= took["eager"] >= took["compiled-no-graphs"]
    assert took["compiled-no-graphs"] >= took["compiled"] >= took["tensorrt"]
    if format == "fp16":
        assert took["compiled-autocast"] >= took["compiled-no-graphs"]
    one_kernel, apart = (
        ran("deit-small", g, "compiled", format=format, batch=64).cycles
        for g in (gpu, gpu.replace(fused_attention=False))
    )
    assert apart >= one_kernel


@pytest.mark.parametrize("name", GPUS)
def test_launches_and_watts_cost_what_they_say(name: str) -> None:
    gpu = card(name)
    times = [
        ran("deit-small", gpu.replace(launch_s=gpu.launch_s * more), "compiled", batch=64).latency_s
        for more in (1, 2, 4)
    ]
    kernels = len(ran("deit-small", gpu, "compiled", batch=64).operators)
    added = np.diff(times) / gpu.launch_s / np.array([1, 2]) / kernels
    assert added == pytest.approx(added.mean(), rel=0.01)
    assert 0.6 < added.mean() < 1.7  # constants have launches of their own, which scale
    few, many = (
        ran("deit-small", gpu.replace(tdp_w=gpu.running_w + watts), "compiled", batch=256)
        for watts in (1.0, 1000.0)
    )
    assert few.latency_s > 2 * many.latency_s
    assert "interpolated" not in few.confidence


@pytest.mark.parametrize(("family", "same"), [("hopper", "h100"), ("blackwell", "b200")])
def test_a_gpu_that_nobody_knows_runs_its_familys_attention(family: str, same: str) -> None:
    known = card(same)
    times = [
        ran("deit-small", gpu, "compiled", batch=64, format="bf16").latency_s
        for gpu in (known, known.replace(name="mine", family=family))
    ]
    assert times[1] == pytest.approx(times[0], rel=0.1)


def test_the_label_is_that_of_what_was_measured() -> None:
    """On an A100 its products were, in bf16 and int8; on a T4 streams in fp32."""
    a100 = {o.kind: o.confidence for o in ran("deit-small", card(), "compiled").operators[::-1]}
    assert a100["matmul"] == "interpolated"
    assert a100["convolution"] == a100["attention"] == a100["normalization"] == "uncalibrated"
    for format, label in (("fp32", "interpolated"), ("fp16", "extrapolated")):
        found = ran("deit-small", card("t4"), "eager", format=format, batch=64).operators
        assert {o.confidence for o in found if o.kind == "normalization"} == {label}


def test_a_run_that_memory_does_not_hold_says_so() -> None:
    assert not ran("deit-small", card(), "compiled", batch=64).notes
    (note,) = ran("deit-small", card(), "compiled", batch=100_000).notes
    assert note.startswith("a100-80gb has 80 GB, and weights and the largest kernel's operands")


def test_activations_that_no_tensor_core_multiplies_are_said_to_be_wide() -> None:
    model = quantized(DEIT, bit_rules("W4A16"))
    (note,) = simulate(model, card("h200")).notes
    assert note.startswith("h200 does not multiply int16: it is computed in fp32")
    assert not simulate(quantized(DEIT, bit_rules("W4A8")), card("h200")).notes


@pytest.mark.parametrize("engine", ["eager-autocast", "compiled-autocast"])
def test_autocast_is_to_16_bits_and_of_models_without_bits(engine: str) -> None:
    with pytest.raises(MappingError, match=r"wanted format fp16 or bf16, got 'fp32'$"):
        simulate(DEIT, card(), engine=engine, format="fp32")
    with pytest.raises(MappingError, match=r"without bits of its own, got patch_embed.* int8$"):
        simulate(quantized(DEIT, bit_rules("W8A8")), card(), engine=engine)


@given(st.floats(0, 1e-3), st.floats(0, 1e-3))
def test_eager_takes_as_long_as_the_host_or_the_gpu_whichever_is_longer(a: float, b: float) -> None:
    gpu = card()
    free, slow = (
        ran("deit-small", gpu.replace(dispatch_s=seconds), "eager") for seconds in (0.0, max(a, b))
    )
    made = launches_of(DEIT.bind(), gpu, "fp16", ENGINES["eager"])
    issued = sum(one.issued for one in made)
    dispatch = np.ceil(max(a, b) * gpu.clock_hz)
    assert slow.cycles >= max(free.cycles, issued * dispatch)
    assert slow.cycles <= free.cycles + issued * dispatch


def test_a_slow_host_sets_the_time_of_eager_and_not_that_of_a_recorded_graph() -> None:
    gpu = card().replace(dispatch_s=1e-3)
    eager, compiled = ran("deit-small", gpu, "eager"), ran("deit-small", gpu, "compiled")
    assert eager.latency_s > 0.1
    assert eager.losses.shares()["wait"] > 0.95
    assert {k.mapping for k in eager.operators[:1]} == {"launch-bound"}
    assert 1e-3 < compiled.latency_s < 3e-3


def test_a_graph_ends_where_the_host_must_read_a_count() -> None:
    slow = card().replace(dispatch_s=1e-3, sync_s=0.0)
    fast = slow.replace(dispatch_s=0.0)
    added = ran("heatvit-deit-small", slow, "compiled").cycles
    added -= ran("heatvit-deit-small", fast, "compiled").cycles
    assert added == 4 * np.ceil(1e-3 * slow.clock_hz)  # one at the start, one behind each selector


def test_a_read_back_is_waited_for() -> None:
    gpu = card().replace(dispatch_s=0.0)
    with_it, without = (
        ran("heatvit-deit-small", gpu.replace(sync_s=seconds), "compiled")
        for seconds in (1e-3, 0.0)
    )
    assert with_it.cycles - without.cycles == 3 * np.ceil(1e-3 * gpu.clock_hz)
    host = with_it.spans.unit == UNITS.index("host")
    assert host.sum() == len(with_it.operators) + 3


# Models of a GPU


@pytest.mark.parametrize("model", MODELS)
def test_the_roofline_is_as_it_was(model: str) -> None:
    bind = KEPT if model.startswith("heatvit") else None
    workload = zoo.load(model)
    result = simulate(workload, card(), bind=bind, model="roofline")
    spans, operators = run_kernels(workload.bind(bind), card(), "fp16")
    assert (result.cycles, result.operators) == (spans.cycles, operators)
    assert (result.model, result.engine, result.confidence) == ("roofline", "", {})


@pytest.mark.parametrize("model", MODELS)
def test_kernels_are_never_faster_than_the_arithmetic_at_its_peak(model: str) -> None:
    for engine in ENGINES:
        result = ran(model, card(), engine)
        for kernel in result.operators:
            least_s = 2 * kernel.macs / card().flops_per_s("fp16")
            assert kernel.cycles >= least_s * card().clock_hz * (1 - 1e-9)
            assert 0 <= kernel.utilization <= 1


@pytest.mark.parametrize(
    ("machine", "options", "text"),
    [
        ("edge-32x32", {"engine": "eager"}, "engine=eager: wanted a GPU, got edge-32x32"),
        ("edge-32x32", {"model": "kernels"}, "model=kernels: wanted a GPU, got edge-32x32"),
        ("a100-80gb", {"model": "magic"}, "model: wanted one of kernels, roofline, got 'magic'"),
        ("a100-80gb", {"engine": "onnx"}, "engine: wanted one of eager,"),
        (
            "a100-80gb",
            {"engine": "eager", "model": "roofline"},
            "engine=eager: the roofline knows no engines",
        ),
        (
            "a100-80gb",
            {"engine": "eager", "format": "fp8"},
            "a100-80gb: format: wanted one of int4",
        ),
    ],
)
def test_what_does_not_apply_is_refused(machine: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(MappingError) as caught:
        simulate(DEIT, load_machine(machine), **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_a_gpu_without_a_family_is_a_roofline() -> None:
    gpu = card().replace(family=None)
    chosen = how(gpu)
    assert chosen is not None
    assert chosen.model == "roofline"
    with pytest.raises(MappingError, match="wants a GPU with a family"):
        how(gpu, "kernels")
    assert how(load_machine("edge-32x32")) is None


def test_what_ran_is_part_of_the_hash() -> None:
    results = [ran("deit-small", card(), engine) for engine in ENGINES]
    results.append(simulate(DEIT, card(), model="roofline"))
    assert len({result.config_hash for result in results}) == len(results)


def test_a_result_does_not_depend_on_what_ran_before() -> None:
    first = ran("deit-small", card(), "eager")
    ran("deit-small", card("h200"), "eager")
    ran("deit-small", card(), "eager", batch=8)
    again = ran("deit-small", card(), "eager")
    assert first.operators == again.operators
    assert first.bindings == again.bindings


def test_recent_values_are_kept_and_the_oldest_goes() -> None:
    made: list[str] = []

    def value(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key.upper()

        return recent.get(key, make)

    recent: Recent[str] = Recent(2)
    assert [value(key) for key in ("a", "b", "a", "c", "a", "b")] == ["A", "B", "A", "C", "A", "B"]
    assert made == ["a", "b", "c", "b"]


# Power


def test_a_board_at_its_limit_lowers_its_clock() -> None:
    gpu = card("t4")
    flops = 1e12
    full_s = flops / gpu.flops_per_s("fp16")
    taken_s = gpu.seconds_at_tdp(seconds=full_s, flops=flops, dram_bytes=0, format="fp16")
    dynamic_j = flops * float(gpu.pj_per_flop.get("fp16")) * 1e-12
    assert dynamic_j / full_s + gpu.running_w > gpu.tdp_w
    assert dynamic_j / taken_s + gpu.running_w == pytest.approx(gpu.tdp_w)
    idle_s = gpu.seconds_at_tdp(seconds=1.0, flops=flops, dram_bytes=0, format="fp16")
    assert idle_s == 1.0
    full = gpu.replace(running_w=gpu.tdp_w)
    assert full.seconds_at_tdp(seconds=1.0, flops=1e15, dram_bytes=0, format="fp16") == 1.0


@pytest.mark.parametrize("name", GPUS)
def test_power_never_exceeds_the_limit(name: str) -> None:
    gpu = card(name)
    for kernel in ran("sd15-unet", gpu, "compiled").operators:
        assert kernel.total_j <= gpu.tdp_w * kernel.cycles / gpu.clock_hz * (1 + 1e-9)


# Pipelines, policies and the command line


def test_a_pipeline_runs_under_an_engine() -> None:
    found = pipeline("ddpm-cifar10-deepcache-5")
    eager, compiled = (
        run_pipeline(found, card(), engine=engine).total for engine in ("eager", "compiled")
    )
    plain = run_pipeline(found, card(), model="roofline").total
    assert (eager.engine, compiled.engine, plain.model) == ("eager", "compiled", "roofline")
    assert eager.cycles > compiled.cycles
    assert eager.losses.total == eager.cycles
    assert sum(eager.confidence.values()) == pytest.approx(1)
    assert len({result.config_hash for result in (eager, compiled, plain)}) == 3


def test_policies_run_kernel_by_kernel() -> None:
    counts = np.array([[150, 90, 50], [120, 60, 9], [100, 80, 40], [90, 30, 20]])
    names = policies("pad-batch,bucket,pack")
    run = run_policies(
        zoo.load("heatvit-deit-small"), card(), counts, policies=names, batch=4, engine="compiled"
    )
    by_name = {one.policy.name: one for one in run.policies}
    assert by_name["pack"].macs < by_name["pad-batch"].macs
    for one in run.policies:
        cycles = float(sum(one.steps.values(), Fraction(0)))
        assert cycles == pytest.approx(one.busy_s * card().clock_hz)


def test_the_command_line_says_which_model_and_engine_ran(tilewise: Callable[..., Any]) -> None:
    said = tilewise("run", "deit-small", "--on", "a100-80gb", "--engine", "eager")
    assert "kernels, eager, of its time" in said.out
    values = json.loads(
        tilewise(
            "run", "deit-small", "--on", "a100-80gb", "--gpu-model", "roofline", "--json", "-"
        ).out
    )
    assert (values["model"], values["engine"], values["confidence"]) == ("roofline", "", {})
    assert values["latency_s"] == simulate(DEIT, card(), model="roofline").latency_s
    code, out, err = tilewise("run", "deit-small", "--on", "edge-32x32", "--engine", "eager")
    assert (code, out) == (2, "")
    assert err == (
        "tilewise: engine=eager: wanted a GPU, got edge-32x32, which is an accelerator; "
        "leave it out\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "ddpm-cifar10-deepcache-5"),
        ("compare", "deit-tiny", "deit-small"),
        ("compare", "ddpm-cifar10", "ddpm-cifar10-deepcache-5"),
    ],
)
def test_engines_are_passed_on(tilewise: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    asked = (*arguments, "--on", "a100-80gb", "--json", "-")
    times: list[str] = []
    for options in (("--engine", "eager"), ("--engine", "compiled"), ("--gpu-model", "roofline")):
        code, out, _ = tilewise(*asked, *options)
        assert code == 0
        values = json.loads(out)
        found = values["results"][-1] if "results" in values else values
        assert found["engine"] == ("" if "roofline" in options else options[1])
        times.append(found["latency_s"])
    assert len(set(times)) == 3


def test_a_product_of_no_columns_only_writes_its_zeros() -> None:
    """A selector of a narrow model has a layer that an integer division leaves nothing of."""
    narrow = vit(depth=3, embed=32, heads=1, mlp_ratio=2.0, selectors=(2,))
    result = simulate(narrow, card(), bind={"kept_1": 20})
    (empty,) = [o for o in result.operators if o.name == "selectors.0.head_weights.2/MatMul"]
    assert empty.macs == 0
    assert 0 < empty.cycles < 1.2 * np.ceil(card().launch_s * card().clock_hz)


@pytest.mark.parametrize("model", ["kernels", "roofline"])
@pytest.mark.parametrize("format", ["fp8", "fp9"])
def test_a_format_that_a_gpu_lacks_is_refused_with_those_it_has(model: str, format: str) -> None:
    wanted = rf"^a100-80gb: format: wanted one of int4, .*, fp32, got '{format}'$"
    with pytest.raises(MappingError, match=wanted):
        simulate(DEIT, card(), format=format, model=model)
