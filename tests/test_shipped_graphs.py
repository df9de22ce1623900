"""What is shipped is what is exported now: sizes without weights, and the MACs of the models."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
from optional import needed

from tilewise.workloads import zoo
from tilewise.workloads.extent import evaluate
from tilewise.workloads.extent_text import parse
from tilewise.workloads.onnx_file import load
from tilewise.workloads.zoo import generate

QUICK = ("deit-small", "heatvit-digits16")  # a model of each kind that takes seconds to trace
SELECTOR_MACS_PER_TOKEN = 6 * (64 * 32 + 64 * 32 + 32 * 16 + 16 * 2) + 2 * 6 * 3
DEIT_SMALL_MACS = (
    196 * 768 * 384  # patches
    + 12 * (197 * 12 * 384**2 + 2 * 197**2 * 384)  # blocks: linear layers, attention
    + 384 * 1000  # head
)


def shipped(name: str) -> onnx.ModelProto:
    return load(generate.GRAPHS / f"{name}.onnx.gz")[0]


@pytest.mark.export
@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo.exports()
    ],
)
def test_a_shipped_graph_is_what_is_generated_now(name: str, tmp_path: Path) -> None:
    version = ""
    for module in ("diffusers", "onnxscript", "torch"):
        version = needed(module).__version__.partition("+")[0]
    assert f"{name}: new" in generate.generate(name, tmp_path)
    now, then = load(tmp_path / f"{name}.onnx.gz")[0], shipped(name)
    assert Counter(n.op_type for n in now.graph.node) == Counter(n.op_type for n in then.graph.node)
    if then.producer_version.partition("+")[0] == version:  # another torch counts its names anew
        then.producer_version = now.producer_version
        assert now == then


@pytest.mark.parametrize("name", zoo.exports())
def test_a_shipped_graph_holds_no_weights_and_is_valid_once_it_is_given_some(name: str) -> None:
    model = shipped(name)
    assert (generate.GRAPHS / f"{name}.onnx.gz").stat().st_size < 210_000
    without_data = [tensor for tensor in model.graph.initializer if tensor.data_location]
    for tensor in without_data:
        assert not tensor.raw_data
        assert tensor.name in ("cls_token", "pos_embed") or tensor.name.endswith(
            # Those of batch norms are statistics; positions are counted in text encoders.
            (
                ".weight",
                ".bias",
                ".running_mean",
                ".running_var",
                ".position_ids",
                ".class_embedding",
                ".mix_factor",
            )
        )
        model.graph.initializer.remove(tensor)
        given = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(given)
    # What shapes, axes and indices are computed from, frequencies, ones of a norm without weights.
    for tensor in model.graph.initializer:
        # The causal mask of a text encoder is a square of truth values.
        limit = 77**2 if tensor.data_type == onnx.TensorProto.BOOL else 1536
        assert math.prod(tensor.dims) <= limit, f"{tensor.name} is no small constant"
    onnx.checker.check_model(model, full_check=True)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("name", zoo.exports())
def test_a_shipped_graphs_operators_are_named_after_their_modules(name: str) -> None:
    nodes = shipped(name).graph.node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert not any(node.metadata_props or node.doc_string for node in nodes)
    weighted = {
        node.name.rpartition("/")[0]: name.removesuffix(".weight")
        for node in nodes
        for name in node.input
        if name.endswith(".weight")
    }
    assert len(weighted) >= 30
    assert all(module == parameter for module, parameter in weighted.items())


@pytest.mark.parametrize(
    ("name", "binding", "macs"),
    [
        # Touvron et al., ICML 2021, print 4.6 G.
        ("deit-small", {"batch": 1}, DEIT_SMALL_MACS),
        ("deit-small", {"batch": 8}, 8 * DEIT_SMALL_MACS),
        (  # with nothing pruned: one token more from block 4 on, and the selectors
            "heatvit-deit-small",
            {"kept_1": 196, "kept_2": 196, "kept_3": 196},
            DEIT_SMALL_MACS
            + 9 * (12 * 384**2 + 2 * 384 * (198**2 - 197**2))
            + (196 + 197 + 197) * SELECTOR_MACS_PER_TOKEN,
        ),
        # Measured on the torch module with 859.52 M parameters: see torch_unet.
        ("sd15-unet", {"batch": 1, "height": 64, "width": 64, "text_tokens": 77}, 401_636_720_640),
        # The published configuration's count, 3380.6 G, agrees with the torch module's.
        (
            "sdxl-unet",
            {"batch": 1, "height": 128, "width": 128, "text_tokens": 77},
            3_380_618_199_040,
        ),
    ],
)
def test_a_shipped_graph_has_the_macs_of_its_model(
    name: str, binding: dict[str, Any], macs: int
) -> None:
    graph = shipped(name).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        shapes[value.name] = [
            evaluate(parse(size.dim_param), binding) if size.dim_param else size.dim_value
            for size in value.type.tensor_type.shape.dim
        ]
    counted = 0
    for node in graph.node:
        first, second, *rest = [shapes.get(name, []) for name in [*node.input, "", ""]]
        match node.op_type:
            case "MatMul":
                counted += math.prod(first) * second[-1]
            case "Gemm":
                counted += math.prod(first) * shapes[node.output[0]][-1]
            case "Conv":
                counted += math.prod(shapes[node.output[0]]) * math.prod(second[1:])
            case "Attention":
                counted += math.prod(first[:3]) * second[2] * (first[3] + rest[0][3])
            case _:
                pass
    assert counted == macs
