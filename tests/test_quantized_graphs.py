"""Reading quantized ONNX files: the work of the float model, in formats that the file states."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser
from onnx_vits import Spelling, vit
from optional import needed

from tilewise.workloads.graph import Workload
from tilewise.workloads.onnx_formats import KEY
from tilewise.workloads.onnx_reader import OnnxError, read
from tilewise.workloads.operator import (
    Attention,
    Elementwise,
    MatMul,
    Normalization,
    Operator,
    Reduction,
)

TYPES = {
    "int8": "int8", "uint8": "int8", "int16": "int16", "uint16": "int16", "int4": "int4",
    "uint4": "int4", "float8e4m3fn": "fp8", "float8e5m2": "fp8", "float4e2m1": "fp4",
}  # fmt: skip


def workload(inputs: str, body: str, opset: int = 23, outputs: str = "y") -> Workload:
    """A graph in ONNX's text format; inputs called `w...`, `s...` and `z...` are stored in it."""
    header = f'<ir_version: 11, opset_import: ["": {opset}, "com.microsoft": 1]>'
    proto = parser.parse_model(f"{header}\ng ({inputs}) => ({outputs}) {{ {body} }}")
    for value in [value for value in proto.graph.input if value.name[0] in "wsz"]:
        kind = value.type.tensor_type
        dims = [dim.dim_value for dim in kind.shape.dim]
        tensor = TensorProto(name=value.name, dims=dims, data_type=kind.elem_type)
        proto.graph.initializer.append(tensor)
        proto.graph.input.remove(value)
    return read(proto.SerializeToString())


def only(result: Workload, kind: type[Operator]) -> Any:
    (found,) = (operator for operator in result.operators if isinstance(operator, kind))
    return found


def without_formats(result: Workload) -> tuple[Operator, ...]:
    return tuple(
        replace(
            operator,
            format=None,
            weight_formats=(),
            operands=tuple(replace(operand, format=None) for operand in operator.operands),
        )
        for operator in result.operators
    )


# Weights


@pytest.mark.parametrize("kind", TYPES)
def test_dequantized_weights_are_stored_as_integers(kind: str) -> None:
    if not hasattr(TensorProto, kind.upper()):
        pytest.skip(f"this onnx knows no {kind}")
    result = workload(
        f"float[N,8] x, {kind}[8,16] w, float s", "d = DequantizeLinear(w, s)\n y = MatMul(x, d)"
    )
    product = only(result, MatMul)
    assert product.weight_formats == ((TYPES[kind], 16),)
    assert product.operands[0].format is None
    assert product.format is None
    assert result.parameters == product.parameters == 8 * 16


@pytest.mark.parametrize(
    ("inputs", "body", "rows"),
    [
        ("float[N,8] x, int8[16,8] w", "d = DequantizeLinear(w, s)\ny = Gemm<transB=1>(x, d)", 16),
        (
            "float[N,8] x, int8[16,8] w",
            "d = DequantizeLinear(w, s)\n t = Transpose(d)\n y = MatMul(x, t)",
            16,
        ),
        (
            "float[N,3,4,4] x, int8[5,3,2,2] w",
            "d = DequantizeLinear(w, s)\n y = Conv<kernel_shape=[2,2]>(x, d)",
            5,
        ),
        ("float[N,8] x, float[8,6] w, int8 z", "q = QuantizeLinear(w, s, z)\n"
         "d = DequantizeLinear(q, s, z)\n y = MatMul(x, d)", 6),
    ],
)  # fmt: skip
def test_a_row_is_what_makes_one_output(inputs: str, body: str, rows: int) -> None:
    (operator,) = workload(f"{inputs}, float s", body).operators
    assert operator.weight_formats == (("int8", rows),)


def test_scales_of_blocks_are_no_trained_numbers() -> None:
    result = workload(
        "float[N,64] x, uint4[64,16] w, float[2,16] s, uint4[2,16] z",
        "d = DequantizeLinear<axis=0, block_size=32>(w, s, z)\n y = MatMul(x, d)",
        opset=21,
    )
    assert only(result, MatMul).weight_formats == (("int4", 16),)
    assert result.parameters == 64 * 16


