"""Which question: does every engine launch each operator once, in an order that can run?"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch import load_machine
from tilewise.sim.errors import MappingError
from tilewise.sim.gpu.autocast import autocast
from tilewise.sim.gpu.engines import ENGINES, engine
from tilewise.sim.gpu.launches import Launch, launches, numbered
from tilewise.sim.gpu.run import launches_of
from tilewise.sim.plan import layer
from tilewise.workloads import zoo
from tilewise.workloads.extent import known
from tilewise.workloads.fused_projections import fused_projections
from tilewise.workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
)
from tilewise.workloads.packing import side_by_side
from tilewise.workloads.quantization import in_format

ROWS, COLUMNS = 4, 8
SIZE = ROWS * COLUMNS
GPU: Any = load_machine("a100-80gb")


def operator(kind: str, name: str, sources: Sequence[str]) -> Operator:
    """One that reads whole operands and makes as much."""
    said: dict[str, Any] = {
        "name": name,
        "operands": tuple(Operand(sources=(s,), elements=SIZE, format="fp16") for s in sources),
        "shape": (ROWS, COLUMNS),
        "format": "fp16",
    }
    if kind == "matmul":
        said |= {"weight_formats": (("fp16", COLUMNS),), "weights": 1}
        return MatMul(**said, m=ROWS, k=COLUMNS, n=COLUMNS)
    if kind == "norm":
        return Normalization(**said, form="layer", rows=ROWS, row_length=COLUMNS)
    if kind == "movement":
        return Movement(**said, function="gather")
    return Elementwise(**said, function="add" if len(sources) > 1 else "gelu")


Graph = tuple[tuple[Operator, ...], tuple[str, ...]]


def launched(graph: Graph, name: str) -> tuple[Launch, ...]:
    return launches(graph[0], graph[1], ENGINES[name])


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Operators that each read some before them or the input, and what the graph leaves."""
    names = ["x"]
    found: list[Operator] = []
    for number in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(["matmul", "norm", "movement", "elementwise", "elementwise"]))
        most = 2 if kind == "elementwise" else 1
        sources = draw(st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True))
        found.append(operator(kind, f"o{number}", sources))
        names.append(f"o{number}")
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=2, unique=True))
    return tuple(found), tuple(outputs)


ANY_ENGINE = st.sampled_from(sorted(ENGINES))


@given(graphs(), ANY_ENGINE)
def test_every_operator_is_in_one_kernel(graph: Graph, name: str) -> None:
    made = launched(graph, name)
    names = [o.name for one in made for o in one.operators]
    assert sorted(names) == sorted(o.name for o in graph[0])


@given(graphs(), ANY_ENGINE)
def test_what_a_kernel_reads_has_been_written_and_outputs_are_left(graph: Graph, name: str) -> None:
    written = {"x"}
    for one in launched(graph, name):
        assert all(written.issuperset(operand.sources) for operand in one.reads)
        written |= {o.name for o in one.writes}
    assert written.issuperset(graph[1])


@given(graphs(), st.sampled_from(["compiled", "tensorrt"]))
def test_who_fuses_launches_no_more_kernels_and_moves_no_more(graph: Graph, name: str) -> None:
    eager, fused = launched(graph, "eager"), launched(graph, name)
    assert len(eager) == len(graph[0]) >= len(fused)
    moved = [sum(one.dram_bytes for one in made) for made in (eager, fused)]
    assert moved[0] >= moved[1]


@pytest.mark.parametrize("name", ["deit-small", "heatvit-deit-small", "sd15-unet", "sdxl-unet"])
def test_each_engine_fuses_more_of_the_zoos_models_than_the_one_before(name: str) -> None:
    model = zoo.load(name)
    bound = model.bind({"kept_1": 137, "kept_2": 69, "kept_3": 48} if model.dynamic else None)
    counts = [
        len(launches_of(bound, GPU, "fp16", ENGINES[one]))
        for one in ("eager", "compiled", "tensorrt")
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1]


@given(graphs(), ANY_ENGINE)
def test_kernels_that_are_alike_do_the_same(graph: Graph, name: str) -> None:
    by_number: dict[int, set[object]] = {}
    for one in numbered(launched(graph, name)):
        work = tuple(type(o) for o in one.operators), one.macs, one.read_bytes, one.written_bytes
        by_number.setdefault(one.alike, set()).add(work)
    assert all(len(works) == 1 for works in by_number.values())


def chain(*kinds: str) -> tuple[Operator, ...]:
    names = ["x", *(f"o{number}" for number in range(len(kinds)))]
    return tuple(operator(kind, f"o{n}", [names[n]]) for n, kind in enumerate(kinds))


def kernels(made: Sequence[Launch]) -> list[list[str]]:
    return [[o.name for o in one.operators] for one in made]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("eager", [["o0"], ["o1"], ["o2"], ["o3"]]),
        ("compiled", [["o0"], ["o1", "o2", "o3"]]),
        ("tensorrt", [["o0", "o1"], ["o2", "o3"]]),
    ],
)
def test_engines_fuse_what_they_say(name: str, wanted: list[list[str]]) -> None:
    """A product, an activation, a norm, an activation."""
    operators = chain("matmul", "elementwise", "norm", "elementwise")
    assert kernels(launches(operators, ("o3",), engine(name))) == wanted


