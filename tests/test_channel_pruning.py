"""Fewer channels: the graph stays valid, groups and heads stay whole, sizes are Diff-Pruning's."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import onnx
import pytest
from command_line import Run
from onnx import helper, parser

from tilewise.workloads import Attention, MatMul, PruningError, Workload, channel_pruned, load, zoo
from tilewise.workloads.channel_pruning import channel_pruned_model
from tilewise.workloads.onnx_file import load as load_model
from tilewise.workloads.zoo.published import counted

ALL_KINDS = ("ddpm-cifar10-unet", "ldm4-unet", "sd-vae-decoder", "clip-l-text", "deit-small")
"""Group norms, concatenations; heads, gates; no skips; embeddings, masks; tokens and CLS."""


def shipped(name: str) -> onnx.ModelProto:
    return load_model(zoo.content(name))[0]


def network(body: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A body that makes `h` of `x`, four channels, between the input and a last convolution.

    A weight of two sizes is a convolution's, `(out, in)`; its kernel is 1 x 1.  The shape of `h` is
    stated, as ONNX does not infer one behind a GroupNormalization.
    """
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> '
        f"g (float[N,4,H,W] x) => (float[N,3,H,W] y) {{ {body} y = Conv(h, last) }}"
    )
    stated = helper.make_tensor_value_info("h", 1, ["N", weights["last"][1], "H", "W"])
    model.graph.value_info.append(stated)
    for name, sizes in weights.items():
        shape = (*sizes, 1, 1) if len(sizes) == 2 else sizes
        zeros = [0.0] * prod(shape)
        model.graph.initializer.append(helper.make_tensor(name, 1, shape, zeros))
    return model


def dims(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}


def check(model: onnx.ModelProto) -> None:
    """ONNX's own inference of every shape, with the weights as inputs of their sizes."""
    for tensor in [t for t in model.graph.initializer if t.data_location]:
        model.graph.initializer.remove(tensor)
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    onnx.checker.check_model(model, full_check=True)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("name", [name for name in ALL_KINDS if name != "ldm4-unet"])
def test_all_of_the_channels_are_the_model(name: str) -> None:
    assert channel_pruned(name, 1).operators == load(name).operators


@pytest.mark.parametrize("name", ["sd-vae-decoder", "deit-small"])
def test_fewer_channels_are_never_more_work(name: str) -> None:
    sizes = [counted(name, channel_pruned(name, keep)) for keep in (0.9, 0.5, 0.01)]
    for one, other in pairwise(sizes):
        assert one.parameters_m > other.parameters_m > 0
        assert one.gmacs > other.gmacs > 0


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.parametrize("keep", [0.63, 0.02])
def test_what_is_left_is_a_valid_graph(name: str, keep: float) -> None:
    check(channel_pruned_model(shipped(name), keep))


@pytest.mark.parametrize("keep", [0.9, 0.37])
def test_groups_of_norms_still_divide_their_channels(keep: float) -> None:
    model = channel_pruned_model(shipped("ddpm-celeba-unet"), keep)
    sizes, checked = dims(model), 0
    for node in model.graph.node:
        if node.op_type == "GroupNormalization":
            groups = next(a.i for a in node.attribute if a.name == "num_groups")
            assert sizes[node.input[1]][0] % groups == 0
            checked += 1
    assert checked == 2 * 27 + 6 + 1  # ResNet blocks, attentions, the last


def attentions(model: Workload) -> list[Attention]:
    return [operator for operator in model.bind().operators if isinstance(operator, Attention)]


def test_heads_stay_and_each_gets_narrower() -> None:
    before, after = attentions(load("clip-l-text")), attentions(channel_pruned("clip-l-text", 0.5))
    for one, other in zip(before, after, strict=True):
        assert (one.copies, one.queries, one.keys) == (other.copies, other.queries, other.keys)
        assert (other.head_dim, other.value_dim) == (32, 32)  # of 64


def test_the_image_the_text_and_the_frequencies_keep_their_widths() -> None:
    sizes = dims(channel_pruned_model(shipped("sd15-unet"), 0.5))
    assert sizes["conv_in.weight"] == [160, 4, 3, 3]
    assert sizes["conv_out.weight"] == [4, 160, 3, 3]
    assert sizes["time_embedding.linear_1.weight"] == [640, 320]
    text = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert sizes[text] == [768, 160]


