"""Activations and norms written out in arithmetic are recognised as the one operator they are.

GELU as Div, Erf, Add, Mul, Mul; SiLU as Sigmoid, Mul; LayerNorm as nine operators: exporters write
them out where an opset does not have them.  A written-out function is a group of operators that
together read one tensor, and whose operations are those of a known spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from .operator import Elementwise, Normalization, Operand, Operator, Reduction
from .rewrite import Fusion, Surroundings, path_of

__all__ = ["written_out_function"]

_ACTIVATIONS: Mapping[str, str] = {
    "erf mul scale scale shift": "Gelu",
    "add mul pow scale scale scale shift tanh": "Gelu",
    "add mul mul mul scale scale scale shift tanh": "Gelu",
    "mul sigmoid": "Silu",
    "mul scale sigmoid": "QuickGelu",
    "mul softplus tanh": "Mish",
    "clip mul scale shift": "HardSwish",
    "hardsigmoid mul": "HardSwish",
}
"""Operations of a spelling, in alphabetical order -> what it spells.

A `scale` is a product or quotient with a constant, a `shift` a sum with one.
"""

_NORMS: Mapping[str, Literal["layer", "rms"]] = {
    "div pow reducemean reducemean shift sqrt sub": "layer",
    "div mul reducemean reducemean shift sqrt sub": "layer",
    "div pow reducemean shift sqrt": "rms",
    "div mul reducemean shift sqrt": "rms",
    "mul pow reciprocal reducemean shift sqrt": "rms",
    "mul mul reciprocal reducemean shift sqrt": "rms",
    "mul pow reducemean scale shift sqrt": "rms",
}
_NORM_NAMES = {
    "layer": "LayerNormalization",
    "rms": "RMSNormalization",
    "group": "GroupNormalization",
}

_WITH_CONSTANT = {"add": "shift", "sub": "shift", "mul": "scale", "div": "scale"}

_LONGEST = 9
"""Operators of the longest spelling."""


def written_out_function(around: Surroundings, last: Operator) -> Fusion | None:
    """The activation or norm that ends with `last`, if one does: a `Finder`."""
    return _spelled(around, last) or _affine(around, last)


def _spelled(around: Surroundings, last: Operator) -> Fusion | None:
    """The known function that ends with `last`, if one does."""
    if not isinstance(last, Elementwise) or last.function not in ("mul", "div") or last.affine:
        return None
    parts: list[Operator] = [last]
    best: Fusion | None = None
    while len(parts) <= _LONGEST:
        outside = _outside(around, parts)
        if len(outside) == 1:
            best = _named(parts, next(iter(outside.values()))) or best
            if best and isinstance(best.result, Elementwise):
                return best  # while an RMS norm may be the end of a layer norm
        # The latest one outside is next: what the function is applied to was there before all.
        makers = [maker for operand in outside.values() if (maker := around.maker(operand))]
        makers = [maker for maker in makers if _arithmetic(maker) and around.inner(maker, parts)]
        if not makers:
            break
        parts.append(max(makers, key=lambda maker: around.order[maker.name]))
    return best


def _arithmetic(operator: Operator) -> bool:
    if isinstance(operator, Reduction):
        return operator.function == "reducemean"
    return isinstance(operator, Elementwise) and not operator.affine


def _outside(around: Surroundings, parts: list[Operator]) -> dict[str, Operand]:
    """What the parts read that none of them makes, by label."""
    names = {part.name for part in parts}
    return {
        around.label(part, index): operand
        for part in parts
        for index, operand in enumerate(part.operands)
        if not names.issuperset(operand.sources)
    }


def _named(parts: list[Operator], read: Operand) -> Fusion | None:
    """What the parts spell, if they are a known spelling."""
    last = parts[0]
    spelling = " ".join(sorted(_operation(part) for part in parts))
    if read.elements != last.elements:
        return None
    result: Operator
    if spelling in _ACTIVATIONS and all(part.elements == last.elements for part in parts):
        name = _ACTIVATIONS[spelling]
        result = Elementwise(
            name=path_of(last.name) + name,
            operands=(read,),
            shape=last.shape,
            function=name.lower(),
            transcendental=name != "HardSwish",
        )
    elif spelling in _NORMS:
        form = _NORMS[spelling]
        rows = next(part.elements for part in parts if isinstance(part, Reduction))
        result = Normalization(
            name=path_of(last.name) + _NORM_NAMES[form],
            operands=(read,),
            shape=last.shape,
            form=form,
            rows=rows,
            row_length=last.elements // rows,
        )
    else:
        return None
    return Fusion(parts=tuple(parts), result=result)


def _operation(operator: Operator) -> str:
    """What an operator is called in a spelling."""
    if not isinstance(operator, (Elementwise, Reduction)):
        return operator.kind
    alone = len(operator.operands) == 1
    return _WITH_CONSTANT.get(operator.function, operator.function) if alone else operator.function


def _affine(around: Surroundings, last: Operator) -> Fusion | None:
    """A norm and the scale or shift by trained numbers that follows it."""
    if not isinstance(last, Elementwise) or last.function not in ("mul", "add"):
        return None
    norm = around.maker(last.operands[0]) if len(last.operands) == 1 else None
    if not last.affine or not isinstance(norm, Normalization):
        return None
    expected = 0 if last.function == "mul" else last.affine
    form: Literal["layer", "rms", "group"]
    if norm.form in ("layer", "rms") and norm.affine == expected:
        if last.affine != norm.row_length:
            return None
        form = norm.form
    elif norm.form == "group" and last.function == "add" and norm.affine == last.affine:
        form = "group"
    elif _grouped(norm, last):
        form = "group"
        norm = replace(norm, affine=0)
    else:
        return None
    result = replace(
        norm,
        name=path_of(last.name) + _NORM_NAMES[form],
        shape=last.shape,
        form=form,
        affine=norm.affine + last.affine,
    )
    return Fusion(parts=(norm, last), result=result)


def _grouped(norm: Normalization, last: Elementwise) -> bool:
    """True if an instance norm of groups of channels is scaled by channel."""
    if norm.form != "instance" or last.function != "mul" or len(last.shape) < 2:
        return False
    return last.affine == last.shape[1] and norm.shape[1:2] != last.shape[1:2]
