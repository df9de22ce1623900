"""What a method does is put where a graph was cut, and what came behind reads its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .extent import Size
from .operator import Attention, Operand, Operator
from .pruning_blocks import Stream
from .pruning_methods import Method, Place
from .zoo.building import Builder, Value

__all__ = ["Insertion", "with_sources"]


@dataclass(slots=True, eq=False, kw_only=True)
class Insertion:
    """A graph as its operators are taken up one by one; used once.

    Attributes:
        way: What is done at each place.
        stream: Where the tokens are.
        kept: How many patches stay at each place.
        places: The cuts' names, in order.
        images: Images of one run.
        build: The operators so far.
        made: Cut -> what its readers read instead.
        counts: What the places add to the graph's outputs.
        parameters: Trained numbers of what was added.
        tokens: Tokens of one image, so far.
        queries, keys: What the latest attention compares.
        sizes: How many tokens each token is merged of.
        mask: What attention adds to its scores.
    """

    way: Method
    stream: Stream
    kept: tuple[Size, ...]
    places: tuple[str, ...]
    images: Size
    build: Builder = field(default_factory=Builder)
    made: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    counts: list[str] = field(default_factory=list[str])
    parameters: int = 0
    tokens: Size = 0
    queries: Operand | None = None
    keys: Operand | None = None
    sizes: Value | None = None
    mask: Operand | None = None

    def take(self, operator: Operator) -> None:
        """Takes up the next operator of the graph, a cut's own among them.

        Raises:
            PruningError: The method cannot be applied to a model of these sizes.
        """
        operator = with_sources(operator, self.made)
        if operator.name in self.places:
            self._prune(operator)
            return
        if isinstance(operator, Attention) and operator.queries == operator.keys:
            self.queries, self.keys = operator.operands[:2]
            if self.mask is not None:
                operator = replace(operator, operands=(*operator.operands, self.mask))
        self.build.operators.append(operator)

    def _prune(self, cut: Operator) -> None:
        number = len(self.made)
        whole = cut.operands[0]
        shape = (self.images, self.tokens or self.stream.tokens, self.stream.width)
        before = len(self.build.operators)
        self.build.selector = True
        left = self.way.prune(
            self.build,
            Place(
                number=number,
                tokens=Value(whole.sources, shape, whole.elements),
                spared=self.stream.spared,
                kept=self.kept[number],
                heads=self.stream.heads,
                queries=self.queries,
                keys=self.keys,
                sizes=self.sizes,
            ),
        )
        self.made[cut.name] = left.tokens.sources
        self.counts.extend(left.counts)
        self.parameters += sum(o.parameters for o in self.build.operators[before:])
        self.tokens = left.tokens.shape[1]
        self.sizes, self.mask, self.queries, self.keys = left.sizes, left.mask, None, None

    def renamed(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """A graph's outputs, those that were cut replaced by what is read instead."""
        return tuple(
            dict.fromkeys(source for name in outputs for source in self.made.get(name, (name,)))
        )


def with_sources(operator: Operator, made: Mapping[str, tuple[str, ...]]) -> Operator:
    """The operator, reading something else where `made` says so."""
    if not any(source in made for operand in operator.operands for source in operand.sources):
        return operator
    operands = tuple(
        replace(
            operand,
            sources=tuple(
                dict.fromkeys(
                    new for source in operand.sources for new in made.get(source, (source,))
                )
            ),
        )
        for operand in operator.operands
    )
    return replace(operator, operands=operands)
