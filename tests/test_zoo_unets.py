"""The zoo's UNets, decoders and text encoders are built as their papers and configurations say."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from optional import needed

from tilewise.workloads import Attention, Convolution, Operator, Workload, load, names
from tilewise.workloads.zoo.configs import arguments
from tilewise.workloads.zoo.published import counted

UNETS = [name for name in names() if re.match("(sd1|sd2|snap|ddpm|diff|ldm).*-unet", name)]
DECODERS = ["sd-vae-decoder", "sdxl-vae-decoder", "snapfusion-vae-decoder"]
TEXT_ENCODERS = ["clip-l-text", "openclip-h-text", "openclip-bigg-text"]


def bound(name: str) -> Workload:
    return load(name).bind()


def last(workload: Workload) -> Operator:
    return next(o for o in workload.operators if o.name == workload.outputs[0])


def blocks(operators: list[str]) -> tuple[Counter[str], Counter[str]]:
    """ResNet and cross-attention blocks of each stage."""
    found: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for name in operators:
        match = re.match(r"(down|up|mid)_block(?:s\.(\d))?\.", name)
        if match:
            stage = match[1] + (match[2] or "")
            found[0][stage] += name.endswith("conv1/Conv")
            found[1][stage] += name.endswith("attn2/Attention")
    return +found[0], +found[1]


@pytest.mark.parametrize("name", UNETS)
def test_noise_has_the_shape_of_the_sample(name: str) -> None:
    workload = bound(name)
    assert last(workload).shape == dict(workload.inputs)["sample"]
    assert workload.notes == ()


@pytest.mark.parametrize("name", ["ddpm-cifar10-unet", "ddpm-celeba-unet", "ddpm-lsun-unet"])
def test_ddpm_attends_at_16_x_16_and_in_the_middle_with_one_head(name: str) -> None:
    workload = bound(name)
    attentions = [o for o in workload.operators if isinstance(o, Attention)]
    assert {o.queries for o in attentions if "mid_block" not in o.name} == {16 * 16}
    assert Counter("mid_block" in o.name for o in attentions) == {False: 2 + 3, True: 1}
    assert {o.copies for o in attentions} == {1}


def test_ldm_attends_to_one_token_at_all_but_the_largest_resolution() -> None:
    attentions = [o for o in bound("ldm4-unet").operators if isinstance(o, Attention)]
    assert {o.queries for o in attentions} == {32**2, 16**2, 8**2}
    assert Counter(o.keys == 1 for o in attentions) == {True: 6 + 1 + 9, False: 6 + 1 + 9}


def test_snapfusion_has_the_blocks_of_its_table() -> None:
    resnets, crosses = blocks([o.name for o in load("snapfusion-unet").operators])
    assert crosses == {"down1": 2, "down2": 2, "mid": 1, "up1": 6, "up2": 3}
    middle = sum(resnets.pop(stage) for stage in ("down3", "mid", "up0"))
    assert middle == 4
    assert resnets == {"down0": 2, "down1": 2, "down2": 1, "up1": 2, "up2": 3, "up3": 3}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_makes_eight_pixels_of_each_latent(name: str) -> None:
    workload = bound(name)
    batch, channels, height, width = dict(workload.inputs)["latents"]
    assert (batch, channels) == (1, 4)
    assert last(workload).shape == (1, 3, 8 * height, 8 * width)  # pyright: ignore[reportOperatorIssue]


def test_snapfusions_decoder_has_half_the_channels_of_every_layer_within() -> None:
    whole, half = (
        [o for o in bound(name).operators if isinstance(o, Convolution)] for name in DECODERS[::2]
    )
    for one, other in zip(whole[2:-1], half[2:-1], strict=True):
        assert (one.in_channels, one.out_channels) == (
            2 * other.in_channels,
            2 * other.out_channels,
        )


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_a_text_encoder_has_the_work_and_the_parameters_of_its_layers(name: str) -> None:
    """Closed forms: 12 h^2 weights and 13 h biases and norms a layer, and a last norm."""
    config = arguments(name)
    h, layers, tokens = config["hidden_size"], config["num_hidden_layers"], 77
    projected = h * h if name == "openclip-bigg-text" else 0
    found = counted(name)
    parameters = (config["vocab_size"] + tokens) * h + layers * (12 * h * h + 13 * h) + 2 * h
    assert found.parameters_m == pytest.approx((parameters + projected) / 1e6, rel=1e-12)
    without = layers * tokens * 12 * h * h + projected
    assert found.gmacs_without_attention == pytest.approx(without / 1e9, rel=1e-12)
    attention = layers * 2 * tokens * tokens * h
    assert found.gmacs == pytest.approx((without + attention) / 1e9, rel=1e-12)
    assert found.tokens == (tokens,)


@pytest.mark.export
@pytest.mark.slow
def test_the_middle_of_snapfusion_computes_one_resnet_block_and_one_attention() -> None:
    torch = needed("torch")
    needed("diffusers")
    from tilewise.workloads.zoo import torch_snapfusion

    config = dict(arguments("snapfusion-unet"))
    config |= {
        "block_out_channels": [8, 8, 16, 16],
        "norm_num_groups": 4,
        "cross_attention_dim": 12,
    }
    unet = torch_snapfusion.build(config | {"attention_head_dim": 2})
    middle = unet.mid_block
    x, time, text = torch.randn(1, 16, 2, 3), torch.randn(1, 32), torch.randn(1, 5, 12)
    with torch.no_grad():
        block = middle.resnets[0](x, time)
        wanted = middle.attentions[0](block, encoder_hidden_states=text, return_dict=False)[0]
        assert torch.equal(middle(x, time, encoder_hidden_states=text), wanted)
        noise = unet(torch.randn(1, 4, 16, 8), torch.ones(1), text, return_dict=False)[0]
    assert noise.shape == (1, 4, 16, 8)
