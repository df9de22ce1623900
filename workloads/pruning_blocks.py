"""The blocks of a vision transformer, found by structure: attention over one residual stream.

A block takes the stream, attends to it, and adds the result to it.  So behind an attention comes a
sum of something that depends on it and something that it depends on, and that is the stream; what
anything is called does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from .extent import Size, product
from .graph import Workload
from .operator import Attention, Convolution, Elementwise, MatMul, Operator, Softmax

__all__ = ["Block", "PruningError", "Stream", "Tokens", "stream_of"]


class PruningError(ValueError):
    """A workload cannot be pruned as asked; the message is one line and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A result that is the stream: who makes it, and which of its dimensions counts tokens."""

    maker: str
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block; operators are called as `read_unfused` calls them.

    Attributes:
        attention: The operator that makes its attention's result.
        before: The stream that it takes; None if that is put together just before, as CLS and
            patches are.
        between: The stream between its attention and its MLP.
    """

    attention: str
    before: Tokens | None
    between: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The residual stream of a vision transformer and its blocks, in order.

    Attributes:
        images: How many images a run takes.
        tokens: Tokens of one image.
        width: Numbers of a token.
        patches: How many of the tokens are patches.
        spared: How many are not, such as CLS, which come before them.
        heads: Attention heads.
        blocks: In order.
    """

    images: Size
    tokens: Size
    width: Size
    patches: Size
    spared: int
    heads: int
    blocks: tuple[Block, ...]


def stream_of(workload: Workload) -> Stream:
    """The stream of a workload that `read_unfused` gives.

    Raises:
        PruningError: It has no attention over one residual stream, or several streams.
    """
    graph = _Graph(workload)
    blocks: list[Block] = []
    beside: Operator | None = None
    for attention in graph.attentions():
        block = graph.block(attention)
        if block is None:  # such as pooling by attention, behind the last block
            beside = beside or attention
            continue
        if beside is not None:
            raise PruningError(
                f"{workload.name} is no ViT whose tokens can be pruned: {beside.name} attends to "
                "no residual stream"
            )
        blocks.append(block)
    if not blocks:
        raise PruningError(
            f"{workload.name} is no ViT whose tokens can be pruned: nothing in it adds "
            "self-attention to a stream of tokens"
        )
    first = graph.operators[blocks[0].between.maker]
    for block in blocks:
        stream = graph.operators[block.between.maker]
        if stream.shape != first.shape:
            raise PruningError(
                f"{workload.name} is no ViT whose tokens can be pruned: {stream.name} has shape "
                f"{_shown(stream.shape)}, {first.name} {_shown(first.shape)}"
            )
    tokens, _, copies = _sizes(graph.operators[blocks[0].attention])
    images = first.elements // (tokens * first.shape[-1])
    spared = graph.spared(first, images, tokens)
    heads = copies // images
    if not isinstance(heads, int) or heads < 1:
        raise PruningError(
            f"{workload.name}: {blocks[0].attention} has {heads} heads for each image"
        )
    return Stream(
        images=images,
        tokens=tokens,
        width=first.shape[-1],
        patches=tokens - spared,
        spared=spared,
        heads=heads,
        blocks=tuple(blocks),
    )


@dataclass(slots=True, eq=False)
class _Graph:
    """Who reads whom."""

    workload: Workload
    operators: dict[str, Operator] = field(default_factory=dict[str, Operator])
    order: dict[str, int] = field(default_factory=dict[str, int])
    readers: dict[str, list[Operator]] = field(default_factory=dict[str, list[Operator]])

    def __post_init__(self) -> None:
        for place, operator in enumerate(self.workload.operators):
            self.operators[operator.name] = operator
            self.order[operator.name] = place
            for operand in operator.operands:
                for source in operand.sources:
                    self.readers.setdefault(source, []).append(operator)

    def attentions(self) -> Iterator[Operator]:
        """Attention, whole or written out: then the product of its softmax with V."""
        for operator in self.workload.operators:
            if isinstance(operator, Attention) or (
                isinstance(operator, MatMul)
                and not operator.weights
                and len(operator.operands) == 2
                and self._is_softmax(operator.operands[0].sources)
            ):
                yield operator

    def _is_softmax(self, sources: tuple[str, ...]) -> bool:
        maker = self.operators.get(sources[0])
        while isinstance(maker, Elementwise) and maker.operands:  # such as a guard against NaN
            maker = self.operators.get(maker.operands[-1].sources[0])
        return isinstance(maker, Softmax)

    def block(self, attention: Operator) -> Block | None:
        """The block of an attention, if it is self-attention to a stream of tokens."""
        queries, keys, _ = _sizes(attention)
        if queries != keys:
            return None
        before, behind = self._before(attention), self._behind(attention)
        for name in sorted(behind, key=self.order.__getitem__):
            total = self.operators[name]
            if not isinstance(total, Elementwise) or total.function != "add":
                continue
            between = _tokens(total, queries)
            if between is None:
                continue
            for operand in total.operands:
                if before >= set(operand.sources):
                    whole = len(operand.sources) == 1 and operand.elements == total.elements
                    before_it = self.operators.get(operand.sources[0]) if whole else None
                    return Block(
                        attention=attention.name,
                        before=_tokens(before_it, queries),
                        between=between,
                    )
        return None

    def _before(self, operator: Operator) -> Set[str]:
        """Operators and inputs that `operator` depends on."""
        found: set[str] = set()
        waiting = [operator]
        while waiting:
            for operand in waiting.pop().operands:
                new = set(operand.sources) - found
                found |= new
                waiting += [self.operators[name] for name in new if name in self.operators]
        return found

    def _behind(self, operator: Operator) -> Set[str]:
        """Operators that depend on `operator`."""
        found: set[str] = set()
        waiting = [operator.name]
        while waiting:
            for reader in self.readers.get(waiting.pop(), ()):
                if reader.name not in found:
                    found.add(reader.name)
                    waiting.append(reader.name)
        return found

    def spared(self, stream: Operator, images: Size, tokens: Size) -> int:
        """Tokens that are no patches.

        A patch is a position of the last convolution before the stream, or a row of the first
        linear layer.
        """
        before = self._before(stream)
        made = [operator for operator in self.workload.operators if operator.name in before]
        convolutions = [operator for operator in made if isinstance(operator, Convolution)]
        linear = [
            operator for operator in made if isinstance(operator, MatMul) and operator.weights
        ]
        found: Size = tokens
        if convolutions:
            found = product(convolutions[-1].out_size)
        elif linear:
            found = linear[0].copies * linear[0].m // images
        others = tokens - found
        if not isinstance(others, int) or others < 0:
            raise PruningError(
                f"{self.workload.name}: {stream.name} has {tokens} tokens, which does not go with "
                f"{found} patches"
            )
        return others


def _tokens(maker: Operator | None, count: Size) -> Tokens | None:
    """The operator's result, if it is `(images, count, width)`, in whatever order of these."""
    if maker is None or len(maker.shape) not in (2, 3):
        return None
    for axis in (len(maker.shape) - 2, 0):
        if maker.shape[axis] == count:
            return Tokens(maker=maker.name, axis=axis)
    return None


def _sizes(attention: Operator) -> tuple[Size, Size, Size]:
    """Queries, keys and copies."""
    if isinstance(attention, Attention):
        return attention.queries, attention.keys, attention.copies
    assert isinstance(attention, MatMul)
    return attention.m, attention.k, attention.copies


def _shown(shape: tuple[Size, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
