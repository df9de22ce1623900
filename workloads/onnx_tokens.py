"""Where tokens are cut away, a number that a file fixes for good becomes a size that varies.

A static export of a ViT has its token count in every Reshape.  From a cut on the count is a symbol,
and where it stands in the shape that arrives at a node tells which of the node's constants mean it.
Nothing is guessed from a number alone.  What no rule here covers stays as the file has it, and
sizes that then contradict each other come to light as constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from .extent import Size, product, substituted, symbol, symbols_of
from .onnx_node import Node, Shape, Tensor, Values

__all__ = ["Cut", "adapted"]

_FAR = 2**31 - 1
_ARITHMETIC = (
    "Add Sub Mul Div Pow Sum Mean Min Max Mod Equal Less LessOrEqual Greater GreaterOrEqual And Or "
    "Xor Where PRelu"
)
_ELEMENTWISE = frozenset(_ARITHMETIC.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A place where the number of tokens changes.

    Attributes:
        after: The operator whose result is cut, as it is called before anything is fused.
        axis: The dimension of its result that counts tokens.
        symbol: What the count is called from there on; an operator of that name makes the cut.
        fixed: What the count is in the file.
        least: How many tokens, the first ones, always stay.
    """

    after: str
    axis: int
    symbol: str
    fixed: Size
    least: int


def adapted(node: Node, fixed: Mapping[str, Size], least: int, known: bool) -> Node:
    """The node with those of its constants that mean a cut token count replaced by the symbol.

    Args:
        node: A node as the file has it.
        fixed: The symbols of all cuts, and what they are in the file.
        least: How many tokens always stay.
        known: Whether there is a rule for the node's operation.

    Raises:
        OnnxError: The node cannot be told apart from one that works at one token count only.
    """
    if not any(_varies(tensor.shape, fixed) for tensor in node.present):
        return node
    node = replace(node, hints=())  # what the file states is for the fixed count
    if not known:
        raise node.error("it is unknown what becomes of it when the number of tokens varies")
    if node.domain:
        return node
    match node.op_type:
        case "Reshape" if (target := node.tensor(1).values) is not None:
            return _with_values(node, 1, _reshaped(node.shape(), _sizes(target), fixed, node))
        case "Expand" if (target := node.tensor(1).values) is not None:
            return _with_values(node, 1, _expanded(node.shape(), _sizes(target), fixed))
        case "Slice" if (ends := node.known(2)) is not None:
            axes = node.known(3) if node.has(3) else tuple(range(len(ends)))
            return _with_values(node, 2, _ends(node.shape(), axes or (), ends, fixed))
        case "Split":
            return _split(node, fixed)
        case "Gather":
            return _gather(node, fixed, least)
        case op_type if op_type in _ELEMENTWISE:
            return _with_tables_cut(node, fixed)
        case _:
            return node


def _varies(sizes: Sequence[Size], fixed: Mapping[str, Size]) -> bool:
    return any(symbols_of(size) & fixed.keys() for size in sizes)


def _sizes(values: Values) -> list[Size]:
    return cast("list[Size]", values.reshape(-1).tolist())


def _with_values(node: Node, index: int, sizes: Sequence[Size]) -> Node:
    """The node with other contents of one of its inputs."""
    values = np.empty(len(sizes), dtype=object)
    values[:] = list(sizes)
    return _with_input(node, index, replace(node.tensor(index), values=values))


def _with_input(node: Node, index: int, tensor: Tensor) -> Node:
    return replace(node, inputs=(*node.inputs[:index], tensor, *node.inputs[index + 1 :]))


def _reshaped(
    old: Shape, target: list[Size], fixed: Mapping[str, Size], node: Node
) -> Sequence[Size]:
    """The target shape of a reshape, its fixed token counts replaced.

    Going through memory, one step of a token count passes as many elements as the dimensions
    behind it have.  The dimension of the target that spans these steps is the one that holds it.
    """
    if not node.integer("allowzero", 0):
        target = [old[i] if size == 0 and i < len(old) else size for i, size in enumerate(target)]
    elements = product(old)
    if -1 in target:  # what it stood for may be the tokens, or not
        rest = substituted(product(size for size in target if size != -1), fixed)
        if rest == 0:
            return target
        target[target.index(-1)] = substituted(elements, fixed) // rest
    if product(target) == elements:
        return target
    then = [substituted(size, fixed) for size in target]
    for axis, size in enumerate(old):
        if _varies((size,), fixed):
            behind = substituted(product(old[axis + 1 :]), fixed)
            _place(size, behind, then, target, fixed)
    return target


