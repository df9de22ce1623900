"""One block of a vision transformer, cut out of its model, over any number of tokens.

A model is a residual stream that one block after another reads and adds to.  What attention runs
beside is read again behind it, so a block begins right after the last operator before its attention
that is also read after it, and ends where the next block begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from .extent import Size, known, symbol, symbols_of
from .graph import BindingError, Symbol, Workload
from .operator import (
    Attention,
    Elementwise,
    MatMul,
    Movement,
    Normalization,
    Operand,
    Operator,
    Reduction,
    Softmax,
)
from .packing import side_by_side
from .unpruned import kept_symbols, unpruned

__all__ = ["TOKENS", "Place", "besides", "block", "places", "stacked"]

TOKENS = "tokens"
"""The symbol for a block's sequence length, CLS and package token included."""


def block(workload: Workload, given: Mapping[str, int] | None = None) -> Workload:
    """The first block without a selector, of the model before anybody pruned it.

    Its one symbol is `tokens`, by default as many as the model has.  Its first inputs are what a
    block of its kind made; `outputs` are what the next block reads in their place, in that order.

    >>> from tilewise.workloads import zoo
    >>> one = block(zoo.load("heatvit-deit-small"))
    >>> one.name, str(one.macs)
    ('heatvit-deit-small, one block', '768*tokens**2 + 1769472*tokens')

    Args:
        workload: A model with at least two blocks, each over the same tokens.
        given: Values for other symbols than kept counts and `batch`; a block takes one image.

    Raises:
        BindingError: The model is not made of transformer blocks, or a size in a block does not
            grow with the tokens; or a symbol has no value.
    """
    bound = _whole(workload, dict(given or {}))
    operators = bound.operators
    attentions = [(i, o) for i, o in enumerate(operators) if isinstance(o, Attention)]
    for (at, own), (following, other) in pairwise(attentions):
        begin, end = _start(operators, at), _start(operators, following)
        selects = any(operator.selector for operator in operators[begin:end])
        if _alike(own, other) and not selects:
            return _cut(bound, begin, end)
    raise BindingError(
        f"{workload.name} is not made of blocks that run over any number of tokens: wanted one "
        "self-attention in each of two blocks, and no token selector between them"
    )


def stacked(block: Workload, tokens: int, *, blocks: int, images: int = 1) -> Workload:
    """`blocks` blocks one after another over `tokens` tokens of each of `images` images.

    The tokens of all images lie side by side, so that a product with trained weights is one.
    """
    bound = block.bind({TOKENS: tokens})
    reads: dict[str, str] = {}
    operators: list[Operator] = []
    for number in range(blocks):
        names = {operator.name: f"{number}.{operator.name}" for operator in bound.operators}
        operators += [_renamed(operator, names, reads) for operator in bound.operators]
        inputs = [name for name, _ in bound.inputs]
        reads = {old: names[new] for old, new in zip(inputs, bound.outputs, strict=False)}
    made = tuple(reads[name] for name, _ in bound.inputs[: len(bound.outputs)])
    one = replace(bound, operators=tuple(operators), outputs=made)
    return side_by_side([one] * images)


class Place(NamedTuple):
    """Where in a model a sequence has a length of its own.

    Attributes:
        symbol: The kept count that sets the length; empty if none does.
        tokens: The length.
        besides: Tokens that are no kept patches: CLS and package.
    """

    symbol: str
    tokens: int
    besides: int


def places(workload: Workload, given: Mapping[str, int] | None = None) -> tuple[Place, ...]:
    """The lengths over which attention runs, in the order in which they come.

    >>> from tilewise.workloads import zoo
    >>> [place.tokens for place in places(zoo.load("heatvit-deit-small"))]
    [197, 139, 71, 50]

    Raises:
        BindingError: A symbol has no value, or one that it cannot have.
    """
    kept = set(kept_symbols(workload))
    binding = workload.binding(_with_one_image(workload, given or {}))
    found: dict[Size, Place] = {}
    for operator in workload.operators:
        if isinstance(operator, Attention) and operator.queries not in found:
            length = known(operator.bound(binding).queries)
            name = next(iter(symbols_of(operator.queries) & kept), "")
            others = length - int(binding[name]) if name else 0
            found[operator.queries] = Place(name, length, others)
    return tuple(found.values())


def besides(workload: Workload) -> int:
    """Tokens that are no kept patches behind the first selector; 0 if there is no selector.

    >>> from tilewise.workloads import zoo
    >>> besides(zoo.load("heatvit-deit-small"))
    2
    """
    for name in kept_symbols(workload):
        for operator in workload.operators:
            if isinstance(operator, Attention) and name in symbols_of(operator.queries):
                return known(operator.queries - symbol(name))
    return 0


