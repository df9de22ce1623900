"""Several images through a graph that takes one: each operator runs for all of them in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .graph import Workload
from .operator import (
    Attention,
    Convolution,
    MatMul,
    Normalization,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)

__all__ = ["repeated"]


def repeated(workload: Workload, images: int) -> Workload:
    """The workload of `images` runs, layer by layer, so that weights are loaded once a layer.

    A graph whose token count depends on the data takes one image; a batch runs it once for each,
    every operator for all images before the next.

    Raises:
        ValueError: `images` is less than one.
    """
    if images < 1:
        raise ValueError(f"a batch needs at least one image, got {images}")
    if images == 1:
        return workload
    operators = tuple(_repeated(operator, images) for operator in workload.operators)
    return replace(workload, operators=operators, images=workload.images * images)


def _repeated(operator: Operator, images: int) -> Operator:
    changes: dict[str, Any] = {
        "operands": tuple(
            replace(operand, elements=operand.elements * images) for operand in operator.operands
        ),
        "shape": (images, *operator.shape),
        "images": operator.images * images,
    }
    match operator:
        case MatMul():
            changes["copies"] = operator.copies * images
        case Convolution():
            changes["batch"] = operator.batch * images
        case Attention():
            changes["copies"] = operator.copies * images
            changes["kv_copies"] = operator.kv_copies * images
        case Softmax() | Normalization():
            changes["rows"] = operator.rows * images
        case Reduction():
            changes["reads"] = operator.reads * images
        case TokenSelection():
            changes["candidates"] = operator.candidates * images
            changes["kept"] = operator.kept * images
        case _:
            pass
    return replace(operator, **changes)
