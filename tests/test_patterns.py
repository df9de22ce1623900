"""Written-out attention, activations and norms are recognised, and only where that is right."""

from __future__ import annotations

import pytest
from onnx import TensorProto, parser

from tilewise.workloads.extent import symbol
from tilewise.workloads.graph import Workload
from tilewise.workloads.onnx_reader import read
from tilewise.workloads.operator import (
    Attention,
    Elementwise,
    MatMul,
    Normalization,
    Operand,
    Softmax,
)

QKV = "float[N,6,T,64] q, float[N,6,S,64] k, float[N,6,S,32] v"
N, T, S = symbol("N"), symbol("T"), symbol("S")


def workload(inputs: str, body: str, outputs: str = "y", opset: int = 21) -> Workload:
    header = f'<ir_version: 10, opset_import: ["": {opset}]>'
    proto = parser.parse_model(f"{header}\ng ({inputs}) => ({outputs}) {{ {body} }}")
    for value in [value for value in proto.graph.input if value.name.startswith("w")]:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        tensor = TensorProto(name=value.name, dims=dims, data_type=value.type.tensor_type.elem_type)
        proto.graph.initializer.append(tensor)
        proto.graph.input.remove(value)
    result = read(proto.SerializeToString())
    assert len(proto.graph.node) == len(result.operators) + len(result.free)
    return result


def kinds(result: Workload) -> list[str]:
    return [o.function if isinstance(o, Elementwise) else o.kind for o in result.operators]


# Attention

TURN = "t = Transpose<perm=[0,1,3,2]>(k)\n"
ATTENTIONS = {
    "plain": f"{TURN} s = MatMul(q, t)\n p = Softmax(s)\n y = MatMul(p, v)",
    "scores scaled": (
        f"{TURN} s = MatMul(q, t)\n z = Div(s, wc)\n p = Softmax(z)\n y = MatMul(p, v)"
    ),
    "query scaled": (
        f"{TURN} a = Mul(q, wc)\n s = MatMul(a, t)\n p = Softmax(s)\n y = MatMul(p, v)"
    ),
    "query and key scaled": (
        f"a = Mul(q, wc)\n {TURN} b = Mul(t, wc)\n s = MatMul(a, b)\n p = Softmax(s)\n"
        "y = MatMul(p, v)"
    ),
    "dropout and casts": (
        f"{TURN} s = MatMul(q, t)\n c = Cast<to=1>(s)\n p = Softmax(c)\n d = Dropout(p)\n"
        "e = Cast<to=1>(d)\n y = MatMul(e, v)"
    ),
    "guarded against rows without keys": (
        f"{TURN} s = MatMul(q, t)\n p = Softmax(s)\n i = IsNaN(p)\n g = Where(i, wc, p)\n"
        "y = MatMul(g, v)"
    ),
    "einsum": (
        'b = Einsum<equation="bhqd,bhkd->bhqk">(q, k)\n p = Softmax(b)\n'
        'y = Einsum<equation="bhqk,bhkd->bhqd">(p, v)'
    ),
}


@pytest.mark.parametrize("body", ATTENTIONS.values(), ids=list(ATTENTIONS))
def test_written_out_attention_is_one_operator(body: str) -> None:
    result = workload(f"{QKV}, float wc", body)
    expected = workload(QKV, "y = Attention(q, k, v)", opset=23)
    assert result.operators == expected.operators
    assert result.outputs == expected.outputs == ("Attention",)
    fused = [node for node in result.free if node.reason == "fused into Attention"]
    assert {"matmul", "softmax"} <= {node.function for node in fused}


@pytest.mark.parametrize(
    "mask",
    [
        "z = Add(s, m)\n",
        "z = Where(m, s, wc)\n",
        "i = Where(m, wc, wd)\n z = Add(s, i)\n",
        "a = Mul(s, wc)\n z = Add(m, a)\n",
    ],
)
def test_a_mask_is_an_operand_of_attention(mask: str) -> None:
    kind = "bool" if "Where" in mask else "float"
    inputs = f"{QKV}, {kind}[N,1,T,S] m"
    result = workload(
        f"{inputs}, float wc, float wd",
        f"{TURN} s = MatMul(q, t)\n {mask} p = Softmax(z)\n y = MatMul(p, v)",
    )
    expected = workload(inputs, "y = Attention(q, k, v, m)", opset=23)
    assert result.operators == expected.operators
    assert result.operators[0].operands[3] == Operand(sources=("m",), elements=N * T * S)


