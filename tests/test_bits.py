"""Bits in time, bytes and energy: fewer never cost more, and rows of several widths by hand."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tilewise.arch import Accelerator, UnrolledArray, load_machine
from tilewise.arch.packing import rates
from tilewise.sim.formats import Widths
from tilewise.sim.lower import lower, plan
from tilewise.sim.program import total
from tilewise.sim.sections import Sections
from tilewise.sim.simulate import Execution, execute, simulate
from tilewise.sim.unrolled import summed
from tilewise.sim.waterfall import by_step
from tilewise.workloads import (
    BitRules,
    Precision,
    QuantizationError,
    Workload,
    bit_rules,
    quantized,
    vit,
    zoo,
)
from tilewise.workloads.bit_widths import WIDTHS, precision
from tilewise.workloads.operator import Convolution, MatMul, Operand
from tilewise.workloads.packing import side_by_side
from tilewise.workloads.quantization import in_format
from tilewise.workloads.unpruned import kept_symbols
from tilewise.workloads.zoo import quasar

TINY = vit(depth=1, embed=48, heads=3).bind({"batch": 1})
MACHINES = ("edge-32x32", "zcu102-heatvit", "zcu102-systolic")


def machine(name: str, *, packed: bool = False) -> Accelerator:
    found = load_machine(name)
    assert isinstance(found, Accelerator)
    if packed:
        array = found.array.replace(macs_per_pe_cycle=rates("dsp48e2"))
        found = found.replace(array=array)
    return found


def uniform(weights: int, activations: int) -> BitRules:
    return bit_rules(f"W{weights}A{activations}")


def joules(run: Execution) -> float:
    return sum(sum(operator.energy_j.values()) for operator in run.operators)


def product(rows: str, n: int = 384, m: int = 70, k: int = 96) -> Workload:
    """One product of `n` rows of weights, with such bits."""
    one = MatMul(
        name="layer",
        operands=(Operand(sources=("x",), elements=m * k),),
        shape=(m, n),
        m=m,
        k=k,
        n=n,
        weights=1,
    )
    whole = Workload(name="one", operators=(one,), inputs=(("x", (m, k)),), outputs=("layer",))
    share = Fraction(rows)
    mix = ((8, share), (4, 1 - share)) if share < 1 else ((8, share),)
    return quantized(whole, BitRules(default=Precision(weights=mix, activations=8)))


# --- Fewer bits


@given(
    st.sampled_from(MACHINES),
    st.booleans(),
    *[st.sampled_from([bits for bits in WIDTHS if bits <= 8])] * 4,
)
@settings(max_examples=25)
def test_fewer_bits_never_cost_more_time_or_energy(
    name: str, packed: bool, w: int, a: int, less_w: int, less_a: int
) -> None:
    assume(less_w <= w and less_a <= a)
    on = machine(name, packed=packed and name != "edge-32x32")
    wide, narrow = (quantized(TINY, uniform(*bits)) for bits in ((w, a), (less_w, less_a)))
    mapping = plan(wide, on, "int8")
    more, less = (execute(model, on, "int8", mapping) for model in (wide, narrow))
    assert less.spans.cycles <= more.spans.cycles
    assert joules(less) <= joules(more) * (1 + 1e-12)


def test_without_bits_of_its_own_a_model_is_in_the_format_of_the_run() -> None:
    on = machine("edge-32x32")
    plain, as_said = (
        execute(model, on, "int8") for model in (TINY, quantized(TINY, uniform(8, 8)))
    )
    assert plain == as_said or list(plain.spans) == list(as_said.spans)
    assert plain.operators == as_said.operators


@pytest.mark.parametrize("weights", [2, 4, 8])
def test_weights_take_their_bits_in_dram(weights: int) -> None:
    model = quantized(TINY, uniform(weights, 8))
    program = lower(model, machine("edge-32x32"), "int8")
    loaded = {kernel.name: total(kernel.nodes).weight_bytes for kernel in program.kernels}
    assert loaded["blocks.0.mlp.fc1/MatMul"] == 48 * 192 * weights // 8 + 192 * weights // 8


def test_words_of_a_port_hold_as_many_operands_as_fit() -> None:
    array = machine("zcu102-heatvit").array
    assert isinstance(array, UnrolledArray)
    # 16 channels are a word of 128 bits of up to 8 each, or two; 72 outputs are 3 to 5 words.
    loops = {bits: summed(array, 197, 384, 1152, bits=Widths(bits, bits, bits)) for bits in WIDTHS}
    assert [loops[bits].load_weights for bits in (4, 6, 8, 16)] == [72, 72, 72, 144]
    assert loops[6] == loops[7], "21 and 18 to a word: 72 outputs are 4 words of either"
    assert loops[4].store == 296 < loops[6].store == 394 < loops[8].store == 493


def test_a_mapping_chosen_anew_may_move_more_bytes_in_a_layer_a_fixed_one_never() -> None:
    # The figures of docs/quantization.md.
    on, point = machine("edge-32x32"), quasar.QUASAR_SMALL
    model = vit(
        depth=point.depth, embed=point.embed, heads=point.heads, mlp_ratio=point.mlp_ratio
    ).bind({"batch": 1})
    wide, narrow = (quantized(model, uniform(*bits)) for bits in ((8, 8), (4, 8)))
    mapping = plan(wide, on, "int8")
    runs = [execute(wide, on, "int8", mapping), execute(narrow, on, "int8")]
    runs.append(execute(narrow, on, "int8", mapping))
    moved = [
        next(o.dram_bytes for o in run.operators if o.name == "blocks.0.mlp.fc2/MatMul")
        for run in runs
    ]
    assert moved == [839_520, 871_800, 608_880]
    assert [run.spans.cycles for run in runs] == [2_409_836, 2_410_419, 2_407_550]


# --- Weights alone


def test_weights_alone_leave_activations_in_the_format_of_the_run() -> None:
    model = quantized(TINY, bit_rules("W4"))
    assert all(operator.format is None for operator in model.operators)
    assert {operator.weight_formats for operator in model.operators if operator.parameters} >= {
        (("int4", 192),), ()
    }  # fmt: skip
    for name, activations in (("edge-32x32", "int8"), ("a100-80gb", "fp16")):
        run = simulate(model, load_machine(name))
        assert run.bits == f"weights int4; activations {activations}"


def test_a_gpu_computes_as_before_on_weights_of_fewer_bits() -> None:
    on = load_machine("a100-80gb")
    plain, fewer = simulate(TINY, on), simulate(quantized(TINY, bit_rules("W4")), on)
    weights = sum(o.parameters for o in TINY.operators if isinstance(o, MatMul | Convolution))
    assert fewer.cycles <= plain.cycles
    assert plain.dram_bytes - fewer.dram_bytes == weights * (16 - 4) // 8
    by_hand = quantized(TINY, bit_rules("W4A16"))
    assert simulate(by_hand, on).cycles > fewer.cycles, "integers of 16 bits are held by fp32"


def test_a_layer_that_leaves_its_activations_open_is_not_given_the_default() -> None:
    layers = {"blocks.0.mlp.fc1": precision("W4"), "blocks.0.attn.qkv": precision({"weights": 4})}
    rules = BitRules(default=precision("W8A8"), layers=layers)
    found = {o.name: o.format for o in quantized(TINY, rules).operators}
    assert found["blocks.0.norm1/LayerNormalization"] is None
    assert found["blocks.0.norm2/LayerNormalization"] is None
    assert found["blocks.0.mlp.act/Gelu"] == "int8"


# --- Rows of several widths


def test_rows_of_several_widths_are_kernels_of_their_own() -> None:
    on = machine("edge-32x32")
    run = simulate(product("1/4"), on)
    assert [operator.name for operator in run.operators] == ["layer:int8", "layer:int4"]
    assert [operator.macs for operator in run.operators] == [70 * 96 * 96, 70 * 96 * 288]
    assert run.bits == "weights int4 75%, int8 25%; activations int8"


def test_a_group_that_fills_no_whole_fold_is_an_edge() -> None:
    # 384 rows are 12 blocks of 32 columns; 115 and 269 are 4 and 9, of 32 columns more.
    on = machine("edge-32x32")
    even, ragged = (lower(product(share), on, "int8").kernels for share in ("1/4", "115/384"))

    def edge(kernels: tuple[object, ...]) -> Fraction:
        sums = [total(kernel.nodes) for kernel in kernels]  # type: ignore[attr-defined]
        return sum((Fraction(s.streamed) - s.useful for s in sums), Fraction(0))

    rate = on.array.macs_per_pe_cycle
    assert rate.most("int4", "int8") == rate.most("int8", "int8") == 1
    assert edge(even) == 0
    assert edge(ragged) == 32 * 96 * 70


@given(st.fractions(0, 1, max_denominator=16), st.integers(1, 400))
def test_every_row_has_one_width(share: Fraction, rows: int) -> None:
    assume(0 < share < 1)
    found = Precision(weights=((8, share), (4, 1 - share)), activations=8).rows(rows)
    assert sum(count for _, count in found) == rows
    assert abs(dict(found).get(8, 0) - share * rows) <= Fraction(1, 2)


def test_bytes_of_mixed_rows_are_the_sum_over_rows() -> None:
    program = lower(product("1/4"), machine("edge-32x32"), "int8")
    sums = [total(kernel.nodes).weight_bytes for kernel in program.kernels]
    assert sums == [96 * 96, 96 * 288 // 2]


def test_in_sections_mixed_rows_are_what_they_are_in_the_whole() -> None:
    on = machine("zcu102-systolic")
    mixed = precision({"weights": {8: 0.3, 4: 0.7}, "activations": 6})
    model = quantized(zoo.load("heatvit-digits16"), BitRules(default=mixed))
    names = kept_symbols(model)

    def image(*row: int) -> Workload:
        return model.bind(dict(zip(names, row, strict=True)))

    made = plan(side_by_side([image(64, 64, 64)] * 2), on, "int8")
    cut = Sections(in_format(model, "int8"), names, {}, on, made, (64, 64, 64))
    for rows in ([(40, 9, 5), (33, 12, 2)], [(40, 9, 5), (40, 7, 5)]):
        part = cut.run(rows)
        whole = execute(side_by_side([image(*row) for row in rows]), on, "int8", made)
        assert part.cycles == whole.spans.cycles
        assert part.steps == by_step(whole.operators)
        assert part.energy_j == pytest.approx(joules(whole))


# --- Rules


def test_a_pattern_says_which_layers() -> None:
    rules = BitRules(layers={"blocks.0.mlp.*": precision("W4A6")})
    found = {o.name: o for o in quantized(TINY, rules).operators}
    assert found["blocks.0.mlp.fc1/MatMul"].weight_formats == (("int4", 192),)
    assert found["blocks.0.attn.qkv/MatMul"].weight_formats == ()
    assert found["blocks.0.norm2/LayerNormalization"].format == "int6", "read by the layer alone"


def test_a_tensor_is_as_wide_as_its_widest_reader_wants() -> None:
    layers = {"blocks.0.attn.qkv": precision("W8A8"), "blocks.0.mlp.fc2": precision("W4A4")}
    rules = BitRules(default=precision("W8A6"), layers=layers)
    found = {o.name: o.format for o in quantized(TINY, rules).operators}
    assert found["blocks.0.norm1/LayerNormalization"] == "int8"
    assert found["blocks.0.mlp.act/Gelu"] == "int4"
    assert found["blocks.0.attn/Attention"] == "int6"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            {"blocks.0.attn.qkw": "W4A8"},
            r"no layer is called blocks\.0\.attn\.qkw; did you mean blocks\.0\.attn\.qkv\?",
        ),
        ({"blox.*": "W4A8"}, r"no layer is called blox\.\*; did you mean blocks\.\*\?"),
        ({"blocks.*.mpl.fc1": "W4"}, r"did you mean blocks\.\*\.mlp\.fc1\?"),
        ({"encoder.1": "W4"}, r"no layer is called encoder\.1; the first is patch_embed\.proj"),
        ({"blocks.*": "W4A8", "*.qkv": "W8A8"}, r"blocks\.\* and \*\.qkv both match blocks.0.attn"),
    ],
)
def test_rules_that_fit_no_layer_or_one_twice_are_refused(
    layers: dict[str, str], message: str
) -> None:
    rules = BitRules(layers={name: precision(bits) for name, bits in layers.items()})
    with pytest.raises(QuantizationError, match=message):
        quantized(TINY, rules)


def test_what_has_bits_already_is_given_none() -> None:
    once = quantized(TINY, bit_rules("W4A8"))
    with pytest.raises(QuantizationError, match=r"is quantized already, at patch_embed\.proj/Conv"):
        quantized(once, bit_rules("W8A8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default: W8\nlayers:\n  a.*: W4\n  b: W8\n  a.*: W8\n", r":5: .*key a\.\* twice, .* 3;"),
        ("default: W8\ndefault: W4\n", ":2: .*the key default twice, first on line 1; keep one"),
        ("default: {weights: {8: 0.5, 8: 0.5}}", ":1: .*the key 8 twice, first on line 1"),
        ("layers: {a.b: {activations: 8}}", r"r\.yaml: a\.b: bits: wanted weights, with or"),
        ("layers: {a.b: W9}", r"r\.yaml: a\.b: bits: wanted one of 2, 3, 4"),
        ("default: W9", r"r\.yaml: default: bits: wanted one of"),
        ("layers: {a: W8", r":1: wanted YAML, got expected ',' or '}'"),
        ("layers: {[a]: W8}", ":1: wanted YAML, got found unhashable key"),
        ("default: W8\0", "wanted YAML, got unacceptable character"),
    ],
)
def test_a_file_of_bits_is_refused_where_it_is_wrong(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(QuantizationError, match=message) as error:
        bit_rules(file)
    assert "\n" not in str(error.value)


def test_a_file_of_bits_may_leave_activations_open(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("default: W8\nlayers: {a: {weights: {8: 0.25, 4: 0.75}}, b: W4A8}\n")
    rules = bit_rules(file)
    assert str(rules.default) == "W8"
    assert {name: str(bits) for name, bits in rules.layers.items()} == {
        "a": "W8:1/4+4:3/4", "b": "W4A8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given_bits", "message"),
    [
        ("W9A8", "bits: wanted one of 2, 3, 4, 5, 6, 7, 8, 16, got 9"),
        ("8bit", "wanted weights and activations as W4A8, or weights alone as W4, got '8bit'"),
        ("W4Afp16", "or weights alone as W4, got 'W4Afp16'"),
        ({"weights": {8: 0.5, 4: 0.4}, "activations": 8}, "shares that add up to 1"),
        ({"activations": 8}, "wanted weights, with or without activations, got activations"),
        ({}, "wanted weights, with or without activations, got nothing"),
        ({"weights": 8, "activations": "fp16"}, "got 'fp16'; leave them out, and they are in the"),
        ({"weights": 8, "activation": 8}, "wanted weights and activations, got 'activation'"),
        ({"weights": True, "activations": 8}, "wanted a number of bits, got True"),
        (8, "wanted text as W4A8 or W4, or weights and activations, got 8"),
    ],
)
def test_bits_that_nobody_has_are_refused(given_bits: object, message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        precision(given_bits)


def test_rows_of_a_grouped_convolution_have_one_width() -> None:
    deep = vit(depth=1, embed=48, heads=3)
    patch = deep.operators[0]
    assert isinstance(patch, Convolution)
    grouped = replace(deep, operators=(replace(patch, groups=3), *deep.operators[1:]))
    mixed = precision({"weights": {8: 0.5, 4: 0.5}, "activations": 8})
    with pytest.raises(QuantizationError, match="wanted one width for a convolution in groups"):
        quantized(grouped, BitRules(default=mixed))
