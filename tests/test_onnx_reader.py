"""Reading ONNX files: names, symbols, constraints, what is free, and what is refused."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

from tilewise.workloads import zoo
from tilewise.workloads.extent import evaluate, symbol
from tilewise.workloads.graph import BindingError, Constraint, Symbol, Workload
from tilewise.workloads.onnx_file import load
from tilewise.workloads.onnx_reader import OnnxError, read
from tilewise.workloads.operator import (
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Operand,
    TokenSelection,
)


def model(inputs: str, body: str, outputs: str = "y", opset: int = 21) -> onnx.ModelProto:
    """A graph in ONNX's text format; inputs called `w...` become parameters without data."""
    domains = ', "com.acme": 1' if "com.acme" in body else ""
    header = f'<ir_version: 10, opset_import: ["": {opset}{domains}]>'
    proto = parser.parse_model(f"{header}\ng ({inputs}) => ({outputs}) {{ {body} }}")
    for value in [value for value in proto.graph.input if value.name.startswith("w")]:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        tensor = TensorProto(name=value.name, dims=dims, data_type=value.type.tensor_type.elem_type)
        proto.graph.initializer.append(tensor)
        proto.graph.input.remove(value)
    return proto


def workload(inputs: str, body: str, outputs: str = "y", opset: int = 21) -> Workload:
    proto = model(inputs, body, outputs, opset)
    result = read(proto.SerializeToString())
    assert len(proto.graph.node) == len(result.operators) + len(result.free)
    assert all(node.reason for node in result.free)
    return result


def constant(name: str, *values: int) -> str:
    """A `Constant` node in text."""
    return f"{name} = Constant<value_ints=[{','.join(map(str, values))}]>()\n"


PERCEPTRON = model(
    "float[batch,8] image, float[8,16] w1, float[16] wb, float[16,4] w2",
    "h = MatMul(image, w1)\n b = Add(h, wb)\n a = Relu(b)\n y = MatMul(a, w2)",
).SerializeToString()


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.onnx").write_bytes(PERCEPTRON)
    (tmp_path / "good.onnx.gz").write_bytes(gzip.compress(PERCEPTRON))
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "empty.onnx.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "text.onnx").write_text("a model, honestly\n" * 9)
    (tmp_path / "picture.onnx").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(40))
    (tmp_path / "cut.onnx").write_bytes(PERCEPTRON[: len(PERCEPTRON) // 2])
    (tmp_path / "cut.onnx.gz").write_bytes(gzip.compress(PERCEPTRON)[:-20])
    (tmp_path / "damaged.onnx.gz").write_bytes(b"\x1f\x8b not gzip at all")
    (tmp_path / "zip.onnx").write_bytes(b"PK\x03\x04" + bytes(60))
    (tmp_path / "nothing.onnx").write_bytes(model("float[N] x", "").SerializeToString())
    for opset in (10, 26):
        old = onnx.ModelProto.FromString(PERCEPTRON)
        old.opset_import[0].version = opset
        (tmp_path / f"opset{opset}.onnx").write_bytes(old.SerializeToString())
    none = onnx.ModelProto.FromString(PERCEPTRON)
    del none.opset_import[:]
    (tmp_path / "no-opset.onnx").write_bytes(none.SerializeToString())
    return tmp_path


@pytest.mark.parametrize("name", ["good.onnx", "good.onnx.gz"])
def test_a_file_is_read_plain_or_compressed(folder: Path, name: str) -> None:
    result = read(folder / name)
    assert result.name == "good"
    assert result.bind({"batch": 3}).macs == 3 * (8 * 16 + 16 * 4)
    assert result == read(str(folder / name)) == read(PERCEPTRON, "good")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.onnx", "there is no such file"),
        ("", "is a directory"),
        ("empty.onnx", "is empty"),
        ("empty.onnx.gz", "is empty"),
        ("text.onnx", "is not an ONNX model"),
        ("picture.onnx", "is not an ONNX model"),
        ("zip.onnx", "is not an ONNX model"),
        ("cut.onnx", "cut off"),
        ("cut.onnx.gz", "cut off or damaged"),
        ("damaged.onnx.gz", "cut off or damaged"),
        ("nothing.onnx", "graph without nodes"),
        ("opset10.onnx", r"opset 10, but opsets 11 to 25 can be read"),
        ("opset26.onnx", r"opset 26, but opsets 11 to 25 can be read"),
        ("no-opset.onnx", "states no opset"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    folder: Path, name: str, message: str
) -> None:
    with pytest.raises(OnnxError, match=message) as error:
        read(folder / name)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PERCEPTRON) - 1))
