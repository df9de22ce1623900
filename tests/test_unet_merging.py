"""Merging tokens of a UNet: what it costs by hand, what it leaves alone, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tilewise as tw
from tilewise.workloads import BindingError, PruningError, merged
from tilewise.workloads.extent import known
from tilewise.workloads.operator import Attention, MatMul, Operator
from tilewise.workloads.residual_modules import Kind, blocks_of

SD15, SDXL = tw.workload("sd15-unet"), tw.workload("sdxl-unet")
HALF = merged("sd15-unet", 0.5)


def own(model: tw.workloads.Workload) -> list[Operator]:
    return [operator for operator in model.operators if not operator.selector]


def saved(
    tokens: int, kept: int, width: int, text: int, within: tuple[Kind, ...] = ("self",)
) -> int:
    """MACs that merging saves in one block of Stable Diffusion, by hand."""
    gone = tokens - kept
    parts: dict[Kind, int] = {
        # Q, K, V and output; then Q K^T and A V
        "self": 4 * width**2 * gone + 2 * width * (tokens**2 - kept**2),
        # Q and output; then attention to the text
        "cross": 2 * width**2 * gone + 2 * width * text * gone,
        # GEGLU: two products to 4 times the width, and one back
        "mlp": (8 + 4) * width**2 * gone,
    }
    return sum(parts[kind] for kind in within)


def test_half_of_the_tokens_of_sd15_save_what_a_pencil_says() -> None:
    # Five blocks of width 320 at 64 x 64, two going down and three up; 1,024 tokens stand still.
    matching = 5 * 3072 * 1024 * 320
    assert matching == 5_033_164_800
    less = 5 * saved(4096, 2048, 320, 77) - matching
    assert less == 39_426_457_600
    assert known(HALF.bind().macs) == known(SD15.bind().macs) - less == 362_210_263_040


def test_sdxl_merges_at_half_of_its_resolution_which_is_the_largest_with_attention() -> None:
    # 10 blocks of width 640 at 64 x 64 of 128 x 128 latents: 2 x 2 on the way down, 3 x 2 up.
    less = 10 * (saved(4096, 2048, 640, 77) - 3072 * 1024 * 640)
    model = merged("sdxl-unet", 0.5)
    assert model.binding()["kept_1"] == 2048
    assert known(model.bind().macs) == known(SDXL.bind().macs) - less


@pytest.mark.parametrize("within", [("cross",), ("mlp",), ("self", "cross", "mlp")])
def test_other_modules_merge_with_the_same_matching(within: tuple[Kind, ...]) -> None:
    less = 5 * (saved(4096, 2048, 320, 77, within) - 3072 * 1024 * 320)
    model = merged("sd15-unet", 0.5, within)
    assert known(model.bind().macs) == known(SD15.bind().macs) - less
    products = [o for o in model.operators if isinstance(o, MatMul) and o.selector]
    assert len(products) == 5, "tokens are matched once a block, however many modules merge"


@settings(max_examples=10)
@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    share=st.integers(0, 100),
    batch=st.integers(1, 3),
)
def test_any_image_and_count_costs_the_formula(
    sides: tuple[int, int], share: int, batch: int
) -> None:
    height, width = (8 * side for side in sides)
    tokens = height * width
    kept = tokens // 4 + (tokens - tokens // 4) * share // 100
    bind = {"height": height, "width": width, "batch": batch}
    less = saved(tokens, kept, 320, 77) - (tokens - tokens // 4) * (tokens // 4) * 320
    dense = known(SD15.bind(bind).macs)
    assert known(HALF.bind({**bind, "kept_1": kept}).macs) == dense - 5 * batch * less


def test_with_every_token_kept_only_the_merging_is_more() -> None:
    full, dense = merged("sd15-unet", 1).bind(), SD15.bind()
    assert len(own(full)) == len(dense.operators)
    for ours, theirs in zip(own(full), dense.operators, strict=True):
        assert (ours.name, ours.macs, ours.shape) == (theirs.name, theirs.macs, theirs.shape)
        assert [o.elements for o in ours.operands] == [o.elements for o in theirs.operands]
    assert (full.parameters, full.inputs) == (dense.parameters, dense.inputs)


def test_only_the_largest_resolution_merges_and_its_share_follows_the_image() -> None:
    bind = {"height": 96, "width": 64}
    dense, lengths = (
        [o.queries for o in model.bind(bind).operators if isinstance(o, Attention)]
        for model in (SD15, HALF)
    )
    changed = [(was, now) for was, now in zip(dense, lengths, strict=True) if was != now]
    assert changed == [(6144, 3072)] * 5


def test_merging_is_faster_where_attention_is_what_takes_time() -> None:
    machine = tw.machine("edge-128x128")
    assert tw.simulate(HALF, machine).cycles < tw.simulate(SD15, machine).cycles


def test_blocks_have_three_modules_each() -> None:
    assert [[m.kind for m in block] for block in blocks_of(SDXL)] == [["self", "cross", "mlp"]] * 70
    assert len(blocks_of(SD15)) == 16


@pytest.mark.parametrize(
    ("name", "keep", "within", "words"),
    [
        ("deit-small", 0.5, ("self",), "is no UNet with self-attention; of a ViT say which blocks"),
        ("sd15-unet", 0.2, ("self",), "a share to keep is 0.25 to 1, not 0.2"),
        ("sd15-unet", float("nan"), ("self",), "not nan"),
        ("sd15-unet", 0.5, (), "say for which modules tokens merge: self, cross, mlp"),
        ("sd15-unet", 0.5, ("text",), "no module text to merge tokens for; its blocks have self"),
    ],
)
def test_what_cannot_merge_is_refused(
    name: str, keep: float, within: tuple[Kind, ...], words: str
) -> None:
    with pytest.raises(PruningError) as raised:
        merged(name, keep, within)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("kept", "words"), [(1023, "at least floor"), (4097, "at most height")])
def test_a_count_is_between_what_others_merge_into_and_all(kept: int, words: str) -> None:
    HALF.bind({"kept_1": 1024})
    with pytest.raises(BindingError, match=words):
        HALF.bind({"kept_1": kept})
