"""Sizes: one normal form, and arithmetic that commutes with evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.workloads.extent import (
    Extent,
    Size,
    UnboundSymbolError,
    ceil_div,
    evaluate,
    lower_bound,
    maximum,
    minimum,
    product,
    symbol,
    symbols_of,
)
from tilewise.workloads.extent_text import parse

NAMES = ("batch", "height", "kept_1")
numbers = st.integers(-20, 20)
symbols = st.sampled_from(NAMES).map(symbol)
divisors = st.integers(1, 9)
bindings = st.fixed_dictionaries({name: st.integers(0, 40) for name in NAMES})
arrays = st.fixed_dictionaries(
    {
        name: st.lists(st.integers(0, 40), min_size=3, max_size=3).map(
            lambda values: np.array(values, dtype=np.int64)
        )
        for name in NAMES
    }
)


def _grown(inner: st.SearchStrategy[Size]) -> st.SearchStrategy[Size]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] - pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] * pair[1]),
        st.tuples(inner, divisors).map(lambda pair: pair[0] // pair[1]),
        st.tuples(inner, inner).map(lambda pair: maximum(*pair)),
        st.tuples(inner, inner).map(lambda pair: minimum(*pair)),
    )


polynomials = st.recursive(
    st.one_of(st.integers(0, 20), symbols),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] * pair[1]),
    ),
    max_leaves=6,
)
sizes = st.recursive(st.one_of(numbers, symbols), _grown, max_leaves=6)


def _same(left: Any, right: Any) -> bool:
    return bool(np.all(left == right))


@given(sizes, sizes, st.one_of(bindings, arrays))
def test_arithmetic_commutes_with_evaluation(
    left: Size, right: Size, binding: Mapping[str, Any]
) -> None:
    a, b = evaluate(left, binding), evaluate(right, binding)
    assert _same(evaluate(left + right, binding), a + b)
    assert _same(evaluate(left - right, binding), a - b)
    assert _same(evaluate(left * right, binding), a * b)
    assert _same(evaluate(maximum(left, right), binding), np.maximum(a, b))
    assert _same(evaluate(minimum(left, right), binding), np.minimum(a, b))


@given(sizes, divisors, st.one_of(bindings, arrays))
def test_division_rounds_down_and_ceil_div_rounds_up(
    size: Size, divisor: int, binding: Mapping[str, Any]
) -> None:
    value = evaluate(size, binding)
    assert _same(evaluate(size // divisor, binding), value // divisor)
    assert _same(evaluate(ceil_div(size, divisor), binding), -(-value // divisor))


@given(sizes, bindings)
def test_division_by_a_negative_number_rounds_down_too(
    size: Size, binding: Mapping[str, int]
) -> None:
    assert evaluate(size // -3, binding) == evaluate(size, binding) // -3


@given(sizes, sizes)
def test_a_product_divides_exactly_by_its_factors(left: Size, right: Size) -> None:
    if right != 0:
        assert left * right // right == left


@given(sizes, sizes, sizes)
def test_equal_sizes_are_equal_and_hash_equal_however_they_were_computed(
    a: Size, b: Size, c: Size
) -> None:
    assert (a + b) * c == c * b + c * a
    assert hash((a + b) * c) == hash(c * b + c * a)
    assert a + b - b == a


@given(sizes)
def test_text_reads_back_as_the_same_size(size: Size) -> None:
    assert parse(str(size)) == size


@given(polynomials, divisors, divisors, numbers)
def test_nested_floors_have_one_normal_form(
    size: Size, inner: int, outer: int, offset: int
) -> None:
    assert (size // inner + offset) // outer == (size + offset * inner) // (inner * outer)


@given(sizes, bindings)
def test_a_lower_bound_is_never_undercut(size: Size, binding: Mapping[str, int]) -> None:
    least = {name: value // 2 for name, value in binding.items()}
    bound = lower_bound(size, least)
    assert bound is None or bound <= evaluate(size, binding)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("kept_1 + 2", symbol("kept_1") + 2),
        ("floor(height/2)", symbol("height") // 2),
        ("2*floor(height/2) + 1", symbol("height") // 2 * 2 + 1),
        ("8*(((height - 1)//8)) + 8", (symbol("height") - 1) // 8 * 8 + 8),
        ("Max(1, u0)", maximum(1, symbol("u0"))),
        ("min(a, b, 3)", minimum(minimum(symbol("a"), symbol("b")), 3)),
        ("n**2", symbol("n") * symbol("n")),
        ("-n", 0 - symbol("n")),
        ("12", 12),
    ],
)
def test_exporters_expressions_are_read(text: str, size: Size) -> None:
    assert parse(text) == size


@pytest.mark.parametrize(
    "text",
    ["batch size", "?", "", "True", "a.b", "f(x)", "a/0", "n**9999999", "2.5", "None+", "(" * 500],
)
def test_a_text_that_is_no_expression_names_a_symbol(text: str) -> None:
    assert parse(text) == symbol(text)


def test_torchs_spelling_of_a_strided_convolution_is_the_readers() -> None:
    height = symbol("height")
    once = (height + 2 - 3) // 2 + 1
    twice = (once + 2 - 3) // 2 + 1
    assert twice == (height - 1) // 4 + 1
    assert str(twice) == "floor((height + 3)/4)"


def test_common_factors_cancel_in_a_floor() -> None:
    n = symbol("n")
    assert (6 * n + 3) // 4 == n + (2 * n + 3) // 4
    assert (2 * n + 3) // 4 == (n + 1) // 2


def test_a_missing_symbol_is_named_with_the_cure() -> None:
    with pytest.raises(UnboundSymbolError, match=r"needs a value for kept_1; bind it.*kept_1=1"):
        evaluate(symbol("kept_1") * 2, {"batch": 1})


def test_symbols_inside_a_floor_are_found() -> None:
    size = ceil_div(symbol("height") * symbol("width"), 64)
    assert symbols_of(size) == {"height", "width"}
    assert symbols_of(7) == set()


def test_a_size_without_symbols_is_an_int() -> None:
    n = symbol("n")
    for size in (n - n, n // n, n * 0, maximum(n, n + 2) - n, product([])):
        assert type(size) is int
    assert isinstance(n, Extent)


def test_division_by_zero_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        _ = symbol("n") // 0
