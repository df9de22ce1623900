"""What the exporters of torch write reads as the model that was exported."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
from optional import needed

from tilewise.workloads.graph import Workload
from tilewise.workloads.onnx_reader import read
from tilewise.workloads.operator import Attention, Elementwise, MatMul, Normalization
from tilewise.workloads.zoo import torch_unet, torch_vit
from tilewise.workloads.zoo.configs import arguments
from tilewise.workloads.zoo.vit import vit
from tilewise.workloads.zoo.vits import VitConfig

pytestmark = pytest.mark.export

TINY = VitConfig(image=32, patch=8, depth=2, embed=48, heads=3, classes=10)


def exported(config: VitConfig, opset: int) -> Workload:
    needed("onnxscript")
    model = torch_vit.export_vit(config, opset=opset)
    result = read(model.SerializeToString())
    assert len(model.graph.node) == len(result.operators) + len(result.free)
    assert not result.notes
    return result


def by_torch(module: Any, arguments: tuple[Any, ...], **options: Any) -> bytes:
    """What torch's own exporter writes."""
    torch = needed("torch")
    needed("onnxscript")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, arguments, None if options["dynamo"] else file, verbose=False, **options
        )
    if options["dynamo"]:
        return bytes(program.model_proto.SerializeToString())
    return file.getvalue()


@pytest.mark.parametrize(
    ("selectors", "opsets"),
    [
        ((), (18, 25)),
        ((2,), (20,)),
        pytest.param((), (18, 20, 25), marks=pytest.mark.slow),
    ],
)
def test_a_model_reads_the_same_whatever_its_opset(
    selectors: tuple[int, ...], opsets: tuple[int, ...]
) -> None:
    config = VitConfig(
        image=32, patch=8, depth=2, embed=48, heads=3, classes=10, selectors=selectors
    )
    newest = exported(config, 23)
    assert any(isinstance(operator, Attention) for operator in newest.operators)
    for opset in opsets:
        older = exported(config, opset)
        assert older.operators == newest.operators, opset
        assert older.symbols == newest.symbols
        assert older.parameters == newest.parameters


@pytest.mark.slow
def test_a_unet_reads_the_same_whatever_its_opset() -> None:
    needed("diffusers")
    config = dict(arguments("sd15-unet")) | {
        "block_out_channels": (16, 16, 32, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": 12,
        "attention_head_dim": 2,
    }
    old, new = (
        read(torch_unet.export_unet(config, opset=opset).SerializeToString()) for opset in (18, 23)
    )
    assert old.operators == new.operators
    assert old.constraints == new.constraints


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        pytest.param(
            VitConfig(image=48, patch=16, depth=1, embed=32, heads=4, mlp_ratio=2, classes=7),
            marks=pytest.mark.slow,
        ),
        VitConfig(image=32, patch=8, depth=3, embed=48, heads=3, classes=10, selectors=(2, 3)),
    ],
)
def test_the_vit_in_plain_python_equals_the_exported_one(config: VitConfig) -> None:
    read_back = exported(config, 23)
    built = vit(
        image=config.image,
        patch=config.patch,
        depth=config.depth,
        embed=config.embed,
        heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        classes=config.classes,
        selectors=config.selectors,
    )
    assert built.operators == read_back.operators
    assert built.outputs == read_back.outputs
    assert built.parameters == read_back.parameters
    assert built.symbols == read_back.symbols


@pytest.mark.parametrize("opset", [20, 23])
def test_torchs_own_export_is_named_by_module_and_reads_the_same(opset: int) -> None:
    torch = needed("torch")
    torch.manual_seed(0)
    content = by_torch(
        torch_vit.build(TINY),
        (torch.zeros(2, 3, 32, 32),),
        dynamo=True,
        opset_version=opset,
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
    )
    result = read(content)
    expected = vit(image=32, patch=8, depth=2, embed=48, heads=3, classes=10)
    assert result.operators == expected.operators


def test_the_older_exporters_graph_is_the_same_work() -> None:
    torch = needed("torch")
    content = by_torch(
        torch_vit.build(TINY),
        (torch.zeros(2, 3, 32, 32),),
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        dynamic_axes={"image": {0: "batch"}},
    )
    result = read(content)
    expected = vit(image=32, patch=8, depth=2, embed=48, heads=3, classes=10)
    assert [o.shape for o in result.operators] == [o.shape for o in expected.operators]
    assert [o.kind for o in result.operators] == [o.kind for o in expected.operators]
    assert result.macs == expected.macs
    assert "blocks.0/attn/qkv/MatMul" in "\n".join(o.name for o in result.operators)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_vit_of_the_transformers_library_has_the_macs_of_its_formula(
    implementation: str, tmp_path: Path
) -> None:
    torch, transformers = needed("torch"), needed("transformers")
    config = transformers.ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=32,
        patch_size=8,
        num_labels=5,
        attn_implementation=implementation,
    )
    content = by_torch(
        transformers.ViTForImageClassification(config).eval(),
        (torch.zeros(2, 3, 32, 32),),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    path = tmp_path / "vit.onnx"
    path.write_bytes(content)
    result = read(path)
    tokens, width = 17, 48
    block = tokens * (4 * width**2 + 2 * width * 96) + 2 * tokens**2 * width
    patches = 16 * 3 * 64 * width
    assert result.bind({"batch": 4}).macs == 4 * (patches + 2 * block + 5 * width)
    kinds = [type(operator) for operator in result.operators]
    assert kinds.count(Attention) == 2
    assert kinds.count(MatMul) == 2 * 6 + 1
    assert kinds.count(Normalization) == 5
    functions = [o.function for o in result.operators if isinstance(o, Elementwise)]
    assert functions.count("gelu") == 2
    assert not result.notes


SMALL: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "convolutions": (
        "transformers", "ConvNext",
        {"depths": [1, 1], "hidden_sizes": [16, 32], "num_stages": 2}, 64,
    ),
    "attention with fewer keys": (
        "transformers", "Segformer",
        {"depths": [1] * 4, "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 2, 2, 4]},
        64,
    ),
    "convolutions and attention": (
        "transformers", "MobileViT",
        {"image_size": 64, "hidden_sizes": [24, 32, 40],
         "neck_hidden_sizes": [8, 16, 16, 24, 32, 40, 64]},
        64,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name", "sizes", "side"), SMALL.values(), ids=list(SMALL))
def test_macs_are_those_that_torch_counts_while_it_runs(
    library: str, name: str, sizes: dict[str, Any], side: int
) -> None:
    torch, package = needed("torch"), needed(library)
    counter = needed("torch.utils.flop_counter").FlopCounterMode(display=False)
    config = getattr(package, f"{name}Config")(**sizes)
    module = getattr(package, f"{name}ForImageClassification")(config).eval()
    images = torch.zeros(2, 3, side, side)
    math = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with warnings.catch_warnings(), torch.no_grad(), counter, math:
        warnings.simplefilter("ignore")
        module(images)
    result = read(by_torch(module, (images,), dynamo=True, opset_version=20))
    assert result.macs == counter.get_total_flops() // 2
    assert not result.notes