def test_heads_that_share_a_key_are_counted_once() -> None:
    result = workload(
        "float[N,6,T,64] q, float[N,2,S,64] k, float[N,2,S,64] v",
        "c = Constant<value_ints=[1,2,3,1,1]>()\n a = Constant<value_ints=[2]>()\n"
        "h = Constant<value_ints=[0,6,-1,64]>()\n"
        "ku = Unsqueeze(k, a)\n ke = Expand(ku, c)\n kr = Reshape(ke, h)\n"
        "vu = Unsqueeze(v, a)\n ve = Expand(vu, c)\n vr = Reshape(ve, h)\n"
        "t = Transpose<perm=[0,1,3,2]>(kr)\n s = MatMul(q, t)\n p = Softmax(s)\n y = MatMul(p, vr)",
    )
    (attention,) = result.operators
    assert isinstance(attention, Attention)
    assert (attention.copies, attention.kv_copies) == (6 * N, 2 * N)
    assert attention == workload(
        "float[N,6,T,64] q, float[N,2,S,64] k, float[N,2,S,64] v", "y = Attention(q, k, v)",
        opset=23,
    ).operators[0]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"{TURN} s = MatMul(q, t)\n p = Softmax(s)\n y = MatMul(p, v)", "y, p"),
        (f"{TURN} s = MatMul(q, t)\n p = Softmax(s)\n y = MatMul(p, v)", "y, s"),
        (f"{TURN} s = MatMul(q, t)\n p = Softmax(s)\n y = MatMul(p, v)\n z = Neg(p)", "y, z"),
        (
            f"{TURN} s = MatMul(q, t)\n p = Softmax(s)\n y = MatMul(p, v)\n"
            "i = Constant<value_ints=[0]>()\n c = Gather<axis=2>(p, i)",
            "y, c",
        ),
    ],
    ids=["weights are an output", "scores are an output", "weights are read", "a row is read"],
)
def test_attention_whose_matrix_is_needed_elsewhere_stays_written_out(
    body: str, outputs: str
) -> None:
    result = workload(QKV, body, outputs)
    assert [type(o) for o in result.operators[:3]] == [MatMul, Softmax, MatMul]


@pytest.mark.parametrize(
    "body",
    [
        "s = MatMul(x, x)\n p = Softmax<axis=1>(s)\n y = MatMul(p, x)",
        "s = MatMul(x, x)\n u = Transpose<perm=[0,2,1]>(s)\n p = Softmax(u)\n y = MatMul(p, x)",
        "s = MatMul(x, x)\n p = Softmax(s)\n u = Transpose<perm=[0,2,1]>(p)\n y = MatMul(u, x)",
        's = MatMul(x, x)\n p = Softmax(s)\n y = Einsum<equation="bji,bjk->bik">(p, x)',
        "s = MatMul(x, x)\n p = Softmax(s)\n y = MatMul(x, p)",
        "s = MatMul(x, w)\n p = Softmax(s)\n y = MatMul(p, x)",
        "s = MatMul(x, x)\n p = Sigmoid(s)\n y = MatMul(p, x)",
    ],
)
def test_products_around_a_softmax_that_are_no_attention_stay(body: str) -> None:
    result = workload("float[N,9,9] x, float[9,9] w", body)
    assert not any(isinstance(o, Attention) for o in result.operators)


def test_a_scale_that_others_read_too_stays_an_operator() -> None:
    result = workload(
        f"{QKV}, float wc",
        f"{TURN} a = Mul(q, wc)\n s = MatMul(a, t)\n p = Softmax(s)\n y = MatMul(p, v)\nz = Neg(a)",
        "y, z",
    )
    assert sorted(kinds(result)) == ["attention", "mul", "neg"]


# Activations

ACTIVATIONS = {
    "gelu, divided": (
        "gelu", "d = Div(x, wc)\n e = Erf(d)\n a = Add(e, wc)\n m = Mul(x, a)\n y = Mul(m, wc)",
    ),
    "gelu, halved first": (
        "gelu", "h = Mul(x, wc)\n d = Div(x, wc)\n e = Erf(d)\n a = Add(e, wc)\n y = Mul(h, a)",
    ),
    "gelu by tanh": (
        "gelu",
        "p = Pow(x, wc)\n m = Mul(p, wc)\n a = Add(x, m)\n k = Mul(a, wc)\n t = Tanh(k)\n"
        "o = Add(t, wc)\n h = Mul(x, wc)\n y = Mul(h, o)",
    ),
    "silu": ("silu", "s = Sigmoid(x)\n y = Mul(x, s)"),
    "quick gelu": ("quickgelu", "m = Mul(x, wc)\n s = Sigmoid(m)\n y = Mul(x, s)"),
    "mish": ("mish", "p = Softplus(x)\n t = Tanh(p)\n y = Mul(x, t)"),
    "hard swish": (
        "hardswish", "a = Add(x, wc)\n c = Clip(a, wc, wc)\n m = Mul(x, c)\n y = Div(m, wc)",
    ),
    "hard swish by hard sigmoid": ("hardswish", "s = HardSigmoid(x)\n y = Mul(x, s)"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "body"), ACTIVATIONS.values(), ids=list(ACTIVATIONS))
@pytest.mark.parametrize("before", ["x = Identity(i)\n", "x = Relu(i)\n", "x = Add(i, i)\n"])
def test_a_written_out_activation_is_one_operator(function: str, body: str, before: str) -> None:
    result = workload("float[N,T,8] i, float wc", f"{before} {body}")
    activation = result.operators[-1]
    assert isinstance(activation, Elementwise)
    assert activation.function == function
    assert activation.transcendental == (function != "hardswish")
    assert len(activation.operands) == 1
    assert len(result.operators) == (1 if "Identity" in before else 2)


