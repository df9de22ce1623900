"""Attention written out as MatMul, Softmax, MatMul is recognised as the one operator it is.

Exporters write attention out below opset 23.  Scaling, masks and guards against rows without keys
belong to it; so do scales that are multiplied onto Q and K beforehand.  Where the scores are read
elsewhere too, they must be stored, and the graph stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from .extent import Size
from .operator import Attention, Elementwise, MatMul, Operand, Operator, Softmax
from .rewrite import Fusion, Surroundings, path_of

__all__ = ["written_out_attention"]

_ON_SCORES = frozenset({"add", "sub", "mul", "div", "where", "tanh", "clip", "max"})
"""What may happen to scores between the first product and the softmax."""


@dataclass(frozen=True, slots=True)
class _Scores:
    """The way from the first product to the softmax."""

    product: MatMul
    parts: tuple[Operator, ...] = ()
    masks: tuple[Operand, ...] = ()


def written_out_attention(around: Surroundings, values: Operator) -> Fusion | None:
    """The attention that ends with the product `values`, if one does: a `Finder`."""
    if not isinstance(values, MatMul) or values.name in around.reading.crooked:
        return None
    if values.weights or len(values.operands) != 2:
        return None
    softmax, guards = _softmax(around, values.operands[0])
    if softmax is None:
        return None
    scores = _scores(around, around.maker(softmax.operands[0]))
    if scores is None:
        return None
    first = scores.product
    if (first.copies, first.m, first.n, first.n) != (
        values.copies,
        values.m,
        values.k,
        softmax.row_length,
    ):
        return None
    query, query_scales = _unscaled(around, first, first.operands[0])
    key, key_scales = _unscaled(around, first, first.operands[1])
    masks, conversions = _unconverted(around, scores)
    result = Attention(
        name=f"{path_of(values.name)}Attention",
        operands=(query, key, values.operands[1], *masks),
        shape=values.shape,
        copies=first.copies,
        kv_copies=_heads(key, first),
        queries=first.m,
        keys=first.n,
        head_dim=first.k,
        value_dim=values.n,
        affine=sum(part.affine for part in scores.parts if isinstance(part, Elementwise)),
    )
    written_out = (first, *scores.parts, softmax, *guards, values)
    return Fusion(parts=(*query_scales, *key_scales, *conversions, *written_out), result=result)


def _softmax(around: Surroundings, operand: Operand) -> tuple[Softmax | None, tuple[Operator, ...]]:
    """The softmax that an operand is, through a guard that turns NaN rows into zeros."""
    maker = around.maker(operand)
    if isinstance(maker, Softmax):
        return maker, ()
    if not isinstance(maker, Elementwise) or maker.function != "where":
        return None, ()
    makers = {m.name: m for m in map(around.maker, maker.operands) if m is not None}
    softmax = next((m for m in makers.values() if isinstance(m, Softmax)), None)
    tests = [m for m in makers.values() if isinstance(m, Elementwise) and m.function == "isnan"]
    if softmax is None or len(makers) != 1 + len(tests):
        return None, ()
    return softmax, (*tests, maker)


def _scores(around: Surroundings, operator: Operator | None) -> _Scores | None:
    """The first product, if the operator is its result, scaled and masked."""
    if isinstance(operator, MatMul):
        plain = not operator.weights and len(operator.operands) == 2
        return _Scores(operator) if plain else None
    if not isinstance(operator, Elementwise) or operator.function not in _ON_SCORES:
        return None
    for index, operand in enumerate(operator.operands):
        found = _scores(around, around.maker(operand))
        if found is not None and found.product.elements == operator.elements:
            masks = (o for i, o in enumerate(operator.operands) if i != index)
            return _Scores(found.product, (*found.parts, operator), (*found.masks, *masks))
    return None


def _unscaled(
    around: Surroundings, product: MatMul, operand: Operand
) -> tuple[Operand, tuple[Operator, ...]]:
    """Q or K before it was multiplied with the scale."""
    parts: tuple[Operator, ...] = ()
    reader: Operator = product
    while (scale := around.maker(operand)) is not None and _by_constant(scale, ("mul", "div")):
        if not around.inner(scale, (reader,)):
            break
        operand, parts, reader = scale.operands[0], (*parts, scale), scale
    return operand, parts


def _unconverted(
    around: Surroundings, scores: _Scores
) -> tuple[tuple[Operand, ...], tuple[Operator, ...]]:
    """The masks before truth became numbers: 0 for true, minus infinity for false."""
    masks: list[Operand] = []
    parts: list[Operator] = []
    for mask in scores.masks:
        conversion = around.maker(mask)
        if (
            conversion is not None
            and _by_constant(conversion, ("where",))
            and around.inner(conversion, scores.parts)
        ):
            parts.append(conversion)
            masks.append(conversion.operands[0])
        else:
            masks.append(mask)
    return tuple(masks), tuple(parts)


def _by_constant(operator: Operator, functions: tuple[str, ...]) -> bool:
    return (
        isinstance(operator, Elementwise)
        and operator.function in functions
        and len(operator.operands) == 1
        and not operator.affine
    )


def _heads(key: Operand, product: MatMul) -> Size:
    """Key heads of all images: fewer than query heads where several of these share one."""
    heads = key.elements // (product.n * product.k)
    return heads if heads * product.n * product.k == key.elements else product.copies
