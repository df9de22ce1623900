"""What PyTorch copies, where a graph has a view or nothing at all.

Eager's tensors are NCHW, and convolutions on tensor cores compute in NHWC: cuDNN converts what a
convolution reads, its weights among it, as it keeps nothing between calls, and what it makes
(NVIDIA, Convolutional Layers User's Guide, on tensor layouts).  The bias is added by a kernel of
its own (PyTorch, aten/src/ATen/native/Convolution.cpp).  A product of rows reads an image only once
its channels are made contiguous, and the other way round.  A concatenation is copied.  Eager or
compiled, a batched product of heads wants the heads one after another, which a fused attention
does not (a permutation and a reshape, which is a copy, in diffusers' and timm's modules alike).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ...workloads.extent import Size, known
from ...workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
)
from ..formats import format_of
from ..plan import layer
from .engines import Engine
from .launches import Launch

__all__ = ["with_copies"]

_Layout = Literal["image", "rows"]

_IMAGE_RANK = 4


def with_copies(
    made: Sequence[Launch], operators: Sequence[Operator], engine: Engine
) -> Iterator[Launch]:
    """Kernels, and between them those that only copy.

    Args:
        made: The kernels; of one operator each where the engine copies for layouts.
        operators: All operators, in an order in which they can run.
        engine: What runs them.
    """
    layouts = _layouts(operators) if engine.copies else {}
    shapes = {operator.name: operator.shape for operator in operators}
    joined: set[tuple[str, ...]] = set()
    for one in made:
        lead = one.lead
        for operand in one.reads if engine.copies else ():
            sources = operand.sources
            if len({*map(layer, sources)}) > 1 and sources not in joined:
                joined.add(sources)
                yield _copy(one, "concat", operand)
            elif _is_turned(operand, lead, layouts):
                yield _copy(one, "contiguous", operand)
        if isinstance(lead, Convolution) and engine.copies:
            yield from _convolution(one, lead)
        elif isinstance(lead, MatMul) and not lead.weights and engine.heads:
            yield from _heads(one, lead, shapes)
        else:
            yield one


def _convolution(one: Launch, lead: Convolution) -> Iterator[Launch]:
    result = _result(lead)
    converted = format_of(lead) != "fp32"  # on tensor cores
    if converted:
        weights = Operand(sources=(), elements=lead.parameters, format=lead.weight_formats[0][0])
        yield _copy(one, "nchw_to_nhwc", lead.operands[0], issued=False)
        yield _copy(one, "weights_to_nhwc", weights, issued=False)
    yield one
    if converted:
        yield _copy(one, "nhwc_to_nchw", result, issued=False)
    if lead.bias:
        add = Elementwise(
            name=f"{one.name}.bias", function="add", operands=(result,), shape=(result.elements,),
            selector=lead.selector, format=lead.format,
        )  # fmt: skip
        yield Launch.of(add, [add], [result], [add])


def _heads(one: Launch, lead: MatMul, shapes: Mapping[str, Sequence[Size]]) -> Iterator[Launch]:
    split: list[bool] = []
    for operand in lead.operands[:2]:
        shape = shapes.get(operand.sources[0], ())
        # More copies than the operand has images: columns of a row are those of several heads.
        split.append(len(shape) > 1 and known(lead.copies) > known(shape[0]))
        if split[-1]:
            yield _copy(one, f"heads.{len(split)}", operand)
    yield one
    if split == [False, True]:  # scores, one head after another, by values that were not
        yield _copy(one, "heads_joined", _result(lead))


def _layouts(operators: Sequence[Operator]) -> dict[str, _Layout]:
    """The layout of each result, where it is known."""
    found: dict[str, _Layout] = {}
    for operator in operators:
        if layout := _wanted(operator) or _inherited(operator, found):
            found[operator.name] = layout
    return found


def _wanted(operator: Operator) -> _Layout | None:
    """The layout in which an operator works."""
    match operator:
        case Convolution() | Normalization(form="group"):
            return "image"
        case MatMul() | Attention():
            return "rows"
        case _:
            return None


def _inherited(operator: Operator, layouts: Mapping[str, _Layout]) -> _Layout | None:
    of: set[_Layout] = {
        layouts[operand.sources[0]]
        for operand in operator.operands
        if len(operand.sources) == 1
        and operand.sources[0] in layouts
        and operand.elements == operator.elements
    }
    if len(of) > 1:
        return "image" if len(operator.shape) >= _IMAGE_RANK else "rows"
    return next(iter(of), None)


def _is_turned(operand: Operand, lead: Operator, layouts: Mapping[str, _Layout]) -> bool:
    """Whether an operand is laid out otherwise than its reader wants it."""
    if len(operand.sources) != 1 or isinstance(lead, Attention | Movement):
        return False
    has = layouts.get(operand.sources[0])
    if isinstance(lead, Elementwise) and operand.elements != lead.elements:
        return False
    wants = _wanted(lead) or layouts.get(lead.name)
    return has is not None and wants is not None and has != wants


def _result(lead: Operator) -> Operand:
    return Operand(sources=(lead.name,), elements=lead.elements, format=lead.format)


def _copy(one: Launch, function: str, operand: Operand, *, issued: bool = True) -> Launch:
    copied = Movement(
        name=f"{one.name}.{function}", operands=(operand,), shape=(operand.elements,),
        function=function, selector=one.lead.selector, format=operand.format,
    )  # fmt: skip
    return Launch.of(copied, [copied], [operand], [copied], issued=issued)
