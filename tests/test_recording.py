"""What is recorded is what torch counts; what cannot be recorded is said."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from optional import needed

from tilewise.workloads.recording import record
from tilewise.workloads.trace_rows import TraceError
from tilewise.workloads.zoo import digits16_trace, dinov2_trace, torch_vit
from tilewise.workloads.zoo.vits import VitConfig

pytestmark = pytest.mark.export

TINY = VitConfig(image=32, patch=8, depth=3, embed=32, heads=2, classes=4, selectors=(2, 3))


def undecided(config: VitConfig) -> Any:
    """A pruning ViT, not trained, whose selectors are of different minds about patches."""
    torch = needed("torch")
    torch.manual_seed(5)
    module = torch_vit.build(config)
    with torch.no_grad():
        for parameter in module.selectors.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 2 * parameter.shape[-1] ** -0.5)
            else:
                parameter.zero_()
    return module


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, onnx.ModelProto]:
    needed("onnxscript")
    needed("onnxruntime")
    module = undecided(TINY)
    return module, torch_vit.export_vit(TINY, weights=True, module_factory=lambda: module)


def images(count: int, config: VitConfig = TINY) -> Any:
    numbers = np.random.default_rng(1)
    contrast = numbers.uniform(0.2, 3, (count, 1, 1, 1))
    shape = (count, 3, config.image, config.image)
    return (contrast * numbers.standard_normal(shape)).astype(np.float32)


def test_what_is_recorded_is_what_torch_counts(
    tiny: tuple[Any, onnx.ModelProto], tmp_path: Path
) -> None:
    torch = needed("torch")
    module, model = tiny
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    given = images(8)
    with torch.no_grad():
        counts = [[int(n) for n in module(torch.from_numpy(image[None]))[1:]] for image in given]
    trace = record(path, given, name="tiny")
    assert trace.array().tolist() == counts
    assert len(set(trace.counts)) > 3, "the images should differ in what is kept"
    assert trace.patches == TINY.patches
    assert trace == record(model.SerializeToString(), given, name="tiny", patches=16)
    second = record(path, given, outputs=["kept_2"], patches=16)
    assert second.array().tolist() == [[count] for _, count in counts]


def test_what_cannot_be_recorded_is_said_in_one_line(
    tiny: tuple[Any, onnx.ModelProto], tmp_path: Path
) -> None:
    content = tiny[1].SerializeToString()
    weightless = torch_vit.export_vit(TINY).SerializeToString()
    wrong = np.zeros((1, 3, 8, 8), np.float32)
    for arguments, said in (
        ((tmp_path / "none.onnx", images(1)), "none.onnx cannot be run"),
        ((weightless, images(1)), "the model cannot be run; does it hold its weights"),
        ((content, wrong), "the model, image 1 cannot be run"),
        ((content, images(0)), "token trace recorded is empty"),
    ):
        with pytest.raises(TraceError, match=said) as caught:
            record(*arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(TraceError, match=r"wanted the output kept_9, .* got logits, kept_1"):
        record(content, images(1), outputs=["kept_9"])
    with pytest.raises(TraceError, match="wanted logits as one whole number, got float32"):
        record(content, images(1), outputs=["logits"])


def test_training_sees_masked_what_the_model_prunes() -> None:
    torch = needed("torch")
    config = digits16_trace.CONFIG
    module = undecided(config)
    given = torch.from_numpy(images(6, config))
    with torch.no_grad():
        logits, _, masks, _ = digits16_trace.run(module, given, prune=True)
        for number, image in enumerate(given):
            alone, *counts = module(image[None])
            torch.testing.assert_close(logits[number], alone[0], rtol=1e-4, atol=1e-4)
            assert [int(mask[number].sum()) for mask in masks] == [int(count) for count in counts]
        dense, *_ = digits16_trace.run(module, given, prune=False)
        module.selected = ()
        torch.testing.assert_close(dense, module(given)[0], rtol=1e-4, atol=1e-4)


def test_the_fewest_patches_that_hold_a_mass_are_kept() -> None:
    numbers = np.random.default_rng(0)
    for _ in range(50):
        attention = numbers.random(20)
        mass = numbers.uniform(0.05, 0.999)
        chosen = dinov2_trace.smallest_set(attention, mass)
        assert np.all(np.diff(chosen) > 0)
        held = attention[chosen].sum() / attention.sum()
        assert held >= mass - 1e-12
        assert held - attention[chosen].min() / attention.sum() < mass + 1e-12
        assert attention[chosen].min() >= np.delete(attention, chosen).max(initial=0)
