"""Which question: is every image in one batch, the right one, and does that help?"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragged_cases import HEATVIT, edge, images

from tilewise.sim.batches import ORDERS, batched, named
from tilewise.sim.buckets import bucket_edges
from tilewise.sim.policies import PolicyError, policy
from tilewise.sim.ragged import run_policies
from tilewise.workloads import trace


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_every_rule_puts_every_image_in_one_batch(
    rows: list[tuple[int, int]], batch: int, queues: int
) -> None:
    counts = np.array([sorted(row, reverse=True) for row in rows])
    sizes = counts.sum(axis=1)
    for rule in ORDERS:
        found = batched(rule, counts, batch, queues)
        assert sorted(np.concatenate(found).tolist()) == list(range(len(rows)))
        short = [members for members in found if len(members) != batch]
        assert all(0 < len(members) < batch for members in short)
        assert len(short) <= (queues if rule == "queue" else 1)
        full = [members for members in found if len(members) == batch]
        assert [len(members) for members in found] == list(map(len, full + short))
        if rule == "arrival":
            assert np.concatenate(found).tolist() == list(range(len(rows)))
        elif rule == "sorted":
            assert (np.diff(sizes[np.concatenate(found)]) <= 0).all()
        else:
            assert all(a[-1] < b[-1] for a, b in pairwise(full)), "as soon as it is full"
            assert all((np.diff(members) > 0).all() for members in found)
            edges = bucket_edges(sizes, queues)
            for members in found:
                ends = {min(end for end in edges if end >= size) for size in sizes[members]}
                assert len(ends) == 1


@given(st.integers(1, 8), st.integers(1, 6), st.data())
def test_nothing_pads_full_batches_less_than_sorting(
    batch: int, batches: int, data: st.DataObject
) -> None:
    count = batch * batches
    sizes = data.draw(st.lists(st.integers(0, 196), min_size=count, max_size=count))
    counts = np.array(sizes)[:, None]
    padded: dict[str, int] = {}
    for rule in ("arrival", "sorted"):
        some = images(counts, batch=batch, order=rule)
        pad = policy("pad-batch")
        padded[rule] = int(some.executed(pad, some.batches(pad)).sum())
    assert counts.sum() <= padded["sorted"] <= padded["arrival"]


def test_on_real_counts_sorting_and_queues_pad_less() -> None:
    counts, pad = trace("dinov2-crops").fitted(196).array(), policy("pad-batch")
    padded: dict[str, int] = {}
    for rule in ORDERS:
        some = images(counts, batch=8, order=rule, buckets=4)
        padded[rule] = int((some.executed(pad, some.batches(pad)) - counts).sum())
    assert max(padded["sorted"], padded["queue"]) < 0.8 * padded["arrival"]


def test_latencies_are_in_the_order_of_the_trace_whatever_the_batches() -> None:
    counts = np.array([[30, 20, 10], [190, 100, 50], [30, 20, 10], [190, 100, 50]])
    pad = [policy("pad-batch"), policy("mask")]
    found = run_policies(HEATVIT, edge(), counts, policies=pad, batch=2, order="sorted")
    small, large, *same = found.policies[1].latency_s
    assert small < large
    assert same == [small, large]
    assert found.policies[1].padding == 0
    alone = run_policies(HEATVIT, edge(), counts[::2], policies=pad, batch=2)
    assert found.policies[2].latency_s[0] == alone.policies[2].latency_s[0]
    dense, queued = run_policies(
        HEATVIT, edge(), counts, policies=pad[:1], batch=3, order="queue", buckets=2
    ).policies
    assert queued.latency_s.tolist() == [small, large] * 2, "two are left in each queue"
    assert dense.latency_s[0] == dense.latency_s[2] > dense.latency_s[3], "three and one"


def test_an_unknown_rule_names_the_nearest() -> None:
    assert [named(name) for name in ORDERS] == list(ORDERS)
    with pytest.raises(PolicyError, match="no order is called sort; did you mean sorted"):
        named("sort")
    wrong: dict[str, Any] = {"order": "sort"}
    with pytest.raises(PolicyError, match="no order is called sort"):
        run_policies(HEATVIT, edge(), np.array([[100, 50, 25]]), **wrong)
