"""Attention of images of different sizes at once, where arrays are dealt heads or images.

Images side by side whose sizes differ have an attention for each size (`workloads/packing.py`), one
kernel after another.  If each runs on arrays of its own, they run at the same time: the first of
these kernels takes the work of all, and the others are left empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from ..workloads.operator import Attention
from .attention import Heads
from .lowering import Lowered, Lowering
from .plan import layer

__all__ = ["gathered", "together"]


def gathered(lowerings: Sequence[Lowering]) -> Iterator[list[Lowering]]:
    """Kernels in order, those that may run at the same time together."""
    for _, same in groupby(lowerings, lambda lowering: layer(lowering.kernel.name)):
        group = list(same)
        if len(group) > 1 and _is_one(group):
            yield group
        else:
            yield from ([lowering] for lowering in group)


def together(group: Sequence[Lowering]) -> Iterator[Lowered]:
    """The tiles of kernels that run at the same time, and their mappings."""
    first, *others = group
    if not others:
        yield first.nodes()
        return
    yield first.attention(_whole([*_heads(group)]))
    for _ in others:
        yield (), f"with {first.kernel.name}"


def _heads(group: Sequence[Lowering]) -> Iterator[Heads]:
    for lowering in group:
        if isinstance(lead := lowering.kernel.lead, Attention):
            yield lowering.heads(lead)


def _is_one(group: Sequence[Lowering]) -> bool:
    """Whether it is attention dealt to arrays, alike but for its sizes."""
    kernels = [lowering.kernel for lowering in group]
    if any(lowering.is_empty or lowering.kernel.epilogue for lowering in group):
        return False
    heads = [*_heads(group)]
    blank = {replace(one, copies=0, queries=0, keys=0, dealt=(), input_room=0) for one in heads}
    sources = {tuple(operand.sources for operand in kernel.lead.operands) for kernel in kernels}
    if len(heads) < len(group) or not heads[0].dealt or len(blank) > 1 or len(sources) > 1:
        return False
    keys = [lane.keys for lane in _whole(heads).dealt]
    return keys == sorted(keys, reverse=True)  # more queries, more keys


def _whole(heads: Sequence[Heads]) -> Heads:
    """All heads as one attention, dealt the largest first."""
    lanes = [lane for one in heads for lane in one.dealt]
    return replace(
        heads[0],
        copies=sum(one.copies for one in heads),
        queries=max(one.queries for one in heads),
        keys=max(one.keys for one in heads),
        dealt=tuple(sorted(lanes, key=lambda lane: (lane.queries, lane.keys), reverse=True)),
        input_room=min(one.input_room for one in heads),
    )
