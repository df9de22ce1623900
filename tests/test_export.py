"""What is exported computes what torch computes, whatever is pruned."""

import copy
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from optional import needed

from tilewise.workloads import onnx_export
from tilewise.workloads.extent import evaluate
from tilewise.workloads.extent_text import parse
from tilewise.workloads.extras import MissingExtraError, require
from tilewise.workloads.onnx_file import load
from tilewise.workloads.zoo import torch_unet, torch_vit
from tilewise.workloads.zoo.configs import arguments
from tilewise.workloads.zoo.vits import VitConfig

pytestmark = pytest.mark.export

Array: TypeAlias = NDArray[np.float32]
Pruned: TypeAlias = tuple[Any, onnx.ModelProto]

DENSE = VitConfig(image=32, patch=8, depth=2, embed=48, heads=3, classes=10)
PRUNED = VitConfig(image=48, patch=8, depth=4, embed=48, heads=3, classes=10, selectors=(2, 3, 4))
UNET = dict(arguments("sd15-unet")) | {
    "block_out_channels": (16, 16, 32, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
}


def run(model: onnx.ModelProto, **inputs: Array) -> dict[str, NDArray[Any]]:
    """The outputs of a model in onnxruntime, by name."""
    session = needed("onnxruntime").InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def images(count: int, config: VitConfig) -> Array:
    """Random images of different contrast."""
    numbers = np.random.default_rng(1)
    contrast = numbers.uniform(0.2, 3, (count, 1, 1, 1))
    shape = (count, 3, config.image, config.image)
    return (contrast * numbers.standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="module")
def pruned() -> Pruned:
    """A pruning ViT whose selectors are of different minds about patches, and its export."""
    torch = needed("torch")
    needed("onnxscript")
    torch.manual_seed(5)
    module = torch_vit.build(PRUNED)
    with torch.no_grad():
        for parameter in module.selectors.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 2 * parameter.shape[-1] ** -0.5)
            else:
                parameter.zero_()
    return module, torch_vit.export_vit(PRUNED, weights=True, module_factory=lambda: module)


def assert_as_in_torch(module: Any, model: onnx.ModelProto, image: Array) -> tuple[int, ...]:
    """Asserts that a pruning ViT computes what its export computes; returns what it kept."""
    torch = needed("torch")
    with torch.no_grad():
        logits, *counts = module(torch.from_numpy(image))
    kept = tuple(int(count) for count in counts)
    result = run(model, image=image)
    assert tuple(int(result[f"kept_{k + 1}"]) for k in range(len(kept))) == kept
    np.testing.assert_allclose(result["logits"], logits.numpy(), rtol=0, atol=1e-4)
    return kept


def test_a_pruning_vit_computes_in_onnxruntime_what_it_computes_in_torch(pruned: Pruned) -> None:
    kept = {assert_as_in_torch(*pruned, image[None]) for image in images(6, PRUNED)}
    assert len(kept) > 3, f"the images should differ in what is kept: {kept}"
    assert all(PRUNED.patches >= a >= b >= c for a, b, c in kept)


@pytest.mark.parametrize("counts", list(itertools.product([0, PRUNED.patches], repeat=3)))
def test_it_does_so_too_where_a_selector_keeps_nothing_or_everything(
    pruned: Pruned, counts: tuple[int, ...]
) -> None:
    torch = needed("torch")
    module, model = copy.deepcopy(pruned)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for index, wanted in enumerate(counts):
        last = module.selectors[index].classifier[-1]
        keep = 3.0 if wanted else -3.0
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([keep, -keep]))
        for name, parameter in (("weight", last.weight.T), ("bias", last.bias)):
            full = f"selectors.{index}.classifier.4.{name}"
            changed = onnx.numpy_helper.from_array(parameter.detach().numpy(), full)
            stored[full].CopyFrom(changed)
    assert assert_as_in_torch(module, model, images(1, PRUNED)) == tuple(
        itertools.accumulate(counts, min)
    )


def test_every_size_the_graph_declares_is_the_size_at_run_time(pruned: Pruned) -> None:
    model = copy.deepcopy(pruned[1])
    results = {output.name for output in model.graph.output}
    declared = [
        value
        for value in model.graph.value_info
        if value.name not in results and value.type.tensor_type.HasField("shape")
    ]
    model.graph.output.extend(declared)
    outputs = run(model, image=images(1, PRUNED))
    kept: dict[str, Any] = {name: int(outputs[name]) for name in ("kept_1", "kept_2", "kept_3")}
    for value in declared:
        assert outputs[value.name].shape == tuple(
            evaluate(parse(size.dim_param), kept) if size.dim_param else size.dim_value
            for size in value.type.tensor_type.shape.dim
        ), value.name
    assert len(declared) > 200


