"""Which question: do masks that are fitted to another grid keep what was kept?"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ragged_cases import masks_of

from tilewise.workloads import trace
from tilewise.workloads.tokens import TokenTrace


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_masks_fitted_to_another_grid_keep_the_fitted_counts(
    before: int, after: int, seed: int
) -> None:
    most = before**2
    counts = [sorted(np.random.default_rng(seed).integers(0, most + 1, 2).tolist(), reverse=True)]
    given = TokenTrace.of(
        "drawn", most, counts, "drawn by a test", masks=masks_of(counts, most, seed)
    )
    fitted = given.fitted(after**2)
    old, new = given.masks(), fitted.masks()
    assert old is not None
    assert new is not None
    assert np.array_equal(new.sum(axis=2), fitted.array())
    assert not (new[:, 1:] & ~new[:, :-1]).any()
    if after % before == 0:  # each patch is cut into several
        times = after // before
        for mask, whole in zip(new[0], old[0], strict=True):
            larger = whole.reshape(before, before).repeat(times, axis=0).repeat(times, axis=1)
            assert np.array_equal(mask.reshape(after, after), larger)


def test_a_fitted_mask_keeps_what_was_kept_most() -> None:
    #  1 1 0      the corner patches of a 2 x 2 grid over the same image hold 9/4 old ones each:
    #  1 0 0      of the upper left 1 + 1/2 + 1/2 + 0 is kept, of the upper right 1/2, of the
    #  0 0 1      lower left 1/2, of the lower right 1
    given = TokenTrace.of("one", 9, [[4]], "by hand", masks=[[[1, 1, 0, 1, 0, 0, 0, 0, 1]]])
    fitted = given.fitted(4)
    assert fitted.counts == ((2,),)
    assert fitted.survived == ("1001",)


def test_masks_do_not_carry_over_where_patches_are_no_square() -> None:
    given = TokenTrace.of("one", 6, [[4]], "by hand", masks=[[[1, 1, 0, 1, 0, 1]]])
    assert given.fitted(6).masks() is not None
    assert given.fitted(9).masks() is None
    assert trace("dinov2-crops").fitted(195).masks() is None