def test_half_of_a_tensor_may_be_activated() -> None:
    result = workload(
        "float[N,8] i",
        "a = Relu(i)\n x, u = Split<axis=1, num_outputs=2>(a)\n s = Sigmoid(x)\n g = Mul(x, s)\n"
        "y = Mul(g, u)",
    )
    assert kinds(result) == ["relu", "silu", "mul"]


@pytest.mark.parametrize(
    "body",
    [
        "x, u = Split<axis=1, num_outputs=2>(i)\n s = Sigmoid(x)\n y = Mul(u, s)",  # a gate
        "s = Sigmoid(i)\n m = Mul(i, s)\n y = Mul(m, s)",  # the sigmoid is read again
        "s = Sigmoid(i)\n b = Neg(i)\n y = Mul(b, s)",  # of something else
        "s = Sigmoid(i)\n m = Mul(s, w)\n y = Mul(i, m)",  # with trained numbers
    ],
)
def test_what_only_resembles_an_activation_stays(body: str) -> None:
    result = workload("float[N,8] i, float[8] w", body)
    assert "silu" not in kinds(result)
    assert "quickgelu" not in kinds(result)


def test_names_are_numbered_as_if_nothing_had_been_written_out() -> None:
    body = "s = Sigmoid(i)\n x = Mul(i, s)\n y = Mul(x, i)"
    header = '<ir_version: 10, opset_import: ["": 21]>'
    proto = parser.parse_model(f"{header}\ng (float[N] i) => (y) {{ {body} }}")
    for node, name in zip(proto.graph.node, ("m/Sigmoid", "m/Mul", "m/Mul_2"), strict=True):
        node.name = name
    result = read(proto.SerializeToString())
    assert [operator.name for operator in result.operators] == ["m/Silu", "m/Mul"]
    assert [(node.name, node.reason) for node in result.free] == [
        ("m/Sigmoid", "fused into m/Silu")
    ]


# Norms

LAYER = (
    "m = ReduceMean(x, a)\n d = Sub(x, m)\n {square}\n v = ReduceMean(q, a)\n e = Add(v, wc)\n"
    "r = Sqrt(e)\n n = Div(d, r)\n"
)


@pytest.mark.parametrize("square", ["q = Pow(d, wc)", "q = Mul(d, d)"])
@pytest.mark.parametrize(
    ("scale", "affine"),
    [("y = Identity(n)", 0), ("y = Mul(n, w)", 8), ("g = Mul(n, w)\n y = Add(g, wb)", 16)],
)
def test_a_written_out_layer_norm_is_one_operator(square: str, scale: str, affine: int) -> None:
    result = workload(
        "float[N,T,8] x, float wc, float[8] w, float[8] wb",
        f"a = Constant<value_ints=[-1]>()\n {LAYER.format(square=square)} {scale}",
        opset=18,
    )
    assert result.operators == (
        Normalization(
            name="LayerNormalization",
            operands=(Operand(sources=("x",), elements=8 * N * T),),
            shape=(N, T, 8),
            form="layer",
            rows=N * T,
            row_length=8,
            affine=affine,
        ),
    )
    assert result.outputs == ("LayerNormalization",)


@pytest.mark.parametrize("divide", ["n = Div(x, r)", "i = Reciprocal(r)\n n = Mul(x, i)"])
def test_a_written_out_rms_norm_is_one_operator(divide: str) -> None:
    result = workload(
        "float[N,T,8] x, float wc, float[8] w",
        "a = Constant<value_ints=[-1]>()\n q = Pow(x, wc)\n v = ReduceMean(q, a)\n"
        f"e = Add(v, wc)\n r = Sqrt(e)\n {divide}\n y = Mul(w, n)",
        opset=18,
    )
    (norm,) = result.operators
    assert isinstance(norm, Normalization)
    assert (norm.form, norm.rows, norm.row_length, norm.affine) == ("rms", N * T, 8, 8)


def test_a_group_norm_by_reshape_and_instance_norm_is_one_operator() -> None:
    result = workload(
        "float[N,8,H,W] x, float[4] wi, float[4] wj, float[8,1,1] w, float[8,1,1] wb",
        "s = Constant<value_ints=[0,4,-1]>()\n f = Shape(x)\n r = Reshape(x, s)\n"
        "n = InstanceNormalization(r, wi, wj)\n b = Reshape(n, f)\n m = Mul(b, w)\n y = Add(m, wb)",
    )
    (norm,) = result.operators
    assert isinstance(norm, Normalization)
    h, w = symbol("H"), symbol("W")
    assert (norm.form, norm.rows, norm.row_length) == ("group", 4 * N, 2 * h * w)
    assert norm.affine == 16
    assert norm.shape == (N, 8, h, w)


def test_a_scale_that_is_not_the_norms_stays() -> None:
    result = workload(
        "float[N,T,8] x, float[8] w, float[8] wb, float[8] ws",
        "n = LayerNormalization(x, w, wb)\n y = Mul(n, ws)",
    )
    assert kinds(result) == ["normalization", "mul"]
