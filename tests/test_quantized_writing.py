"""What is assigned, written to ONNX and read back is what was assigned."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser
from onnx_vits import Spelling, vit
from optional import needed

from tilewise.cli import main
from tilewise.workloads import zoo
from tilewise.workloads.bit_widths import WIDTHS, Precision, QuantizationError, precision
from tilewise.workloads.graph import Workload
from tilewise.workloads.onnx_formats import KEY
from tilewise.workloads.onnx_quantized import quantized_model, write_quantized
from tilewise.workloads.onnx_reader import OnnxError, read
from tilewise.workloads.operator import Convolution, MatMul
from tilewise.workloads.quantization import BitRules, bit_rules, quantized

MODELS = [
    vit(side=2, width=8, heads=2, depth=2, spelling=spelling)
    for spelling in (
        Spelling(),
        Spelling(fused=False, flat=True, pooled=True),
        Spelling(whole=True, table=True),
        Spelling(first=True),
    )
]
MIXED = precision({"weights": {8: 0.25, 4: 0.75}, "activations": 6})
LAYERS = ("blocks.0.*", "blocks.1.fc*", "blocks.1.attn*", "patch", "head")


def assert_reads_back(source: bytes, rules: BitRules) -> Workload:
    """Asserts the law for one model and one assignment, field by field."""
    plain = read(source)
    expected = quantized(plain, rules)
    model, workload = quantized_model(source, rules)
    result = read(model.SerializeToString())
    assert workload.operators == expected.operators
    for found, wanted in zip(result.operators, expected.operators, strict=True):
        assert found == wanted
    for name in ("inputs", "outputs", "symbols", "constraints", "parameters", "images", "notes"):
        assert getattr(result, name) == getattr(plain, name), name
    assert result.macs == plain.macs
    return result


@pytest.mark.parametrize("model", range(len(MODELS)))
@pytest.mark.parametrize("bits", ["W8A8", "W4A8", "W4A4", "W2A3", "W6A7", "W3A5", "W4"])
def test_uniform_bits_are_read_back(model: int, bits: str) -> None:
    assert_reads_back(MODELS[model], bit_rules(bits))


WIDE = st.lists(st.sampled_from(WIDTHS[:-1]), min_size=1, max_size=3, unique=True)


@st.composite
def precisions(draw: st.DrawFn) -> Precision:
    widths = sorted(draw(WIDE), reverse=True)
    parts = [draw(st.integers(1, 9)) for _ in widths]
    shares = [Fraction(part, sum(parts)) for part in parts]
    return Precision(
        weights=tuple(zip(widths, shares, strict=True)),
        activations=draw(st.none() | st.sampled_from(WIDTHS[:-1])),
    )


@settings(max_examples=40)
@given(
    st.integers(0, len(MODELS) - 1),
    st.none() | precisions(),
    st.dictionaries(st.sampled_from(LAYERS), precisions()),
)
def test_any_mix_of_rows_in_any_layers_is_read_back(
    model: int, default: Precision | None, layers: dict[str, Precision]
) -> None:
    result = assert_reads_back(MODELS[model], BitRules(default=default, layers=layers))
    for operator in result.operators:
        if not isinstance(operator, MatMul | Convolution) or not operator.weight_formats:
            continue
        rows = operator.n if isinstance(operator, MatMul) else operator.out_channels
        assert sum(count for _, count in operator.weight_formats) == rows


def test_the_bytes_of_weights_are_those_of_their_rows() -> None:
    result = assert_reads_back(zoo.content("deit-small"), BitRules(default=MIXED))
    stored = 0
    for operator in result.operators:
        if operator.weight_formats and isinstance(operator, MatMul):
            stored += sum(
                int(format.removeprefix("int")) * rows * int(str(operator.k))
                for format, rows in operator.weight_formats
            )
    weights = 12 * 12 * 384**2 + 384 * 1000
    assert stored == weights * (Fraction(1, 4) * 8 + Fraction(3, 4) * 4)


@pytest.mark.parametrize("name", ["heatvit-digits16"])
def test_a_model_that_selects_tokens_is_read_back(name: str) -> None:
    for rules in (BitRules(default=MIXED), BitRules(layers={"blocks.*.mlp.*": precision("W4A8")})):
        assert_reads_back(zoo.content(name), rules)


@pytest.mark.slow
def test_a_unet_is_read_back() -> None:
    assert_reads_back(zoo.content("sd15-unet"), BitRules(default=MIXED))


def graph(inputs: str, body: str, weights: dict[str, tuple[int, ...]], opset: int = 21) -> bytes:
    text = f'<ir_version: 10, opset_import: ["": {opset}]> g ({inputs}) => (float[A,B] y)'
    proto = parser.parse_model(f"{text} {{ {body} }}")
    for name, shape in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Gemm<transB=1>(x, w)", {"w": (12, 8)}),
        ("y = Gemm(x, w, b)", {"w": (8, 12), "b": (12,)}),
        ("t = Transpose(w)\n m = MatMul(x, t)\n y = Add(m, b)", {"w": (12, 8), "b": (12,)}),
        ("m = MatMul(x, w)\n y = Neg(m)\n z = Exp(m)", {"w": (8, 12)}),
        ("t = Transpose(x)\n y = MatMul(w, t)", {"w": (12, 8)}),
        ("v, i = TopK<axis=0>(x, k)\n y = MatMul(v, w)", {"w": (8, 12)}),
        ("y = MatMul(x, w)\n r = MatMul(x, v)", {"w": (8, 12), "v": (8, 4)}),
    ],
)
@pytest.mark.parametrize("opset", [12, 17, 21, 25])
def test_rows_lie_where_the_operation_has_them(
    body: str, weights: dict[str, tuple[int, ...]], opset: int
) -> None:
    source = graph("float[N,8] x, int64[1] k", body, weights, opset)
    assert_reads_back(source, BitRules(default=MIXED))


@pytest.mark.parametrize("transposed", ["", "Transpose"])
def test_output_channels_are_the_rows_of_a_convolution(transposed: str) -> None:
    shape = (3, 12, 2, 2) if transposed else (12, 3, 2, 2)
    body = f"c = Conv{transposed}<kernel_shape=[2,2]>(x, w)\n y = Flatten(c)"
    result = assert_reads_back(
        graph("float[N,3,6,6] x", body, {"w": shape}), BitRules(default=MIXED)
    )
    assert result.operators[0].weight_formats == (("int8", 3), ("int4", 9))


def test_numbers_that_onnx_cannot_quantize_have_a_note() -> None:
    source = graph(
        "float[N,8] x, int64[1] k",
        "v, i = TopK<axis=0>(x, k)\n c = Cast<to=1>(i)\n y = MatMul(c, w)",
        {"w": (8, 12)},
    )
    assert_reads_back(source, BitRules(default=MIXED))
    model, _ = quantized_model(source, BitRules(default=MIXED))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    assert kinds == {"x": TensorProto.INT8, "k": TensorProto.INT64}
    (selection,) = (node for node in model.graph.node if node.op_type == "TopK")
    assert [(entry.key, entry.value) for entry in selection.metadata_props] == [(KEY, "int6")]


@pytest.mark.parametrize("bits", ["W8A8", "W4A4", "W6A6"])
def test_what_is_written_is_valid(bits: str) -> None:
    for source in MODELS:
        model, _ = quantized_model(source, bit_rules(bits))
        onnx.checker.check_model(model, full_check=True)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.export
@pytest.mark.parametrize("rules", [bit_rules("W4A8"), BitRules(default=MIXED)])
def test_what_is_written_runs(rules: BitRules) -> None:
    model, _ = quantized_model(MODELS[0], rules)
    session = needed("onnxruntime").InferenceSession(model.SerializeToString())
    (logits,) = session.run(None, {"image": np.zeros((1, 3, 4, 4), np.int8)})
    assert logits.shape == (1, 5)


# Files, and what is refused


def test_a_file_is_written_beside_its_weights_only(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(MODELS[0])
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx.gz"
    onnx.save(  # pyright: ignore[reportUnknownMemberType]
        model, source, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    before = source.read_bytes()
    workload = write_quantized(source, bit_rules("W4A8"), target)
    assert read(target).operators == workload.operators
    assert source.read_bytes() == before
    (tmp_path / "far").mkdir()
    with pytest.raises(QuantizationError, match=r"lie in w\.bin beside it; write into"):
        write_quantized(source, bit_rules("W4A8"), tmp_path / "far" / "b.onnx")


def test_a_written_file_keeps_the_defaults_of_its_symbols(tmp_path: Path) -> None:
    target = tmp_path / "a.onnx.gz"
    workload = write_quantized("heatvit-digits16", bit_rules("W4A8"), target)
    shipped, result = zoo.load("heatvit-digits16"), read(target)
    assert result.symbols == workload.symbols == shipped.symbols
    assert result.bind().macs == shipped.bind().macs


def test_defaults_that_a_file_states_are_kept_when_it_is_written() -> None:
    source = graph("float[N,8] x", "y = MatMul(x, w)", {"w": (8, 12)})
    model = onnx.ModelProto.FromString(source)
    for key, value in (("author", "me"), ("tilewise.default.N", "5")):
        model.metadata_props.add(key=key, value=value)
    written, _ = quantized_model(model.SerializeToString(), bit_rules("W4"))
    assert {e.key: e.value for e in written.metadata_props} == {
        "author": "me", "tilewise.default.N": "5",
    }  # fmt: skip
    onnx.checker.check_model(written)  # pyright: ignore[reportUnknownMemberType]
    assert read(written.SerializeToString()).bind().macs == 5 * 8 * 12


def test_a_default_that_is_no_number_is_refused() -> None:
    model = onnx.ModelProto.FromString(graph("float[N,8] x", "y = MatMul(x, w)", {"w": (8, 12)}))
    model.metadata_props.add(key="tilewise.default.N", value="many")
    with pytest.raises(OnnxError, match=r"tilewise\.default\.N: wanted a whole number, got 'many'"):
        read(model.SerializeToString())


@pytest.mark.parametrize(
    ("source", "rules", "message"),
    [
        (zoo.content("quasar-vit-small"), bit_rules("W8A8"), "model is quantized already, at "),
        ("quasar-vit-small", bit_rules("W8A8"), "quasar-vit-small is quantized already, at "),
        (MODELS[0], bit_rules("W16A8"), "int16 needs opset 21, and the model is of opset 17"),
        (MODELS[0], BitRules(layers={"nothing": MIXED}), "no layer is called nothing"),
        (
            graph("float[N,8] x", 'y = Einsum<equation="ab,bc->ac">(x, w)', {"w": (8, 12)}),
            BitRules(default=MIXED),
            r"Einsum: rows of several widths cannot be written for a weight of shape \(8, 12\)",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    source: str | bytes, rules: BitRules, message: str
) -> None:
    with pytest.raises(QuantizationError, match=message) as error:
        quantized_model(source, rules)
    assert "\n" not in str(error.value)


def test_layers_in_a_branch_are_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"], name="MatMul")],
        "then",
        [],
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, None)],
    )
    model = onnx.ModelProto.FromString(graph("float[N,8] x", "y = Neg(x)", {"w": (8, 12)}))
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.BOOL, [], [True]))
    node = helper.make_node("If", ["t"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node[0].CopyFrom(node)
    with pytest.raises(QuantizationError, match="MatMul lies in a branch of an If"):
        quantized_model(model.SerializeToString(), bit_rules("W8A8"))


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("deit-small", "--bits", "W4A8", "--out", "q.onnx.gz"), 0, "q.onnx.gz: 50 layers whose"),
        (("m.onnx", "--bits", "r.yaml", "--out", "q.onnx"), 0, "q.onnx: 2 layers whose"),
        (("deit-smal", "--bits", "W4A8", "--out", "q.onnx"), 2, "did you mean deit-small?"),
        (("m.onnx", "--bits", "W9A8", "--out", "q.onnx"), 2, "wanted one of 2, 3, 4"),
        (("m.onnx", "--bits", "r.yaml", "--out", "m.onnx"), 2, "m.onnx is an input"),
        (("m.onnx", "--bits", "W4A8", "--out", "q.txt"), 2, "ends with .onnx or .onnx.gz"),
        (("m.onnx", "--bits", "W4A8", "--out", "no/q.onnx"), 2, "no/q.onnx cannot be written"),
    ],
)
def test_the_command_writes_a_file_or_says_why_not_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(MODELS[0])
    Path("r.yaml").write_text("layers: {'blocks.0.fc*': W4A6}")
    with pytest.raises(SystemExit) as ended:
        main(["quantize", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code
    assert text in (err if code else out)
    assert len((out + err).splitlines()) == 1
    assert Path(arguments[-1]).exists() == (code == 0 or arguments[-1] == "m.onnx")