def test_wherever_a_file_is_cut_off_it_is_refused_in_one_line(length: int) -> None:
    with pytest.raises(OnnxError) as error:
        read(PERCEPTRON[:length])
    assert "\n" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PERCEPTRON) - 1), st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(place: int, byte: int) -> None:
    damaged = PERCEPTRON[:place] + bytes([byte]) + PERCEPTRON[place + 1 :]
    with suppress(OnnxError):
        read(damaged)


@pytest.mark.parametrize(
    ("inputs", "body", "message"),
    [
        ("float[N,8] x, float[7,5] w", "y = MatMul(x, w)", "sizes 8 and 7 must be equal"),
        ("float[N,8] x", "y = Add(x, z)", "node Add .* reads z, which nothing before it makes"),
        ("float[N,8] x", "y = Softmax<axis=2>(x)", "axis 2 is out of range for 2 dimensions"),
        ("float[N,8] x, int64[S] s", "y = Reshape(x, s)", "depends on input 1"),
        ("float[N,8] x, float[8] w", "y = Conv(x, w)", "node Conv"),
        ("float[N,8] x", "y = Transpose<perm=[0,2]>(x)", "does not fit 2 dimensions"),
        ("float[N,8] x", "y = MatMul(x)", "input 1 is missing"),
        ("float[6] x", f"{constant('s', 4, -1)} y = Reshape(x, s)", "do not fill rows of 4"),
        ("float[N,8] x", 'y = Einsum<equation="ab,bc->ac">(x)', "2 terms for 1 inputs"),
        (
            "float[N,8] x",
            f"{constant('one', 1)} s = Shape<end=1>(x)\n t = Add(s, one)\n "
            f"{constant('eight', 8)} c = Concat<axis=0>(t, eight)\n e = Expand(x, c)\n y = Neg(e)",
            "sizes N and N \\+ 1 must be equal",
        ),
    ],
)
def test_a_contradiction_in_the_graph_is_refused_with_the_nodes_name(
    inputs: str, body: str, message: str
) -> None:
    with pytest.raises(OnnxError, match=message) as error:
        read(model(inputs, body).SerializeToString())
    assert "node " in str(error.value)


def test_an_input_must_be_a_tensor_of_known_rank() -> None:
    proto = model("float[N] x", "y = Neg(x)")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(OnnxError, match="input x has no shape"):
        read(proto.SerializeToString())


# Weights

save: Any = onnx.save  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def test_weights_are_not_needed_inside_outside_or_at_all(tmp_path: Path) -> None:
    proto = onnx.ModelProto.FromString(PERCEPTRON)
    for tensor in proto.graph.initializer:
        array = np.ones(tuple(tensor.dims), np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    inside = tmp_path / "inside.onnx"
    save(proto, inside)
    outside = tmp_path / "outside.onnx"
    save(proto, outside, save_as_external_data=True, location="w.bin", size_threshold=0)
    expected = read(PERCEPTRON, "m")
    assert read(inside, "m") == read(outside, "m") == expected
    (tmp_path / "w.bin").unlink()
    assert read(outside, "m") == expected
    assert expected.parameters == 8 * 16 + 16 + 16 * 4


def test_a_shape_may_lie_in_external_data(tmp_path: Path) -> None:
    proto = model("float[N,8] x", "y = Reshape(x, s)\n")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, 4, 2]), "s"))
    path = tmp_path / "m.onnx"
    save(proto, path, save_as_external_data=True, location="s.bin", size_threshold=0)
    assert read(path).macs == 0
    (tmp_path / "s.bin").unlink()
    with pytest.raises(OnnxError, match=r"node Reshape .*contents the file does not tell"):
        read(path)


def test_each_trained_number_counts_once_and_constants_do_not() -> None:
    result = workload(
        "float[N,8] x, float[8,8] w, float wscale, float[1] wone, float[3] wunused",
        "a = MatMul(x, w)\n b = MatMul(a, w)\n c = Mul(b, wscale)\n y = Mul(c, wone)",
    )
    assert result.parameters == 64


