"""Packed products against exact arithmetic in a model of the slice: ports, product, accumulator."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tilewise.arch.packing import PORTS, Packing, packing


def signed(value: int, bits: int) -> int:
    """The low bits of a value, as two's complement."""
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def multiplied(p: Packing, pairs: list[tuple[list[int], list[int]]]) -> list[int]:
    """The sum of each field after a chain of products, as a DSP48E2 would leave it."""
    total = 0
    for weights, activations in pairs:
        left = sum(w << (i * p.weight_step) for i, w in enumerate(weights))
        right = sum(a << (i * p.activation_step) for i, a in enumerate(activations))
        wide, narrow = (left, right) if p.weights_wide else (right, left)
        assert signed(wide, PORTS[0]) == wide
        assert signed(narrow, PORTS[1]) == narrow
        total = signed(total + wide * narrow, 48)
    sums: list[int] = []
    for _ in range(p.products):
        low = signed(total, min(p.field, 48))
        sums.append(low)
        total = (total - low) >> p.field  # gives back what a negative field has borrowed
    return sums


def wanted(p: Packing, pairs: list[tuple[list[int], list[int]]]) -> list[int]:
    inner_weights = not p.weight_step or not p.activation_step or p.weight_step < p.activation_step
    order = (
        [(i, j) for j in range(p.activations) for i in range(p.weights)]
        if inner_weights
        else [(i, j) for i in range(p.weights) for j in range(p.activations)]
    )
    return [sum(w[i] * a[j] for w, a in pairs) for i, j in order]


WIDTHS = st.integers(2, 16)


@given(WIDTHS, WIDTHS, st.booleans(), st.data())
def test_no_field_disturbs_another(w: int, a: int, lut_adders: bool, data: st.DataObject) -> None:
    p = packing(w, a, lut_adders=lut_adders)
    length = data.draw(st.integers(1, min(p.chain, 20)))
    weight = st.integers(-(1 << (w - 1)), (1 << (w - 1)) - 1)
    activation = st.integers(-(1 << (a - 1)), (1 << (a - 1)) - 1)
    pairs = [
        (
            data.draw(st.lists(weight, min_size=p.weights, max_size=p.weights)),
            data.draw(st.lists(activation, min_size=p.activations, max_size=p.activations)),
        )
        for _ in range(length)
    ]
    assert multiplied(p, pairs) == wanted(p, pairs)


@given(st.integers(2, 8), st.integers(2, 8))
def test_the_chain_is_as_long_as_it_may_be(w: int, a: int) -> None:
    p = packing(w, a)
    assume(p.products > 1 and p.chain < 5000)
    worst = ([-(1 << (w - 1))] * p.weights, [-(1 << (a - 1))] * p.activations)
    assert multiplied(p, [worst] * p.chain) == wanted(p, [worst] * p.chain)
    assert multiplied(p, [worst] * (p.chain + 1)) != wanted(p, [worst] * (p.chain + 1))


@given(st.integers(2, 15), st.integers(2, 15), st.booleans())
def test_fewer_bits_are_never_slower(w: int, a: int, lut_adders: bool) -> None:
    def rate(weights: int, activations: int) -> Fraction | int:
        found = packing(weights, activations, lut_adders=lut_adders)
        return found.products if lut_adders else found.rate

    assert rate(w, a) >= rate(w + 1, a)
    assert rate(w, a) >= rate(w, a + 1)


def test_what_is_published_follows() -> None:
    # AMD WP486: two int8 products with 18 bits between them, seven in a chain.
    assert packing(8, 8)[:6] in ((2, 1, 18, 0, 18, 7), (1, 2, 0, 18, 18, 7))
    assert packing(8, 8).rate == Fraction(7, 4)
    # AMD WP521: four int4 products.  FILM-QNN: two of 8 x 5 bits, four of 4 x 5.
    assert packing(4, 4).products == 4
    assert packing(8, 5, lut_adders=True).products == 2
    assert packing(4, 5, lut_adders=True).products == 4


def test_operands_wider_than_a_port_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 bits that fit ports of 27 and 18, got 20"):
        packing(20, 19)
