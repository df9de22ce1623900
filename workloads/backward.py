"""The gradients of a model, operator by operator.

They are made in reverse order (Baydin et al., "Automatic Differentiation in Machine Learning: a
Survey", JMLR 18, 2018).  With dY the gradient of an operator's output:

- A product `Y = X W` gives `dX = dY W^T` and `dW = X^T dY`, each of the forward's MACs; its bias
  takes the sum of dY over rows.  A convolution's dX is the transposed convolution, its dW a product
  over all places, `(in kernel, places) @ (places, out)`, of the unfolded matrix.
- A product of two activations gives a gradient of each.  So attention's are dV = P^T dO,
  dP = dO V^T, dQ = dS K and dK = dS^T Q, twice the forward's MACs.
- Norms are a norm's work again, over X and dY, and a sum over both for scales and shifts; softmax
  and activations one elementwise pass over what they kept and dY.
- What several operators read has its gradients added; parts that lie side by side, such as Q, K and
  V, need no addition.  Choosing tokens has no gradient, and indices have none.
- Of what no trained number comes before, such as the image, no gradient is made: a dense model
  takes three times its forward's MACs, less its first layer's once.

The loss is softmax cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from .extent import Number, Size, evaluate, product
from .operator import (
    Convolution,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
    Reduction,
    Softmax,
    TokenSelection,
)

__all__ = ["Backward"]

_NO_GRADIENT = frozenset(
    ("greater", "greaterorequal", "less", "lessorequal", "equal", "not", "and", "or", "xor")
)
_PASSED_ON = frozenset(("add", "sub", "cast", "identity"))
_LINEAR = frozenset(("mul", "div"))
_SUMS = frozenset(("reducesum", "reducemean"))


@dataclass(slots=True, eq=False)
class Backward:
    """The backward of a model as its operators are appended; used once.

    Attributes:
        forward: Operators in the order in which they run.
        example: A binding of the symbols.
        made: The backward's operators.
        gradients: Those that make a gradient of trained numbers.
        reached: Forward operator -> gradients of parts of its output.
        trained: Operators that have trained numbers, or some before them.
        sizes: Elements of each operator's output.
    """

    forward: tuple[Operator, ...]
    example: Mapping[str, Number]
    made: list[Operator] = field(default_factory=list[Operator])
    gradients: list[str] = field(default_factory=list[str])
    reached: dict[str, list[Operand]] = field(default_factory=dict[str, list[Operand]])
    trained: set[str] = field(default_factory=set[str])
    sizes: dict[str, Size] = field(default_factory=dict[str, Size])

    def run(self, logits: Operator) -> None:
        """Appends everything from the loss of `logits` to the first layer."""
        for operator in self.forward:
            self.sizes[operator.name] = operator.elements
            if operator.parameters or any(map(self._needs, _followed(operator))):
                self.trained.add(operator.name)
        rows = product(logits.shape[:-1])
        shares = Softmax(
            name="loss/Softmax",
            operands=(_whole(logits),),
            shape=logits.shape,
            rows=rows,
            row_length=logits.shape[-1],
        )
        error = Elementwise(
            name="loss/Sub", operands=(_whole(shares),), shape=logits.shape, function="sub"
        )
        self.made += [shares, error]
        self.reached[logits.name] = [_whole(error)]
        for operator in reversed(self.forward):
            if operator.name in self.trained and operator.name in self.reached:
                self._differentiate(operator, self._gradient(operator))

    def _needs(self, operand: Operand) -> bool:
        return any(source in self.trained for source in operand.sources)

    def _gradient(self, operator: Operator) -> Operand:
        """The gradient of an operator's output, its parts added where they lie on each other."""
        parts = self.reached[operator.name]
        total = sum((part.elements for part in parts), 0)
        if self._number(total) > self._number(operator.elements):
            return self._append(
                Elementwise(
                    name=f"{operator.name}.dY",
                    operands=tuple(parts),
                    shape=operator.shape,
                    function="add",
                )
            )
        sources = tuple(dict.fromkeys(source for part in parts for source in part.sources))
        return Operand(sources=sources, elements=total)

    def _append(self, operator: Operator) -> Operand:
        self.made.append(operator)
        return _whole(operator)

    def _give(self, operand: Operand, gradient: Operand) -> None:
        """Hands the gradient of what was read to those that made it, each its part."""
        for source, elements in zip(operand.sources, self._parts(operand), strict=True):
            if source in self.trained:
                self.reached.setdefault(source, []).append(replace(gradient, elements=elements))

    def _parts(self, operand: Operand) -> tuple[Size, ...]:
        """How much of each source an operand reads: all, but of the largest what is left."""
        if len(operand.sources) == 1:
            return (operand.elements,)
        own = [self.sizes.get(source, 0) for source in operand.sources]
        largest = max(range(len(own)), key=lambda place: self._number(own[place]))
        others = sum((size for place, size in enumerate(own) if place != largest), cast("Size", 0))
        if self._number(others) < self._number(operand.elements):
            own[largest] = operand.elements - others
        return tuple(own)

    def _number(self, size: Size) -> int:
        return int(evaluate(size, self.example))

    def _differentiate(self, operator: Operator, gradient: Operand) -> None:
        match operator:
            case MatMul():
                self._product(operator, gradient)
            case Convolution():
                self._convolution(operator, gradient)
            case Normalization():
                self._norm(operator, gradient)
            case Elementwise():
                self._elementwise(operator, gradient)
            case _:
                self._other(operator, gradient)

    def _product(self, o: MatMul, dy: Operand) -> None:
        left, right = o.operands[0], o.operands[min(1, len(o.operands) - 1)]
        if self._needs(left):
            operands = (dy,) if o.weights else (dy, right)
            dx = MatMul(
                name=f"{o.name}.dX", operands=operands, shape=(o.copies, o.m, o.k),
                copies=o.copies, m=o.m, k=o.n, n=o.k, weights=o.weights,
            )  # fmt: skip
            self._give(left, self._append(dx))
        if o.weights:
            dw = MatMul(
                name=f"{o.name}.dW", operands=(left, dy), shape=(o.weights, o.k, o.n),
                copies=o.weights, m=o.k, k=o.m * o.copies // o.weights, n=o.n, weights=0,
            )  # fmt: skip
            self._trains(dw)
            if o.bias:
                self._sum(f"{o.name}.db", (dy,), o.elements, o.weights * o.n)
        elif self._needs(right):
            other = MatMul(
                name=f"{o.name}.dX_2", operands=(left, dy), shape=(o.copies, o.k, o.n),
                copies=o.copies, m=o.k, k=o.m, n=o.n, weights=0,
            )  # fmt: skip
            self._give(right, self._append(other))

    def _convolution(self, o: Convolution, dy: Operand) -> None:
        if self._needs(o.operands[0]):
            dx = replace(
                o, name=f"{o.name}.dX", operands=(dy,), shape=(o.batch, o.in_channels, *o.in_size),
                in_channels=o.out_channels, out_channels=o.in_channels, in_size=o.out_size,
                out_size=o.in_size, transposed=not o.transposed, bias=False,
            )  # fmt: skip
            self._give(o.operands[0], self._append(dx))
        one, other = o.in_channels // o.groups, o.out_channels // o.groups
        places, whole = (o.in_size, other) if o.transposed else (o.out_size, one)
        unfolded = whole * product(o.kernel)
        dw = MatMul(
            name=f"{o.name}.dW",
            operands=(o.operands[0], dy),
            shape=(o.groups, unfolded, one * other // whole),
            copies=o.groups,
            m=unfolded,
            k=o.batch * product(places),
            n=one * other // whole,
            weights=0,
        )
        self._trains(dw)
        if o.bias:
            self._sum(f"{o.name}.db", (dy,), o.elements, o.out_channels)

    def _norm(self, o: Normalization, dy: Operand) -> None:
        read = (o.operands[0], dy)
        if self._needs(o.operands[0]):
            dx = replace(o, name=f"{o.name}.dX", operands=read, affine=0)
            self._give(o.operands[0], self._append(dx))
        if o.affine:
            self._sum(f"{o.name}.dW", read, 2 * o.elements, o.affine)

    def _elementwise(self, o: Elementwise, dy: Operand) -> None:
        if o.affine:
            read = (dy,) if o.function in _PASSED_ON else (*o.operands, dy)
            self._sum(f"{o.name}.dW", read, o.elements, o.affine)
        for place, operand in enumerate(o.operands, start=1):
            if not self._needs(operand):
                continue
            name = f"{o.name}.dX" if place == 1 else f"{o.name}.dX_{place}"
            dx = dy
            if o.function not in _PASSED_ON:
                kept = () if o.function in _LINEAR and len(o.operands) == 1 else o.operands
                dx = self._append(
                    replace(
                        o, name=name, operands=(*kept, dy), function=f"{o.function}grad", affine=0
                    )
                )
                name = f"{name}.sum"
            if self._broadcast(operand, o):
                dx = self._append(
                    Reduction(
                        name=name, operands=(dx,), shape=(operand.elements,),
                        function="reducesum", reads=o.elements,
                    )
                )  # fmt: skip
            self._give(operand, dx)

    def _broadcast(self, operand: Operand, o: Operator) -> bool:
        """Whether each of its elements meets several; as one part of several it does not."""
        read, made = self._number(operand.elements), self._number(o.elements)
        return read < made and made % read == 0

    def _other(self, o: Operator, dy: Operand) -> None:
        for place, operand in enumerate(_followed(o), start=1):
            if not self._needs(operand):
                continue
            name = f"{o.name}.dX" if place == 1 else f"{o.name}.dX_{place}"
            if isinstance(o, Movement):
                dx: Operator = Movement(
                    name=name,
                    operands=(dy,),
                    shape=(operand.elements,),
                    function=f"{o.function}grad",
                )
            elif isinstance(o, Softmax):  # which needs what it made, not what it read
                dx = Elementwise(
                    name=name, operands=(_whole(o), dy), shape=o.shape, function="softmaxgrad"
                )
            else:
                kept = () if isinstance(o, Reduction) and o.function in _SUMS else (operand,)
                dx = Elementwise(
                    name=name, operands=(*kept, dy), shape=(operand.elements,), function="expand"
                )
            self._give(operand, self._append(dx))
        if isinstance(o, Movement) and o.table:
            dw = Movement(
                name=f"{o.name}.dW", operands=(dy,), shape=(o.table,), function="scatterelements"
            )
            self._trains(dw)

    def _sum(self, name: str, read: tuple[Operand, ...], reads: Size, count: Size) -> None:
        self._trains(
            Reduction(name=name, operands=read, shape=(count,), function="reducesum", reads=reads)
        )

    def _trains(self, operator: Operator) -> None:
        self._append(operator)
        self.gradients.append(operator.name)


def _whole(operator: Operator) -> Operand:
    return Operand(sources=(operator.name,), elements=operator.elements)


def _followed(operator: Operator) -> tuple[Operand, ...]:
    """The operands that a gradient goes to: no indices, and nothing before a decision."""
    if isinstance(operator, TokenSelection):
        return ()
    if isinstance(operator, Elementwise) and operator.function in _NO_GRADIENT:
        return ()
    if isinstance(operator, Movement) and operator.function.startswith(("gather", "scatter")):
        return operator.operands[:-1]
    return operator.operands