def _alike(one: Attention, other: Attention) -> bool:
    """Whether both are self-attention of one width: a period of the model lies between them."""
    widths = {(o.copies, o.kv_copies, o.head_dim, o.value_dim) for o in (one, other)}
    return len(widths) == 1 and all(o.queries == o.keys for o in (one, other))


def _with_one_image(workload: Workload, given: Mapping[str, int]) -> dict[str, int]:
    batch = {"batch": 1} if any(s.name == "batch" for s in workload.symbols) else {}
    return {**given, **batch}


def _whole(workload: Workload, given: dict[str, int]) -> Workload:
    """The model without pruning, for one image, its sizes numbers."""
    if kept := kept_symbols(workload):
        workload = unpruned(workload)
        given = {name: value for name, value in given.items() if name not in kept}
    return workload.bind(_with_one_image(workload, given))


def _start(operators: Sequence[Operator], attention: int) -> int:
    """The first operator of the block that runs the attention at that position."""
    later = {
        source
        for operator in operators[attention + 1 :]
        for operand in operator.operands
        for source in operand.sources
    }
    before = (i for i in range(attention - 1, -1, -1) if operators[i].name in later)
    return next(before, -1) + 1


def _cut(workload: Workload, begin: int, end: int) -> Workload:
    """The operators from `begin` on and before `end`, over any number of tokens."""
    operators = workload.operators
    inside = operators[begin:end]
    length = next(known(o.queries) for o in inside if isinstance(o, Attention))
    where = {operator.name: i for i, operator in enumerate(operators)}
    named = {operator.name for operator in inside}
    outside: dict[str, int] = {}
    for operator in inside:
        for operand in operator.operands:
            for source in operand.sources:
                if source not in named:
                    outside[source] = where.get(source, begin - 1) + end - begin
    # What no block makes, such as a mask, is an input that stays.
    carried = {name: at for name, at in outside.items() if begin <= at < end}
    fixed = [name for name in outside if name not in carried]
    scale = _Scale(workload.name, length)
    return Workload(
        name=f"{workload.name}, one block",
        operators=tuple(scale.operator(operator) for operator in inside),
        inputs=tuple((name, ()) for name in (*carried, *fixed)),
        outputs=tuple(operators[at].name for at in carried.values()),
        symbols=(Symbol(name=TOKENS, default=length),),
        parameters=sum(operator.parameters for operator in inside),
    )


class _Scale(NamedTuple):
    """Sizes of a model with one length as sizes over any."""

    model: str
    length: int

    def operator(self, operator: Operator) -> Operator:
        """The operator over `tokens` tokens."""
        changes: dict[str, Any] = {}
        match operator:
            case MatMul() if operator.weights:
                side = "copies" if known(operator.m) % self.length else "m"
                changes[side] = self.size(operator, getattr(operator, side))
            case Attention():
                if (operator.queries, operator.keys) != (self.length,) * 2 or operator.affine:
                    raise self._refusal(operator, "wanted attention among a block's own tokens")
                changes["queries"] = changes["keys"] = symbol(TOKENS)
            case Softmax() | Normalization():
                changes["rows"] = self.size(operator, operator.rows)
            case Reduction():
                changes["reads"] = self.size(operator, operator.reads)
            case Elementwise() | Movement():
                pass
            case _:
                raise self._refusal(operator, f"wanted no {operator.kind} in a block")
        operands = tuple(
            replace(operand, elements=self.size(operator, operand.elements))
            for operand in operator.operands
        )
        shape = (self.size(operator, operator.elements),)
        return replace(operator, operands=operands, shape=shape, **changes)

    def size(self, operator: Operator, size: Size) -> Size:
        """As many for each token as there are now."""
        whole = known(size)
        if whole % self.length:
            raise self._refusal(
                operator, f"{whole} is no multiple of the {self.length} tokens of the block"
            )
        return whole // self.length * symbol(TOKENS)

    def _refusal(self, operator: Operator, reason: str) -> BindingError:
        return BindingError(
            f"{self.model} is not made of blocks that run over any number of tokens: "
            f"{operator.name}: {reason}"
        )


def _renamed(operator: Operator, names: Mapping[str, str], reads: Mapping[str, str]) -> Operator:
    def renamed(operand: Operand) -> Operand:
        sources = (names.get(source, reads.get(source, source)) for source in operand.sources)
        return replace(operand, sources=tuple(sources))

    operands = tuple(renamed(operand) for operand in operator.operands)
    return replace(operator, name=names[operator.name], operands=operands)
