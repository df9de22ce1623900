"""Quasar-ViT's search space: genes, points, and the three that have names."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.workloads import pruned, vit, zoo
from tilewise.workloads.operator import MatMul
from tilewise.workloads.zoo import quasar
from tilewise.workloads.zoo.quasar import Quasar

NAMED = {
    "quasar-vit-small": quasar.QUASAR_SMALL,
    "quasar-vit-medium": quasar.QUASAR_MEDIUM,
    "quasar-vit-large": quasar.QUASAR_LARGE,
}
GENES = st.tuples(*(st.integers(0, count - 1) for count in quasar.CHOICES))


@settings(max_examples=50)
@given(GENES)
def test_genes_and_points_are_the_same_thing(numbers: tuple[int, ...]) -> None:
    point = quasar.from_genes(numbers)
    again = quasar.genes(point)
    assert quasar.from_genes(again) == point
    used = 4 + len(quasar.LAYERS) * point.depth
    assert again[:used] == numbers[:used]
    assert not any(again[used:])


@settings(max_examples=10)
@given(GENES)
def test_a_point_has_the_bits_that_its_genes_say(numbers: tuple[int, ...]) -> None:
    point = quasar.from_genes(numbers)
    workload = quasar.quasar_vit(point)
    plain = vit(depth=point.depth, embed=point.embed, heads=point.heads, mlp_ratio=point.mlp_ratio)
    assert workload.macs == plain.macs
    assert workload.parameters == plain.parameters
    layers = [o for o in workload.operators if isinstance(o, MatMul) and "blocks." in o.name]
    for layer, share in zip(layers, point.wide, strict=True):
        rows = int(str(layer.n))
        wide = int(share * rows + Fraction(1, 2))
        found = dict(layer.weight_formats)
        assert (found.get("int8", 0), found.get("int4", 0)) == (wide, rows - wide)
    assert {operator.format for operator in workload.operators} == {"int8"}


def test_the_space_is_as_large_as_its_choices() -> None:
    layers = [len(quasar.LAYERS) * depth for depth in (12, 13, 14)]
    assert quasar.points() == 9 * 3 * 3 * sum(5**count for count in layers)


def test_a_seed_gives_the_same_points() -> None:
    once, again = quasar.sampled(5, seed=7), quasar.sampled(5, seed=7)
    assert once == again
    assert len(set(once)) == 5
    assert quasar.sampled(5, seed=8) != once


def test_named_points_are_those_that_the_rule_gives() -> None:
    """Nearest in MACs to the large one's times the ratio of published frame rates."""

    def macs(embed: int, depth: int) -> int:
        return vit(depth=depth, embed=embed, heads=6, batch=1).bind().macs  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    sizes = {(e, d): macs(e, d) for e in quasar.EMBEDS for d in quasar.DEPTHS}
    large = quasar.QUASAR_LARGE
    assert (large.embed, large.depth, large.heads) == (384, 12, 6)
    for name, point in NAMED.items():
        wanted = sizes[384, 12] * quasar.PUBLISHED["quasar-vit-large"][0]
        wanted /= quasar.PUBLISHED[name][0]
        nearest = min(sizes, key=lambda size: abs(sizes[size] - wanted))
        assert (point.embed, point.depth) == nearest
        assert (point.heads, point.mlp_ratio) == (6, 4.0)


@pytest.mark.parametrize("name", NAMED)
def test_a_shipped_graph_is_the_point_in_plain_python(name: str) -> None:
    shipped, built = zoo.load(name), quasar.quasar_vit(NAMED[name])
    assert shipped.operators == built.operators
    assert (shipped.inputs, shipped.outputs) == (built.inputs, built.outputs)
    assert shipped.parameters == built.parameters
    assert "assumed" in zoo.describe(name)


def test_pruning_keeps_the_bits_of_a_point() -> None:
    workload = pruned("quasar-vit-small", "topk", (4, 7), (0.7, 0.5))
    layers = [o for o in workload.operators if isinstance(o, MatMul) and "blocks." in o.name]
    assert len(layers) == 48
    assert all(dict(layer.weight_formats).keys() == {"int8", "int4"} for layer in layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed": 200}, "embed: wanted one of 192, 216"),
        ({"depth": 11}, "depth: wanted one of 12, 13, 14, got 11"),
        ({"heads": 5}, "heads: wanted one of 3, 4, 6, got 5"),
        ({"mlp_ratio": 5.0}, "mlp_ratio: wanted one of 3.0, 3.5, 4.0, got 5.0"),
        ({"depth": 13}, "wide: wanted a share for each of 4 layers in 13 blocks, got 48"),
        ({"wide": (Fraction(1, 3),) * 48}, "wide: wanted one of 0, 1/4"),
    ],
)
def test_a_point_outside_the_space_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(quasar.QUASAR_SMALL, **change)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_genes_outside_their_range_are_refused() -> None:
    genes = list(quasar.genes(quasar.QUASAR_SMALL))
    with pytest.raises(ValueError, match=r"genes: wanted 60, got 59"):
        quasar.from_genes(genes[1:])
    with pytest.raises(ValueError, match=r"genes: wanted 0 to 2 at place 1, got 3"):
        quasar.from_genes([genes[0], 3, *genes[2:]])
    assert isinstance(quasar.from_genes(genes), Quasar)