def _place(
    size: Size, behind: Size, then: Sequence[Size], target: list[Size], fixed: Mapping[str, Size]
) -> None:
    """Replaces one varying `size` of the old shape in the dimension of `target` that spans it."""
    outer, tokens = _parted(size, fixed)
    count = substituted(tokens, fixed)
    # A size such as 2*tokens does not tell which of its factors runs faster.
    for step in dict.fromkeys((behind, behind * outer)):
        for i, whole in enumerate(then):
            inside = product(then[i + 1 :])
            spans = _divides(inside, step) and _divides(step * count, inside * whole)
            if spans and _divides(count, target[i]):
                target[i] = target[i] // count * tokens
                return


def _parted(size: Size, fixed: Mapping[str, Size]) -> tuple[Size, Size]:
    """`size` as a factor and a token count: `2*tokens - 2` is 2 and `tokens - 1`."""
    slope = substituted(size, {name: symbol(name) + 1 for name in fixed}) - size
    if slope != 0 and not _varies((slope,), fixed) and _divides(slope, size):
        return slope, size // slope
    return 1, size


def _divides(divisor: Size, size: Size) -> bool:
    return divisor != 0 and size // divisor * divisor == size


def _expanded(old: Shape, target: list[Size], fixed: Mapping[str, Size]) -> Sequence[Size]:
    for i in range(1, min(len(old), len(target)) + 1):
        if _varies((old[-i],), fixed) and target[-i] == substituted(old[-i], fixed):
            target[-i] = old[-i]
    return target


def _ends(
    shape: Shape, axes: Sequence[Size], ends: Sequence[Size], fixed: Mapping[str, Size]
) -> Sequence[Size]:
    """Ends of a slice; one that was the end of the fixed tokens is the end of those there are."""
    found = list(ends)
    for i, axis in enumerate(axes):
        size = shape[cast("int", axis)]
        then = substituted(size, fixed)
        if _varies((size,), fixed) and (ends[i] == then or _beyond(ends[i], then)):
            found[i] = _FAR
    return found


def _beyond(end: Size, size: Size) -> bool:
    return isinstance(end, int) and isinstance(size, int) and end >= size


def _split(node: Node, fixed: Mapping[str, Size]) -> Node:
    """A split whose parts add up to the fixed count: the largest varies."""
    shape = node.shape()
    size = shape[node.axis("axis", 0, len(shape))]
    given = node.sizes(1, "split")
    if given is None or not _varies((size,), fixed):
        return node
    parts = list(given)
    largest = max(range(len(parts)), key=lambda i: _number(parts[i]))
    rest = sum((part for i, part in enumerate(parts) if i != largest), cast("Size", 0))
    if parts[largest] + rest != substituted(size, fixed):
        raise node.error(f"its parts do not add up to {substituted(size, fixed)}")
    parts[largest] = size - rest
    if node.has(1):
        return _with_values(node, 1, parts)
    attributes: dict[str, Any] = {**node.attributes, "split": tuple(parts)}
    return replace(node, attributes=attributes)


def _number(size: Size) -> int:
    return size if isinstance(size, int) else 0


def _gather(node: Node, fixed: Mapping[str, Size], least: int) -> Node:
    """A gather of tokens: of those that are always there, or of all from one on."""
    shape, indices = node.shape(), node.tensor(1)
    size = shape[node.axis("axis", 0, len(shape))]
    if not _varies((size,), fixed):
        return node
    known = node.known(1)
    if known is None:
        if indices.sources:
            return node
        raise node.error("it picks tokens by numbers that the file does not tell")
    if all(isinstance(index, int) and -1 <= index < least for index in known):
        return node
    first = known[0]
    everything = isinstance(first, int) and list(known) == list(
        range(first, _number(substituted(size, fixed)))
    )
    if not everything or len(indices.shape) != 1:
        raise node.error(f"it picks tokens that may be pruned, such as number {known[-1]}")
    node = replace(node, op_type="Slice", inputs=(node.tensor(), indices, indices, indices))
    for index, bound in enumerate((first, _FAR, node.axis("axis", 0, len(shape))), start=1):
        node = _with_values(node, index, [bound])
    return node


def _with_tables_cut(node: Node, fixed: Mapping[str, Size]) -> Node:
    """Of a constant with a row for each token, such as a position table, the rows that stay."""
    wide = [tensor.shape for tensor in node.present if not tensor.constant]
    for index, tensor in enumerate(node.inputs):
        if tensor is None or not tensor.constant:
            continue
        shape = list(tensor.shape)
        for i in range(1, len(shape) + 1):
            for other in wide:
                size = other[-i] if i <= len(other) else 1
                if _varies((size,), fixed) and shape[-i] == substituted(size, fixed):
                    shape[-i] = size
        if tuple(shape) != tensor.shape:
            node = _with_input(node, index, replace(tensor, shape=tuple(shape), values=None))
    return node