def test_quantization_scales_and_running_statistics_are_not_trained() -> None:
    result = workload(
        "float[N,8,4,4] x, int8[6,8,1,1] w, float[6] wscale, int8[6] wzero, float[6] wg, "
        "float[6] wb, float[6] wm, float[6] wv",
        "d = DequantizeLinear<axis=0>(w, wscale, wzero)\n c = Conv(x, d)\n "
        "y = BatchNormalization(c, wg, wb, wm, wv)",
    )
    assert result.parameters == 6 * 8 + 6 + 6


# Names


@pytest.mark.parametrize(
    ("name", "scopes", "expected"),
    [
        ("blocks.0.attn.qkv/MatMul", None, "blocks.0.attn.qkv/MatMul"),
        ("/blocks.0/attn/qkv/MatMul", None, "blocks.0/attn/qkv/MatMul"),
        ("node_linear", "['', 'blocks.0', 'blocks.0.mlp', 'linear']", "blocks.0.mlp/Relu"),
        ("node_add", "['', 'add']", "Relu"),
        ("node_add", "not a list", "node_add"),
        ("my_node", None, "my_node"),
        ("", None, "Relu"),
    ],
)
def test_operators_are_named_by_their_module_path(
    name: str, scopes: str | None, expected: str
) -> None:
    proto = model("float[N] x", "y = Relu(x)")
    proto.graph.node[0].name = name
    if scopes is not None:
        proto.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    assert read(proto.SerializeToString()).operators[0].name == expected


def test_names_are_made_unique_even_against_inputs() -> None:
    proto = model("float[N] Relu", "a = Relu(Relu)\n b = Relu(a)\n y = Relu(b)")
    result = read(proto.SerializeToString())
    assert [operator.name for operator in result.operators] == ["Relu_2", "Relu_3", "Relu_4"]


# What is free


def test_a_bias_is_folded_into_the_product_before_it() -> None:
    result = read(PERCEPTRON)
    first, relu, second = result.operators
    assert isinstance(first, MatMul)
    assert isinstance(second, MatMul)
    assert (first.bias, second.bias) == (True, False)
    assert relu.operands == (Operand(sources=("MatMul",), elements=16 * symbol("batch")),)
    assert [(node.name, node.reason) for node in result.free] == [("Add", "the bias of MatMul")]


def test_a_convolutions_bias_and_batch_norm_are_folded_into_it() -> None:
    result = workload(
        "float[N,8,4,4] x, float[6,8,1,1] w, float[6,1,1] wb, float[6] wg, float[6] wh, "
        "float[6] wm, float[6] wv",
        "c = Conv(x, w)\n b = Add(wb, c)\n n = BatchNormalization(b, wg, wh, wm, wv)\n y = Relu(n)",
    )
    convolution, relu = result.operators
    assert isinstance(convolution, Convolution)
    assert convolution.bias
    assert relu.operands[0].sources == (convolution.name,)


@pytest.mark.parametrize(
    "body",
    [
        "h = MatMul(x, w)\n a = Add(h, wb)\n y = Mul(a, h)",  # the sum before is read too
        "h = MatMul(x, w)\n a = Add(h, wt)\n y = Neg(a)",  # one number a row, not a column
        "h = MatMul(x, w)\n r = Relu(h)\n y = Add(r, wb)",  # something is between
        "h = MatMul(x, w)\n a = Add(h, wb)\n y = Add(a, wb)",  # the second is no bias any more
    ],
)
def test_a_sum_that_is_no_bias_stays(body: str) -> None:
    result = workload("float[3,8] x, float[8,4] w, float[4] wb, float[3,1] wt", body)
    assert "add" in [o.function for o in result.operators if isinstance(o, Elementwise)]


def test_what_depends_on_parameters_only_is_computed_ahead_of_time() -> None:
    result = workload(
        "float[N,8] x, float[4,8] w",
        "t = Transpose(w)\n s = Mul(t, t)\n c = Cast<to=1>(s)\n y = MatMul(x, c)",
    )
    assert [type(operator) for operator in result.operators] == [MatMul]
    assert {node.reason for node in result.free} == {"computed once, ahead of time"}
    assert result.operators[0].parameters == result.parameters == 32


def test_shape_arithmetic_is_free_and_followed() -> None:
    result = workload(
        "float[batch,8,height,width] x",
        f"{constant('two', 2)}{constant('end', 4)}{constant('none', -1)}"
        "s = Shape(x)\n hw = Slice(s, two, end)\n p = ReduceProd(hw)\n"
        "b = Shape<start=0, end=1>(x)\n c = Concat<axis=0>(b, none, p)\n"
        "r = Reshape(x, c)\n y = Relu(r)",
    )
    (relu,) = result.operators
    assert relu.shape == (symbol("batch"), 8, symbol("height") * symbol("width"))
    reasons = {node.name: node.reason for node in result.free}
    assert reasons["Shape"] == reasons["ReduceProd"] == "shape arithmetic"


