"""Pruning any ViT: what is put in, what becomes of a fixed token count, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx_vits import Spelling, vit

import tilewise as tw
from tilewise.workloads import PruningError, pruned, read
from tilewise.workloads.extent import known
from tilewise.workloads.onnx_reader import read_cut, read_unfused
from tilewise.workloads.onnx_tokens import Cut
from tilewise.workloads.operator import Attention, MatMul, Operator, TokenSelection
from tilewise.workloads.pruning_blocks import stream_of
from tilewise.workloads.pruning_insertion import with_sources

BLOCKS, SHARES = (4, 7, 10), (0.7, 0.5, 0.35)


# --- what it equals ------------------------------------------------------------------------------


def test_a_pruned_deit_is_the_exported_heatvit_operator_by_operator() -> None:
    ours, exported = (
        pruned("deit-small", "heatvit", BLOCKS, SHARES),
        tw.workload("heatvit-deit-small"),
    )
    assert ours.operators == exported.operators
    assert (ours.inputs, ours.outputs) == (exported.inputs, exported.outputs)
    assert ours.name == exported.name
    assert (ours.images, ours.parameters) == (exported.images, exported.parameters)
    assert [(s.name, s.lower, s.upper) for s in ours.symbols] == [
        (s.name, s.lower, s.upper) for s in exported.symbols
    ]
    assert [s.default for s in ours.symbols] == [138, 98, 69]  # 196 x share, rounded up


@pytest.mark.parametrize("machine", ["edge-32x32", "a100-80gb"])
@pytest.mark.parametrize("counts", [(137, 69, 48), (196, 196, 196), (120, 0, 0)])
def test_it_takes_exactly_the_same_cycles(machine: str, counts: tuple[int, ...]) -> None:
    bind = {f"kept_{k}": count for k, count in enumerate(counts, start=1)}
    ours, exported = (
        tw.simulate(model, tw.machine(machine), bind=bind)
        for model in (
            pruned("deit-small", "heatvit", BLOCKS, SHARES),
            tw.workload("heatvit-deit-small"),
        )
    )
    assert ours.cycles == exported.cycles
    assert ours.latency_s == exported.latency_s
    assert ours.config_hash == exported.config_hash


@pytest.mark.parametrize(
    ("r", "giga_macs"),
    # Bolya et al., ICLR 2023, DeiT-S, at most half of the patches at a block.
    [(8, 3.4), (13, 2.7), (16, 2.3)],
)
def test_merging_in_every_block_has_the_macs_that_its_authors_publish(
    r: int, giga_macs: float
) -> None:
    kept = 196
    counts: dict[str, int] = {}
    for block in range(1, 13):
        kept -= min(r, kept // 2)
        counts[f"kept_{block}"] = kept
    macs = known(pruned("deit-small", "tome", range(1, 13), [1] * 12).bind(counts).macs) / 1e9
    assert giga_macs - 0.05 < macs < giga_macs + 0.05


@pytest.mark.parametrize(
    ("share", "giga_macs"),
    # Rao et al., NeurIPS 2021, DeiT-S, which cut their figures off behind the first decimal.
    [(0.8, 3.4), (0.9, 4.0)],
)
def test_dynamicvit_has_the_macs_that_its_authors_publish(share: float, giga_macs: float) -> None:
    counts = {f"kept_{k}": int(196 * share**k) for k in (1, 2, 3)}
    macs = known(pruned("deit-small", "topk", BLOCKS, [1, 1, 1]).bind(counts).macs) / 1e9
    assert giga_macs <= macs < giga_macs + 0.1


def test_the_scoring_of_dynamicvit_has_the_macs_of_its_formula() -> None:
    scoring = [o for o in pruned("deit-small", "topk", (4,), (0.5,)).bind().operators if o.selector]
    d = 384
    assert sum(o.macs for o in scoring) == 196 * (
        d * d + d * d // 2 + d // 2 * (d // 4) + d // 4 * 2
    )


@pytest.mark.parametrize(
    ("rate", "giga_macs"),
    # Liang et al., ICLR 2022, table 1 (recalled), DeiT-S; the fused token is a candidate later.
    [(0.9, 4.0), (0.8, 3.5), (0.7, 3.0), (0.6, 2.6), (0.5, 2.3)],
)
def test_evit_has_the_macs_that_its_authors_publish(rate: float, giga_macs: float) -> None:
    candidates, counts = 196, dict[str, int]()
    for place in (1, 2, 3):
        counts[f"kept_{place}"] = ceil(rate * candidates)
        candidates = counts[f"kept_{place}"] + 1
    macs = known(pruned("deit-small", "evit", BLOCKS, (1, 1, 1)).bind(counts).macs) / 1e9
    assert round(macs, 1) == giga_macs


def test_evit_ranks_by_one_row_of_attention_and_leaves_one_token_more() -> None:
    model = pruned("deit-small", "evit", (4,), (0.7,))
    assert not model.dynamic
    bound = model.bind()
    ranking = [o for o in bound.operators if o.selector]
    assert sum(o.macs for o in ranking) == 197 * 384
    assert [o.queries for o in bound.operators if isinstance(o, Attention)] == [197] * 4 + [140] * 8
    wide = [o.m for o in bound.operators if isinstance(o, MatMul) and "fc1" in o.name]
    assert wide == [197] * 3 + [140] * 9, "the MLP of the block has fewer tokens already"


def test_dynamicvit_is_another_name_for_topk() -> None:
    ours = pruned("deit-small", "dynamicvit", BLOCKS, SHARES)
    assert ours.operators == pruned("deit-small", "topk", BLOCKS, SHARES).operators


def test_merging_compares_half_of_the_tokens_with_the_other_half() -> None:
    model = pruned("deit-small", "tome", (4, 7), (0.7, 0.5)).bind()
    products = [o for o in model.operators if isinstance(o, MatMul) and o.selector]
    assert [(o.m, o.k, o.n) for o in products] == [(99, 64, 98), (70, 64, 69)]
    masks = [len(o.operands) == 4 for o in model.operators if isinstance(o, Attention)]
    assert masks == [False] * 4 + [True] * 8, "a merged token counts as many in later attention"


# --- what it leaves alone ------------------------------------------------------------------------

SPELLINGS = st.builds(
    Spelling,
    fused=st.booleans(),
    flat=st.booleans(),
    whole=st.booleans(),
    inferred=st.sampled_from([None, 0, 1, -1]),
    pooled=st.booleans(),
    ends=st.booleans(),
    first=st.booleans(),
)


def behind(source: bytes, tokens: int) -> list[Operator]:
    """The operators behind block 1's input if there are `tokens` tokens instead."""
    stream = stream_of(read_unfused(source))
    first = stream.blocks[0].before
    assert first is not None
    cut = read_cut(
        source,
        [Cut(after=first.maker, axis=first.axis, symbol="t", fixed=stream.tokens, least=1)],
    )
    assert not cut.constraints
    index = [operator.name for operator in cut.operators].index("t")
    made = {"t": cut.operators[index].operands[0].sources}
    return [with_sources(o.substituted({"t": tokens}), made) for o in cut.operators[index + 1 :]]


