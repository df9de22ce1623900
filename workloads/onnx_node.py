"""What a rule sees of one ONNX node, and what it answers.

A rule is a function `Node -> Result`.  It never sees the file: inputs are `Tensor` values, which
know their symbolic shape, who made them and, where they are shape arithmetic, their contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from .extent import Extent, Size, product
from .onnx_formats import widest
from .onnx_ledger import Ledger, OnnxError
from .operator import Operand, Operator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Node", "Result", "Shape", "Tensor", "Values", "free", "operands", "view"]

Shape: TypeAlias = "tuple[Size, ...]"
Values: TypeAlias = "NDArray[np.object_]"  # of Size, float or bool, in the tensor's shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """What is known about one value of the graph before it runs.

    Attributes:
        shape: Its symbolic shape.
        sources: Operators and graph inputs whose results it holds; none if it depends on
            parameters, constants and sizes only.
        values: Its elements, if they are known.
        floating: True for a floating-point type.
        trained: Trained numbers that it holds.
        distinct: Activations it holds where they are fewer than its elements: an expanded tensor
            repeats them, a concatenation may have constant parts.
        sized: True if it depends on the sizes of other tensors.
        straight: False if its last dimension is not that of the operator that made it.
        formats: Number formats of quantized elements, each with how many have it; only their
            proportions matter.  None for what is stored in the format of the run.
    """

    shape: Shape
    sources: tuple[str, ...] = ()
    values: Values | None = None
    floating: bool = True
    trained: int = 0
    distinct: Size | None = None
    sized: bool = False
    straight: bool = True
    formats: tuple[tuple[str, Size], ...] = ()

    @property
    def elements(self) -> Size:
        """How many elements it has."""
        return product(self.shape)

    @property
    def read(self) -> Size:
        """How many activations a reader of the whole tensor reads."""
        return self.elements if self.distinct is None else self.distinct

    @property
    def constant(self) -> bool:
        """True if it is known before any input is."""
        return not self.sources

    @property
    def format(self) -> str | None:
        """The widest of its formats."""
        return widest(format for format, _ in self.formats)

    @property
    def operand(self) -> Operand:
        """The tensor as an operator reads it."""
        return Operand(sources=self.sources, elements=self.read, format=self.format)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What a node comes to.

    Attributes:
        outputs: Its output tensors; trailing ones that nobody asked for may be missing.
        operator: The work it is, if it is any.
        reason: Why it is free, if it is.
        before: Work that comes before the operator, if there are two kinds.
        amended: An earlier operator that this node is merged into, as it then looks.
        note: What users should know about the node.
        crooked: True if the operator reads its first operand across its rows.
    """

    outputs: tuple[Tensor, ...]
    operator: Operator | None = None
    before: Operator | None = None
    reason: str = ""
    amended: Operator | None = None
    note: str = ""
    crooked: bool = False


def free(reason: str, *outputs: Tensor) -> Result:
    """The result of a node that costs nothing."""
    return Result(outputs=outputs, reason=reason)


