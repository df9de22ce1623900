"""A pipeline is the sum of its calls, each simulated once, whatever its calls and the machine."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
from command_line import Run
from unet_cases import tiny_unet

from tilewise.arch import load_machine
from tilewise.sim import pipeline as simulation
from tilewise.sim.pipeline import PipelineResult, run_pipeline
from tilewise.sim.policies import PolicyError
from tilewise.sim.result import Result
from tilewise.sim.simulate import simulate
from tilewise.workloads import zoo
from tilewise.workloads.deepcache import average, full_step, partial_step
from tilewise.workloads.extent import symbol
from tilewise.workloads.graph import BindingError, Symbol, Workload
from tilewise.workloads.operator import MatMul, Operand
from tilewise.workloads.pipeline import Call, Pipeline
from tilewise.workloads.zoo.pipelines import is_pipeline, pipeline, pipeline_names

UNET = tiny_unet()
EDGE = load_machine("edge-32x32")


def linear() -> Workload:
    """A product of `tokens` rows with a 64 x 64 matrix."""
    tokens, batch = symbol("tokens"), symbol("batch")
    product = MatMul(
        name="linear",
        operands=(Operand(sources=("x",), elements=batch * tokens * 64),),
        shape=(batch, tokens, 64),
        m=batch * tokens,
        k=64,
        n=64,
        weights=1,
    )
    return Workload(
        name="linear",
        operators=(product,),
        inputs=(("x", (batch, tokens, 64)),),
        outputs=("linear",),
        symbols=(Symbol(name="batch", default=1), Symbol(name="tokens", default=77)),
        images=batch,
        parameters=64 * 64,
    )


def three_calls() -> Pipeline:
    """An encoder, guided steps of which one is full, and a second network behind them."""
    full = partial(full_step, branch=2)
    step = Call(label="step, full", workload=UNET, inputs=2, change=full)
    quick = replace(step, label="step, partial", count=4, change=partial(partial_step, branch=2))
    encoder = Call(label="encoder", workload=linear(), inputs=2)
    return Pipeline(name="three", description="for tests", calls=(encoder, step, quick))


def scales(*sizes: int) -> Pipeline:
    """One network at several sizes, the first of them twice."""
    calls = tuple(
        Call(label=f"{size}", workload=linear(), count=1 + (not at), bind={"tokens": size})
        for at, size in enumerate(sizes)
    )
    return Pipeline(name="scales", description="for tests", calls=calls)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workloads that are simulated while a test runs."""
    ran: list[str] = []

    def watched(workload: Workload, *arguments: object, **options: object) -> Result:
        ran.append(workload.name)
        return simulate(workload, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(simulation, "simulate", watched)
    return ran


@pytest.mark.parametrize("machine", ["edge-32x32", "zcu102-heatvit", "h200"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_pipeline_takes_what_its_calls_take_one_after_another(machine: str, batch: int) -> None:
    on, made = load_machine(machine), three_calls()
    total = run_pipeline(made, on, batch=batch).total
    alone = [simulate(call.load(), on, batch=call.inputs * batch) for call in made.calls]
    counts = [call.count for call in made.calls]
    both = list(zip(counts, alone, strict=True))
    assert total.cycles == sum(count * one.cycles for count, one in both)
    assert total.macs == sum(count * one.macs for count, one in both)
    assert total.dram_bytes == sum(count * one.dram_bytes for count, one in both)
    assert total.energy_j == pytest.approx(sum(count * one.energy_j for count, one in both))
    busy = sum(count * one.utilization * one.cycles for count, one in both)
    assert total.utilization == pytest.approx(busy / total.cycles)
    assert total.losses.total == sum(count * one.losses.total for count, one in both)
    assert total.images_per_s == pytest.approx(batch / total.latency_s)


def test_each_different_call_runs_once(simulated: list[str]) -> None:
    made = three_calls()
    twice = replace(made, calls=(*made.calls, replace(made.calls[0], label="encoder again")))
    runs: dict[str, Result] = {}
    first = run_pipeline(twice, EDGE, runs=runs)
    assert simulated == ["linear", "tiny-unet, full", "tiny-unet, partial"]
    assert run_pipeline(twice, EDGE, runs=runs).total.cycles == first.total.cycles
    assert len(simulated) == 3
    run_pipeline(twice, EDGE, runs=runs, batch=2)
    assert len(simulated) == 6


def test_a_network_counts_its_parameters_once_however_often_it_is_called() -> None:
    assert three_calls().parameters() == UNET.parameters + 64 * 64


def test_a_guided_call_takes_two_inputs_for_an_image() -> None:
    one = Call(label="step", workload=UNET)
    assert replace(one, inputs=2).counts().macs == 2 * one.counts().macs
    assert replace(one, inputs=2).binding(3) == {"batch": 6}


def test_a_network_without_a_batch_runs_for_each_input() -> None:
    fixed = UNET.bind()
    call = Call(label="step", workload=fixed, inputs=2)
    assert call.counts().macs == UNET.bind({"batch": 2}).macs
    made = Pipeline(name="one", description="", calls=(call,))
    assert run_pipeline(made, EDGE, batch=2).total.macs == made.counts().macs * 2


def runs_of(made: Pipeline, policy: str, buckets: int = 4) -> PipelineResult:
    return run_pipeline(made, EDGE, policy=policy, buckets=buckets)


def test_calls_of_different_sizes_are_padded_as_a_policy_says() -> None:
    made = scales(10, 20, 400, 500)
    exact, bucket, most = (runs_of(made, name, 2) for name in ("exact", "bucket", "pad-max"))
    taken = [call.result.bindings["tokens"] for call in bucket.calls]
    assert taken == [20, 20, 500, 500]
    assert {call.result.bindings["tokens"] for call in most.calls} == {500}
    assert exact.total.macs == (10 + 10 + 20 + 400 + 500) * 64 * 64
    assert bucket.total.macs == (3 * 20 + 2 * 500) * 64 * 64
    assert most.total.macs == 5 * 500 * 64 * 64
    assert exact.total.cycles < bucket.total.cycles < most.total.cycles


def test_padding_is_a_loss_and_not_work_done() -> None:
    made = scales(100, 400)
    exact, most = runs_of(made, "exact"), runs_of(made, "pad-max")
    assert most.total.losses.useful == exact.total.losses.useful
    assert most.calls[0].needed == Fraction(100, 400)
    assert most.total.losses.padding == 2 * (400 - 100) * 64 * 64
    assert most.total.losses.total == most.total.cycles * 32 * 32
    assert exact.total.losses.padding == 0


def test_a_bucket_for_each_size_is_exact() -> None:
    made = scales(10, 20, 400)
    assert runs_of(made, "bucket", 3).total.cycles == runs_of(made, "exact").total.cycles


def test_networks_of_one_size_are_not_padded() -> None:
    assert (
        runs_of(three_calls(), "pad-max").total.cycles
        == runs_of(three_calls(), "exact").total.cycles
    )


def test_a_policy_that_is_none_of_a_pipeline_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"wanted one of exact, pad-max, bucket .*, got pack"):
        runs_of(three_calls(), "pack")


@pytest.mark.parametrize(
    ("bind", "batch", "message"),
    [
        ({"batch": 2}, 1, "with --batch"),
        ({"height": 2}, 1, "no network of three has a symbol height; they have tokens"),
        ({}, 0, "batch=0 is out of range"),
    ],
)
def test_what_cannot_be_bound_is_refused(bind: dict[str, int], batch: int, message: str) -> None:
    with pytest.raises(BindingError, match=message):
        run_pipeline(three_calls(), EDGE, bind=bind, batch=batch)


def test_a_symbol_is_bound_in_the_networks_that_have_it() -> None:
    found = run_pipeline(three_calls(), EDGE, bind={"tokens": 5}).calls
    assert [dict(call.result.bindings) for call in found] == [
        {"batch": 2, "tokens": 5}, {"batch": 2}, {"batch": 2},
    ]  # fmt: skip


def test_a_call_that_binds_what_its_network_has_not_is_refused() -> None:
    call = Call(label="step", workload=UNET, bind={"height": 64})
    with pytest.raises(BindingError, match="tiny-unet has no symbol height"):
        call.binding(1)


def test_a_network_that_the_zoo_lacks_is_named() -> None:
    call = Call(label="decoder", workload="no-decoder")
    with pytest.raises(zoo.UnknownModelError, match="the decoder is no-decoder, which the zoo"):
        call.load()


def test_calls_of_one_label_and_of_no_input_are_no_pipeline() -> None:
    call = Call(label="step", workload=UNET)
    with pytest.raises(ValueError, match="calls of different labels"):
        Pipeline(name="two", description="", calls=(call, call))
    with pytest.raises(ValueError, match="a count and inputs of 1 at least, got 0 and 1"):
        replace(call, count=0)


# The zoo's


@pytest.mark.parametrize("name", pipeline_names())
def test_every_network_of_a_pipeline_is_in_the_zoo(name: str) -> None:
    found = pipeline(name)
    assert is_pipeline(name)
    assert name not in zoo.names()
    assert {call.network for call in found.calls} <= set(zoo.names())
    assert len(found.description.splitlines()) == 1


def test_an_image_of_stable_diffusion_by_hand() -> None:
    counts = pipeline("sd15").counts()
    # Two inputs of the text encoder and of 50 steps, one of the decoder; GMACs of published.csv.
    assert counts.macs / 1e9 == pytest.approx(2 * 6.649 + 50 * 2 * 401.637 + 1257.259, rel=1e-3)
    without = 2 * 6.54 + 50 * 2 * 338.611 + 1240.08
    assert counts.macs_without_attention / 1e9 == pytest.approx(without, rel=1e-3)


def test_steps_and_intervals_stand_in_the_name() -> None:
    counts = {name: [c.count for c in pipeline(name).calls] for name in (
        "sd15", "sd15-25", "sd15-25-deepcache-4", "sd15-deepcache-1", "sdxl-turbo", "sdxl-turbo-4",
    )}  # fmt: skip
    assert list(counts.values()) == [
        [1, 50, 1], [1, 25, 1], [1, 7, 18, 1], [1, 50, 1], [1, 1, 1, 1], [1, 1, 4, 1],
    ]  # fmt: skip


def test_the_steps_of_a_pipeline_are_the_average_of_the_paper() -> None:
    found = pipeline("ddpm-cifar10-deepcache-5").counts()
    full, cut = (call.counts().macs for call in pipeline("ddpm-cifar10-deepcache-5").calls)
    assert found.macs == pytest.approx(100 * average(full, cut, 100, 5))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sd15-deepcache", "wanted 1 step at least.*as in sd15-deepcache-5"),
        ("sd15-0", "wanted 1 step at least, as in sd15-50"),
        ("sd15-8-deepcache-9", "an interval of 1 to the steps"),
        ("snapfusion-deepcache-5", "where DeepCache would cut snapfusion is not known"),
        ("sd16", "no pipeline is called sd16. There are sd15, "),
    ],
)
def test_a_name_that_is_none_says_what_there_is(name: str, message: str) -> None:
    with pytest.raises(zoo.UnknownModelError, match=message):
        pipeline(name)