@given(
    sides=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    heads=st.integers(1, 3),
    head=st.integers(1, 20),
    images=st.integers(1, 3),
    spelling=SPELLINGS,
)
@example(sides=(2, 3), heads=1, head=5, images=1, spelling=Spelling(inferred=-1))  # 5 x 5
@example(sides=(3, 2), heads=2, head=5, images=2, spelling=Spelling(flat=True))  # 10 x 10, 2 x 10
@example(sides=(2, 4), heads=2, head=3, images=2, spelling=Spelling(flat=True, first=True))
@example(sides=(2, 4), heads=3, head=5, images=3, spelling=Spelling(fused=False, inferred=1))
def test_a_fixed_count_varies_as_if_the_model_were_exported_at_another_size(
    sides: tuple[int, int], heads: int, head: int, images: int, spelling: Spelling
) -> None:
    here, there = (
        vit(side=s, width=heads * head, heads=heads, depth=2, images=images, spelling=spelling)
        for s in sides
    )
    varied = behind(here, sides[1] ** 2 + 1)
    assert varied == list(read(there).operators[-len(varied) :])


def test_a_table_of_pairs_of_tokens_is_read_whole_and_its_work_varies(tmp_path: Path) -> None:
    for whole in (False, True):
        spelling = Spelling(table=True, whole=whole)
        (tmp_path / "vit.onnx").write_bytes(
            vit(side=4, width=16, heads=2, depth=2, spelling=spelling)
        )
        model = pruned(tmp_path / "vit.onnx", "topk", (2,), (0.5,))
        first, second = (o for o in model.operators if isinstance(o, Attention))
        assert (str(first.keys), str(second.keys)) == ("17", "kept_1 + 1")
        assert first.affine == second.affine == 2 * 17 * 17


@pytest.mark.parametrize("method", ["topk", "evit", "tome"])
def test_a_static_count_leaves_no_barrier_and_batches_stay(method: str) -> None:
    model = pruned("deit-small", method, BLOCKS, SHARES)
    assert not model.dynamic
    assert [symbol.name for symbol in model.symbols] == ["batch", "kept_1", "kept_2", "kept_3"]
    assert model.bind({"batch": 8}).macs == 8 * model.bind().macs
    selections = [o for o in model.operators if isinstance(o, TokenSelection)]
    assert len(selections) == 3
    assert all(o.selector for o in selections)


