"""Matrix products: MatMul, Gemm and attention, where most MACs are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from ..extent import Size, known, product
from ..onnx_node import Node, Result, Shape, Tensor, operands
from ..operator import Attention, MatMul

__all__ = ["RULES", "contraction", "rows_by_format"]


def contraction(
    node: Node,
    left: Tensor,
    right: Tensor,
    *,
    batch: Sequence[Size],
    rows: Sequence[Size],
    inner: Sequence[Size],
    columns: Sequence[Size],
    shape: Shape,
    extra: Sequence[Tensor] = (),
    bias: bool = False,
) -> Result:
    """The product of two tensors as one `MatMul`, the parameter on the right.

    Args:
        node: The node it is for.
        left: One tensor.
        right: The other.
        batch: Sizes that both have and that stay.
        rows: Sizes that only `left` has.
        inner: Sizes that both have and that are summed over.
        columns: Sizes that only `right` has.
        shape: Shape of the result.
        extra: Activations that are added.
        bias: True if a parameter of one number for each column is added.
    """
    if left.constant and not right.constant:
        left, right, rows, columns = right, left, columns, rows
    copies, m, k, n = (product(sizes) for sizes in (batch, rows, inner, columns))
    weights = 0
    if right.constant and isinstance(product((copies, k, n)), int):
        weights = node.static(copies)
    elif right.constant and isinstance(k * n, int):
        # Copies that the parameter is shared by are rows of one product.
        copies, m, weights = 1, copies * m, 1
    operator = MatMul(
        name=node.name,
        operands=operands((left, right, *extra)),
        shape=shape,
        copies=copies,
        m=m,
        k=k,
        n=n,
        weights=weights,
        bias=bias,
        weight_formats=rows_by_format(right, n) if weights else (),
    )
    return Result(outputs=(node.made(*shape),), operator=operator, crooked=not left.straight)


def rows_by_format(weight: Tensor, rows: Size) -> tuple[tuple[str, int], ...]:
    """Which number formats the rows of a quantized weight have.

    Rows that are stored side by side have as many as they have elements; where a row itself has
    several, they are counted as if they were sorted into whole rows.  None if it is not quantized,
    or not all of it.
    """
    if not isinstance(rows, int) or not weight.formats:
        return ()
    if len(weight.formats) == 1:
        return ((weight.formats[0][0], rows),)
    if sum(count for _, count in weight.formats) != weight.elements:
        return ()
    left, found = rows, list[tuple[str, int]]()
    for format, count in weight.formats[:-1]:
        found.append((format, min(left, known(2 * rows * count // weight.elements + 1) // 2)))
        left -= found[-1][1]
    found.append((weight.formats[-1][0], left))
    return tuple((format, count) for format, count in found if count)


def _matmul(node: Node) -> Result:
    return _product(node, node.tensor(0), node.tensor(1))


def _product(node: Node, left: Tensor, right: Tensor) -> Result:
    a = left.shape if len(left.shape) > 1 else (1, *left.shape)
    b = right.shape if len(right.shape) > 1 else (*right.shape, 1)
    if not left.shape or not right.shape:
        raise node.error("a scalar is no matrix")
    inner = node.same(a[-1], b[-2])
    outer = node.broadcast(a[:-2], b[:-2])
    batch: list[Size] = []
    rows: list[Size] = []
    columns: list[Size] = []
    for i, size in enumerate(outer):
        of_left, of_right = (
            shape[i - len(outer)] if i >= len(outer) - len(shape) else 1
            for shape in (a[:-2], b[:-2])
        )
        (rows if of_right == 1 else columns if of_left == 1 else batch).append(size)
    shape = (
        *outer,
        *((a[-2],) if len(left.shape) > 1 else ()),
        *((b[-1],) if len(right.shape) > 1 else ()),
    )
    return contraction(
        node,
        left,
        right,
        batch=batch,
        rows=(*rows, a[-2]),
        inner=(inner,),
        columns=(*columns, b[-1]),
        shape=shape,
    )


def _gemm(node: Node) -> Result:
    a, b = node.shape(0), node.shape(1)
    k, m = (a[-2], a[-1]) if node.integer("transA", 0) else (a[-1], a[-2])
    n, inner = (b[-2], b[-1]) if node.integer("transB", 0) else (b[-1], b[-2])
    bias = node.has(2) and node.tensor(2).constant
    return contraction(
        node,
        node.tensor(0),
        node.tensor(1),
        batch=(),
        rows=(m,),
        inner=(node.same(k, inner),),
        columns=(n,),
        shape=(m, n),
        extra=(node.tensor(2),) if node.has(2) and not bias else (),
        bias=bias and not node.tensor(0).constant,
    )


def _attention(node: Node) -> Result:
    q, k, v = (node.tensor(i) for i in range(3))
    if len(q.shape) == 3:
        heads, groups = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)
        if not heads or not groups:
            raise node.error("3D inputs need q_num_heads and kv_num_heads")
        head_dim, value_dim = q.shape[2] // heads, v.shape[2] // groups
        query_heads, kv_heads = cast("Size", heads), cast("Size", groups)
    else:
        query_heads, kv_heads = q.shape[1], k.shape[1]
        head_dim, value_dim = q.shape[3], v.shape[3]
    batch = node.same(q.shape[0], k.shape[0])
    queries, keys = q.shape[-2], k.shape[-2]
    node.same(keys, v.shape[-2])
    past = node.tensor(4) if node.has(4) else None
    if past is not None:
        keys = keys + past.shape[2]
        k, v = _appended(k, past), _appended(v, node.tensor(5))
    mask = (node.tensor(3),) if node.has(3) else ()
    shape = (
        (batch, queries, query_heads * value_dim)
        if len(q.shape) == 3
        else (batch, query_heads, queries, value_dim)
    )
    operator = Attention(
        name=node.name,
        operands=operands((q, k, v, *mask)),
        shape=shape,
        copies=batch * query_heads,
        kv_copies=batch * kv_heads,
        queries=queries,
        keys=keys,
        head_dim=head_dim,
        value_dim=value_dim,
        affine=node.trained(3) if node.has(3) else 0,
    )
    outputs = (
        node.made(*shape),
        replace(k, shape=(batch, kv_heads, keys, head_dim)),
        replace(v, shape=(batch, kv_heads, keys, value_dim)),
        node.made(batch, query_heads, queries, keys),
    )
    return Result(outputs=outputs, operator=operator)


def _appended(tensor: Tensor, past: Tensor) -> Tensor:
    sources = tuple(dict.fromkeys((*past.sources, *tensor.sources)))
    return replace(tensor, sources=sources, distinct=tensor.read + past.read)


RULES: Mapping[str, Callable[[Node], Result]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Attention": _attention,
}