def test_a_residual_sum_is_normed_in_its_kernel_and_left_for_the_next_sum() -> None:
    add = operator("elementwise", "sum", ["x", "y"])
    norm = operator("norm", "norm", ["sum"])
    product = operator("matmul", "product", ["norm"])
    again = operator("elementwise", "again", ["sum", "product"])
    made = launches((add, norm, product, again), ("again",), engine("compiled"))
    assert kernels(made) == [["sum", "norm"], ["product"], ["again"]]
    assert [o.name for o in made[0].writes] == ["sum", "norm"]
    assert made[0].lead is norm
    assert made[0].dram_bytes == 2 * 4 * SIZE  # two operands, two results


def test_a_kernel_that_others_read_from_takes_no_more() -> None:
    """The second activation would have to run before the product that the sum needs."""
    first = operator("elementwise", "first", ["x"])
    product = operator("matmul", "product", ["first"])
    last = operator("elementwise", "last", ["first", "product"])
    made = launches((first, product, last), ("last",), engine("compiled"))
    assert kernels(made) == [["first"], ["product"], ["last"]]


def test_eager_convolutions_are_converted_and_concatenations_copied() -> None:
    unet = zoo.load("sd15-unet").bind()
    eager, compiled = (
        launches_of(unet, GPU, "fp16", ENGINES[name]) for name in ("eager", "compiled")
    )
    convolutions = sum(isinstance(one.lead, Convolution) for one in eager)
    copies = [one.lead.function for one in eager if isinstance(one.lead, Movement)]
    assert copies.count("nchw_to_nhwc") == copies.count("nhwc_to_nchw") == convolutions == 98
    assert copies.count("concat") == 13  # 12 skip connections, and sine and cosine of the step
    assert not any("nhwc" in one.name or "concat" in one.name for one in compiled)
    assert copies.count("weights_to_nhwc") == convolutions
    assert [one.issued for one in eager].count(False) == 3 * convolutions
    biases = [one for one in eager if one.name.endswith(".bias")]
    assert len(biases) == convolutions


def test_convolutions_in_fp32_are_left_in_their_layout() -> None:
    unet = zoo.load("sd15-unet").bind()
    names = [one.name for one in launches_of(unet, GPU, "fp32", ENGINES["eager"])]
    assert not any("nhwc" in name for name in names)


def test_attention_of_several_sizes_is_one_kernel() -> None:
    heatvit = zoo.load("heatvit-deit-small")
    sizes = [
        {"kept_1": 150, "kept_2": 90, "kept_3": 50},
        {"kept_1": 120, "kept_2": 60, "kept_3": 9},
    ]
    images = side_by_side([heatvit.bind(kept) for kept in sizes])
    made = launches_of(images, GPU, "fp16", ENGINES["compiled"])
    attentions = [one for one in made if isinstance(one.lead, Attention)]
    assert len(attentions) == 12
    assert [len(one.operators) for one in attentions] == [1] * 3 + [2] * 9
    parts = [o for o in images.operators if isinstance(o, Attention)]
    assert sum(one.macs for one in attentions) == sum(known(o.macs) for o in parts)
    assert {layer(one.name) for one in attentions} == {one.name for one in attentions}


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    with pytest.raises(MappingError, match=r"^engine: wanted one of eager, .*, got 'onnx'$"):
        engine("onnx")


# Autocast


def test_autocast_casts_weights_and_what_is_in_another_format() -> None:
    operators = chain("norm", "matmul", "elementwise")
    found = {o.name: o for o in autocast(operators, "fp16")}
    assert list(found) == ["o0", "o1.cast_0", "o1.cast_weights", "o1", "o2"]
    assert (found["o0"].format, found["o1"].format, found["o2"].format) == ("fp32", "fp16", "fp16")
    assert found["o1"].operands[0].sources == ("o1.cast_0",)
    weights = found["o1.cast_weights"]
    assert (weights.parameters, weights.elements) == (COLUMNS * COLUMNS, COLUMNS * COLUMNS)
    assert weights.weight_formats == (("fp32", 1),)


@pytest.mark.parametrize("name", ["deit-small", "sd15-unet"])
def test_autocast_changes_formats_and_no_work(name: str) -> None:
    model = in_format(zoo.load(name).bind(), "bf16")
    found = autocast(model.operators, "bf16")
    assert sum(known(o.macs) for o in found) == model.macs
    for o in found:
        if isinstance(o, MatMul | Convolution | Attention):
            assert {operand.format for operand in o.operands} | {o.format} == {"bf16"}
        if isinstance(o, Normalization):
            assert {operand.format for operand in o.operands} | {o.format} == {"fp32"}


def test_compiled_autocast_casts_in_the_kernels_that_make_or_norm() -> None:
    model = zoo.load("deit-small").bind()
    eager, compiled = (
        [one.name for one in launches_of(model, GPU, "fp16", ENGINES[name]) if "cast" in one.name]
        for name in ("eager-autocast", "compiled-autocast")
    )
    weights = [name for name in compiled if name.endswith("cast_weights")]
    assert len(weights) == 50  # of 49 products and a convolution, whatever the engine
    assert len(eager) > 90
    assert len(compiled) - len(weights) <= 2  # of what comes from outside of the graph


# Projections side by side


@pytest.mark.parametrize("name", ["sd15-unet", "sdxl-unet", "deit-small"])
def test_fused_projections_have_the_same_work_and_weights(name: str) -> None:
    model = zoo.load(name)
    fused = fused_projections(model)
    assert fused.bind().macs == model.bind().macs
    assert sum(o.parameters for o in fused.operators) == sum(o.parameters for o in model.operators)
    attentions = sum(isinstance(o, Attention) for o in model.operators)
    fewer = len(model.operators) - len(fused.operators)
    # Of self-attention two of three go, of cross-attention one of two; a ViT's are one already.
    assert fewer == (0 if name == "deit-small" else 3 * attentions // 2)