@pytest.mark.parametrize("packed", [False, True])
def test_pruned_patches_become_one_token_their_mean_weighted_by_score(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = needed("torch")
    selector = torch_vit.build(PRUNED).selectors[0]
    given = torch.tensor([[0.9, 0.3, 0.7, 0.1, 0.8]])
    monkeypatch.setattr(selector, "scores", Mock(return_value=given))
    x = torch.randn(1, 6, PRUNED.embed)
    out, kept = selector(x, packed=packed)
    # an earlier package token, the last, goes into the new one however well it scores
    stay = [1, 3] if packed else [1, 3, 5]
    merge = {2: 0.3, 4: 0.1} | ({5: 0.8} if packed else {})
    assert kept == len(stay)
    assert torch.equal(out[:, :-1], x[:, [0, *stay]])
    mean = sum(score * x[0, token] for token, score in merge.items()) / sum(merge.values())
    torch.testing.assert_close(out[0, -1], mean)


def test_opsets_20_and_23_compute_the_same_for_any_batch() -> None:
    torch = needed("torch")
    needed("onnxscript")
    module = torch_vit.build(DENSE)
    models = [
        torch_vit.export_vit(DENSE, opset=opset, weights=True, module_factory=lambda: module)
        for opset in (20, 23)
    ]
    for count in (1, 3):
        image = images(count, DENSE)
        logits = module(torch.from_numpy(image))[0].detach().numpy()
        for model in models:
            np.testing.assert_allclose(run(model, image=image)["logits"], logits, rtol=0, atol=1e-5)
    written_out, whole = (Counter(node.op_type for node in model.graph.node) for model in models)
    assert whole["Attention"] == written_out["Softmax"] == DENSE.depth
    assert whole["Softmax"] == written_out["Attention"] == 0
    assert written_out["MatMul"] == whole["MatMul"] + 2 * DENSE.depth


@pytest.mark.slow
def test_a_unet_computes_in_onnxruntime_what_it_computes_in_torch() -> None:
    torch = needed("torch")
    needed("onnxscript")
    needed("diffusers")
    torch.manual_seed(0)
    module = torch_unet.build(UNET)
    model = torch_unet.export_unet(UNET, weights=True, module_factory=lambda: module)
    for batch, height, width, text_tokens in ((1, 8, 8, 1), (3, 24, 16, 9), (65, 8, 8, 3)):
        inputs = {
            "sample": torch.randn(batch, 4, height, width),
            "timestep": torch.rand(batch) * 999,
            "encoder_hidden_states": torch.randn(batch, text_tokens, 12),
        }
        with torch.no_grad():
            (noise,) = module(**inputs, return_dict=False)
        result = run(model, **{name: tensor.numpy() for name, tensor in inputs.items()})
        np.testing.assert_allclose(result["noise"], noise.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("opset", [17, 26])
def test_an_opset_that_torch_writes_wrongly_is_refused(opset: int) -> None:
    needed("torch")
    with pytest.raises(ValueError, match=rf"wanted 18 to 25, got {opset}"):
        torch_vit.export_vit(DENSE, opset=opset)


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtraError, match=r'pip install "tilewise\[export\]"'):
        require("no_such_package.at_all", "export")


@pytest.mark.parametrize("fault", ["write_bytes", "replace"])
def test_a_failing_save_leaves_the_old_file_whole(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx.gz"
    path.write_bytes(b"old")

    def fail(self: Path, *_: object) -> None:
        raise OSError(f"no space for {self}")

    monkeypatch.setattr(Path, fault, fail)
    with pytest.raises(OSError, match="no space"):
        onnx_export.save(onnx.ModelProto(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["onnx", "onnx.gz"])
def test_a_model_is_the_same_bytes_wherever_it_is_saved(ending: str, tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch"])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", [value], [value])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)])
    paths = [tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"]
    for path in paths:
        onnx_export.save(model, path)
        assert load(path)[0] == model
    assert paths[0].read_bytes() == paths[1].read_bytes()
