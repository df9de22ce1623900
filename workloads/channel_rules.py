"""What each ONNX operator makes of channels: which it joins, cuts, or divides into heads.

A rule takes the channels found so far, a node and its attributes; it returns the dimensions of each
output, or None if it cannot follow the channels, which then all stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import onnx

from .channel_coupling import Coupling
from .channel_groups import Axis, Part

__all__ = ["RULES"]

_POINTWISE: Final = frozenset(
    {
        *("Abs", "Cast", "Clip", "Cos", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid"),
        *("HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu"),
        *("Sigmoid", "Sin", "Softmax", "Softplus", "Sqrt", "Swish", "Tanh"),
    }
)
_BROADCAST: Final = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Where"})


_Axes: TypeAlias = list[list[Axis]]


def _broadcast(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes:
    rank = len(channels.shapes[node.output[0]])
    made: list[Axis] = []
    for index in range(-rank, 0):
        wide = [
            name
            for name in node.input
            if name and len(channels.shapes[name]) >= -index and channels.shapes[name][index] != 1
        ]
        here = [channels.of(name)[index] for name in wide]
        if any(axis is not None for axis in here):
            here = [channels.opened(name, index) for name in wide]
            for axis in here[1:]:
                channels.groups.join(here[0], axis)
        made.append(None if None in here or not here else here[0])
    return [made]


def _pointwise(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes:
    return [list(channels.of(node.input[0]))]


def _resized(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    before, after = channels.shapes[node.input[0]], channels.shapes[node.output[0]]
    sized = node.op_type == "Resize" and len(node.input) > 3 and bool(node.input[3])
    axes = channels.of(node.input[0])
    moved = [a for a, b, c in zip(axes, before, after, strict=True) if a and b != c]
    return None if moved or (sized and any(axes)) else [list(axes)]


def _convolved(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes | None:
    x, weight, *bias = node.input
    if said.get("group", 1) != 1 or weight not in channels.trained:
        return None
    channels.groups.join(channels.opened(weight, 1), channels.of(x)[1])
    made = channels.opened(weight, 0)
    for name in filter(None, bias):
        channels.groups.join(made, channels.opened(name, 0))
    return [[None, made, *[None] * (len(channels.shapes[x]) - 2)]]


def _multiplied(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    left, right = node.input
    ranks = len(channels.shapes[left]), len(channels.shapes[right])
    if min(ranks) < 2 or any(channels.of(left)[:-2]) or any(channels.of(right)[:-2]):
        return None
    channels.groups.join(channels.opened(left, ranks[0] - 1), channels.opened(right, ranks[1] - 2))
    rows, columns = channels.of(left)[-2], channels.opened(right, ranks[1] - 1)
    return [[*[None] * (max(ranks) - 2), rows, columns]]


def _gemm(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes | None:
    if said.get("transA", 0):
        return None
    x, weight, *bias = node.input
    inner, outer = (1, 0) if said.get("transB", 0) else (0, 1)
    channels.groups.join(channels.opened(weight, inner), channels.of(x)[1])
    made = channels.opened(weight, outer)
    for name in filter(None, bias):
        if channels.shapes[name] and channels.shapes[name][-1] != 1:
            channels.groups.join(made, channels.opened(name, len(channels.shapes[name]) - 1))
    return [[channels.of(x)[0], made]]


def _normed(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes | None:
    x, *affine = node.input
    rank = len(channels.shapes[x])
    by_channel = node.op_type in ("GroupNormalization", "InstanceNormalization")
    where = 1 if by_channel else said.get("axis", -1) % rank
    if not by_channel and where != rank - 1:
        return None
    axis = channels.of(x)[where]
    channels.groups.in_units(axis, said.get("num_groups", 1))
    for name in filter(None, affine):
        channels.groups.join(axis, channels.opened(name, 0))
    return [list(channels.of(x))]


def _attended(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    query, key, value = (channels.of(name) for name in node.input[:3])
    if len(query) != 4 or any((*node.input[4:], *node.output[1:])):
        return None
    if any((*query[:3], *key[:3], *value[:3])):
        return None
    channels.groups.join(query[3], key[3])
    return [[None, None, None, value[3]]]


def _transposed(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes:
    axes = channels.of(node.input[0])
    return [[axes[index] for index in said.get("perm", range(len(axes))[::-1])]]


def _unsqueezed(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    where = channels.constants.get(node.input[1]) if len(node.input) > 1 else None
    if where is None:
        return None
    rank = len(channels.shapes[node.output[0]])
    left = iter(channels.of(node.input[0]))
    new = {index % rank for index in where}
    return [[None if index in new else next(left) for index in range(rank)]]


def _concatenated(
    channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]
) -> _Axes | None:
    sides = [channels.of(name) for name in node.input]
    rank = len(sides[0])
    made: list[Axis] = []
    for index in range(rank):
        here = [side[index] for side in sides]
        if index == said["axis"] % rank:
            sizes = [channels.shapes[name][index] for name in node.input]
            if any(here) and not all(isinstance(size, int) for size in sizes):
                return None
            made.append(_beside(channels, node.input, index) if any(here) else None)
        else:
            for axis in here[1:]:
                if axis or here[0]:
                    channels.groups.join(here[0], axis)
            made.append(None if None in here else here[0])
    return [made]


def _beside(channels: Coupling, names: Sequence[str], index: int) -> Axis:
    """A dimension of tensors one behind the other; a side without channels stays as it is."""
    parts: list[Part] = []
    for name in names:
        axis, size = channels.of(name)[index], channels.shapes[name][index]
        if axis is None and isinstance(size, int):
            axis = channels.groups.new(size)
            channels.groups.fix(axis)
        parts.extend(axis or ())
    return tuple(parts)


def _split(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes | None:
    axes = channels.of(node.input[0])
    where = int(said.get("axis", 0)) % len(axes)
    sizes: list[int | str] = [channels.shapes[name][where] for name in node.output]
    if axes[where] is None:
        return [list(axes) for _ in sizes]
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(node.input) > 1 or len(set(sizes)) != 1 or len(numbers) != len(sizes):
        return None
    pieces = channels.groups.pieces(axes[where], numbers)
    for piece in pieces[1:]:
        channels.groups.join(pieces[0], piece)  # it is split in equal parts
    return [[*axes[:where], piece, *axes[where + 1 :]] for piece in pieces]


def _measured(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes:
    axes = channels.of(node.input[0])
    for axis in axes[said.get("start", 0) : said.get("end", len(axes))]:
        channels.groups.fix(axis)
    return [[None]]


def _sliced(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    before, after = channels.shapes[node.input[0]], channels.shapes[node.output[0]]
    axes = channels.of(node.input[0])
    if any(a and b != c for a, b, c in zip(axes, before, after, strict=True)):
        return None
    return [list(axes)]


def _expanded(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    """A dimension of channels stays one; the target says its size again."""
    before, after = channels.shapes[node.input[0]], channels.shapes[node.output[0]]
    if len(before) != len(after):
        return None
    made = [
        channels.opened(node.input[0], index) if before[index] == after[index] else None
        for index in range(len(after))
    ]
    return [made] if channels.all_aimed(node, made) else None


def _gathered(channels: Coupling, node: onnx.NodeProto, said: Mapping[str, Any]) -> _Axes | None:
    table, indices = node.input
    rank = len(channels.shapes[table])
    where = said.get("axis", 0) % rank
    if channels.of(table)[where]:
        return None
    rest = [None if i == where else channels.opened(table, i) for i in range(rank)]
    return [[*rest[:where], *[None] * len(channels.shapes[indices]), *rest[where + 1 :]]]


def _reshaped(channels: Coupling, node: onnx.NodeProto, _: Mapping[str, Any]) -> _Axes | None:
    axes = channels.of(node.input[0])
    before, after = channels.shapes[node.input[0]], channels.shapes[node.output[0]]
    if not any(axes):
        return [list[Axis]([None] * len(after))]
    front = _alike(before, after)
    rest = min(len(before), len(after)) - front
    back = min(_alike(before[::-1], after[::-1]), rest)
    inner = slice(front, len(before) - back), slice(front, len(after) - back)
    middle = _regrouped(channels, axes[inner[0]], before[inner[0]], after[inner[1]])
    if middle is None:
        return None
    made = [*axes[:front], *middle, *axes[len(before) - back :]]
    return [made] if channels.all_aimed(node, made) else None


def _regrouped(
    channels: Coupling,
    axes: Sequence[Axis],
    before: Sequence[int | str],
    after: Sequence[int | str],
) -> list[Axis] | None:
    """What becomes of dimensions that a reshape makes others of."""
    if not any(axes):
        return list[Axis]([None] * len(after))
    if len(before) == 1 and len(after) == 2 and isinstance(after[0], int):
        share = channels.groups.divided(axes[0], after[0])
        return None if share is None else [None, share]
    if len(before) == 2 and len(after) == 1 and isinstance(before[0], int) and not axes[0]:
        whole = channels.groups.united(axes[1], before[0])
        return None if whole is None else [whole]
    return None


def _alike(one: Sequence[int | str], other: Sequence[int | str]) -> int:
    """How many sizes from the front are the same."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right or left == "":
            break
        count += 1
    return count


_Rule = Callable[[Coupling, onnx.NodeProto, Mapping[str, Any]], "_Axes | None"]

RULES: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(_BROADCAST, _broadcast),
    "Attention": _attended,
    "Concat": _concatenated,
    "Conv": _convolved,
    "Expand": _expanded,
    "Gather": _gathered,
    "Gemm": _gemm,
    "GroupNormalization": _normed,
    "InstanceNormalization": _normed,
    "LayerNormalization": _normed,
    "MatMul": _multiplied,
    "Pad": _resized,
    "RMSNormalization": _normed,
    "Reshape": _reshaped,
    "Resize": _resized,
    "Shape": _measured,
    "Slice": _sliced,
    "Split": _split,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}
"""By operator."""