def test_sizes_computed_in_floating_point_are_followed() -> None:
    result = workload(
        "float[1,8,height,width] x",
        "s = Shape<start=2>(x)\n f = Cast<to=1>(s)\n half = Constant<value_float=0.5>()\n"
        "h = Mul(f, half)\n g = Floor(h)\n i = Cast<to=7>(g)\n"
        f"{constant('front', 1, 8)} t = Concat<axis=0>(front, i)\n y = Resize(x, , , t)",
    )
    assert result.operators[0].shape == (1, 8, symbol("height") // 2, symbol("width") // 2)


def test_a_concatenation_is_one_operand_with_several_sources() -> None:
    result = workload(
        "float[N,4,8] x, float[1,1,8] w",
        f"{constant('s', 1, 1, 1)} a = Relu(x)\n b = Neg(x)\n e = Expand(w, s)\n"
        "n = Shape<start=0, end=1>(x)\n one = Constant<value_ints=[1]>()\n"
        "t = Concat<axis=0>(n, one, one)\n cls = Expand(e, t)\n"
        "c = Concat<axis=1>(cls, a, b)\n y = Exp(c)",
    )
    last = result.operators[-1]
    assert last.shape == (symbol("N"), 9, 8)
    assert last.operands == (Operand(sources=("Relu", "Neg"), elements=64 * symbol("N")),)


def test_an_expanded_tensor_is_read_again_not_stored() -> None:
    result = workload("float[N,1,8] x", f"{constant('s', 1, 5, 1)} e = Expand(x, s)\n y = Exp(e)")
    assert result.operators[0].shape == (symbol("N"), 5, 8)
    assert result.operators[0].operands[0].elements == 8 * symbol("N")


def test_random_numbers_are_work_although_they_depend_on_no_input() -> None:
    result = workload(
        "float[N,4] x",
        "r = RandomNormal<shape=[4]>()\n l = RandomNormalLike(x)\ns = Add(r, l)\n y = Add(x, s)",
    )
    assert [operator.name for operator in result.operators][:2] == [
        "RandomNormal", "RandomNormalLike",
    ]  # fmt: skip


@pytest.mark.parametrize("name", zoo.exports())
def test_every_node_of_a_shipped_graph_is_work_or_free_for_a_reason(name: str) -> None:
    proto, _ = load(Path(zoo.__file__).parent / "graphs" / f"{name}.onnx.gz")
    result = zoo.load(name)
    assert len(proto.graph.node) == len(result.operators) + len(result.free)
    assert all(node.reason for node in result.free)
    assert len({operator.name for operator in result.operators}) == len(result.operators)


# Symbols and constraints


def test_symbols_are_those_of_the_inputs_in_order() -> None:
    result = workload("float[batch,tokens,8] x, float[batch,T,8] c", "y = Concat<axis=1>(x, c)")
    assert [(s.name, s.lower, s.upper) for s in result.symbols] == [
        ("batch", 1, None), ("tokens", 1, None), ("T", 1, None),
    ]  # fmt: skip
    assert result.images == symbol("batch")


def test_a_dimension_without_a_name_is_named_by_its_place() -> None:
    proto = model("float[N,8] x", "y = Relu(x)")
    proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    result = read(proto.SerializeToString())
    assert result.operators[0].shape == (symbol("x_0"), 8)
    assert result.bind({"x_0": 3}).operators[0].shape == (3, 8)


def test_counts_that_depend_on_data_are_symbols_in_order_of_birth() -> None:
    result = workload(
        "bool[196] x, float[1,196,8] image",
        f"{constant('zero', 0)}{constant('last', 2)} n = NonZero(x)\n s = Squeeze(n, zero)\n"
        "g = Gather<axis=1>(image, s)\n m = ReduceMax<keepdims=0>(g, last)\n"
        "limit = Constant<value_float=0.0>()\n b = Greater(m, limit)\n"
        "mask = Squeeze(b, zero)\n n2 = NonZero(mask)\n s2 = Squeeze(n2, zero)\n"
        "y = Gather<axis=1>(g, s2)",
    )
    assert result.symbols == (
        Symbol(name="kept_1", lower=0, upper=196),
        Symbol(name="kept_2", lower=0, upper=symbol("kept_1")),
    )
    assert result.dynamic
    assert result.operators[-1].shape == (1, symbol("kept_2"), 8)
    with pytest.raises(BindingError, match=r"kept_2=70.*at most kept_1 = 69"):
        result.bind({"kept_1": 69, "kept_2": 70})


def test_a_count_takes_the_name_that_the_file_gives_it() -> None:
    proto = model("bool[N] x", "n = NonZero(x)\n y = Neg(n)")
    proto.graph.value_info.append(
        helper.make_tensor_value_info("n", TensorProto.INT64, [1, "survivors"])
    )
    result = read(proto.SerializeToString())
    assert [s.name for s in result.symbols] == ["N", "survivors"]
    assert result.symbols[1].upper == symbol("N")


@pytest.mark.parametrize(
    ("body", "function", "upper"),
    [
        ("y = Compress<axis=0>(x, c)", "compress", symbol("T")),
        ("y = Compress(x, c)", "compress", 8 * symbol("T")),
        ("y = Unique(x)", "unique", 8 * symbol("T")),
        ("y, i, j, k = Unique<axis=0>(x)", "unique", symbol("T")),
        ("y, i = TopK<axis=0>(x, k)", "topk", symbol("T")),
    ],
)
def test_other_ways_to_choose_by_data(body: str, function: str, upper: Any) -> None:
    result = workload("float[T,8] x, bool[T] c, int64[1] k", body)
    selection = result.operators[0]
    assert isinstance(selection, TokenSelection)
    assert selection.function == function
    assert selection.data_dependent
    assert result.symbols[-1] == Symbol(name="kept_1", lower=0, upper=upper)


def test_sizes_that_must_be_equal_are_a_constraint_of_the_binding() -> None:
    result = workload(
        "float[1,4,height,width] x, float[4,4,3,3] w",
        "d = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w)\n"
        "s = Constant<value_floats=[1.0,1.0,2.0,2.0]>()\n u = Resize(d, , s)\n"
        "y = Concat<axis=1>(x, u)",
    )
    height = symbol("height")
    assert result.constraints[0] == Constraint(
        left=height, right=(height + 1) // 2 * 2, where="Concat"
    )
    assert len(result.constraints) == 2
    assert result.bind({"height": 64, "width": 32}).macs == 4 * 4 * 9 * 32 * 16
    with pytest.raises(BindingError, match=r"Concat needs height = 2\*floor.*height=63.*63 and 64"):
        result.bind({"height": 63, "width": 32})


def test_a_broadcast_with_one_is_no_constraint() -> None:
    result = workload("float[N,T,8] x, float[N,1,8] b", "y = Add(x, b)")
    assert result.constraints == ()


def test_a_batch_baked_into_a_reshape_is_a_constraint() -> None:
    result = workload("float[batch,4] x", f"{constant('s', 1, 2, 2)} y = Reshape(x, s)")
    assert result.bind({"batch": 1}).images == 1
    with pytest.raises(BindingError, match="Reshape needs 4"):
        result.bind({"batch": 2})


@pytest.mark.parametrize(
    ("start", "end", "size"),
    [
        (0, 77, None),
        (1, 2**63 - 1, symbol("tokens") - 1),
        (0, 1, 1),
        (0, -1, symbol("tokens") - 1),
        (-1, 2**63 - 1, 1),
    ],
)
def test_a_slice_of_unknown_length_knows_what_it_can(start: int, end: int, size: Any) -> None:
    result = workload(
        "float[tokens,8] x",
        f"{constant('s', start)}{constant('e', end)}{constant('a', 0)} p = Slice(x, s, e, a)\n"
        "y = Relu(p)",
    )
    length = result.operators[0].shape[0]
    if size is not None:
        assert length == size
    for tokens in (1, 2, 50, 100):
        assert evaluate(length, {"tokens": tokens}) == len(range(tokens)[start:end])


# What is not known


def test_an_unknown_operation_is_movement_and_is_noted() -> None:
    proto = model("float[N,8] x", "a = com.acme.FancyOp(x)\n b = com.acme.Other(a)\n y = Relu(b)")
    proto.graph.value_info.append(
        helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N", "made", 3])
    )
    result = read(proto.SerializeToString())
    fancy, other, relu = result.operators
    assert isinstance(fancy, Movement)
    assert (fancy.function, fancy.unknown, fancy.shape) == (
        "com.acme.FancyOp", True, (symbol("N"), 8),
    )  # fmt: skip
    assert other.shape == relu.shape == (symbol("N"), symbol("made"), 3)
    assert [s.name for s in result.symbols] == ["N", "made"]
    assert len(result.notes) == 2
    assert "com.acme.FancyOp is unknown" in result.notes[0]


def test_a_standard_operation_without_a_rule_has_the_shape_that_onnx_infers() -> None:
    result = workload(
        "float[3,N,4] x, float[1,20,4] w, float[1,20,20] wr", "y, h = RNN<hidden_size=20>(x, w, wr)"
    )
    assert result.notes == ("RNN: ai.onnx.RNN is unknown and counted as moving its data only",)
    assert result.operators[0].shape == (3, 1, symbol("N"), 20)


def test_control_flow_is_noted_and_reads_what_its_bodies_read() -> None:
    body = parser.parse_graph("then () => (float[N,8] o) { o = Neg(h) }")
    proto = model("float[N,8] x, bool c", "h = Relu(x)\n y = Identity(h)")
    branch = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    proto.graph.node.append(branch)
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 8]))
    result = read(proto.SerializeToString())
    assert result.operators[-1].shape == (symbol("N"), 8)
    assert {s for o in result.operators[-1].operands for s in o.sources} == {"c", "Relu"}
    assert "ai.onnx.If is unknown" in result.notes[0]