def test_rows_of_several_widths_are_counted() -> None:
    result = workload(
        "float[N,8] x, int8[8,4] w, int4[8,12] wn, float s",
        "a = DequantizeLinear(w, s)\n b = DequantizeLinear(wn, s)\n"
        "c = Concat<axis=1>(a, b)\n y = MatMul(x, c)",
    )
    assert only(result, MatMul).weight_formats == (("int8", 4), ("int4", 12))
    part = workload(
        "float[N,8] x, int8[8,4] w, float[8,12] wn, float s",
        "a = DequantizeLinear(w, s)\n c = Concat<axis=1>(a, wn)\n y = MatMul(x, c)",
    )
    assert only(part, MatMul).weight_formats == ()


def test_a_bias_of_32_bits_is_trained() -> None:
    result = workload(
        "float[N,8] x, int8[8,4] w, int32[4] wb, float s",
        "d = DequantizeLinear(w, s)\n b = DequantizeLinear(wb, s)\n y = Gemm(x, d, b)",
    )
    assert result.parameters == only(result, MatMul).parameters == 8 * 4 + 4


# Activations

PAIR = "q = QuantizeLinear({0}, s, z)\n d = DequantizeLinear(q, s, z)\n"


def test_a_conversion_rides_on_what_made_the_numbers() -> None:
    result = workload(
        "float[N,8] x, float[8,8] w, float s, int8 z",
        f"m = MatMul(x, w)\n {PAIR.format('m')} y = Softmax(d)",
    )
    product, softmax = result.operators
    assert (product.format, softmax.operands[0].format) == ("int8", "int8")
    assert softmax.operands[0].sources == ("MatMul",)
    reasons = {node.function: node.reason for node in result.free}
    assert reasons["QuantizeLinear"] == "on the way out of MatMul"


def test_an_input_that_is_converted_costs_a_pass_and_one_of_integers_does_not() -> None:
    converted = workload(
        "float[N,8] x, float[8,8] w, float s, uint8 z", f"{PAIR.format('x')} y = MatMul(d, w)"
    )
    first, product = converted.operators
    assert isinstance(first, Elementwise)
    assert (first.function, first.format, first.operands[0].format) == (
        "quantizelinear", "int8", None,
    )  # fmt: skip
    assert (product.operands[0].sources, product.operands[0].format) == ((first.name,), "int8")
    given = workload(
        "int8[N,8] x, float[8,8] w, float s", "d = DequantizeLinear(x, s)\n y = MatMul(d, w)"
    )
    (product,) = given.operators
    assert (product.operands[0].sources, product.operands[0].format) == (("x",), "int8")


def test_numbers_that_are_wanted_in_two_forms_are_converted_in_a_pass_of_their_own() -> None:
    result = workload(
        "float[N,8] x, float[8,8] w, float s, int8 z",
        f"m = Relu(x)\n {PAIR.format('m')} p = MatMul(d, w)\n y = Add(p, m)",
    )
    relu, conversion, product, total = result.operators
    assert (relu.format, conversion.format) == (None, "int8")
    assert product.operands[0].format == "int8"
    assert [operand.format for operand in total.operands] == [None, None]


def test_parts_of_a_result_may_have_forms_of_their_own() -> None:
    result = workload(
        "float[N,8] x, float[8,8] w, float s, int8 z",
        f"m = MatMul(x, w)\n a, b = Split<axis=1, num_outputs=2>(m)\n {PAIR.format('a')}"
        "e = Neg(d)\n f = Neg(b)\n y = Add(e, f)",
    )
    product, first, second, _ = result.operators
    assert (product.format, first.operands[0].format, second.operands[0].format) == (
        None, "int8", None,
    )  # fmt: skip


def test_a_range_is_found_in_a_pass_before_numbers_are_converted() -> None:
    result = workload(
        "float[N,8] x, int8[8,4] w",
        "q, a, b = DynamicQuantizeLinear(x)\n m = MatMulInteger(q, w, b)\n"
        "c = Cast<to=1>(m)\n y = Mul(c, a)",
    )
    extremes, converted, product, scaled = result.operators
    assert isinstance(extremes, Reduction)
    assert extremes.name in converted.operands[1].sources
    assert converted.format == product.operands[0].format == "int8"
    assert product.weight_formats == (("int8", 4),)
    assert scaled.operands[1].sources == (extremes.name,)


