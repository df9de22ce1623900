"""The zoo's vision transformers prune where and what their sources say."""

import pytest
from command_line import Run
from optional import needed

from tilewise.workloads import pruned, trace, zoo
from tilewise.workloads.graph import Workload
from tilewise.workloads.operator import Attention
from tilewise.workloads.zoo import torch_vit, trilevel
from tilewise.workloads.zoo.vits import VitConfig

BLOCKS = {
    "deit-tiny": (4, 7, 10),
    "deit-base": (4, 7, 10),
    "lv-vit-small": (5, 9, 13),
    "lv-vit-medium": (6, 11, 16),
}
PRUNED = [(f"heatvit-{base}", blocks) for base, blocks in BLOCKS.items()]
SPVIT_MACS_PER_TOKEN = 6 * (64 * 64 + 64 * 32 + 32 * 16 + 16 * 2) + 2 * 6 * 3
SPVIT_PARAMETERS = (
    2 * 64  # norm
    + (64 * 64 + 64)
    + (64 * 32 + 32)
    + (32 * 16 + 16)
    + (16 * 2 + 2)
    + (6 * 3 + 3)  # heads' weights
    + (3 * 6 + 6)
)


def queries(workload: Workload, **kept: int) -> list[int]:
    """Tokens of each block's attention."""
    bound = workload.bind(kept)
    return [int(str(o.queries)) for o in bound.operators if isinstance(o, Attention)]


@pytest.mark.parametrize(("name", "blocks"), PRUNED)
def test_a_heatvit_has_its_selectors_before_the_blocks_of_the_paper(
    name: str, blocks: tuple[int, ...]
) -> None:
    tokens = queries(zoo.load(name), kept_1=100, kept_2=50, kept_3=25)
    stages = [sum(block >= first for first in blocks) for block in range(1, len(tokens) + 1)]
    assert tokens == [(197, 102, 52, 27)[stage] for stage in stages]


def test_a_selector_of_spvit_leaves_one_more_package_token_each_time() -> None:
    model = zoo.load("spvit-deit-small")
    assert queries(model, kept_1=100, kept_2=50, kept_3=25) == [
        tokens for tokens in (197, 102, 53, 29) for _ in range(3)
    ]
    dense = zoo.load("deit-small").bind()
    assert model.parameters == dense.parameters + 3 * SPVIT_PARAMETERS
    all_kept = model.bind({f"kept_{place}": 196 for place in (1, 2, 3)})
    more = sum(
        3 * ((tokens - 197) * 12 * 384**2 + 2 * 384 * (tokens**2 - 197**2))
        for tokens in (198, 199, 200)
    )
    scored = 196 + 197 + 198
    assert all_kept.macs == dense.macs + more + scored * SPVIT_MACS_PER_TOKEN


def test_dynamicvit_keeps_what_its_code_keeps() -> None:
    kept = [int(196 * 0.7**place) for place in (1, 2, 3)]
    tokens = queries(zoo.load("dynamicvit-deit-small"))
    assert tokens == [1 + count for count in (196, *kept) for _ in range(3)]


def test_token_merging_takes_thirteen_tokens_in_each_block() -> None:
    assert queries(zoo.load("tome-deit-small")) == [197 - 13 * block for block in range(12)]


def test_trilevel_ranks_by_the_attention_of_cls_and_leaves_no_token_for_the_others() -> None:
    model = pruned("deit-small", "trilevel", (4, 7, 10), (0.7, 0.49, 0.343))
    # In a block's attention there are all that came to it; its MLP has what is left.
    assert queries(model) == [197] * 4 + [139] * 3 + [98] * 3 + [69] * 2
    all_kept = model.bind({f"kept_{place}": 196 for place in (1, 2, 3)})
    assert all_kept.macs == zoo.load("deit-small").bind().macs + 3 * 197 * 384
    assert all_kept.parameters == zoo.load("deit-small").parameters


def test_trilevel_follows_its_schedule() -> None:
    ratios = trilevel.ratios(0.7)
    assert len(ratios) == 300
    assert set(ratios[:10]) == {1}
    assert set(ratios[110:]) == {0.7}
    assert list(ratios) == sorted(ratios, reverse=True)
    assert sum(ratios[10:110]) / 100 == pytest.approx(0.85)  # a cosine's mean is the middle
    assert trilevel.kept(1) == {"kept_1": 196, "kept_2": 196, "kept_3": 196}
    assert trilevel.kept(0.5) == {"kept_1": 98, "kept_2": 49, "kept_3": 25}
    assert round(1_281_167 * trilevel.EXAMPLES) == 1_024_934
    with pytest.raises(ValueError, match=r"above 0 and at most 1, got 1\.1"):
        trilevel.ratios(1.1)


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("heatvit-deit-tiny", "heatvit-rtl-deit-tiny"),
        ("heatvit-lv-vit-small", "spvit-lvvit-small"),
        ("spvit-deit-small", "spvit-deit-small"),
        ("spvit-lv-vit-small", "spvit-lvvit-small"),
    ],
)
def test_counts_that_are_said_to_be_measured_are_those_of_the_trace(
    name: str, measured: str
) -> None:
    assert tuple(zoo.defaults(name).values()) == trace(measured).counts[0]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("quantize", "tome-deit-small", "--bits", "W4A8", "--out", "x.onnx"), "it is made of"),
        (("export", "tome-deit-small", "-o", "x.onnx"), "its graph is that of deit-small"),
    ],
)
def test_a_derived_model_has_no_file(
    arguments: tuple[str, ...], wanted: str, tilewise: Run
) -> None:
    with pytest.raises(zoo.DerivedModelError, match=r"has no file: it is made of deit-small"):
        zoo.content("tome-deit-small")
    code, out, err = tilewise(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert wanted in err


@pytest.mark.export
def test_an_exported_lv_vit_computes_what_torch_computes() -> None:
    torch, runtime = needed("torch"), needed("onnxruntime")
    needed("onnxscript")
    config = VitConfig(
        image=32, patch=8, depth=2, embed=48, heads=3, classes=10,
        stem=8, qkv_bias=False, skip=2, token_head=True,
    )  # fmt: skip
    module = torch_vit.build(config)
    model = torch_vit.export_vit(config, weights=True, module_factory=lambda: module)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    (logits,) = runtime.InferenceSession(model.SerializeToString()).run(
        None, {"image": image.numpy()}
    )
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), module(image)[0], rtol=0, atol=1e-4)
