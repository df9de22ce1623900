"""Which question: is what eager PyTorch copies and quantizes counted once, and nothing else?"""

from collections import Counter

import pytest

from tilewise.arch import Gpu, load_machine
from tilewise.sim.gpu.autocast import autocast
from tilewise.sim.gpu.engines import ENGINES
from tilewise.sim.gpu.launches import Launch
from tilewise.sim.gpu.quantizing import quantizing
from tilewise.sim.gpu.run import launches_of
from tilewise.sim.roofline import operators_on
from tilewise.sim.simulate import simulate
from tilewise.workloads import zoo
from tilewise.workloads.bit_widths import precision
from tilewise.workloads.extent import known
from tilewise.workloads.graph import Workload
from tilewise.workloads.operator import (
    Attention,
    Convolution,
    MatMul,
    Movement,
    Normalization,
    Softmax,
)
from tilewise.workloads.quantization import BitRules, in_format, quantized

EAGER, COMPILED = ENGINES["eager"], ENGINES["compiled"]


def card(*, fused_attention: bool = True) -> Gpu:
    found = load_machine("a100-80gb")
    assert isinstance(found, Gpu)
    return found.replace(fused_attention=fused_attention)


def bound(name: str) -> Workload:
    return zoo.load(name).bind()


def copies(made: tuple[Launch, ...]) -> Counter[str]:
    return Counter(one.lead.function for one in made if isinstance(one.lead, Movement))


@pytest.mark.parametrize("name", ["deit-small", "sd15-unet", "sdxl-unet"])
def test_copies_compute_nothing_and_leave_what_they_read(name: str) -> None:
    model = bound(name)
    eager, compiled = (launches_of(model, card(), "fp16", e) for e in (EAGER, COMPILED))
    assert sum(one.macs for one in eager) == sum(one.macs for one in compiled) == model.macs
    own = {operator.name for operator in model.operators}
    added = [one for one in eager if one.name not in own]
    assert added
    assert not {one.name for one in compiled} - own
    for one in added:
        assert one.read_bytes == one.written_bytes
        assert one.read_bytes > 0


def test_a_transformer_in_a_unet_is_turned_into_rows_and_back() -> None:
    """SDXL's are linear layers between an image and an image: one copy before, one behind."""
    model = bound("sdxl-unet")
    transformers = sum(o.name.endswith("proj_in/MatMul") for o in model.operators)
    assert transformers == 11
    assert copies(launches_of(model, card(), "fp16", EAGER))["contiguous"] == 2 * transformers


def test_a_vit_has_no_image_behind_its_patches() -> None:
    found = copies(launches_of(bound("deit-small"), card(), "fp16", EAGER))
    assert found == {"nchw_to_nhwc": 1, "weights_to_nhwc": 1, "nhwc_to_nchw": 1}


def test_heads_are_made_contiguous_where_attention_is_written_out() -> None:
    model = bound("deit-small")
    attentions = [o for o in model.operators if isinstance(o, Attention)]
    made = launches_of(model, card(fused_attention=False), "fp16", EAGER)
    found = copies(made)
    # Queries, keys, and behind the softmax values; then the result, whose heads are joined again.
    assert found["heads.1"] == len(attentions)
    assert found["heads.2"] == 2 * len(attentions)
    assert found["heads_joined"] == len(attentions)
    assert not copies(launches_of(model, card(), "fp16", EAGER))["heads.1"]
    moved = sum(one.written_bytes for one in made if "heads" in one.name)
    assert moved == 4 * 2 * sum(known(o.elements) for o in attentions)


def test_fp32_convolutions_keep_their_layout_but_not_their_bias() -> None:
    made = launches_of(bound("sd15-unet"), card(), "fp32", EAGER)
    assert not any("nhwc" in one.name for one in made)
    assert sum(one.name.endswith(".bias") for one in made) == 98


def test_between_convolutions_nothing_is_turned() -> None:
    made = launches_of(bound("sd-vae-decoder"), card(), "fp16", EAGER)
    convolutions = {one.name for one in made if isinstance(one.lead, Convolution)}
    turned = {one.name.removesuffix(".contiguous") for one in made if "contiguous" in one.name}
    assert turned
    assert not turned & convolutions


# 8 bits


def narrow() -> Workload:
    """Two linear layers of each of DeiT-S's blocks in 8 bits."""
    rules = BitRules(layers={"blocks.*.mlp.*": precision("W8A8")})
    return quantized(zoo.load("deit-small"), rules).bind()