def test_norms_let_channels_go_in_whole_multiples_of_their_groups() -> None:
    """Of 128 channels `128 - floor(89.6)` are to go: 39, of which 32 do, one of each group."""
    sizes = dims(channel_pruned_model(shipped("ddpm-cifar10-unet"), 0.7))
    assert sizes["conv_in.weight"][0] == 96
    assert sizes["mid_block.resnets.0.conv1.weight"][:2] == [192, 192]
    assert sizes["up_blocks.3.resnets.2.conv1.weight"][:2] == [96, 96 + 96]
    assert sizes["time_embedding.linear_1.weight"][0] == 358  # no norm: floor(512 x 0.7)


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        ("a = Conv(x, u) h = Relu(a)",
         {"u": (10, 4), "last": (3, 10)}, {"u": (5, 4), "last": (3, 5)}),
        # What is added stays as wide as what it meets.
        ("a = Conv(x, u) b = Conv(a, v) h = Add(a, b)",
         {"u": (8, 4), "v": (8, 8), "last": (3, 8)}, {"u": (4, 4), "v": (4, 4), "last": (3, 4)}),
        ("a = Conv(x, u) b = Conv(a, v) h = Add(x, b)",
         {"u": (6, 4), "v": (4, 6), "last": (3, 4)}, {"u": (3, 4), "v": (4, 3), "last": (3, 4)}),
        # Each side of a concatenation loses its own share...
        ("a = Conv(x, u) b = Conv(x, v) h = Concat<axis = 1>(a, x, b)",
         {"u": (8, 4), "v": (6, 4), "last": (3, 18)},
         {"u": (4, 4), "v": (3, 4), "last": (3, 4 + 4 + 3)}),
        # ...and whole multiples of the groups of a norm of both.
        ("a = Conv(x, u) b = Conv(x, v) c = Concat<axis = 1>(a, b) "
         "h = GroupNormalization<num_groups = 4>(c, s, t)",
         {"u": (10, 4), "v": (6, 4), "s": (16,), "t": (16,), "last": (3, 16)},
         {"u": (6, 4), "v": (6, 4), "s": (12,), "t": (12,), "last": (3, 12)}),
        # Halves that are multiplied lose the same.
        ("a = Conv(x, u) b, c = Split<axis = 1, num_outputs = 2>(a) h = Mul(b, c)",
         {"u": (14, 4), "last": (3, 7)}, {"u": (6, 4), "last": (3, 3)}),
        # What is not known keeps what it reads and makes.
        ("a = Conv(x, u) b = LRN<size = 3>(a) h = Conv(b, v)",
         {"u": (8, 4), "v": (6, 8), "last": (3, 6)}, {"u": (8, 4), "v": (3, 8), "last": (3, 3)}),
        # So does a weight that such an operator reads as well, before or after.
        ("a = Conv(x, u) n = ReduceSum<keepdims = 0>(u) b = Mul(a, n) h = Conv(b, v)",
         {"u": (8, 4), "v": (6, 8), "last": (3, 6)}, {"u": (8, 4), "v": (3, 8), "last": (3, 3)}),
        ("f = Identity(u) a = Conv(x, u) n = ReduceSum<keepdims = 0>(f) b = Mul(a, n) "
         "h = Conv(b, v)",
         {"u": (8, 4), "v": (6, 8), "last": (3, 6)}, {"u": (8, 4), "v": (3, 8), "last": (3, 3)}),
    ],
)  # fmt: skip
def test_channels_that_meet_go_together(
    body: str, before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]
) -> None:
    pruned = channel_pruned_model(network(body, **before), 0.5)
    sizes = dims(pruned)
    for name, left in after.items():
        assert tuple(sizes[name][:2]) == left
    check(pruned)


@pytest.mark.parametrize("keep", [0, -1, 1.01])
def test_a_share_out_of_range_is_refused(keep: float) -> None:
    with pytest.raises(PruningError, match="above 0 and at most 1, not"):
        channel_pruned("ddpm-cifar10-unet", keep)


def test_a_model_without_channels_that_could_go_is_refused() -> None:
    with pytest.raises(PruningError, match="no channels that could go"):
        channel_pruned_model(network("h = Relu(x)", last=(3, 4)), 0.5)


def test_channels_are_pruned_on_the_command_line(tilewise: Run) -> None:
    code, out, err = tilewise(
        "run", "deit-small", "--on", "edge-32x32", "--prune", "channels", "--keep", "0.5"
    )
    assert (code, err) == (0, "")
    assert out.startswith("channel-pruned-deit-small on edge-32x32")
    widths = {o.n for o in channel_pruned("deit-small", 0.5).operators if isinstance(o, MatMul)}
    assert {192, 768, 1000} <= widths
    code, out, err = tilewise("run", "deit-small", "--on", "edge-32x32", "--prune", "channels")
    assert (code, err.count("\n")) == (2, 1)
    assert "as in --keep 0.7" in err
