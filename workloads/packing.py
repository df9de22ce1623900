"""Images of different sizes through one model at once, their tokens side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeAlias

from .extent import known
from .graph import Workload
from .operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)

__all__ = ["joined", "side_by_side"]

_ADDED: Mapping[type[Operator], tuple[str, ...]] = MappingProxyType(
    {
        Attention: ("copies", "kv_copies"),
        Convolution: ("batch",),
        Elementwise: (),
        MatMul: ("copies",),
        Movement: (),
        Normalization: ("rows",),
        Reduction: ("reads",),
        Softmax: ("rows",),
        TokenSelection: ("candidates", "kept"),
    }
)
"""What grows when two of a kind are joined; all else must be equal for that.  Of the first of these
the whole remembers what each image has."""

_Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""The images, by number, that each part of an operator is for."""


def side_by_side(workloads: Sequence[Workload]) -> Workload:
    """One model run on several images, layer by layer, given as its bound workloads.

    What treats every token alike becomes one operator over the tokens of all images: a product with
    trained weights is then one product with as many rows.  What relates an image's tokens to each
    other stays apart: attention runs for each image, images of equal size next to each other.

    >>> from tilewise.workloads import zoo
    >>> deit = zoo.load("deit-small")
    >>> side_by_side([deit.bind({"batch": 1})] * 8).macs == deit.bind({"batch": 8}).macs
    True

    Raises:
        ValueError: There is none, or they are not runs of one model.
    """
    if not workloads:
        raise ValueError("side_by_side wants at least one workload, got none")
    first = workloads[0]
    names = [operator.name for operator in first.operators]
    for other in workloads[1:]:
        if [operator.name for operator in other.operators] != names:
            raise ValueError(
                f"side_by_side wants runs of one model, got {first.name} and {other.name} with "
                "different operators"
            )
    if len(workloads) == 1:
        return first
    operators, parts = joined([workload.operators for workload in workloads])
    return replace(
        first,
        operators=operators,
        outputs=tuple(part for name in first.outputs for part in parts.get(name, (name,))),
        images=sum(known(workload.images) for workload in workloads),
    )


def joined(
    images: Sequence[Sequence[Operator]],
) -> tuple[tuple[Operator, ...], Mapping[str, tuple[str, ...]]]:
    """The same bound operators of several images as one sequence.

    Returns:
        The operators, and of which parts, `name#1`, `name#2`..., each of them now consists.
    """
    if len(images) == 1:
        return tuple(images[0]), {}
    parts: dict[str, tuple[str, ...]] = {}
    groups: dict[str, _Groups] = {}
    operators: list[Operator] = []
    for layer in zip(*images, strict=True):
        name, own = layer[0].name, _groups(layer, groups)
        parts[name] = tuple(f"{name}#{i}" for i in range(1, len(own) + 1)) if own[1:] else (name,)
        groups[name] = own
        for part, members in zip(parts[name], own, strict=True):
            # What was cut into the same images is read by itself: #1 reads #1.
            read = {
                source: (f"{source}#{part.rpartition('#')[2]}",)
                if own[1:] and groups.get(source) == own
                else parts.get(source, (source,))
                for operand in layer[0].operands
                for source in operand.sources
            }
            operators.append(replace(_one([layer[i] for i in members], read), name=part))
    return tuple(operators), parts


def _groups(layer: Sequence[Operator], known_groups: dict[str, _Groups]) -> _Groups:
    """Those of a layer that are one, larger ones first so that batches alike look alike.

    What works on each element alone follows the latest that it reads, so that they can be one
    kernel.
    """
    if isinstance(layer[0], Elementwise):
        read = {source for operand in layer[0].operands for source in operand.sources}
        latest = next((name for name in reversed(known_groups) if name in read), "")
        if len(known_groups.get(latest, ())) > 1:
            return known_groups[latest]
    groups: dict[Operator, list[int]] = {}
    for i in sorted(range(len(layer)), key=lambda i: known(layer[i].elements), reverse=True):
        groups.setdefault(_blank(layer[i]), []).append(i)
    return tuple(tuple(members) for members in groups.values())


def _added(operator: Operator) -> tuple[str, ...]:
    if isinstance(operator, MatMul) and operator.weights == 1 and operator.copies == 1:
        return ("m",)
    return _ADDED[type(operator)]


def _blank(operator: Operator) -> Operator:
    """What must be equal for two operators to be one."""
    changes: dict[str, Any] = dict.fromkeys(_added(operator), 1)
    operands = tuple(replace(operand, elements=0) for operand in operator.operands)
    return replace(operator, operands=operands, shape=(), images=(), **changes)


def _one(members: Sequence[Operator], read: Mapping[str, tuple[str, ...]]) -> Operator:
    """The operator that does what all members do, reading the parts in place of what they read."""
    first = members[0]
    added = _added(first)
    summed = {name: sum(getattr(o, name) for o in members) for name in added}
    each = (o.images or tuple(getattr(o, name) for name in added[:1]) for o in members)
    operands = tuple(
        Operand(
            sources=tuple(part for s in operand.sources for part in read[s]),
            elements=sum(known(o.operands[i].elements) for o in members),
            format=operand.format,
        )
        for i, operand in enumerate(first.operands)
    )
    shape = (sum(known(operator.elements) for operator in members),)
    images = tuple(chain.from_iterable(each))
    return replace(first, operands=operands, shape=shape, images=images, **summed)