@pytest.mark.parametrize("shared", [True, False])
def test_each_8_bit_product_reads_what_was_quantized(shared: bool) -> None:
    operators = in_format(narrow(), "fp16").operators
    found = quantizing(operators, "fp16", shared=shared)
    by_name = {o.name: o for o in found}
    products = [o for o in found if isinstance(o, MatMul) and o.weight_formats[0][0] == "int8"]
    assert len(products) == 24
    for product in products:
        (operand,) = product.operands
        quantizer = by_name[operand.sources[0]]
        assert isinstance(quantizer, Normalization)
        assert quantizer.format == operand.format == "int8"
        assert (quantizer.rows, quantizer.row_length) == (197, product.k)
        assert quantizer.operands[0].format == product.format == "fp16"
    assert len(found) == len(operators) + 24


def test_projections_that_read_the_same_share_what_was_quantized_if_they_can() -> None:
    rules = BitRules(layers={"*attn1.to_*": precision("W8A8")})
    model = quantized(zoo.load("sd15-unet"), rules).bind()
    operators = in_format(model, "fp16").operators
    more = [
        len(quantizing(operators, "fp16", shared=shared)) - len(operators)
        for shared in (True, False)
    ]
    attentions = sum(isinstance(o, Attention) for o in operators) // 2  # of an image with itself
    assert more == [2 * attentions, 4 * attentions]  # Q, K and V share; the output has its own


def test_what_is_in_16_bits_is_left_alone() -> None:
    operators = in_format(bound("deit-small"), "fp16").operators
    assert quantizing(operators, "fp16", shared=False) == operators


def test_attention_and_what_no_product_reads_stays_in_16_bits() -> None:
    model = quantized(zoo.load("deit-small"), BitRules(default=precision("W8A8"))).bind()
    for operator in quantizing(in_format(model, "fp16").operators, "fp16", shared=True):
        quantizer = isinstance(operator, Normalization) and operator.form == "lp"
        assert operator.format == ("int8" if quantizer else "fp16")
        if isinstance(operator, Attention):
            assert {operand.format for operand in operator.operands} == {"fp16"}


def test_tensorrt_leaves_8_bit_tensors_in_8_bits() -> None:
    names = [one.name for one in launches_of(narrow(), card(), "fp16", ENGINES["tensorrt"])]
    assert not any("quantize" in name for name in names)


# Attention


def test_attention_in_32_bits_is_written_out_by_tensorrt_alone() -> None:
    model = bound("deit-small")
    kinds = {
        name: {type(one.lead) for one in launches_of(model, card(), "tf32", ENGINES[name])}
        for name in ("compiled", "tensorrt")
    }
    assert Attention in kinds["compiled"]
    assert Attention not in kinds["tensorrt"]
    assert Softmax in kinds["tensorrt"]
    made = launches_of(model, card(), "fp16", ENGINES["tensorrt"])
    assert Attention in {type(one.lead) for one in made}


def test_older_attention_takes_twice_as_long_and_nothing_else_does() -> None:
    model = zoo.load("deit-small")
    new, old = (
        simulate(model, card(), engine=name, batch=64) for name in ("eager", "eager-torch-2.1")
    )
    for one, other in zip(new.operators, old.operators, strict=True):
        if one.kind != "attention":
            assert one.cycles == other.cycles
            continue
        launch = card().launch_s * new.clock_hz
        ratio = (other.cycles - launch) / (one.cycles - launch)
        assert ratio == pytest.approx(2, rel=0.1)  # the kernel's own launch is a little longer
        assert other.confidence == "uncalibrated"


# Autocast


@pytest.mark.parametrize(("format", "casts"), [("fp16", 0), ("bf16", 1)])
def test_softmax_reads_fp16_as_it_is(format: str, casts: int) -> None:
    operators = operators_on(bound("deit-small"), card(), format, fused_attention=False)
    found = autocast(operators, format)
    softmaxes = [o for o in found if isinstance(o, Softmax)]
    assert {o.format for o in softmaxes} == {"fp32"}
    assert {o.operands[0].format for o in softmaxes} == ({"fp16"} if not casts else {"fp32"})
    cast = [o for o in found if o.name.endswith("softmax.cast_0")]
    assert len(cast) == casts * len(softmaxes)


# How sure


def test_a_gpu_that_was_changed_is_no_longer_the_one_that_was_measured() -> None:
    model = zoo.load("deit-small")
    own = simulate(model, card(), batch=64, format="bf16").confidence
    assert own["interpolated"] > 0.3
    for changed in (card().replace(sms=120), card().replace(l2_bytes=80_000_000)):
        assert "interpolated" not in simulate(model, changed, batch=64, format="bf16").confidence
    same = simulate(model, card().replace(description="mine"), batch=64, format="bf16")
    assert same.confidence == own
