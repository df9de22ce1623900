"""Each ONNX operation: the shape that running it gives, and the work that it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser
from onnx.reference import ReferenceEvaluator

from tilewise.workloads.graph import Workload
from tilewise.workloads.onnx_reader import read
from tilewise.workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)

SIZES = {"N": 2, "T": 7, "H": 9, "W": 10, "C": 8}
"""What the symbols of the graphs are bound to."""


@dataclass(frozen=True)
class Case:
    """A graph of one operation.

    Attributes:
        inputs: Its inputs, in ONNX's text format.
        body: The nodes, which make `y`.
        kind: What the operation is read as; None if it is free.
        macs: Its multiply-accumulates.
        weights: Names of inputs that are parameters, which the file does not contain.
        constants: Inputs with contents.
        opset: Of the graph.
        follow: What is appended, to see the shape of free nodes too.
        fields: Fields of the operator.
    """

    inputs: str
    body: str
    kind: type[Operator] | None = None
    macs: int = 0
    weights: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict[str, Any])
    opset: int = 21
    follow: str = "Neg"
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])


def model(case: Case) -> onnx.ModelProto:
    """The graph as a file without weights."""
    text = (
        f'<ir_version: 10, opset_import: ["": {case.opset}, "com.microsoft": 1]>\n'
        f"g ({case.inputs}) => (z) {{ {case.body}\n z = {case.follow}(y) }}"
    )
    proto = parser.parse_model(text)
    for name in (*case.weights.split(), *case.constants):
        given_input = next(value for value in proto.graph.input if value.name == name)
        tensor_type = given_input.type.tensor_type
        if name in case.constants:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
            tensor = onnx.numpy_helper.from_array(np.array(case.constants[name], dtype), name)
        else:
            dims = [dim.dim_value for dim in tensor_type.shape.dim]
            tensor = onnx.TensorProto(name=name, dims=dims, data_type=tensor_type.elem_type)
        proto.graph.initializer.append(tensor)
        proto.graph.input.remove(given_input)
    return proto


def run(proto: onnx.ModelProto, feeds: Mapping[str, Any] | None = None) -> Any:
    """The result of running the graph on random numbers, its parameters included."""
    generator = np.random.default_rng(0)
    inputs: dict[str, Any] = dict(feeds or {})
    for value in proto.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [SIZES.get(d.dim_param, d.dim_value) for d in value.type.tensor_type.shape.dim]
        inputs.setdefault(value.name, generator.integers(0, 2, shape).astype(dtype))
    runnable = onnx.ModelProto()
    runnable.CopyFrom(proto)
    for tensor in runnable.graph.initializer:
        if not (tensor.raw_data or len(tensor.ListFields()) > 3):
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            array = generator.integers(1, 3, tuple(tensor.dims)).astype(dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    evaluator: Any = ReferenceEvaluator(runnable)
    return evaluator.run(None, inputs)[0]


def bound(proto: onnx.ModelProto) -> Workload:
    """The workload under `SIZES`."""
    workload = read(proto.SerializeToString())
    names = {symbol.name for symbol in workload.symbols}
    return workload.bind({name: size for name, size in SIZES.items() if name in names})


X3 = "float[N,T,C] x"
X4 = "float[N,8,H,W] x"

CASES: dict[str, Case] = {
    # Products
    "matmul with a parameter": Case(
        "float[N,T,8] x, float[8,5] w", "y = MatMul(x, w)", MatMul, 2 * 7 * 8 * 5, "w",
        fields={"copies": 1, "m": 14, "k": 8, "n": 5, "weights": 1},
    ),
    "matmul of activations": Case(
        "float[N,3,T,8] x, float[N,3,8,T] b", "y = MatMul(x, b)", MatMul, 6 * 7 * 8 * 7,
        fields={"copies": 6, "m": 7, "k": 8, "n": 7, "weights": 0},
    ),
    "matmul with the parameter on the left": Case(
        "float[5,8] w, float[N,8,T] x", "y = MatMul(w, x)", MatMul, 2 * 7 * 8 * 5, "w",
        fields={"m": 14, "k": 8, "n": 5, "weights": 1},
    ),
    "matmul with a parameter for each head": Case(
        "float[N,3,T,8] x, float[3,8,4] w", "y = MatMul(x, w)", MatMul, 6 * 7 * 8 * 4, "w",
        fields={"copies": 3, "m": 14, "weights": 3},
    ),
    "matmul that broadcasts an activation": Case(
        "float[N,T,8] x, float[8,T] b", "y = MatMul(x, b)", MatMul, 2 * 7 * 8 * 7,
        fields={"copies": 1, "m": 14, "weights": 0},
    ),
    "matmul of a vector": Case("float[8] x, float[8,5] w", "y = MatMul(x, w)", MatMul, 40, "w"),
    "matmul with a vector": Case(
        "float[N,T,8] x, float[8] w", "y = MatMul(x, w)", MatMul, 14 * 8, "w"
    ),
    "gemm": Case(
        "float[N,8] x, float[5,8] w, float[5] b", "y = Gemm<transB=1>(x, w, b)", MatMul, 80, "w b",
        fields={"m": 2, "k": 8, "n": 5, "bias": True},
    ),
    "gemm transposed on the left": Case(
        "float[8,N] x, float[8,5] w", "y = Gemm<transA=1>(x, w)", MatMul, 80, "w"
    ),
    "gemm that adds an activation": Case(
        "float[N,8] x, float[8,5] w, float[N,5] c", "y = Gemm(x, w, c)", MatMul, 80, "w",
        fields={"bias": False},
    ),
    "einsum of scores": Case(
        "float[N,T,3,8] x, float[N,5,3,8] b", 'y = Einsum<equation="bqhd,bkhd->bhqk">(x, b)',
        MatMul, 6 * 7 * 8 * 5, fields={"copies": 6, "m": 7, "k": 8, "n": 5},
    ),
    "einsum with a parameter": Case(
        "float[N,T,8] x, float[8,3,4] w", 'y = Einsum<equation="btc,chd->bhtd">(x, w)',
        MatMul, 14 * 8 * 12, "w", fields={"m": 14, "k": 8, "n": 12, "weights": 1},
    ),
    "einsum with an ellipsis": Case(
        "float[N,3,T,8] x, float[N,3,8,T] b", 'y = Einsum<equation="...ij,...jk->...ik">(x, b)',
        MatMul, 6 * 7 * 8 * 7, fields={"copies": 6},
    ),
    "einsum without an arrow": Case(
        "float[T,8] x, float[8,5] b", 'y = Einsum<equation="ij,jk">(x, b)', MatMul, 7 * 8 * 5
    ),
    "einsum that multiplies": Case(
        "float[N,T] x, float[N,T] b", 'y = Einsum<equation="nt,nt->nt">(x, b)', Elementwise
    ),
    "einsum that sums": Case("float[N,T,8] x", 'y = Einsum<equation="ntc->nc">(x)', Reduction),
    "convolution": Case(
        "float[N,8,H,W] x, float[6,8,3,3] w, float[6] b",
        "y = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w, b)", Convolution, 2 * 6 * 5 * 5 * 8 * 9,
        "w b", fields={"padding": (2, 2), "stride": (2, 2), "bias": True, "out_size": (5, 5)},
    ),
    "grouped dilated convolution": Case(
        "float[N,8,H,W] x, float[6,4,3,3] w", "y = Conv<group=2, dilations=[2,1]>(x, w)",
        Convolution, 2 * 6 * 5 * 8 * 4 * 9, "w", fields={"groups": 2},
    ),
    "convolution in one dimension": Case(
        "float[N,8,T] x, float[6,8,3] w", "y = Conv<pads=[2,0]>(x, w)", Convolution,
        2 * 6 * 7 * 8 * 3, "w",
    ),
    "convolution in three dimensions": Case(
        "float[N,2,T,H,W] x, float[3,2,2,3,3] w", "y = Conv<strides=[1,2,2]>(x, w)", Convolution,
        2 * 3 * 6 * 4 * 4 * 2 * 18, "w",
    ),
    "convolution padded to the same size": Case(
        "float[N,8,9,10] x, float[6,8,3,3] w",
        'y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)',
        Convolution, 2 * 6 * 5 * 5 * 8 * 9, "w", fields={"padding": (2, 1)},
    ),
    "transposed convolution": Case(
        "float[N,8,H,W] x, float[8,6,4,4] w",
        "y = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,0]>(x, w)", Convolution,
        2 * 90 * 8 * 6 * 16, "w", fields={"transposed": True, "out_size": (19, 20)},
    ),
    "attention of four dimensions": Case(
        "float[N,3,T,8] x, float[N,3,5,8] k, float[N,3,5,6] v", "y = Attention(x, k, v)", Attention,
        6 * 7 * 5 * 14, opset=23, fields={"copies": 6, "kv_copies": 6, "keys": 5, "value_dim": 6},
    ),
    "attention of three dimensions with grouped heads": Case(
        "float[N,T,32] x, float[N,5,16] k, float[N,5,16] v",
        "y = Attention<q_num_heads=4, kv_num_heads=2>(x, k, v)", Attention, 8 * 7 * 5 * 16,
        opset=23, fields={"copies": 8, "kv_copies": 4, "head_dim": 8},
    ),
    "attention with a mask and a past": Case(
        "float[N,3,T,8] x, float[N,3,5,8] k, float[N,3,5,8] v, float[T,9] m, "
        "float[N,3,4,8] pk, float[N,3,4,8] pv",
        "y, a, b = Attention(x, k, v, m, pk, pv)", Attention, 6 * 7 * 9 * 16,
        opset=23, fields={"keys": 9, "queries": 7},
    ),
    # Norms and softmax
    "softmax": Case(X3, "y = Softmax<axis=1>(x)", Softmax, fields={"rows": 16, "row_length": 7}),
    "softmax before opset 13": Case(
        X3, "y = Softmax<axis=1>(x)", Softmax, opset=11, fields={"rows": 2, "row_length": 56}
    ),
    "log softmax": Case(X3, "y = LogSoftmax(x)", Softmax),
    "layer norm": Case(
        "float[N,T,8] x, float[8] g, float[8] b", "y = LayerNormalization(x, g, b)", Normalization,
        weights="g b", fields={"form": "layer", "rows": 14, "row_length": 8, "affine": 16},
    ),
    "layer norm over two dimensions": Case(
        "float[N,T,8] x, float[T,8] g", "y = LayerNormalization<axis=1>(x, g)", Normalization,
        fields={"rows": 2, "row_length": 56},
    ),
    "group norm": Case(
        f"{X4}, float[8] g, float[8] b", "y = GroupNormalization<num_groups=4>(x, g, b)",
        Normalization, weights="g b",
        fields={"form": "group", "rows": 8, "row_length": 180, "affine": 16},
    ),
    "instance norm": Case(
        f"{X4}, float[8] g, float[8] b", "y = InstanceNormalization(x, g, b)", Normalization,
        weights="g b", fields={"form": "instance", "rows": 16, "row_length": 90},
    ),
    "batch norm": Case(
        f"{X4}, float[8] g, float[8] b, float[8] m, float[8] v",
        "y = BatchNormalization(x, g, b, m, v)", Normalization, weights="g b m v",
        fields={"form": "batch", "affine": 16},
    ),
    "rms norm": Case(
        "float[N,T,8] x, float[8] g", "y = RMSNormalization(x, g)", Normalization, weights="g",
        opset=23, fields={"form": "rms", "affine": 8},
    ),
    "lp norm": Case(X3, "y = LpNormalization<axis=1>(x)", Normalization, fields={"row_length": 7}),
    # Elementwise
    "addition": Case("float[N,T,C] x, float[T,1] b", "y = Add(x, b)", Elementwise),
    "subtraction of a scalar": Case(
        "float[N,T] x, float b", "y = Sub(x, b)", Elementwise, constants={"b": 2.0}
    ),
    "position embedding": Case(
        "float[N,5,8] x, float[1,5,8] p", "y = Add(x, p)", Elementwise, weights="p",
        fields={"affine": 40, "parameters": 40},
    ),
    "where": Case("bool[T,1] c, float[N,T,C] x", "y = Where(c, x, x)", Elementwise),
    "maximum of three": Case("float[N,1] x, float[T] b", "y = Max(x, b, x)", Elementwise),
    "comparison": Case(
        "float[N,T] x, float[T] b", "y = Greater(x, b)", Elementwise, follow="Not",
        fields={"function": "greater", "transcendental": False},
    ),
    "clip": Case(
        "float[N,T] x, float a, float b", "y = Clip(x, a, b)", Elementwise,
        constants={"a": 0.0, "b": 6.0}, fields={"affine": 0},
    ),
    **{
        op: Case(X3, f"y = {op}(x)", Elementwise, fields={"transcendental": True})
        for op in ("Exp", "Erf", "Sigmoid", "Tanh", "Gelu", "Softplus", "Mish")
    },
    **{
        op: Case(X3, f"y = {op}(x)", Elementwise, fields={"transcendental": False})
        for op in ("Relu", "LeakyRelu", "HardSwish", "Abs", "Round", "Reciprocal", "Sign")
    },
    "swish": Case(X3, "y = Swish(x)", Elementwise, opset=24, fields={"function": "silu"}),
    "quantization": Case(
        "float[N,T] x, float s, uint8 z", "q = QuantizeLinear(x, s, z)\n y = Cast<to=1>(q)",
        Elementwise, constants={"s": 0.5, "z": 3}, fields={"function": "quantizelinear"},
    ),
    # Reductions and pooling
    "sum": Case(
        "float[N,T,C] x, int64[1] a", "y = ReduceSum(x, a)", Reduction, constants={"a": [-1]},
        fields={"reads": 112, "function": "reducesum"},
    ),
    "mean before opset 18": Case(
        X4, "y = ReduceMean<axes=[2,3], keepdims=0>(x)", Reduction, opset=13
    ),
    "maximum over everything": Case(X3, "y = ReduceMax<keepdims=0>(x)", Reduction),
    "reduction of nothing": Case(
        "float[N,T] x, int64[0] a", "y = ReduceSum<noop_with_empty_axes=1>(x, a)",
        constants={"a": []},
    ),
    "arg max": Case(X3, "y = ArgMax<axis=1, keepdims=0>(x)", Reduction),
    "running sum": Case(
        "float[N,T] x, int64 a", "y = CumSum(x, a)", Reduction, constants={"a": 1}
    ),
    "global average pool": Case(X4, "y = GlobalAveragePool(x)", Reduction, fields={"reads": 1440}),
    "average pool": Case(
        X4, "y = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x)", Reduction,
        fields={"reads": 2 * 8 * 5 * 5 * 9},
    ),
    "max pool that rounds up": Case(
        X4, "y = MaxPool<kernel_shape=[2,2], strides=[2,2], ceil_mode=1>(x)", Reduction
    ),
    # Layout
    "reshape": Case(
        "float[N,T,8] x, int64[4] s", "y = Reshape(x, s)", constants={"s": [0, -1, 4, 2]}
    ),
    "reshape computed from sizes": Case(
        "float[N,T,8] x",
        "s = Shape(x)\n i = Constant<value_ints=[1]>()\n t = Gather(s, i)\n"
        "r = Constant<value_ints=[-1]>()\n c = Concat<axis=0>(r, t)\n y = Reshape(x, c)",
    ),
    "flatten": Case(X4, "y = Flatten<axis=2>(x)"),
    "flatten behind the last dimension": Case(X3, "y = Flatten<axis=3>(x)"),
    "squeeze": Case("float[N,1,T,1] x, int64[1] a", "y = Squeeze(x, a)", constants={"a": [-1]}),
    "squeeze of everything": Case("float[5,1,4,1] x", "y = Squeeze(x)"),
    "unsqueeze": Case(
        "float[N,T] x, int64[2] a", "y = Unsqueeze(x, a)", constants={"a": [0, -1]}
    ),
    "unsqueeze before opset 13": Case("float[N,T] x", "y = Unsqueeze<axes=[1]>(x)", opset=11),
    "transpose": Case(X3, "y = Transpose<perm=[2,0,1]>(x)"),
    "transpose without an order": Case(X3, "y = Transpose(x)"),
    "identity": Case(X3, "y = Identity(x)"),
    "dropout": Case(X3, "y, m = Dropout(x)"),
    "cast": Case("int64[N,T] x", "y = Cast<to=1>(x)"),
    "concatenation": Case("float[N,T,8] x, float[N,3,8] b", "y = Concat<axis=1>(x, b, x)"),
    "slice": Case(
        "float[N,T,8] x, int64[2] s, int64[2] e, int64[2] a", "y = Slice(x, s, e, a)",
        constants={"s": [1, -3], "e": [9223372036854775807, -1], "a": [1, 2]},
    ),
    "strided slice": Case(
        "float[N,T] x, int64[1] s, int64[1] e, int64[1] a, int64[1] p", "y = Slice(x, s, e, a, p)",
        constants={"s": [1], "e": [100], "a": [1], "p": [2]},
    ),
    "flip": Case(
        "float[N,T] x, int64[1] s, int64[1] e, int64[1] a, int64[1] p", "y = Slice(x, s, e, a, p)",
        constants={"s": [-1], "e": [-9223372036854775807], "a": [1], "p": [-1]},
    ),
    "slice before opset 10's inputs were known": Case(
        "float[N,T] x, int64[1] s, int64[1] e", "y = Slice(x, s, e)", constants={"s": [0], "e": [1]}
    ),
    "split": Case("float[N,T,8] x", "y, b = Split<axis=2, num_outputs=2>(x)"),
    "unequal split": Case(
        "float[N,T,8] x, int64[2] p", "a, y = Split<axis=2>(x, p)", constants={"p": [3, 5]}
    ),
    "gather of one index": Case(
        "float[N,T,8] x, int64 i", "y = Gather<axis=1>(x, i)", constants={"i": 0}
    ),
    "gather of neighbours": Case(
        "float[N,T,8] x, int64[3] i", "y = Gather<axis=1>(x, i)", constants={"i": [2, 3, 4]}
    ),
    "expand": Case("float[N,1,8] x, int64[3] s", "y = Expand(x, s)", constants={"s": [1, 5, 1]}),
    "tile": Case("float[N,T] x, int64[2] r", "y = Tile(x, r)", constants={"r": [1, 3]}),
    "depth to space": Case(X4, "y = DepthToSpace<blocksize=2>(x)"),
    "space to depth": Case("float[N,3,8,10] x", "y = SpaceToDepth<blocksize=2>(x)"),
    # Movement
    "gather of scattered indices": Case(
        "float[N,T,8] x, int64[3] i", "y = Gather<axis=1>(x, i)", Movement,
        constants={"i": [0, 2, 5]}, fields={"table": 0},
    ),
    "embedding": Case(
        "int64[N,T] x, float[50,8] w", "y = Gather(w, x)", Movement, weights="w",
        fields={"table": 400, "parameters": 400},
    ),
    "gather by data": Case("float[T,8] x, int64[3] i", "y = Gather(x, i)", Movement),
    "gather of elements": Case(
        "float[N,T] x, int64[N,3] i", "y = GatherElements<axis=1>(x, i)", Movement
    ),
    "gather of points": Case("float[N,T,8] x, int64[3,2] i", "y = GatherND(x, i)", Movement),
    "scatter of elements": Case(
        "float[N,T] x, int64[N,2] i, float[N,2] u", "y = ScatterElements<axis=1>(x, i, u)", Movement
    ),
    "scatter of points": Case(
        "float[N,T] x, int64[3,1] i, float[3,T] u", "y = ScatterND(x, i, u)", Movement
    ),
    "resize by scales": Case(
        f"{X4}, float[0] r, float[4] s", "y = Resize(x, r, s)", Movement,
        constants={"r": [], "s": [1, 1, 2, 1.5]},
    ),
    "resize to sizes": Case(
        "float[N,8,9,10] x, int64[2] s", "y = Resize<axes=[2,3]>(x, , , s)", Movement, opset=19,
        constants={"s": [4, 5]},
    ),
    "pad": Case(
        f"{X4}, int64[8] p", "y = Pad(x, p)", Movement, constants={"p": [0, 0, 1, 2, 0, 0, 3, 0]}
    ),
    "pad by nothing": Case("float[N,T] x, int64[4] p", "y = Pad(x, p)", constants={"p": [0] * 4}),
    "one hot": Case(
        "int64[N,T] x, int64 d, float[2] v", "y = OneHot(x, d, v)", Movement,
        constants={"d": 5, "v": [0, 1]},
    ),
    "triangle": Case(X3, "y = Trilu(x)", Elementwise),
    "top k": Case(
        "float[N,T] x, int64[1] k", "y, i = TopK(x, k)", TokenSelection, constants={"k": [3]},
        fields={"data_dependent": False, "kept": 6, "candidates": 14},
    ),
    # Microsoft's
    "skip layer norm": Case(
        "float[N,T,8] x, float[N,T,8] s, float[8] g, float[8] b",
        "y = com.microsoft.SkipLayerNormalization(x, s, g, b)", Normalization, weights="g b",
        fields={"form": "layer", "affine": 16},
    ),
    "bias gelu": Case(
        "float[N,T,8] x, float[8] b", "y = com.microsoft.BiasGelu(x, b)", Elementwise, weights="b",
        fields={"function": "gelu", "affine": 8},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_operation_has_the_shape_that_running_it_gives(case: Case) -> None:
    proto = model(case)
    workload = bound(proto)
    if "microsoft" not in case.body:
        assert workload.operators[-1].shape == run(proto).shape
    assert len(workload.operators) + len(workload.free) == len(proto.graph.node)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_an_operation_is_the_work_it_should_be(case: Case) -> None:
    workload = bound(model(case))
    *work, follow = workload.operators
    assert [type(operator) for operator in work] == ([case.kind] if case.kind else [])
    assert isinstance(follow, Elementwise)
    assert workload.macs == case.macs
    for name, value in case.fields.items():
        assert getattr(work[0], name) == value, name
    for operator in workload.operators:
        for operand in operator.operands:
            assert operand.sources
            assert isinstance(operand.elements, int)
            assert operand.elements > 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_convolution_has_the_shape_that_running_it_gives(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))

    def each(least: int, most: int) -> list[int]:
        return data.draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank))

    groups, per_group, out = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    pads, space = each(0, 2) + each(0, 2), each(5, 9)
    proto = model(
        Case(
            f"float[2,{groups * per_group},{_joined(space)}] x, "
            f"float[{groups * out},{per_group},{_joined(kernel)}] w",
            f"y = Conv<group={groups}, kernel_shape=[{_joined(kernel)}], pads=[{_joined(pads)}], "
            f"strides=[{_joined(strides)}], dilations=[{_joined(dilations)}]>(x, w)",
            weights="w",
        )
    )
    workload = bound(proto)
    result = run(proto)
    assert workload.operators[-1].shape == result.shape
    assert workload.macs == result.size * per_group * np.prod(kernel)


def _joined(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_matrix_product_has_the_shape_that_running_it_gives(data: st.DataObject) -> None:
    batch = data.draw(st.lists(st.integers(1, 3), max_size=3))
    m, k, n = (data.draw(st.integers(1, 4)) for _ in range(3))
    sides: list[list[int]] = []
    for _ in range(2):
        own = [size if data.draw(st.booleans()) else 1 for size in batch]
        sides.append(own[data.draw(st.integers(0, len(own))) :])
    weights = data.draw(st.sampled_from(["", "x", "w"]))
    proto = model(
        Case(
            f"float[{_joined([*sides[0], m, k])}] x, float[{_joined([*sides[1], k, n])}] w",
            "y = MatMul(x, w)",
            weights=weights,
        )
    )
    workload = bound(proto)
    result = run(proto)
    assert workload.operators[-1].shape == result.shape
    assert workload.macs == result.size * k
    product = workload.operators[0]
    assert isinstance(product, MatMul)
    size = {"": 0, "x": np.prod([*sides[0], m, k]), "w": np.prod([*sides[1], k, n])}[weights]
    assert product.parameters == size


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_contraction_has_the_shape_that_running_it_gives(data: st.DataObject) -> None:
    labels = "abcde"
    sizes = {label: data.draw(st.integers(1, 4)) for label in labels}
    left, right = (
        data.draw(st.lists(st.sampled_from(labels), unique=True, min_size=1)) for _ in range(2)
    )
    out = [label for label in labels if label in {*left, *right} and data.draw(st.booleans())]
    out = data.draw(st.permutations(out))
    equation = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    proto = model(
        Case(
            f"float[{_joined([sizes[label] for label in left])}] x, "
            f"float[{_joined([sizes[label] for label in right])}] w",
            f'y = Einsum<equation="{equation}">(x, w)',
        )
    )
    workload = bound(proto)
    assert workload.operators[-1].shape == run(proto).shape
    used = [
        label for label in {*left, *right} if label in out or (label in left and label in right)
    ]
    if isinstance(workload.operators[0], MatMul):
        assert workload.macs == np.prod([sizes[label] for label in used])
