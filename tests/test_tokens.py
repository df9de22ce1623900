"""A token trace is checked where it is made, keeps its laws, and survives files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragged_cases import masks_of

from tilewise.workloads import tokens
from tilewise.workloads.extent import evaluate
from tilewise.workloads.tokens import (
    TokenTrace,
    TraceError,
    read_trace,
    sampled,
    trace,
    write_trace,
)
from tilewise.workloads.zoo import load

TEXT = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=12)


@st.composite
def traces(draw: st.DrawFn) -> TokenTrace:
    patches = draw(st.integers(1, 1024))
    selectors = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, patches), min_size=selectors, max_size=selectors)
    counts = [sorted(r, reverse=True) for r in draw(st.lists(row, min_size=1, max_size=8))]
    labels = [f"{draw(TEXT)}#{n}" for n in range(len(counts))] if draw(st.booleans()) else []
    masks = masks_of(counts, patches, draw(st.integers(0, 99))) if draw(st.booleans()) else None
    return TokenTrace.of("drawn", patches, counts, "drawn by a test", labels, masks=masks)


@given(traces(), st.integers(1, 2048))
def test_fitting_applies_the_kept_fractions_rounded_up(given: TokenTrace, patches: int) -> None:
    fitted = given.fitted(patches)
    before, after = given.array(), fitted.array()
    assert fitted.patches == patches
    assert np.all(after * given.patches >= before * patches), "no less than the fraction"
    assert np.all((after - 1) * given.patches < before * patches), "and less than one patch more"
    assert np.array_equal(after == 0, before == 0)
    assert np.array_equal(after == patches, before == given.patches) or patches < given.patches
    if patches == given.patches:
        assert fitted is given
    else:
        assert f"{given.patches} patches applied to {patches}, rounded up" in fitted.describe()


@given(traces(), st.sampled_from(["csv", "npz"]))
def test_a_trace_survives_a_file(
    tmp_path_factory: pytest.TempPathFactory, given: TokenTrace, ending: str
) -> None:
    path = tmp_path_factory.mktemp("traces") / f"drawn.{ending}"
    write_trace(given, path)
    assert read_trace(path) == given
    fitted = given.fitted(given.patches + 1)
    write_trace(fitted, path)
    assert read_trace(path) == fitted, "with the note that it was fitted"
    assert list(path.parent.iterdir()) == [path]


@given(traces())
def test_a_trace_is_bindings_an_array_and_a_key(given: TokenTrace) -> None:
    assert hash(given) == hash(TokenTrace(**{f: getattr(given, f) for f in given.__slots__}))
    array = given.array()
    assert array.shape == (given.images, given.selectors)
    assert array.dtype == np.int64
    assert not array.flags.writeable
    assert [list(binding.values()) for binding in given.bindings()] == array.tolist()
    for number, column in enumerate(given.binding().values()):
        assert np.array_equal(column, array[:, number])
        assert given.mean()[number] <= list(given.mean_binding().values())[number]
    assert given.percentile(0) == tuple(array.min(axis=0))
    assert given.percentile(100) == tuple(array.max(axis=0))


@given(traces())
def test_masks_keep_what_is_counted_of_what_was_kept_before(given: TokenTrace) -> None:
    masks = given.masks()
    assert (masks is None) == (not given.survived)
    if masks is None:
        return
    assert masks.shape == (given.images, given.selectors, given.patches)
    assert np.array_equal(masks.sum(axis=2), given.array())
    assert not (masks[:, 1:] & ~masks[:, :-1]).any()
    assert not masks.flags.writeable
    again = TokenTrace.of("drawn", given.patches, given.counts, given.source, masks=masks)
    assert again.survived == given.survived
    plain = replace(given, survived=())
    assert plain.masks() is None
    assert plain.content_hash != given.content_hash, "a result may depend on masks"


def test_a_trace_binds_a_pruned_workload() -> None:
    model = load("heatvit-deit-small")
    fitted = trace("dinov2-crops").fitted(196)
    together = evaluate(model.macs, model.binding(fitted.binding()))
    first = model.bind(fitted.bindings()[0])
    assert together.shape == (fitted.images,)
    assert first.macs == together[0]


@given(
    st.integers(1, 400),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.floats(0, 0.99),
    st.integers(0, 1 << 32),
)
def test_what_is_sampled_is_a_trace_for_any_ratios(
    patches: int, keep: list[float], spread: float, seed: int
) -> None:
    keep = sorted(keep, reverse=True)
    drawn = sampled(patches, keep, images=20, seed=seed, spread=spread)
    assert drawn == sampled(patches, keep, images=20, seed=seed, spread=spread)
    assert (drawn.images, drawn.selectors, drawn.patches) == (20, len(keep), patches)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("keep", [(0.7, 0.35, 0.25), (1.0, 0.5), (0.9, 0.9, 0.0), (0.003,)])
def test_what_is_sampled_has_the_mean_that_was_asked_for(
    keep: tuple[float, ...], spread: float
) -> None:
    images = 20_000
    drawn = sampled(196, keep, images=images, seed=3, spread=spread).array() / 196
    error = drawn.std(axis=0) / images**0.5 + 1e-9
    assert np.all(np.abs(drawn.mean(axis=0) - keep) <= 4 * error)
    first = keep[0]
    rounding = 1 / 196
    assert drawn[:, 0].std() == pytest.approx(spread * (first * (1 - first)) ** 0.5, abs=rounding)
    if spread == 0:
        assert np.ptp(drawn, axis=0).max() <= rounding + 1e-9


@pytest.mark.parametrize(
    ("keep", "options", "said"),
    [
        ((0.7, 0.8), {}, "keep ratio 2: wanted 0 to 0.7"),
        ((1.1,), {}, "keep ratio 1: wanted 0 to 1"),
        ((float("nan"),), {}, "got nan"),
        ((), {}, "one for each selector, got none"),
        ((0.5,), {"images": 0}, "at least one image"),
        ((0.5,), {"spread": 1.0}, "spread: wanted 0 to below 1"),
    ],
)
def test_what_cannot_be_sampled_is_said(
    keep: tuple[float, ...], options: dict[str, float], said: str
) -> None:
    with pytest.raises(TraceError, match=said):
        sampled(196, keep, **options)  # type: ignore[arg-type]


MASKED = "# patches: 5\nkept_1,kept_2,survived\n"
GOOD = "# patches: 196\nkept_1,kept_2,kept_3\n137,69,48\n98,41,30\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "kept_1,kept_2,kept_3,patches\n137,69,48,196\n98,41,30,196\n",
        ",kept_1,kept_2,kept_3,patches\n0,137.0,69.0,48.0,196\n1,98.0,41.0,30.0,196\n",  # pandas
        "\ufeff# patches = 196,,\r\nkept_3, kept_2 ,kept_1\r\n48,69,137\r\n30,41,98\r\n",  # a sheet
        "# mine\n\n" + GOOD + "\n# the end\n,,\n",
    ],
)
def test_what_people_and_pandas_write_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode())
    mine = read_trace(path)
    assert (mine.name, mine.patches) == ("mine", 196)
    assert mine.counts == ((137, 69, 48), (98, 41, 30))
    assert trace(path) == trace(str(path)) == mine


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: wanted a header"),
        ("# patches: 196\n", "is empty: wanted a header"),
        ("# patches: 196\nkept_1,kept_2\n", "has a header and no line below it"),
        (GOOD + "137,69,nan\n", "line 5: wanted kept_3 as a whole number of patches, got nan"),
        (GOOD + "137,69,\n", "line 5: wanted kept_3 as a whole number of patches, got nothing"),
        (GOOD + "0.7,0.4,0.2\n", "line 5: wanted kept_1 as a whole number of patches, got 0.7"),
        (GOOD + "137,69,inf\n", "got inf"),
        (GOOD + "137,69,1e400\n", "got 1e400"),
        (GOOD + "137,69,-1\n", "line 5: wanted kept_3 of 0 or more, got -1"),
        (GOOD + "137,69,70\n", "line 5: wanted kept_3 of at most 69, which is kept_2, got 70"),
        (GOOD + "197,69,48\n", "line 5: wanted kept_1 of at most 196, the patches of an image"),
        (GOOD + "137,69\n", "line 5: wanted 3 values as in the header, got 2"),
        (GOOD + "137,69,48,1\n", "line 5: wanted 3 values as in the header, got 4"),
        (GOOD.replace("kept_2", "kept_4"), "line 2: .* got none for kept_2"),
        (GOOD.replace("kept_2", "kept_1"), "line 2: wanted each column once, got kept_1 twice"),
        (GOOD.replace("kept_2", "latency"), "line 2: wanted a header of kept_1, .* 'latency'"),
        ("# patches: 196\n137,69,48\n", "wanted a header"),
        (GOOD.replace("# patches: 196\n", ""), "does not say how many patches"),
        (GOOD.replace("196", "0"), "wanted patches of at least 1, got 0"),
        (GOOD.replace("196", "many"), "wanted patches as a whole number of patches, got many"),
        ("kept_1,patches\n5,196\n5,256\n", "line 3: wanted patches of 196 as before, got 256"),
        ("image\nastronaut\n", "wanted a header with the columns kept_1"),
        (MASKED + "2,1,0120\n", "line 3: wanted masks of 5 patches, got those of 4"),
        (MASKED + "2,1,00210\n2,1,00110\n", "line 4: wanted masks that keep 2, 1, .* got 2, 0"),
        (MASKED + "2,1,00310\n", "line 3: wanted masks that keep 2, 1, .* got digits above 2"),
        (MASKED + "2,1,\n", "line 3: wanted masks of 5 patches, got those of 0"),
        ("\x00\x01kept", "wanted a header"),
    ],
)
def test_a_bad_csv_gives_one_line_that_names_the_row(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=said) as caught:
        trace(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_patches_are_given_where_the_file_does_not_say_and_the_trace_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("kept_1\n5\n")
    assert "196 patches an image assumed" in read_trace(path, 196).describe()
    with pytest.raises(TraceError, match="at least 1, got 0"):
        read_trace(path, 0)
    path.write_text("# patches: 196\nkept_1\n5\n")
    assert read_trace(path, 196).note == ""
    assert read_trace(path, 256).patches == 196, "what the file says, it says"


TWO = {"counts": [[2, 1]], "patches": 3}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"counts": [[5.5]], "patches": 9}, "image 1: wanted kept_1 as a whole number .* got 5.5"),
        ({"counts": [[5.0, np.nan]], "patches": 9}, "wanted kept_2 .* got nan"),
        ({"counts": [[5, 6]], "patches": 9}, "wanted kept_2 of at most 5, which is kept_1, got 6"),
        ({"counts": [[-5]], "patches": 9}, "wanted kept_1 of 0 or more, got -5"),
        ({"counts": [5, 4], "patches": 9}, r"wanted a table .* got an array of shape \(2,\)"),
        ({"counts": np.empty((0, 3)), "patches": 9}, "is empty"),
        ({"counts": [["a"]], "patches": 9}, "wanted whole numbers, got values of type <U1"),
        ({"counts": [[5]]}, "does not say how many patches"),
        ({"counts": [[5]], "patches": -9}, "at least 1, got -9"),
        ({"counts": [[5]], "patches": 9, "labels": ["a", "b"]}, "wanted a label for each"),
        ({"kept": [[5]], "patches": 9}, "wanted an array called counts .* got kept, patches"),
        ({**TWO, "masks": [[1, 0]]}, r"wanted masks \(images, selectors, patches\), got shape \(1"),
        ({**TWO, "masks": [[[1, 0, 0], [0, 1, 0]]]}, "image 1: .* patch 2, which it has dropped"),
        ({**TWO, "masks": [[[1, 0, 0], [1, 0, 0]]]}, "image 1: .* keep 2, 1, .* got 1, 1"),
        ({**TWO, "masks": [[[1, 1], [1, 0]]]}, "image 1: wanted masks of 3 patches, got .* 2"),
        ({**TWO, "masks": [[[0.5, 1, 0], [0, 1, 0]]]}, "wanted masks of true and false, .* float"),
        ({**TWO, "masks": np.ones((1, 10, 3))}, "at most 9 selectors, got 10"),
        ({**TWO, "masks": np.ones((2, 2, 3), int)}, "masks of its 1 images or none, got .* 2"),
    ],
)
def test_a_bad_npz_gives_one_line(arrays: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match=said) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="there is no such file"):
        trace("missing.csv")
    with pytest.raises(TraceError, match=r"wanted a token trace as \.csv or \.npz"):
        trace(tmp_path / "mine.txt")
    for name in ("folder.csv", "folder.npz"):
        (tmp_path / name).mkdir()
        with pytest.raises(TraceError, match="cannot be read: Is a directory"):
            read_trace(tmp_path / name)
    binary = tmp_path / "bad.csv"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(TraceError, match="is no CSV"):
        read_trace(binary)
    write_trace(trace("spvit-deit-small"), tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        with pytest.raises(TraceError, match="is no NPZ file that can be read, or is cut off"):
            read_trace(tmp_path / "cut.npz")
    np.savez(tmp_path / "object.npz", counts=np.array([None]), patches=np.array(9))
    with pytest.raises(TraceError, match="is no NPZ file"):
        read_trace(tmp_path / "object.npz")


def test_rows_of_different_lengths_and_an_unknown_name_are_said() -> None:
    with pytest.raises(TraceError, match="rows are not all of one length"):
        TokenTrace.of("mine", 9, [[5, 4], [5]], "by hand")
    with pytest.raises(TraceError, match="image 2: wanted 2 kept counts as in the first, got 1"):
        TokenTrace(name="mine", patches=9, counts=((5, 4), (5,)), source="by hand")
    with pytest.raises(TraceError, match="got none"):
        TokenTrace(name="mine", patches=9, counts=((),), source="by hand")
    with pytest.raises(TraceError, match=r"called dinov2-crop; did you mean dinov2-crops\?"):
        trace("dinov2-crop")
    with pytest.raises(TraceError, match=r"did you mean spvit-deit-small\?"):
        tokens.published("spvit-deit-smal")


@pytest.mark.parametrize("fault", ["write_bytes", "replace"])
def test_a_failing_write_leaves_the_old_file_whole(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("old")

    def fail(self: Path, *_: object) -> None:
        raise OSError(f"no space for {self}")

    monkeypatch.setattr(Path, fault, fail)
    with pytest.raises(OSError, match="no space"):
        write_trace(trace("spvit-deit-small"), path)
    with pytest.raises(TraceError, match=r"ends in \.csv or \.npz"):
        write_trace(trace("spvit-deit-small"), tmp_path / "mine.txt")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
