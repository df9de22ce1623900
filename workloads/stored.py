"""Conversions between number formats become the formats in which tensors are stored.

A number is written once and read by whoever wants it.  So a conversion to integers rides on the way
out of the operator that made the numbers, which requantizes anyway, and a conversion back on the
way into those that read them: multipliers take integers, vector units take what is there.  Only
where the same numbers are wanted in a second form, or come from outside, a conversion is work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .graph import FreeNode, Workload
from .onnx_formats import widest
from .operator import Elementwise, Movement, Operand, Operator

__all__ = ["stored"]

_TO, _FROM = "quantizelinear", "dequantizelinear"
_NODES = {_TO: "QuantizeLinear", _FROM: "DequantizeLinear"}


def stored(workload: Workload) -> Workload:
    """The workload without the conversions that cost nothing.

    Their readers read what they converted, in the format they converted it to; an operator all of
    whose results are converted is stored so.
    """
    kept = _wanted(workload)
    around = _Around({operator.name: operator for operator in kept})
    for operator in kept:
        for operand in operator.operands:
            for source in operand.sources:
                around.readers.setdefault(source, []).append((operator, operand))
    for output in workload.outputs:
        if output in around.operators:
            whole = Operand(sources=(output,), elements=around.operators[output].elements)
            around.readers.setdefault(output, []).append((None, whole))
    gone: dict[str, tuple[str, ...]] = {}
    free: list[FreeNode] = []
    left: list[Operator] = []
    for operator in kept:
        operator = replace(operator, operands=tuple(_read(o, gone) for o in operator.operands))
        reason = _reason(around, operator)
        if reason:
            gone[operator.name] = operator.operands[0].sources
            free.append(_free(operator, reason))
        else:
            left.append(operator)
    names = {operator.name for operator in kept}
    free += [_free(o, "nobody reads it") for o in workload.operators if o.name not in names]
    outputs = [source for output in workload.outputs for source in gone.get(output, (output,))]
    return replace(
        workload,
        operators=tuple(replace(o, format=o.format or around.format(o)) for o in left),
        outputs=tuple(dict.fromkeys(outputs)),
        free=(*workload.free, *free),
    )


@dataclass(slots=True, eq=False)
class _Around:
    """Operators, and who reads each result; None for the graph's output."""

    operators: Mapping[str, Operator]
    readers: dict[str, list[tuple[Operator | None, Operand]]] = field(
        default_factory=dict[str, "list[tuple[Operator | None, Operand]]"]
    )

    def format(self, operator: Operator) -> str | None:
        """The format in which a result is stored because all who read it want that."""
        readers = [reader for reader, _ in self.readers.get(operator.name, ())]
        formats = [format for r in readers if r and (format := self._converted(r))]
        return widest(formats) if readers and len(formats) == len(readers) else None

    def _converted(self, reader: Operator) -> str | None:
        """The format that a reader converts to, behind a cut of the tokens if there is one."""
        if isinstance(reader, Movement) and reader.function == "cut":
            return self.format(reader)
        return reader.format if _function(reader) == _TO else None

    def rides(self, conversion: Operator, source: str) -> bool:
        """True if the conversion makes the only form in which these numbers are stored."""
        maker = self.operators.get(source)
        if maker is None:
            return False
        readers = self.readers[source]
        if all(r and (_function(r), r.format) == (_TO, conversion.format) for r, _ in readers):
            return True
        # Those who read different parts do not read the same numbers.
        rest = maker.elements - sum((operand.elements for _, operand in readers), 0)
        return isinstance(rest, int) and rest >= 0


def _wanted(workload: Workload) -> tuple[Operator, ...]:
    """The operators without conversions that nobody reads."""
    read = set(workload.outputs)
    found: list[Operator] = []
    for operator in reversed(workload.operators):
        if operator.name in read or _function(operator) not in (_TO, _FROM):
            found.append(operator)
            read.update(source for operand in operator.operands for source in operand.sources)
    return tuple(reversed(found))


def _reason(around: _Around, operator: Operator) -> str:
    """Why an operator is free; empty if it is not."""
    match _function(operator):
        case "dequantizelinear":
            return "its readers take the numbers as they are stored"
        case "quantizelinear":
            (operand,) = operator.operands
            if operand.format == operator.format:
                return "the numbers are stored so already"
            if not operand.format and all(around.rides(operator, s) for s in operand.sources):
                return f"on the way out of {', '.join(operand.sources)}"
            return ""
        case _:
            return ""


def _free(operator: Operator, reason: str) -> FreeNode:
    return FreeNode(name=operator.name, function=_NODES[_function(operator)], reason=reason)


def _read(operand: Operand, gone: Mapping[str, Iterable[str]]) -> Operand:
    sources = [new for source in operand.sources for new in gone.get(source, (source,))]
    return replace(operand, sources=tuple(dict.fromkeys(sources)))


def _function(operator: Operator) -> str:
    return operator.function if isinstance(operator, Elementwise) else ""