def test_a_branch_that_is_always_taken_is_read_in_place() -> None:
    then = parser.parse_graph("then () => (float[N,8] o) { o = Neg(h) }")
    otherwise = parser.parse_graph("otherwise () => (float[N,8] p) { p = Exp(h) }")
    proto = model(
        "float[N,8] x",
        "h = Relu(x)\n s = Shape<start=1>(x)\n e = Constant<value_ints=[8]>()\n"
        "c = Equal(s, e)\n y = Identity(h)",
    )
    branch = helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=otherwise)
    proto.graph.node.append(branch)
    proto.graph.node.append(helper.make_node("Abs", ["z"], ["a"]))
    proto.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 8]))
    result = read(proto.SerializeToString())
    assert [operator.name for operator in result.operators] == ["Relu", "Neg", "Abs"]
    assert result.operators[-1].operands[0].sources == ("Neg",)
    assert not result.notes


def test_control_flow_on_sizes_reads_what_its_bodies_read() -> None:
    body = parser.parse_graph("then () => (float[N,8] o) { o = Neg(x) }")
    proto = model(
        "float[N,8] x",
        "s = Shape<start=0, end=1>(x)\n e = Constant<value_ints=[8]>()\n"
        "c = Equal(s, e)\n y = Identity(x)",
    )
    proto.graph.node.append(
        helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    )
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 8]))
    result = read(proto.SerializeToString())
    assert [operator.name for operator in result.operators] == ["If"]


