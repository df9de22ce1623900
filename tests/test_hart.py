"""HART's schedule, and its sizes beside those that the paper prints."""

from tilewise.workloads import zoo
from tilewise.workloads.operator import Attention
from tilewise.workloads.zoo.hart import HART_1024, head_call, transformer_calls


def test_each_scale_attends_to_itself_and_to_all_before() -> None:
    calls = list(transformer_calls())
    assert [call["tokens"] for call in calls] == [300, *(side**2 for side in HART_1024.sides[1:])]
    seen = 0
    for call in calls:
        assert call["cached"] == seen
        seen += call["tokens"]
    assert seen == 9750
    model = zoo.load("hart-1024-transformer")
    attentions = [o for o in model.bind(calls[7]).operators if isinstance(o, Attention)]
    assert len(attentions) == HART_1024.depth
    assert {(o.queries, o.keys) for o in attentions} == {(144, 628)}


def test_keys_and_values_are_read_from_the_scales_before_and_left_for_those_behind() -> None:
    model = zoo.load("hart-1024-transformer")
    last = dict(list(transformer_calls())[-1])
    attention = next(o for o in model.bind(last).operators if isinstance(o, Attention))
    keys, values = attention.operands[1:3]
    assert "keys" in keys.sources
    assert "values" in values.sources
    assert keys.elements == values.elements == 2 * 9750 * HART_1024.embed
    assert len(model.outputs) == 1 + 2 * HART_1024.depth


def test_the_defaults_are_the_last_scale() -> None:
    last = dict(list(transformer_calls())[-1])
    assert dict(zoo.defaults("hart-1024-transformer")) == last | {"batch": 1}
    assert dict(zoo.defaults("hart-1024-head")) == dict(head_call()) | {"batch": 1}