@pytest.mark.parametrize(
    ("inputs", "body", "formats"),
    [
        ("int8[N,8] x, uint8[8,4] w", "y = MatMulInteger(x, w)", ("int8", None)),
        ("uint8[N,3,4,4] x, int8[4,3,2,2] w", "y = ConvInteger(x, w)", ("int8", None)),
        (
            "uint8[N,8] x, int8[8,4] w, float s, uint8 z",
            "y = QLinearMatMul(x, s, z, w, s, z, s, z)",
            ("int8", "int8"),
        ),
        (
            "int8[N,3,4,4] x, int8[4,3,2,2] w, float s, int8 z",
            "y = QLinearConv(x, s, z, w, s, z, s, z)",
            ("int8", "int8"),
        ),
    ],
)
def test_an_operation_on_integers_is_the_same_operation(
    inputs: str, body: str, formats: tuple[str | None, str | None]
) -> None:
    (operator,) = workload(inputs, body).operators
    assert operator.weight_formats == (("int8", 4),)
    assert (operator.operands[0].format, operator.format) == formats


def test_a_note_says_what_no_element_type_can() -> None:
    text = '<ir_version: 11, opset_import: ["": 21]> g (float[4] x) => (float[4] y) {\n'
    proto = parser.parse_model(f"{text} m = Relu(x)\n {PAIR.format('m')} y = Neg(d) }}")
    for name, data_type in (("s", TensorProto.FLOAT), ("z", TensorProto.INT8)):
        proto.graph.initializer.append(helper.make_tensor(name, data_type, [], [0]))
    entry = proto.graph.node[1].metadata_props.add(key=KEY, value="int6")
    relu, negated = read(proto.SerializeToString()).operators
    assert relu.format == negated.operands[0].format == "int6"
    entry.value = "int9"
    with pytest.raises(OnnxError, match=r"node QuantizeLinear .*: wanted one of int2, .*got int9"):
        read(proto.SerializeToString())


@pytest.mark.parametrize(
    ("inputs", "body", "message"),
    [
        ("float[4] x, float s", "y = QuantizeLinear<output_dtype=9>(x, s)", "output_dtype 9"),
        ("float[4] x, float s, float z", "y = QuantizeLinear(x, s, z)", "input 2, a zero point"),
        ("float[4] x", "y = QuantizeLinear()", "input 0 is missing"),
    ],
)  # fmt: skip
def test_a_type_that_is_unknown_is_refused_in_one_line(
    inputs: str, body: str, message: str
) -> None:
    with pytest.raises(OnnxError, match=rf"node \w+ \(QuantizeLinear\): {message}"):
        workload(inputs, body)


# Whole models

SPELLINGS = (
    Spelling(),
    Spelling(fused=False, flat=True),
    Spelling(whole=True),
    Spelling(table=True),
)

GELU_AND_NORM = """
    h = Div(x, two) e = Erf(h) p = Add(e, one) g = Mul(x, p) y1 = Mul(g, half)
    a = ReduceMean<axes=[-1]>(y1) b = Sub(y1, a) c = Pow(b, two) v = ReduceMean<axes=[-1]>(c)
    o = Add(v, half) r = Sqrt(o) n = Div(b, r) y = Mul(n, w)
"""


def converted(content: bytes, chosen: Collection[int]) -> bytes:
    """A model with Q and DQ behind some of its nodes, as a quantizer puts them."""
    model = onnx.ModelProto.FromString(content)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for place, node in enumerate(nodes):
        result = node.output[0]
        model.graph.node.append(node)
        if place in chosen:
            model.graph.node[-1].output[0] = f"{result}.made"
            scalars = ["a.scale", "a.zero"]
            for op, read_, made in (("Q", "made", "stored"), ("D", "stored", "")):
                name = {"Q": "QuantizeLinear", "D": "DequantizeLinear"}[op]
                ends = [f"{result}.{read_}"], [f"{result}.{made}" if made else result]
                model.graph.node.append(
                    helper.make_node(name, ends[0] + scalars, ends[1], name=f"{place}/{name}")
                )
    for name, kind in (("a.scale", np.float32), ("a.zero", np.int8)):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((), kind), name))
    return bytes(model.SerializeToString())