@pytest.mark.parametrize("method", ["heatvit", "topk", "evit", "tome"])
def test_fewer_tokens_are_less_work_and_all_of_them_are_the_dense_work(method: str) -> None:
    model = pruned("deit-small", method, (4,), (1,))
    dense = tw.workload("deit-small").bind()
    macs = [known(model.bind({"kept_1": kept}).macs) for kept in (196, 150, 99)]
    assert macs == sorted(macs, reverse=True)
    own = [o for o in model.bind().operators if not o.selector]
    if method in ("heatvit", "evit"):  # its package token is one more
        own = [o for o in model.bind({"kept_1": 195}).operators if not o.selector]
    assert len(own) == len(dense.operators)
    assert [o.macs for o in own] == [o.macs for o in dense.operators]


def test_an_early_and_the_last_block_can_be_pruned() -> None:
    model = pruned("deit-small", "topk", (1, 12), (0.5, 0.25))
    attention = [o.queries for o in model.bind().operators if isinstance(o, Attention)]
    assert attention == [99] * 11 + [50]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "blocks", "keep", "words"),
    [
        ("heatvat", BLOCKS, SHARES, "called heatvat; did you mean heatvit"),
        ("topk", (), (), "say before which blocks"),
        ("topk", (0, 1), (0.7, 0.5), "counted from 1"),
        ("topk", (4, 4), (0.7, 0.5), "and rise"),
        ("topk", (7, 4), (0.7, 0.5), "and rise"),
        ("topk", (4, 13), (0.7, 0.5), "blocks 1 to 12, and no block 13"),
        ("topk", (4, 7), (0.7,), "blocks 4, 7, but 1 shares"),
        ("topk", (4, 7), (0.5, 0.7), "0.7 cannot be kept after 0.5"),
        ("topk", (4,), (0.0,), "above 0 and at most 1, not 0.0"),
        ("topk", (4,), (1.1,), "above 0 and at most 1, not 1.1"),
        ("topk", (4,), (float("nan"),), "above 0 and at most 1, not nan"),
        ("tome", (4, 7), (0.7, 0.3), "0.3 of 196 is 59, less than half of the 138"),
    ],
)
def test_what_is_not_possible_is_refused_in_one_line(
    method: str, blocks: Sequence[int], keep: Sequence[float], words: str
) -> None:
    with pytest.raises(PruningError) as raised:
        pruned("deit-small", method, blocks, keep)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("sd15-unet", "is no ViT"), ("heatvit-deit-small", "prunes its tokens already")],
)
def test_what_is_no_vit_is_refused(name: str, words: str) -> None:
    with pytest.raises(PruningError, match=words):
        pruned(name, "topk", (1,), (0.5,))


def test_images_that_keep_different_counts_cannot_share_a_run(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(vit(side=4, width=16, heads=2, depth=2, images=2))
    with pytest.raises(PruningError, match="takes 2 images at once"):
        pruned(path, "heatvit", (2,), (0.5,))
    assert pruned(path, "topk", (2,), (0.5,)).bind().images == 2


def test_a_node_that_needs_its_own_count_is_named(tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(vit(side=4, width=16, heads=2, depth=2))
    stream = next(n for n in model.graph.node if n.name == "norm/LayerNormalization")
    turned = helper.make_node("Transpose", [stream.input[0]], ["turned"], perm=[0, 2, 1])
    weight = next(t for t in model.graph.initializer if t.name == "head.weight")
    mixed = numpy_helper.from_array(numpy_helper.to_array(weight)[[0] * 17], "mix")
    product = helper.make_node("MatMul", ["turned", "mix"], ["mixed"], name="mixer/MatMul")
    model.graph.node.extend([turned, product])
    model.graph.initializer.append(mixed)
    model.graph.output.append(
        helper.make_tensor_value_info("mixed", onnx.TensorProto.FLOAT, [1, 16, 5])
    )
    path = tmp_path / "mixer.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(PruningError, match=r"mixer/MatMul asks for 17 tokens"):
        pruned(path, "topk", (2,), (0.5,))


def test_a_bound_count_must_be_one_that_merging_reaches() -> None:
    model = pruned("deit-small", "tome", (4, 7), (0.7, 0.5))
    with pytest.raises(tw.workloads.BindingError, match=r"kept_2=40 .* floor.* = 60"):
        model.bind({"kept_1": 120, "kept_2": 40})
    assert model.bind({"kept_1": 120, "kept_2": 60}).symbols == ()
