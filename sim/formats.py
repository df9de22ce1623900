"""Number formats of a kernel: of what it multiplies, and of what it makes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from ..arch import Accelerator
from ..arch.formats import FormatError, bits
from ..workloads.extent import known
from ..workloads.operator import Attention, Convolution, MatMul, Operand, Operator
from .errors import MappingError

__all__ = [
    "INT8",
    "Formats",
    "Widths",
    "format_of",
    "formats_of",
    "macs_per_pe_cycle",
    "parameter_bits",
    "parameter_size_bits",
    "size_bits",
    "widest",
]


class Formats(NamedTuple):
    """Formats of a kernel's operands and of its output; of products, the right operand's first."""

    weights: str
    activations: str
    output: str


class Widths(NamedTuple):
    """Bits of an element of a product's left and right operand, and of its output."""

    left: int
    right: int
    out: int

    @classmethod
    def of(cls, formats: Formats) -> Widths:
        """The bits of some formats."""
        return cls(*(bits(name) for name in (formats.activations, formats.weights, formats.output)))


INT8 = Formats("int8", "int8", "int8")
"""Where nothing else is said."""


def format_of(thing: Operator | Operand) -> str:
    """The format of an operator's output or of an operand.

    Raises:
        ValueError: It has none yet; `in_format` gives one to all.
    """
    if thing.format is None:
        raise ValueError(f"a format is missing: {thing}")
    return thing.format


def formats_of(lead: Operator, tail: Operator) -> Formats:
    """The formats of a kernel, given its first and its last operator."""
    read = [format_of(operand) for operand in lead.operands] or [format_of(lead)]
    match lead:
        case Attention():
            activations = weights = widest(read[:3])
        case MatMul(weights=0):
            activations, weights = read[0], read[1]
        case _:
            activations = read[0]
            weights = lead.weight_formats[0][0] if lead.weight_formats else activations
    return Formats(weights, activations, format_of(tail))


def macs_per_pe_cycle(machine: Accelerator, lead: Operator, formats: Formats) -> Fraction:
    """What a PE multiplies in a cycle; 0 for what multiplies nothing, in whatever format that is.

    Raises:
        MappingError: The array does not compute in these formats.
    """
    if not isinstance(lead, MatMul | Convolution | Attention):
        return Fraction(0)
    try:
        return machine.array.macs_per_pe_cycle.most(formats.weights, formats.activations)
    except FormatError as error:
        raise MappingError(f"{machine.name}: format: {error}") from None


def widest(formats: Iterable[str]) -> str:
    """The format that takes most bits."""
    return max(formats, key=bits)


def size_bits(operand: Operand) -> int:
    """What is read of an operand, in bits."""
    return known(operand.elements) * bits(format_of(operand))


def parameter_bits(operator: Operator) -> int:
    """Bits of a trained number of an operator that is no product of several widths."""
    return bits(operator.weight_formats[0][0])


def parameter_size_bits(operator: Operator) -> int:
    """What the trained numbers of an operator take, in bits; 0 if it has none."""
    rows = sum(count for _, count in operator.weight_formats)
    if not rows:
        return operator.parameters * parameter_bits(operator) if operator.parameters else 0
    return operator.parameters // rows * sum(n * bits(name) for name, n in operator.weight_formats)
