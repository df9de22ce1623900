"""A vector unit: lanes that do everything which is not a matrix product."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, overload

from .value import Count, Rate, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VectorFunction = Literal[
    "requantize",
    "elementwise",
    "activation",
    "reduction",
    "softmax",
    "normalization",
    "movement",
    "selection",
]
VECTOR_FUNCTIONS: Final[tuple[VectorFunction, ...]] = get_args(VectorFunction)


class VectorUnit(Value, frozen=True):
    """`lanes` elements side by side; each class of function has a cost in cycles per element.

    The classes: `requantize` (32-bit sums to operands), `elementwise` (add, multiply...),
    `activation` (GELU, SiLU, sigmoid, tanh, exp...), `reduction` (sum, maximum), `softmax` and
    `normalization` (all their passes over a row together), `movement` (copy, gather, scatter,
    resize), `selection` (non-zero, a top-k scan). A cost may be any positive rational; left
    out, an element takes one lane one cycle.

    >>> unit = VectorUnit(lanes=32, softmax_cycles=5)
    >>> unit.cycles("softmax", 197 * 197), unit.cycles("elementwise", 33)
    (6064, 2)
    """

    lanes: Count
    requantize_cycles: Rate = Fraction(1)
    elementwise_cycles: Rate = Fraction(1)
    activation_cycles: Rate = Fraction(1)
    reduction_cycles: Rate = Fraction(1)
    softmax_cycles: Rate = Fraction(1)
    normalization_cycles: Rate = Fraction(1)
    movement_cycles: Rate = Fraction(1)
    selection_cycles: Rate = Fraction(1)

    def cost(self, function: str) -> Fraction:
        """Return the cycles one lane spends on one element.

        Raises:
            ValueError: if `function` is none of `VECTOR_FUNCTIONS`.
        """
        if function not in VECTOR_FUNCTIONS:
            raise ValueError(
                f"function: wanted one of {', '.join(VECTOR_FUNCTIONS)}, got {function!r}"
            )
        return Fraction(getattr(self, f"{function}_cycles"))

    @overload
    def cycles(self, function: str, elements: int) -> int: ...
    @overload
    def cycles(self, function: str, elements: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def cycles(self, function: str, elements: Any) -> Any:
        """Return ceil(elements x cost / lanes), exactly; monotone in `elements`.

        Args:
            function: one of `VECTOR_FUNCTIONS`.
            elements: how many, 0 or more; an int, or an array of ints for many at once.

        Raises:
            ValueError: if `function` is unknown.
        """
        cost = self.cost(function)
        return -(-elements * cost.numerator // (self.lanes * cost.denominator))
