"""Pruning what exporters of torch write: their spellings, and models of libraries."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optional import needed

from tilewise.workloads import pruned, read
from tilewise.workloads.extent import known
from tilewise.workloads.operator import Attention, Operator
from tilewise.workloads.zoo import torch_vit, vits
from tilewise.workloads.zoo.vits import VitConfig

pytestmark = pytest.mark.export

DEIT = VitConfig()
TINY = VitConfig(image=48, patch=8, depth=4, embed=48, heads=3, classes=10)
EXPORTERS = [(True, 18), (True, 23), (False, 17)]


def static(module: Any, side: int, *, dynamo: bool, opset: int, images: int = 1) -> bytes:
    """What torch writes if nobody says that a size varies."""
    torch = needed("torch")
    needed("onnxscript")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.zeros(images, 3, side, side),),
            None if dynamo else file,
            dynamo=dynamo,
            opset_version=opset,
            input_names=["image"],
            verbose=False,
        )
    return bytes(program.model_proto.SerializeToString()) if dynamo else file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(("dynamo", "opset"), EXPORTERS)
def test_a_static_deit_pruned_is_the_exported_heatvit(
    dynamo: bool, opset: int, tmp_path: Path
) -> None:
    path = tmp_path / "deit-small.onnx"
    path.write_bytes(static(torch_vit.build(DEIT), 224, dynamo=dynamo, opset=opset))
    model = pruned(path, "heatvit", (4, 7, 10), (0.7, 0.5, 0.35))
    exported = read(torch_vit.export_vit(vits.HEATVIT_DEIT_SMALL, opset=20).SerializeToString())
    assert renamed(model.operators) == renamed(exported.operators)
    if dynamo:
        assert model.operators == exported.operators


def renamed(operators: tuple[Operator, ...]) -> list[str]:
    """Operators that are called after their place, as exporters name them differently."""
    places = {operator.name: f"o{place}" for place, operator in enumerate(operators)}
    texts: list[str] = []
    for operator in operators:
        text = repr(operator)
        for name in {operator.name, *(s for o in operator.operands for s in o.sources)}:
            text = text.replace(f"'{name}'", f"'{places.get(name, name)}'")
        texts.append(text)
    return texts


@pytest.mark.parametrize(
    ("method", "dynamo", "opset"),
    [
        ("heatvit", *EXPORTERS[1]),
        *((method, *EXPORTERS[-1]) for method in ("heatvit", "topk", "tome")),
        *(
            pytest.param(method, *exporter, marks=pytest.mark.slow)
            for method in ("heatvit", "topk", "tome")
            for exporter in EXPORTERS[:-1]
            if (method, *exporter) != ("heatvit", *EXPORTERS[1])
        ),
    ],
)
def test_a_static_export_is_pruned_as_the_dynamic_one_is(
    method: str, dynamo: bool, opset: int, tmp_path: Path
) -> None:
    needed("onnxscript")
    module = torch_vit.build(TINY)
    (tmp_path / "vit.onnx").write_bytes(static(module, 48, dynamo=dynamo, opset=opset))
    dynamic = tmp_path / "dynamic.onnx"
    dynamic.write_bytes(torch_vit.export_vit(TINY, opset=23).SerializeToString())
    ours, theirs = (
        pruned(path, method, (2, 4), (0.7, 0.5)) for path in (tmp_path / "vit.onnx", dynamic)
    )
    one = [o.substituted({"batch": 1}) for o in theirs.operators]
    assert renamed(ours.operators) == renamed(tuple(one))


def multihead(*, images_first: bool) -> Any:
    """A ViT of torch's own attention, whose heads of all images lie side by side."""
    torch: Any = needed("torch")
    nn: Any = torch.nn

    class Model(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType]
            self.patch = nn.Conv2d(3, 48, 8, 8)
            self.cls = nn.Parameter(torch.zeros(1, 1, 48))
            self.positions = nn.Parameter(torch.zeros(1, 37, 48))
            self.norms = nn.ModuleList(nn.LayerNorm(48) for _ in range(3))
            self.attention = nn.ModuleList(
                nn.MultiheadAttention(48, 3, batch_first=images_first) for _ in range(3)
            )

        def forward(self, image: Any) -> Any:
            x = self.patch(image).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.positions
            x = x if images_first else x.transpose(0, 1)
            for norm, attention in zip(self.norms, self.attention, strict=True):
                y = norm(x)
                x = x + attention(y, y, y, need_weights=False)[0]
            return x[:, 0] if images_first else x[0]

    return Model().eval()


def of_transformers(name: str, model: str = "ForImageClassification", **sizes: Any) -> Any:
    transformers = needed("transformers")
    config = getattr(transformers, f"{name}Config")(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=48,
        patch_size=8,
        **sizes,
    )
    return getattr(transformers, f"{name}{model}")(config).eval()


MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "ViT, written-out attention": (lambda: of_transformers("ViT", attn_implementation="eager"), 1),
    "ViT": (lambda: of_transformers("ViT"), 1),
    "DeiT with a distillation token": (
        lambda: of_transformers("DeiT", "ForImageClassificationWithTeacher"),
        2,
    ),
    "DINOv2": (lambda: of_transformers("Dinov2"), 1),
    "SigLIP, pooled by attention": (lambda: of_transformers("SiglipVision", "Model"), 0),
    "CLIP": (lambda: of_transformers("CLIPVision", "Model"), 1),
    "torch's attention": (lambda: multihead(images_first=True), 1),
    "torch's attention, tokens first": (lambda: multihead(images_first=False), 1),
}
"""Each model of 36 patches in three blocks, and its tokens besides."""


@pytest.mark.parametrize(
    ("dynamo", "opset", "images"),
    [pytest.param(True, 18, 2, marks=pytest.mark.slow), (False, 17, 1)],
)
@pytest.mark.parametrize(("make", "besides"), MODELS.values(), ids=list(MODELS))
def test_models_of_libraries_are_pruned_from_their_static_exports(
    make: Callable[[], Any], besides: int, dynamo: bool, opset: int, images: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(static(make(), 48, dynamo=dynamo, opset=opset, images=images))
    dense = read(path)
    for method, tokens in (
        ("topk", (36, 26, 26)),
        ("tome", (36, 36, 26)),
        ("heatvit", (36, 27, 27)),
    ):
        if images > 1 and method == "heatvit":
            continue
        model = pruned(path, method, (2,), (0.7,)).bind()
        attention = [o.keys for o in model.operators if isinstance(o, Attention)]
        assert attention[:3] == [count + besides for count in tokens]
        rest = [o for o in model.operators if not o.selector]
        assert [type(o) for o in rest] == [type(o) for o in dense.operators]
        assert sum(known(o.macs) for o in rest) < known(dense.macs)


def test_a_model_of_windows_is_none_whose_tokens_can_be_pruned(tmp_path: Path) -> None:
    transformers = needed("transformers")
    config = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[1, 2], window_size=4
    )
    module = transformers.SwinForImageClassification(config).eval()
    path = tmp_path / "swin.onnx"
    path.write_bytes(static(module, 64, dynamo=False, opset=17))
    with pytest.raises(ValueError, match="swin is no ViT"):
        pruned(path, "topk", (1,), (0.5,))
