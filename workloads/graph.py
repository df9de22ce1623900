"""A workload: operators in the order they run, the symbols they depend on, and what was free."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from .extent import Number, Size, evaluate, symbols_of
from .operator import Attention, Operator, TokenSelection

__all__ = ["BindingError", "Constraint", "FreeNode", "Symbol", "Workload"]


class BindingError(ValueError):
    """A value for a symbol is missing, unknown, no whole number or out of range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A size that a binding must give.

    Attributes:
        name: Where it is born: `batch`, `tokens`, `kept_1`...
        lower: The least value allowed, which may depend on other symbols too.
        upper: The largest, which may depend on other symbols (`kept_2` is at most `kept_1`); None
            if there is none.
        default: What is taken if no binding is given, which may depend on earlier symbols; None if
            the user must say.
    """

    name: str
    lower: Size = 1
    upper: Size | None = None
    default: Size | None = None

    @property
    def example(self) -> str:
        """A binding for those who gave none, as `batch=1`."""
        least = self.lower if isinstance(self.lower, int) else 1
        return f"{self.name}={max(least, 1)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Two sizes that must be equal under every binding, as the graph joins them at `where`."""

    left: Size
    right: Size
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeNode:
    """A node of the graph that costs nothing, and why."""

    name: str
    function: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model as a machine sees it.

    Attributes:
        name: For people.
        operators: In an order in which they can run; edges are the operands' sources.
        inputs: Names and shapes of the graph's inputs.
        outputs: Names of the operators (or inputs) that make the graph's outputs.
        symbols: What a binding must give, in the order in which the symbols are born.
        constraints: What a binding must satisfy besides.
        free: Nodes that cost nothing, each with its reason.
        parameters: Trained numbers, each counted once however often it is used.
        images: Inputs that one run of the graph computes; `batch` where the graph has that symbol.
        notes: What a reader of the results should know, such as operations that are not understood;
            one line each.
    """

    name: str
    operators: tuple[Operator, ...]
    inputs: tuple[tuple[str, tuple[Size, ...]], ...] = ()
    outputs: tuple[str, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    free: tuple[FreeNode, ...] = ()
    parameters: int = 0
    images: Size = 1
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {name for name, _ in self.inputs}
        for operator in self.operators:
            if operator.name in known:
                raise ValueError(f"workload {self.name}: two operators are named {operator.name}")
            for operand in operator.operands:
                for source in operand.sources:
                    if source not in known:
                        raise ValueError(
                            f"workload {self.name}: {operator.name} reads {source}, which no "
                            "earlier operator or input makes"
                        )
            known.add(operator.name)

    @cached_property
    def macs(self) -> Size:
        """Multiply-accumulates of one run, attention's included."""
        return sum((operator.macs for operator in self.operators), 0)

    @cached_property
    def macs_without_attention(self) -> Size:
        """As most of the diffusion literature counts: without Q K^T and A V."""
        return sum((o.macs for o in self.operators if not isinstance(o, Attention)), 0)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of everything that a simulation depends on."""
        return hashlib.sha256(
            repr((self.operators, self.inputs, self.outputs)).encode()
        ).hexdigest()

    def __hash__(self) -> int:
        # Of every operator anew it would take longer than what a cache keeps for a workload.
        return hash(self.content_hash)

    @property
    def dynamic(self) -> bool:
        """True if a token count depends on the data."""
        return any(isinstance(o, TokenSelection) and o.data_dependent for o in self.operators)

    def with_defaults(
        self, defaults: Mapping[str, int], least: Mapping[str, int] = MappingProxyType({})
    ) -> Workload:
        """The same workload with default and with least values for some of its symbols."""
        symbols = tuple(
            replace(
                symbol,
                default=defaults.get(symbol.name, symbol.default),
                lower=least.get(symbol.name, symbol.lower),
            )
            for symbol in self.symbols
        )
        return replace(self, symbols=symbols)

    def binding(self, given: Mapping[str, Number] | None = None) -> dict[str, Number]:
        """A checked value for every symbol: `given` where it says, the defaults elsewhere.

        Raises:
            BindingError: A symbol is missing, unknown, not a whole number, or out of range; or the
                values contradict a constraint of the graph.
        """
        given = dict(given or {})
        names = [symbol.name for symbol in self.symbols]
        for name in given:
            if name not in names:
                raise BindingError(
                    f"{self.name} has no symbol {name}"
                    + (f"; it has {', '.join(names)}" if names else "; all its sizes are fixed")
                )
        self._check_bound(given)
        values: dict[str, Number] = {}
        for symbol in self.symbols:
            value: object = given.get(symbol.name)
            if value is None and symbol.default is not None:
                value = evaluate(symbol.default, values)
            values[symbol.name] = _whole(symbol.name, value)
        for symbol in self.symbols:
            self._check_range(symbol, values)
        for constraint in self.constraints:
            left = evaluate(constraint.left, values)
            right = evaluate(constraint.right, values)
            if np.any(left != right):
                involved = symbols_of(constraint.left) | symbols_of(constraint.right)
                raise BindingError(
                    f"{constraint.where} needs {constraint.left} = {constraint.right}, but with "
                    + ", ".join(f"{name}={values[name]}" for name in sorted(involved))
                    + f" they are {left} and {right}"
                )
        return values

    def bind(self, given: Mapping[str, int] | None = None) -> Workload:
        """The workload with every size a number; see `binding` for what is raised."""
        values = self.binding(given)
        return replace(
            self,
            operators=tuple(operator.bound(values) for operator in self.operators),
            inputs=tuple(
                (name, tuple(evaluate(size, values) for size in shape))
                for name, shape in self.inputs
            ),
            images=evaluate(self.images, values),
            symbols=(),
            constraints=(),
        )

    def _check_bound(self, given: Mapping[str, object]) -> None:
        unbound = [s for s in self.symbols if s.default is None and given.get(s.name) is None]
        if unbound:
            names = ", ".join(symbol.name for symbol in unbound)
            examples = " ".join(symbol.example for symbol in unbound)
            what, them = ("values", "them") if len(unbound) > 1 else ("a value", "it")
            raise BindingError(
                f"{self.name} needs {what} for {names}: bind {them}, for example {examples}"
            )

    def _check_range(self, symbol: Symbol, values: Mapping[str, Number]) -> None:
        value = values[symbol.name]
        lower = evaluate(symbol.lower, values)
        if np.any(value < lower):
            raise _out_of_range(symbol.name, value, "least", symbol.lower, lower)
        if symbol.upper is None:
            return
        upper = evaluate(symbol.upper, values)
        if np.any(value > upper):
            raise _out_of_range(symbol.name, value, "most", symbol.upper, upper)


def _out_of_range(
    name: str, value: Number, which: str, limit: Size, number: Number
) -> BindingError:
    shown = str(number) if isinstance(limit, int) else f"{limit} = {number}"
    return BindingError(f"{name}={value} is out of range: it must be at {which} {shown}")


def _whole(name: str, value: object) -> Number:
    array = np.asarray(value)
    if isinstance(value, bool) or array.dtype.kind not in "iu" or array.ndim > 1:
        raise BindingError(f"{name}={value!r} must be a whole number")
    return int(array) if array.ndim == 0 else array.astype(np.int64)
