"""Einsum: any sum of products of two tensors is a matrix product with copies."""

from __future__ import annotations

from collections.abc import Sequence

from ..extent import Size, product
from ..onnx_node import Node, Result, free, view
from ..operator import Elementwise, Reduction
from .movement import unknown
from .products import contraction

__all__ = ["einsum"]


def einsum(node: Node) -> Result:
    """The rule for `Einsum`.

    Raises:
        OnnxError: The equation does not fit the inputs.
    """
    terms, out = _labels(node)
    sizes: dict[str, Size] = {}
    for index, labels in enumerate(terms):
        shape = node.shape(index)
        if len(labels) != len(shape):
            raise node.error(f"equation {node.text('equation', '')} does not fit input {index}")
        for label, size in zip(labels, shape, strict=True):
            known = sizes.get(label, 1)
            sizes[label] = size if known == 1 else known if size == 1 else node.same(known, size)
    shape = tuple(sizes[label] for label in out)
    if len(terms) == 1:
        return _single(node, terms[0], out, shape)
    if len(terms) > 2:
        return unknown(node, (shape,))
    left, right = (list(dict.fromkeys(term)) for term in terms)
    inner = [label for label in left if label in right and label not in out]
    batch = [label for label in left if label in right and label in out]
    alone = [label for label in (*left, *right) if label not in out and label not in inner]
    if not inner and not alone:
        operator = Elementwise(name=node.name, operands=node.operands, shape=shape, function="mul")
        return Result(outputs=(node.made(*shape),), operator=operator)
    # A label of one input that is not in the output is summed away before the product.
    columns = [label for label in right if label not in left and label in out]
    result = contraction(
        node,
        node.tensor(0),
        node.tensor(1),
        batch=[sizes[label] for label in batch],
        rows=[sizes[label] for label in left if label not in right and label in out],
        inner=[sizes[label] for label in inner],
        columns=[sizes[label] for label in columns],
        shape=shape,
    )
    straight = bool(out) and out[-1] in columns
    crooked = result.crooked or not left or left[-1] not in inner
    return Result(
        outputs=(node.made(*shape, straight=straight),), operator=result.operator, crooked=crooked
    )


def _single(node: Node, term: list[str], out: list[str], shape: tuple[Size, ...]) -> Result:
    if sorted(term) == sorted(out):
        return free("layout: a transposition", view(node.tensor(), shape, straight=False))
    operator = Reduction(
        name=node.name,
        operands=node.operands,
        shape=shape,
        function="einsum",
        reads=product(node.shape()),
    )
    return Result(outputs=(node.made(*shape, straight=False),), operator=operator)


def _labels(node: Node) -> tuple[list[list[str]], list[str]]:
    """The labels of each input and of the output."""
    equation = node.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        raise node.error(
            f"equation {equation} has {len(terms)} terms for {len(node.inputs)} inputs"
        )
    inputs = [_spelled(term, len(node.shape(i))) for i, term in enumerate(terms)]
    if arrow:
        rank = max(sum(label.startswith(".") for label in labels) for labels in inputs)
        return inputs, _spelled(right, len(right.replace("...", "")) + rank)
    together = [label for labels in inputs for label in labels]
    dots = sorted({label for label in together if label.startswith(".")}, reverse=True)
    once = sorted(label for label in set(together) if together.count(label) == 1)
    return inputs, dots + [label for label in once if not label.startswith(".")]


def _spelled(term: str, rank: int) -> list[str]:
    """`"a...b"` of four dimensions as `["a", ".1", ".0", "b"]`."""
    before, dots, after = term.partition("...")
    hidden: Sequence[int] = range(rank - len(before) - len(after)) if dots else ()
    return [*before, *(f".{i}" for i in reversed(hidden)), *after]
