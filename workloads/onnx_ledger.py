"""The symbols and constraints that come to light while a graph is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from .extent import Extent, Size, lower_bound, maximum, minimum, symbol, symbols_of
from .graph import Constraint, Symbol

__all__ = ["Ledger", "OnnxError"]


class OnnxError(ValueError):
    """A file that cannot be read as a workload; the message is one line and names the place."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # names in a file may hold anything


@dataclass(slots=True, eq=False)
class Ledger:
    """The symbols and constraints that come to light while a graph is read."""

    symbols: dict[str, Symbol] = field(default_factory=dict[str, Symbol])
    constraints: dict[tuple[Size, Size], Constraint] = field(
        default_factory=dict[tuple[Size, Size], Constraint]
    )

    def declare(self, size: Size, lower: int) -> None:
        """Gives every new symbol of `size` a place in the workload's symbols."""
        for name in sorted(symbols_of(size) - self.symbols.keys()):
            self.symbols[name] = Symbol(name=name, lower=lower)

    def born(self, hint: Size | None, upper: Size | None) -> Size:
        """The size of something that only the data decides, named by `hint` or `kept_k`."""
        name = str(hint) if isinstance(hint, Extent) else ""
        if not name.isidentifier():
            numbers = iter(range(1, len(self.symbols) + 2))
            name = next(f"kept_{k}" for k in numbers if f"kept_{k}" not in self.symbols)
        self.symbols.setdefault(name, Symbol(name=name, lower=0, upper=upper))
        return symbol(name)

    def sign(self, difference: Size) -> int | None:
        """-1, 0 or 1 if `difference` has that sign under every binding, else None."""
        if isinstance(difference, int):
            return (difference > 0) - (difference < 0)
        least = {
            name: symbol.lower
            for name, symbol in self.symbols.items()
            if isinstance(symbol.lower, int)
        }
        low, high = lower_bound(difference, least), lower_bound(-difference, least)
        if low is not None and low > 0:
            return 1
        return -1 if high is not None and high > 0 else None

    def minimum(self, left: Size, right: Size) -> Size:
        """The smaller size, an expression only where it depends on the binding."""
        smaller = self._pick(left, right)
        return minimum(left, right) if smaller is None else smaller

    def maximum(self, left: Size, right: Size) -> Size:
        """The larger size, an expression only where it depends on the binding."""
        smaller = self._pick(left, right)
        return maximum(left, right) if smaller is None else right if smaller is left else left

    def _pick(self, left: Size, right: Size) -> Size | None:
        if self.sign(right - left + 1) == 1:
            return left
        return right if self.sign(left - right + 1) == 1 else None

    def same(self, left: Size, right: Size, where: str) -> Size:
        """One size for two that must be equal, the simpler; remembers what that asks for.

        Raises:
            OnnxError: They differ under every binding.
        """
        if left == right:
            return left
        difference = left - right
        if isinstance(difference, int):
            raise OnnxError(f"node {where}: sizes {left} and {right} must be equal")
        first, second = sorted((left, right), key=_complexity)
        if (first, second) not in self.constraints:
            self.constraints[first, second] = Constraint(left=first, right=second, where=where)
        return first


def _complexity(size: Size) -> tuple[int, int, str]:
    return (isinstance(size, Extent), len(str(size)), str(size))