def test_local_functions_are_inlined() -> None:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 21, "local": 1]> '
        "g (float[N,8] x) => (float[N,8] y) { y = local.twice(x) }"
        '<domain: "local", opset_import: ["": 21]> twice (a) => (b) { c = Relu(a) b = Exp(c) }'
    )
    result = read(proto.SerializeToString())
    functions = [o.function for o in result.operators if isinstance(o, Elementwise)]
    assert functions == ["relu", "exp"]


# Selectors


def test_a_selector_is_known_by_its_path_and_by_what_reads_it() -> None:
    proto = model(
        "float[1,T,8] x, float[8,8] w, float[8,1] ws",
        f"{constant('zero', 0)}{constant('k', 3)}{constant('two', 2)}"
        "h = MatMul(x, w)\n s = MatMul(h, ws)\n a = Sigmoid(s)\n q = Squeeze(a, two)\n"
        "v, i = TopK(q, k)\n f = Squeeze(i, zero)\n g = Gather<axis=1>(h, f)\n y = Relu(g)",
    )
    proto.graph.node[-2].name = "selectors.0/Gather"
    result = read(proto.SerializeToString())
    assert [o.name for o in result.operators if o.selector] == [
        "MatMul_2", "Sigmoid", "TopK", "selectors.0/Gather",
    ]  # fmt: skip


def test_a_module_that_only_sounds_like_a_selector_is_none() -> None:
    proto = model("float[N] x", "y = Relu(x)")
    proto.graph.node[0].name = "selectors_of_nothing.preselector/Relu"
    assert not read(proto.SerializeToString()).operators[0].selector
