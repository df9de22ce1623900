"""Images of different sizes: the counts are those of the published rules, and models run them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tilewise as tw
from tilewise.arch import load_machine
from tilewise.cli_inputs import UserError, pruned_workload
from tilewise.cli_workloads import sized_workload
from tilewise.sim.policies import POLICIES, policy
from tilewise.sim.ragged import run_policies
from tilewise.workloads import PruningError, flexible
from tilewise.workloads.extent import Number, evaluate, known
from tilewise.workloads.graph import BindingError
from tilewise.workloads.image_sizes import (
    latent_size,
    latents,
    naflex,
    naflex_grid,
    native_grid,
    read_sizes,
)
from tilewise.workloads.tokens import TokenTrace, TraceError, read_trace, trace, write_trace

SIDE = st.integers(16, 4000)
FLEXIBLE = flexible("deit-small")


# --- the rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "grid"),
    # By hand: sides / 16 are s h and s w, both rounded up, and s is the largest with no more than
    # 256 patches. 480 x 640: 3 to 4; 14 x 18 holds until a 19th column, which makes 15 x 19 = 285.
    [
        ((512, 512), (16, 16)),
        ((16, 16), (16, 16)),  # small images are enlarged
        ((480, 640), (14, 18)),
        ((640, 480), (18, 14)),
        ((100, 1000), (5, 50)),  # 5 x 51 would fit, but the 6th row comes with the 51st column
        ((1, 100_000), (1, 256)),
    ],
)
def test_naflex_gives_the_grids_of_a_pencil(size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert naflex_grid(*size, 16, 256) == grid


@given(SIDE, SIDE, st.sampled_from([14, 16, 32]), st.integers(4, 1024))
def test_naflex_never_exceeds_the_most_and_keeps_the_shape(
    height: int, width: int, patch: int, most: int
) -> None:
    rows, columns = naflex_grid(height, width, patch, most)
    assert 1 <= rows * columns <= most
    # One scale explains both sides, each rounded up: (rows - 1, rows] and (columns - 1, columns]
    # patches overlap as scales.
    low = max((rows - 1) / height, (columns - 1) / width)
    high = min(rows / height, columns / width)
    assert low < high or min(rows, columns) == 1
    assert naflex_grid(width, height, patch, most) == (columns, rows)
    # A scale that is larger by more than the search's step gives more patches than there may be.
    scale = (high + 2e-5 / patch) * 1.000001
    assert np.ceil(height * scale) * np.ceil(width * scale) > most or scale * patch > 99


@given(SIDE, SIDE)
def test_a_native_image_keeps_its_resolution_within_bounds(height: int, width: int) -> None:
    rows, columns = native_grid(height, width)
    assert rows % 2 == columns % 2 == 0
    assert rows * columns >= 16
    assert rows * columns <= 5120 or min(rows, columns) == 2
    plain = 2 * round(height / 28), 2 * round(width / 28)
    if 16 <= plain[0] * plain[1] <= 5120:
        assert (rows, columns) == plain


@given(SIDE, SIDE, st.sampled_from([512, 1024]))
def test_latents_are_multiples_at_about_the_same_area(height: int, width: int, side: int) -> None:
    found = latent_size(height, width, side)
    assert all(length % 8 == 0 for length in found)
    scale = side / (height * width) ** 0.5
    for length, pixels in zip(found, (height, width), strict=True):
        assert abs(8 * length - pixels * scale) <= 32.001 or length == 8


def test_numbers_that_are_none_are_said() -> None:
    with pytest.raises(TraceError, match="at least one image"):
        naflex([])
    with pytest.raises(TraceError, match="at least one image"):
        latents([])
    with pytest.raises(TraceError, match="height=0: wanted 1 or more"):
        naflex([(0, 5)])
    with pytest.raises(TraceError, match="multiple=12: wanted a multiple of 8"):
        latent_size(64, 64, multiple=12)


# --- traces over sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["naflex-photos", "native-photos", "latents-photos"])
@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_a_trace_of_sizes_survives_a_file(name: str, ending: str, tmp_path: Path) -> None:
    found = trace(name)
    path = tmp_path / f"{name}.{ending}"
    write_trace(found, path)
    assert read_trace(path) == found
    with pytest.raises(TraceError, match="says how large images are"):
        found.fitted(7)


def test_sizes_may_grow_from_column_to_column_and_kept_counts_may_not() -> None:
    sizes = TokenTrace.of("mine", 96, [[64, 96]], "by hand", over=("height", "width"))
    assert sizes.bindings() == ({"height": 64, "width": 96},)
    with pytest.raises(TraceError, match="kept_2 of at most 64"):
        TokenTrace.of("mine", 96, [[64, 96]], "by hand")
    for row, words in (([64, 97], "width of at most 96"), ([0, 9], "height of 1 or more")):
        with pytest.raises(TraceError, match=words):
            TokenTrace.of("mine", 96, [row], "by hand", over=("height", "width"))
    with pytest.raises(TraceError, match="a number for each of height"):
        TokenTrace.of("mine", 96, [[64, 96]], "by hand", over=("height",))


def test_a_file_names_its_symbols(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("# symbols: height, width\nimage,width,height\nfirst,96,64\n")
    mine = read_trace(path)
    assert (mine.over, mine.counts, mine.patches) == (("height", "width"), ((64, 96),), 96)
    path.write_text("# symbols: height, width\nheight\n64\n")
    with pytest.raises(TraceError, match="wanted a column for width"):
        read_trace(path)
    path.write_text("# symbols: height\nheigt\n64\n")
    with pytest.raises(TraceError, match="wanted a header of height"):
        read_trace(path)


def test_sizes_are_read_and_wrong_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "sizes.csv"
    path.write_text("# mine\nimage,height,width\na,480,640\n")
    assert read_sizes(path) == (("a",), ((480, 640),))
    for text, words in (
        ("image,height\na,4\n", "columns height and width"),
        ("height,width\n4,x\n", "image 1: wanted a height and a width in pixels, got 4 and x"),
        ("height,width\n4\n", "got 4 and None"),
        ("height,width\n", "no line below"),
    ):
        path.write_text(text)
        with pytest.raises(TraceError, match=words):
            read_sizes(path)
    with pytest.raises(TraceError, match="cannot be read"):
        read_sizes(tmp_path / "none.csv")


# --- models over sizes ---------------------------------------------------------------------------


def test_a_flexible_vit_with_the_files_patches_is_the_files_model() -> None:
    ours, dense = FLEXIBLE.bind(), tw.workload("deit-small").bind()
    assert ours.macs == dense.macs == 4_598_882_304
    assert ours.parameters == dense.parameters == sum(o.parameters for o in ours.operators)
    assert ours.operators[3:] == dense.operators[2:], "all behind the embedding, one by one"
    assert [o.name for o in ours.operators[:3]] == ["patch_embed.proj/Conv", "Resize", "Add"]


@given(st.integers(1, 5000), st.integers(1, 3))
def test_a_flexible_vit_has_the_macs_of_the_formula(patches: int, batch: int) -> None:
    d, tokens = 384, patches + 1
    a_block = (4 + 8) * d * d * tokens + 2 * d * tokens**2
    whole = batch * (3 * 16 * 16 * d * patches + 12 * a_block + 1000 * d)
    assert evaluate(FLEXIBLE.macs, {"patches": patches, "batch": batch}) == whole


def test_what_is_not_flexible_is_refused() -> None:
    with pytest.raises(PruningError, match="prunes its tokens, and takes images of one size only"):
        flexible("heatvit-deit-small")
    with pytest.raises(PruningError, match="is no ViT"):
        flexible("sd15-unet")


def test_every_policy_runs_images_of_different_sizes() -> None:
    counts = np.array([[64], [16], [40], [25]])
    machine = load_machine("edge-32x32")
    ran = run_policies(FLEXIBLE, machine, counts, batch=2, symbols=("patches",), most=64)
    assert sorted(ran.left_out) == ["tile-skip", "top-k-fit"], "both are for what selectors keep"
    names = [one.name for one in POLICIES if one.name not in ran.left_out]
    assert [one.policy.name for one in ran.policies] == names
    for one in ran.policies:
        rows = {
            "dense": [64] * 4,
            "all": [64] * 4,
            "maximum": [64] * 4,
            "batch": [64, 64, 40, 40],
            "bucket": [64, 64, 40, 40],
            "mean": [37] * 4,
            "own": counts[:, 0],
        }[one.policy.shape]
        assert one.macs == evaluate(FLEXIBLE.macs, {"patches": np.array(rows), "batch": 1}).sum()
    exact = next(one for one in ran.policies if one.policy.name == "exact")
    assert exact.padding == 0
    assert ran.speedup(exact) > 1
    assert not exact.steps["selector"]


def test_a_unet_runs_at_the_sizes_of_its_images_with_the_share_that_it_keeps() -> None:
    model, base = tw.workloads.merged("sd15-unet", 0.5), tw.workload("sd15-unet")
    counts = np.array([[16, 24], [24, 16]])
    machine = load_machine("a100-80gb")
    chosen = [policy(name) for name in ("pad-max", "exact", "pack", "top-k")]
    ran = run_policies(
        model,
        machine,
        counts,
        policies=chosen,
        batch=2,
        symbols=("height", "width"),
        most=24,
        base=base,
    )
    assert ran.base.macs == 2 * base.bind({"height": 24, "width": 24}).macs, "nothing is merged"
    by_name = {one.policy.name: one for one in ran.policies}
    # Of 16 x 24 positions 192 stay, of 24 x 24 half of them: the default follows the size.
    one = known(model.bind({"height": 16, "width": 24}).macs)
    large = known(model.bind({"height": 24, "width": 24}).macs)
    assert by_name["exact"].macs == by_name["pack"].macs == 2 * one
    assert by_name["pad-max"].macs == 2 * large
    assert by_name["top-k"].executed.tolist() == [[24, 24]] * 2, "20, up to a multiple of 8"


@pytest.mark.parametrize("name", ["pack", "pad-batch"])
def test_unets_of_several_sizes_share_a_batch_on_an_array(name: str) -> None:
    model = tw.workload("sd15-unet")
    counts = np.array([[8, 16], [16, 8], [8, 8]])
    ran = run_policies(
        model,
        load_machine("edge-128x128"),
        counts,
        policies=[policy(name)],
        batch=3,
        symbols=("height", "width"),
        most=16,
    ).policies[-1]
    sizes = ran.executed
    binding: dict[str, Number] = {
        "height": sizes[:, 0],
        "width": sizes[:, 1],
        "batch": 1,
        "text_tokens": 77,
    }
    assert ran.macs == evaluate(model.macs, binding).sum()


def test_symbols_that_do_not_vary_are_said() -> None:
    machine = load_machine("edge-32x32")
    counts = np.array([[4]])
    with pytest.raises(BindingError, match="patches differs from image to image"):
        run_policies(FLEXIBLE, machine, counts, symbols=("patches",), most=4, bind={"patches": 4})
    with pytest.raises(BindingError, match="say how large patches may be"):
        run_policies(FLEXIBLE, machine, counts, symbols=("patches",))
    with pytest.raises(BindingError, match="has no symbol height"):
        run_policies(FLEXIBLE, machine, counts, symbols=("height",), most=4)


# --- what a user types ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prune", "keep", "words"),
    [
        ("sd15-unet", "tome", None, "say what share of the tokens is left"),
        ("sd15-unet", "tome", "0.5,0.4", "as in --keep 0.5, not 0.5,0.4; of a ViT"),
        ("sd15-unet", "tome@mpl", "0.5", "no module is called mpl; did you mean mlp"),
        ("deit-small", "heatvit", "0.5", "wanted a method and blocks counted from 1"),
    ],
)
def test_a_wrong_way_to_merge_is_said(name: str, prune: str, keep: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        pruned_workload(name, prune, keep)


def test_a_typed_merging_is_the_function_of_that_name() -> None:
    typed = pruned_workload("sd15-unet", "tome@self,mlp", "0.5")
    assert typed == tw.workloads.merged("sd15-unet", 0.5, ("self", "mlp"))


def test_a_model_without_a_traces_symbol_is_made_flexible_or_refused() -> None:
    deit = tw.workload("deit-small")
    assert sized_workload("deit-small", deit, None, ("patches",)) == FLEXIBLE
    assert sized_workload("deit-small", deit, None, ("batch",)) is deit
    with pytest.raises(UserError, match=r"deit-small has no symbol height, .* it has batch"):
        sized_workload("deit-small", deit, None, ("height", "width"))
    with pytest.raises(UserError, match="is not pruned too; leave one out"):
        sized_workload("deit-small", deit, "heatvit@4", ("patches",))
