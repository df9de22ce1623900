"""Tokens of a UNet merge where its attention is widest, and part again behind each module.

Bolya and Hoffman, "Token Merging for Fast Stable Diffusion", CVPR workshop on efficient deep
learning for computer vision 2023 (arXiv:2303.17604), and its code, github.com/dbolya/tomesd: in
every transformer block at the largest resolution tokens are matched once, by the cosine of what
the block reads; one of each 2 x 2 is what others merge into; and unlike in a classifier every
token comes back, as the mean that it went into.

What a module then costs: its work over `kept_1` tokens in place of T.  What it costs besides, for
each block with D = floor(h/2) floor(w/2) tokens to merge into, of width C: `(T - D) D C` MACs of
matching, and moving tokens there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path
from typing import Any, TypeAlias

from .extent import Size, ceil_div, evaluate, product, symbol
from .find import workload
from .graph import Symbol, Workload
from .matching import Matching, gathered, matched
from .operator import Convolution, Movement, Operator
from .pruning_blocks import PruningError
from .pruning_insertion import with_sources
from .rescaled import over
from .residual_modules import Kind, Module, blocks_of
from .zoo.building import Builder, Value, side_by_side

__all__ = ["KINDS", "merged"]

KINDS: tuple[Kind, ...] = ("self", "cross", "mlp")
"""Modules that may run over merged tokens; the authors merge for self-attention only."""

_KEPT = "kept_1"
_PROBE = 64  # tells which resolution is the largest where a size has no default

_Block: TypeAlias = tuple[Module, ...]


def merged(source: str | Path, keep: float, within: Sequence[Kind] = ("self",)) -> Workload:
    """A UNet that merges tokens at the largest resolution at which it has self-attention.

    Its symbol `kept_1` is how many tokens are left there, and its default `ceil(keep T)`, whatever
    the size of the image.  That is the full resolution for SD 1.5, and half of it for SDXL, which
    has no attention above.

    >>> model = merged("sd15-unet", 0.5)
    >>> str(model.symbols[-1].default), model.binding()["kept_1"]
    ('floor((height*width + 1)/2)', 2048)

    Args:
        source: A name of `zoo.names()`, or the path of an `.onnx` or `.onnx.gz` file.
        keep: The share of tokens that is left, 1 - r of the paper: at least 0.25, as no more than
            three of each four merge.
        within: Modules that run over merged tokens.

    Raises:
        PruningError: The model is no UNet with self-attention, or has no such module, or `keep` is
            out of range; the message is one line.
        OnnxError: The file cannot be read.
        UnknownModelError: `source` is neither a name nor a path.
    """
    if not 0.25 <= keep <= 1:
        raise PruningError(
            f"three of four tokens merge at most: a share to keep is 0.25 to 1, not {keep:g}"
        )
    base = workload(source)
    into = _Merging(base=base, within=tuple(within))
    blocks = _widest(base)
    _check_within(base, blocks[0], within)
    for block in blocks:
        into.plan(block)
    for operator in base.operators:
        into.take(operator)
    tokens, share = _tokens(blocks[0]), Fraction(str(keep))
    kept = Symbol(
        name=_KEPT,
        lower=into.targets(blocks[0]),
        upper=tokens,
        default=ceil_div(tokens * share.numerator, share.denominator),
    )
    return replace(
        base,
        name=f"tome-{base.name}",
        operators=tuple(into.build.operators),
        symbols=(*base.symbols, kept),
    )


def _tokens(block: _Block) -> Size:
    assert block[0].tokens is not None  # it begins with a self-attention
    return block[0].tokens


def _widest(base: Workload) -> tuple[_Block, ...]:
    """The transformer blocks with the most tokens.

    Raises:
        PruningError: There are none from which an image is made again.
    """
    blocks = blocks_of(base)
    if not blocks or not _convolves_behind(base, blocks[0][0].total):
        raise PruningError(
            f"{base.name} is no UNet with self-attention; of a ViT say which blocks merge tokens, "
            "as in tome@4,7,10"
        )
    if _KEPT in {symbol.name for symbol in base.symbols}:
        raise PruningError(f"{base.name} prunes or merges its tokens already")
    counts = [_probed(base, _tokens(block)) for block in blocks]
    return tuple(b for b, count in zip(blocks, counts, strict=True) if count == max(counts))


def _convolves_behind(base: Workload, name: str) -> bool:
    behind = dropwhile(lambda operator: operator.name != name, base.operators)
    return any(isinstance(operator, Convolution) for operator in behind)


def _probed(base: Workload, size: Size) -> int:
    values = {s.name: _PROBE for s in base.symbols}
    values |= {s.name: s.default for s in base.symbols if isinstance(s.default, int)}
    return int(evaluate(size, values))


def _check_within(base: Workload, block: _Block, within: Sequence[Kind]) -> None:
    there = [module.kind for module in block]
    for kind in within:
        if kind not in there:
            raise PruningError(
                f"{base.name} has no module {kind} to merge tokens for; its blocks have "
                f"{', '.join(there)}"
            )
    if not within:
        raise PruningError(f"say for which modules tokens merge: {', '.join(there)}")


@dataclass(slots=True, eq=False, kw_only=True)
class _Merging:
    """The graph as its operators are taken up one by one; used once."""

    base: Workload
    within: tuple[Kind, ...]
    build: Builder = field(default_factory=Builder)
    begins: dict[str, tuple[_Block, Module]] = field(default_factory=dict[str, Any])
    inside: dict[str, _Block] = field(default_factory=dict[str, Any])
    ends: dict[str, tuple[_Block, Module]] = field(default_factory=dict[str, Any])
    found: dict[str, Matching] = field(default_factory=dict[str, Matching])
    made: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])

    def plan(self, block: _Block) -> None:
        """Marks what of a block changes."""
        for module in block:
            if module.kind in self.within:
                self.begins[module.inside[0]] = self.ends[module.total] = block, module
                self.inside |= dict.fromkeys(module.inside, block)

    def take(self, operator: Operator) -> None:
        """Takes up the next operator."""
        if operator.name in self.begins:
            self._merge(*self.begins[operator.name])
        if operator.name in self.inside:
            block = self.inside[operator.name]
            operator = over(operator, _tokens(block), symbol(_KEPT), self._merged_names(block))
            operator = with_sources(operator, self.made)
        if operator.name in self.ends:
            operator = self._part(operator, *self.ends[operator.name])
        self.build.operators.append(operator)

    def targets(self, block: _Block) -> Size:
        """Tokens that others merge into: one of each 2 x 2."""
        wanted = _probed(self.base, _tokens(block))
        by_name = {operator.name: operator for operator in self.base.operators}
        waiting = [block[0].stream]
        while waiting:
            operator = by_name.get(waiting.pop(0))
            if operator is None:
                continue
            if len(operator.shape) == 4:
                height, width = operator.shape[2:]
                if _probed(self.base, height * width) == wanted:
                    return height // 2 * (width // 2)
            waiting += [s for operand in operator.operands for s in operand.sources]
        raise PruningError(
            f"{self.base.name}: {block[0].stream} is no image of {_tokens(block)} positions, whose "
            "neighbours could merge"
        )

    def _merged_names(self, block: _Block) -> set[str]:
        """What has merged tokens, by its name before."""
        return {
            name
            for module in block
            if module.kind in self.within
            for name in (module.norm, *module.inside)
        }

    def _merge(self, block: _Block, module: Module) -> None:
        self.build.selector = True
        path = f"merging.{self._number(block)}"
        tokens, stream = _tokens(block), block[0].stream
        elements = next(o.elements for o in self.base.operators if o.name == stream)
        images = self.base.images
        shape = (images, tokens, elements // (images * tokens))
        if stream not in self.found:
            targets = self.targets(block)
            self.found[stream] = matched(
                self.build,
                path,
                Value((stream,), shape, elements),
                tokens - targets,
                targets,
                tokens - symbol(_KEPT),
            )
        match, path = self.found[stream], f"{path}.{module.kind}"
        stay, summed = match.into(self.build, path, Value((module.norm,), shape, elements))
        mean = self.build.elementwise(f"{path}/Div", "div", summed)
        together = side_by_side((images, symbol(_KEPT), shape[2]), stay, mean)
        self.made = {module.norm: together.sources}
        self.build.selector = False

    def _part(self, total: Operator, block: _Block, module: Module) -> Operator:
        """Every token gets what the one got that it is in; and the sum that reads them."""
        self.build.selector = True
        match, path = self.found[block[0].stream], f"merging.{self._number(block)}.{module.kind}"
        images, tokens = self.base.images, _tokens(block)
        width = total.elements // (images * tokens)
        work = next(n for o in total.operands for n in o.sources if n in module.inside)
        shape = (images, symbol(_KEPT), width)
        result = Value((work,), shape, product(shape))
        copies = gathered(self.build, f"{path}/Gather_4", result, match.partner, match.merged)
        whole = self.build.append(
            Movement(
                name=f"{path}/ScatterElements_2",
                operands=(result.operand, copies.operand, match.order.operand),
                shape=(images, tokens, width),
                function="scatterelements",
            )
        )
        self.build.selector = False
        return with_sources(total, {work: whole.sources})

    def _number(self, block: _Block) -> int:
        streams = dict.fromkeys(b[0].stream for b in self.inside.values())
        return list(streams).index(block[0].stream)
