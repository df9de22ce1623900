"""Video models: tokens over time, frames that vary, and the decoders' frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import needed

import tilewise as tw
from tilewise.workloads import zoo
from tilewise.workloads.operator import Attention, Convolution
from tilewise.workloads.zoo.configs import arguments
from tilewise.workloads.zoo.published import counted


def test_cogvideox_attends_over_text_and_all_frames_at_once() -> None:
    config = arguments("cogvideox-2b")
    frames = (config["sample_frames"] - 1) // config["temporal_compression_ratio"] + 1
    patches = (config["sample_height"] // 2) * (config["sample_width"] // 2)
    assert frames == 13
    assert config["max_text_seq_length"] + frames * patches == 17_776
    assert counted("cogvideox-2b").tokens == counted("cogvideox-5b").tokens == (17_776,)


def test_svd_attends_within_a_frame_and_over_frames_in_turn() -> None:
    tokens = counted("svd-xt-unet").tokens
    assert set(tokens[1::2]) == {25}
    assert tokens[::2][:6] == (9216, 9216, 2304, 2304, 576, 576)  # 72 x 128 and its halves


def test_svds_work_is_in_proportion_to_its_frames_but_for_attention_over_them() -> None:
    unet = zoo.load("svd-unet")
    over_time = [
        operator
        for operator in unet.operators
        if isinstance(operator, Attention)
        and "temporal_transformer_blocks.0.attn1" in operator.name
    ]
    assert len(over_time) == 16
    one, two, four = (
        unet.bind({"frames": frames}).macs
        - sum(o.bound({"batch": 1, "frames": frames}).macs for o in over_time)
        for frames in (2, 4, 8)
    )
    assert four - two == 2 * (two - one)
    attention = [sum(o.bound({"batch": 1, "frames": f}).macs for o in over_time) for f in (14, 28)]
    assert attention[1] == 4 * attention[0]


def test_cogvideoxs_decoder_doubles_frames_twice_and_the_first_never() -> None:
    decoder = zoo.load("cogvideox-vae-decoder").bind()
    frames = [
        o.out_size[0]
        for o in decoder.operators
        if isinstance(o, Convolution) and len(o.kernel) == 3
    ]
    assert list(dict.fromkeys(frames)) == [13, 25, 49]


def test_decoding_frames_in_chunks_takes_as_many_macs_as_all_at_once() -> None:
    """As many frames come out of 3 latents and then 5 times 2, at each of the three stages."""

    def stages(latents: int, *, first: bool) -> tuple[int, int, int]:
        return latents, 2 * latents - first, 4 * latents - 3 * first

    chunks = [stages(3, first=True), *(stages(2, first=False) for _ in range(5))]
    assert tuple(map(sum, zip(*chunks, strict=True))) == stages(13, first=True) == (13, 25, 49)


@pytest.mark.parametrize("name", [*zoo.video.MODELS, *zoo.hart.MODELS])
def test_all_of_it_is_known_work(name: str) -> None:
    assert zoo.load(name).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["edge-32x32", "zcu102-heatvit", "h200"])
@pytest.mark.parametrize("name", [*zoo.video.MODELS, *zoo.hart.MODELS])
def test_it_runs(name: str, machine: str) -> None:
    model = zoo.load(name)
    result = tw.simulate(model, tw.machine(machine))
    assert 0 < result.utilization < 1
    assert result.latency_s > 0


@pytest.mark.export
def test_what_is_repeated_a_symbolic_number_of_times_is_exported_right(tmp_path: Path) -> None:
    torch = needed("torch")
    needed("onnxscript")
    onnxruntime = needed("onnxruntime")
    from tilewise.workloads.onnx_export import export

    class Repeats(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, like: Any) -> tuple[Any, ...]:
            count = like.shape[0]
            return tuple(x.repeat_interleave(count, dim=axis) + 1 for axis in (0, 1, -1))

    model = export(
        Repeats,
        lambda: (torch.zeros(2, 5, 7), torch.zeros(4)),
        dynamic_axes={"x": {0: "batch"}, "like": {0: "count"}},
        input_names=["x", "like"],
        output_names=["first", "second", "last"],
        weights=True,
    )
    (tmp_path / "repeats.onnx").write_bytes(model.SerializeToString())
    x, like = np.random.default_rng(0).random((3, 5, 7), np.float32), np.zeros(6, np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "repeats.onnx")
    for axis, found in zip((0, 1, -1), session.run(None, {"x": x, "like": like}), strict=True):
        np.testing.assert_allclose(found, x.repeat(6, axis=axis) + 1)


@pytest.mark.export
def test_a_slice_that_is_written_moves_nothing_else(tmp_path: Path) -> None:
    torch = needed("torch")
    needed("onnxscript")
    onnxruntime = needed("onnxruntime")
    from tilewise.workloads.onnx_export import export

    class Writes(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any, y: Any) -> Any:
            written = x.clone()
            written[:, 1:-1, 3:] = 2 * y[:, 1:-1, 3:]
            return written

    model = export(
        Writes,
        lambda: (torch.zeros(2, 5, 7), torch.zeros(2, 5, 7)),
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        input_names=["x", "y"],
        output_names=["written"],
        weights=True,
    )
    assert not any(node.op_type.startswith("Scatter") for node in model.graph.node)
    (tmp_path / "writes.onnx").write_bytes(model.SerializeToString())
    x, y = np.random.default_rng(0).random((2, 3, 5, 7), np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "writes.onnx")
    wanted = x.copy()
    wanted[:, 1:-1, 3:] = 2 * y[:, 1:-1, 3:]
    np.testing.assert_array_equal(session.run(None, {"x": x, "y": y})[0], wanted)