# The command line


@pytest.fixture
def tilewise(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "100")
    return Run(capsys)


def test_run_prints_every_call_and_writes_it(tilewise: Run) -> None:
    code, out, err = tilewise("run", "ddpm-cifar10-deepcache-5", "--on", "h200")
    assert (code, err) == (0, "")
    for line in ("UNet, full", "UNet, partial", "each loads its weights from DRAM again"):
        assert line in out
    asked = ("--batch", "2", "--bits", "W8A8", "--json", "-")
    values = json.loads(tilewise("run", "ddpm-cifar10-deepcache-5", "--on", "h200", *asked).out)
    assert [(call["count"], call["bindings"]["batch"]) for call in values["calls"]] == [
        (20, 2), (80, 2),
    ]  # fmt: skip
    assert values["latency_s"] == pytest.approx(sum(call["latency_s"] for call in values["calls"]))
    assert values["images_per_s"] == pytest.approx(2 / values["latency_s"])
    assert sum(values["losses"].values()) == pytest.approx(1)


def test_compare_says_what_fewer_macs_buy(tilewise: Run) -> None:
    arguments = ("compare", "ddpm-cifar10", "ddpm-cifar10-deepcache-5", "--on", "h200")
    code, out, err = tilewise(*arguments)
    assert (code, err) == (0, "")
    assert "ddpm-cifar10-deepcache-5 on h200: MACs 2.05x fewer, latency " in out
    mixed = ("compare", "ddpm-cifar10", "ddpm-cifar10-unet", "--on", "h200", "--json", "-")
    values = json.loads(tilewise(*mixed).out)
    assert values["comparison"][1]["mac_ratio"] == pytest.approx(100)


def test_pipelines_are_listed_and_shown(tilewise: Run) -> None:
    listed = tilewise("list", "pipelines").out
    assert all(name in listed for name in pipeline_names())
    shown = tilewise("show", "ddpm-cifar10-deepcache-5").out
    assert "UNet, partial: ddpm-cifar10-unet with batch=1, height=32, width=32" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "sd15-0", "--on", "h200"), "wanted 1 step at least"),
        (
            ("run", "ddpm-cifar10", "--on", "h200", "--html", "a.html"),
            "--html: a pipeline does not",
        ),
        (("run", "ddpm-cifar10", "--on", "h200", "--policy", "pack"), "wanted one of exact, pad"),
        (("run", "deit-small", "--on", "h200", "--policy", "exact"), "only a pipeline takes it"),
        (("show", "snapfusion-deepcache-2"), "where DeepCache would cut snapfusion is not known"),
    ],
)
def test_a_mistake_ends_in_one_line(
    tilewise: Run, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = tilewise(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