def written_out() -> bytes:
    """GELU and a norm, written out."""
    text = '<ir_version: 10, opset_import: ["": 17]> g (float[N,8] x) => (float[N,8] y)'
    proto = parser.parse_model(f"{text} {{ x0 = Relu(x) {GELU_AND_NORM.replace('x,', 'x0,')} }}")
    for name, number in (("one", 1.0), ("two", 2.0), ("half", 0.5)):
        proto.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), "w"))
    return bytes(proto.SerializeToString())


VIEWS = ("Reshape", "Transpose", "Gather")
MODELS = [vit(side=2, width=8, heads=2, depth=1, spelling=s) for s in SPELLINGS] + [written_out()]


@settings(max_examples=40)
@given(st.integers(0, len(MODELS) - 1), st.data())
def test_whatever_is_converted_the_work_is_that_of_the_float_model(
    index: int, data: st.DataObject
) -> None:
    content = MODELS[index]
    expected = read(content)
    nodes = onnx.ModelProto.FromString(content).graph.node
    # Of what several views show, one alone may not be converted: see above.
    makers = [i for i, node in enumerate(nodes) if node.op_type not in VIEWS]
    chosen = data.draw(st.sets(st.sampled_from(makers)))
    result = read(converted(content, chosen))
    assert without_formats(result) == expected.operators
    assert result.outputs == expected.outputs
    assert result.parameters == expected.parameters
    everything = read(converted(content, range(len(nodes))))
    assert all(operator.format == "int8" for operator in everything.operators)


def test_written_out_functions_are_recognised_between_conversions() -> None:
    kinds = [type(o) for o in read(converted(written_out(), range(99))).operators]
    assert kinds == [Elementwise, Elementwise, Normalization]
    attention = only(read(converted(MODELS[0], range(99))), Attention)
    assert [operand.format for operand in attention.operands] == ["int8"] * 3


# onnxruntime's quantizers


def random_model(path: Path, spelling: Spelling) -> Workload:
    model = onnx.ModelProto.FromString(vit(side=2, width=16, heads=2, depth=1, spelling=spelling))
    numbers = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numbers.standard_normal(tuple(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path.write_bytes(model.SerializeToString())
    return read(path)


@pytest.mark.export
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("spelling", SPELLINGS[:2])
def test_what_onnxruntime_quantizes_is_the_same_work_on_integers(
    spelling: Spelling, form: str, per_channel: bool, tmp_path: Path
) -> None:
    quantization = needed("onnxruntime.quantization")
    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    plain = random_model(source, spelling)

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        images = iter([{"image": np.ones((1, 3, 4, 4), np.float32)}])

        def get_next(self) -> Any:
            return next(self.images, None)

    quantization.quantize_static(
        source,
        target,
        Images(),
        quant_format=quantization.QuantFormat[form],
        per_channel=per_channel,
    )
    result = read(target)
    assert result.macs == plain.macs
    assert result.parameters == plain.parameters
    assert not result.notes
    assert [o.kind for o in result.operators if o.macs] == [
        o.kind for o in plain.operators if o.macs
    ]
    for operator in result.operators:
        assert operator.format == "int8"
        if operator.parameters and operator.macs:
            assert {format for format, _ in operator.weight_formats} == {"int8"}
        if operator.operands[0].sources != ("image",):
            assert {operand.format for operand in operator.operands} == {"int8"}


@pytest.mark.export
def test_what_onnxruntime_quantizes_while_it_runs_is_the_same_work(tmp_path: Path) -> None:
    quantization = needed("onnxruntime.quantization")
    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    plain = random_model(source, Spelling())
    quantization.quantize_dynamic(source, target)
    result = read(target)
    assert result.macs == plain.macs
    assert result.parameters == plain.parameters
    assert only(result, Attention).macs == only(plain, Attention).macs
    ranges = [o for o in result.operators if isinstance(o, Reduction) and o.function == "minmax"]
    layers = [o for o in result.operators if o.macs and o.parameters]
    assert len(ranges) == len(layers)
    assert all(layer.operands[0].format == "int8" for layer in layers)