def view(tensor: Tensor, shape: Shape, *, straight: bool | None = None) -> Tensor:
    """All elements of `tensor` under another shape."""
    if straight is None:
        straight = tensor.straight and tensor.shape[-1:] == shape[-1:]
    return Tensor(
        shape=shape,
        sources=tensor.sources,
        floating=tensor.floating,
        trained=tensor.trained,
        distinct=tensor.distinct,
        sized=tensor.sized,
        straight=straight,
        formats=tensor.formats,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One node of the graph as a rule sees it.

    Attributes:
        name: The name its operator has, unique in the graph.
        op_type, domain, version: What it is; `version` is the opset of its domain.
        attributes: Decoded: ints, floats, strings, arrays, and tuples of them.
        inputs: None where an optional input is left out.
        outputs: How many outputs it has.
        hints: Shapes that the file states for its outputs; None where it states none.
        makers: For each input, the operator that this node alone reads the whole result of.
        ledger: Where new symbols and constraints go.
    """

    name: str
    op_type: str
    domain: str
    version: int
    attributes: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    outputs: int
    hints: tuple[Shape | None, ...]
    makers: tuple[Operator | None, ...]
    ledger: Ledger

    def error(self, message: str) -> OnnxError:
        """An error that names this node."""
        return OnnxError(f"node {self.name} ({self.op_type}): {message}")

    def has(self, index: int) -> bool:
        """True if that input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int = 0) -> Tensor:
        """An input that must be there."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise self.error(f"input {index} is missing")
        return tensor

    def shape(self, index: int = 0) -> Shape:
        """The shape of an input that must be there."""
        return self.tensor(index).shape

    @property
    def present(self) -> tuple[Tensor, ...]:
        """The inputs that are there."""
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        """An attribute that lists integers."""
        return tuple(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        return str(self.attributes.get(name, default))

    def axis(self, name: str, default: int, rank: int) -> int:
        """An attribute that counts dimensions, from the front."""
        return self.counted(self.integer(name, default), rank)

    def counted(self, axis: int, rank: int) -> int:
        """`axis` counted from the front.

        Raises:
            OnnxError: A tensor of that rank has no such dimension.
        """
        if not -rank <= axis < max(rank, 1):
            raise self.error(f"axis {axis} is out of range for {rank} dimensions")
        return axis % rank if rank else 0

    def sizes(self, index: int, attribute: str = "") -> tuple[Size, ...] | None:
        """Sizes that decide a shape, from an input or, in older opsets, from an attribute.

        Returns:
            None if neither is there.

        Raises:
            OnnxError: The input is there, but its contents depend on data.
        """
        if attribute in self.attributes:
            given: Size | tuple[Size, ...] = self.attributes[attribute]
            return given if isinstance(given, tuple) else (given,)
        if not self.has(index):
            return None
        known = self.known(index)
        if known is None:
            raise self.error(
                f"the shape of its result depends on input {index}, whose contents the file does "
                "not tell"
            )
        return known

    def known(self, index: int) -> tuple[Size, ...] | None:
        """The elements of an input if they are known."""
        values = self.tensor(index).values
        return None if values is None else tuple(cast("list[Size]", values.reshape(-1).tolist()))

    def static(self, size: Size) -> int:
        """A size that must be a number.

        Raises:
            OnnxError: It depends on a symbol.
        """
        if isinstance(size, Extent):
            raise self.error(f"size {size} must be a number")
        return int(size)

    def hint(self, index: int = 0) -> Shape | None:
        """The shape that the file states for an output, its symbols declared."""
        shape = self.hints[index] if index < len(self.hints) else None
        for size in shape or ():
            self.ledger.declare(size, lower=0)
        return shape

    def same(self, left: Size, right: Size) -> Size:
        """One size for two that must be equal; see `Ledger.same`."""
        return self.ledger.same(left, right, self.name)

    def broadcast(self, *shapes: Shape) -> Shape:
        """The shape that shapes broadcast to."""
        rank = max(len(shape) for shape in shapes)
        result: list[Size] = [1] * rank
        for shape in shapes:
            for i, size in enumerate(shape, start=rank - len(shape)):
                if size != 1:
                    result[i] = size if result[i] == 1 else self.same(result[i], size)
        return tuple(result)

    def made(self, *shape: Size, floating: bool | None = None, straight: bool = True) -> Tensor:
        """An output that this node's operator makes."""
        if floating is None:
            floating = any(tensor.floating for tensor in self.present)
        return Tensor(
            shape=tuple(shape), sources=(self.name,), floating=floating, straight=straight
        )

    @property
    def operands(self) -> tuple[Operand, ...]:
        """The inputs that are activations."""
        return operands(self.present)

    def trained(self, *indices: int) -> int:
        """Trained numbers among these inputs; among all for none."""
        chosen = [self.inputs[i] for i in indices if self.has(i)] if indices else self.inputs
        return sum(tensor.trained for tensor in chosen if tensor is not None)


def operands(tensors: Iterable[Tensor]) -> tuple[Operand, ...]:
    """Those of `tensors` that are activations, as an operator reads them."""
    return tuple(tensor.operand for tensor in tensors if tensor.sources)
