"""Any vision transformer becomes one that prunes its tokens: HeatViT, DynamicViT or token merging.

The graph is read again with a symbol for the number of tokens behind each place where it changes,
and what a method does is put there.  Two checks guard this: bound to the number that it had, every
operator must come out as it was, and no node may ask for one number of tokens only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fractions import Fraction
from itertools import pairwise, zip_longest
from math import ceil
from pathlib import Path

from . import zoo
from .extent import Size, ceil_div, substituted, symbol, symbols_of
from .find import workload
from .graph import Constraint, Symbol, Workload
from .onnx_tokens import Cut
from .pruning_blocks import PruningError, Stream, Tokens, stream_of
from .pruning_insertion import Insertion, with_sources
from .pruning_methods import METHODS, Method
from .selectors import with_selectors

__all__ = ["PruningError", "check_cut", "content", "pruned"]


def pruned(
    source: str | Path, method: str, blocks: Sequence[int], keep: Sequence[float]
) -> Workload:
    """A vision transformer that prunes its tokens.

    Places are found by structure, so names and exporters do not matter, and a token count that
    the file has fixed, in a Reshape or in a table of positions, varies behind the first place.  How
    many patches stay is a symbol of each place, `kept_1`, `kept_2`...

    Args:
        source: A name of `zoo.names()`, or the path of an `.onnx` or `.onnx.gz` file.
        method: `heatvit` (a classifier for each head and a package token; the image decides how
            many patches stay, so a run takes one image), `spvit` (the same, as its authors' other
            code has it: a larger classifier, and one package token more at each place), `topk` or
            `dynamicvit` (DynamicViT's predictor; the count is fixed), `evit` (CLS attention, and
            one token for the others; fixed), `trilevel` (CLS attention alone; fixed) or `tome`
            (token merging; fixed).
        blocks: The blocks, counted from 1, before which tokens are pruned.  `evit`, `trilevel` and
            `tome` do it inside them, between attention and MLP, as published.
        keep: For each of them, the share of the *input's* patches that is left after it, more than
            0 and at most 1.  Rounded up, they are the symbols' defaults; where the input's size is
            a symbol itself, there are none.

    Raises:
        PruningError: The method, the blocks or the shares are not possible, or the model is no
            vision transformer; the message is one line.
        OnnxError: The file cannot be read, or one of its nodes works at one number of tokens only.
        UnknownModelError: `source` is neither a name nor a path.

    >>> str(pruned("deit-small", "heatvit", (4, 7, 10), (0.7, 0.5, 0.35)).symbols[1].upper)
    'kept_1'
    """
    way = _method(method)
    _check_asked(blocks, keep)
    base = workload(source)
    if base.dynamic:
        raise PruningError(f"{base.name} prunes its tokens already")
    from .onnx_reader import read_cut, read_unfused  # onnx takes long to import

    graph = content(source)
    stream = stream_of(read_unfused(graph, base.name))
    if blocks[-1] > len(stream.blocks):
        raise PruningError(
            f"{base.name} has blocks 1 to {len(stream.blocks)}, and no block {blocks[-1]}"
        )
    one_image = _one_image(base.name, stream.images, method) if way.data_dependent else {}
    cuts = _cuts(stream, way, blocks)
    cut = read_cut(graph, cuts, base.name)
    check_cut(base, cut, {place.symbol: place.fixed for place in cuts})
    kept = _kept_symbols(stream, way, keep)
    left = {
        place.symbol: symbol(count.name)
        + stream.spared
        + way.packed * (number if way.accumulates else 1)
        for number, (place, count) in enumerate(zip(cuts, kept, strict=True), start=1)
    }
    into = Insertion(
        way=way,
        stream=stream,
        kept=tuple(symbol(k.name) for k in kept),
        places=tuple(place.symbol for place in cuts),
        images=substituted(stream.images, one_image),
    )
    for operator in cut.operators:
        into.take(operator.substituted({**left, **one_image}))
    return with_selectors(
        replace(
            base,
            name=f"{method}-{base.name}",
            operators=tuple(into.build.operators),
            inputs=tuple(
                (name, tuple(substituted(size, one_image) for size in shape))
                for name, shape in base.inputs
            ),
            outputs=(*into.renamed(base.outputs), *into.counts),
            symbols=(*(s for s in base.symbols if s.name not in one_image), *kept),
            constraints=tuple(
                Constraint(
                    left=substituted(constraint.left, one_image),
                    right=substituted(constraint.right, one_image),
                    where=constraint.where,
                )
                for constraint in base.constraints
            ),
            free=cut.free,
            parameters=base.parameters + into.parameters,
            images=substituted(base.images, one_image),
        )
    )


def content(source: str | Path) -> bytes | Path:
    """The graph of that name or in that file, as the ONNX reader takes it."""
    if isinstance(source, str) and source in zoo.names():
        return zoo.content(source)
    return Path(source)


def _method(name: str) -> Method:
    if name in METHODS:
        return METHODS[name]
    near = get_close_matches(name, METHODS, n=1, cutoff=0.3)
    raise PruningError(
        f"no way of pruning is called {name}"
        + (f"; did you mean {near[0]}?" if near else ".")
        + f" There are {', '.join(METHODS)}"
    )


def _check_asked(blocks: Sequence[int], keep: Sequence[float]) -> None:
    """Checks what can be checked before the model is read."""
    shown = ", ".join(map(str, blocks))
    if not blocks:
        raise PruningError("say before which blocks tokens are pruned, such as 4, 7 and 10")
    if blocks[0] < 1 or any(b <= a for a, b in pairwise(blocks)):
        raise PruningError(f"blocks {shown} must be counted from 1 and rise")
    if len(keep) != len(blocks):
        raise PruningError(
            f"each block needs a share of patches to keep: blocks {shown}, but {len(keep)} shares"
        )
    for share in keep:
        if not 0 < share <= 1:
            raise PruningError(f"a share of patches to keep is above 0 and at most 1, not {share}")
    for before, after in pairwise(keep):
        if after > before:
            raise PruningError(
                f"{after} cannot be kept after {before}: shares are of the input's patches, and "
                "what is pruned stays away"
            )


def _one_image(name: str, images: Size, method: str) -> dict[str, Size]:
    """What makes a run take one image."""
    if images == 1:
        return {}
    names = symbols_of(images)
    if len(names) != 1 or images != symbol(min(names)):
        raise PruningError(
            f"{name} takes {images} images at once, and with {method} each keeps its own "
            "number of tokens: export it for one image, or with a symbol for the batch"
        )
    return {min(names): 1}


def _cuts(stream: Stream, way: Method, blocks: Sequence[int]) -> tuple[Cut, ...]:
    chosen = [stream.blocks[number - 1] for number in blocks]
    places: list[Tokens] = []
    for number, block in zip(blocks, chosen, strict=True):
        place = block.before if way.where == "before" else block.between
        if place is None:
            raise PruningError(
                f"the tokens that block {number} takes are put together just before it, and cannot "
                "be pruned there; before a later block they can"
            )
        places.append(place)
    return tuple(
        Cut(
            after=place.maker,
            axis=place.axis,
            symbol=f"tokens behind place {number}",
            fixed=stream.tokens,
            least=stream.spared,
        )
        for number, place in enumerate(places, start=1)
    )


def check_cut(base: Workload, cut: Workload, fixed: Mapping[str, Size]) -> None:
    """Checks that the model is still itself where the number of tokens is.

    Raises:
        PruningError: A node asks for one number of tokens, or its operator came out otherwise.
    """
    for constraint in cut.constraints:
        if (symbols_of(constraint.left) | symbols_of(constraint.right)) & fixed.keys():
            raise PruningError(
                f"{base.name} cannot be pruned there: {constraint.where} asks for "
                f"{substituted(constraint.left, fixed)} tokens or a multiple, whatever is pruned"
            )
    made = {o.name: o.operands[0].sources for o in cut.operators if o.name in fixed}
    restored = [
        with_sources(operator.substituted(fixed), made)
        for operator in cut.operators
        if operator.name not in fixed
    ]
    for was, is_ in zip_longest(base.operators, restored):
        if was != is_:
            place = was or is_
            assert place is not None
            raise PruningError(
                f"{base.name} cannot be pruned there: it cannot be told what becomes of "
                f"{place.name} when the number of tokens varies"
            )


def _kept_symbols(stream: Stream, way: Method, keep: Sequence[float]) -> tuple[Symbol, ...]:
    """A symbol for each place, with the share of the input's patches as its default.

    Raises:
        PruningError: A share takes more than half of what is there, and the method cannot.
    """
    symbols: list[Symbol] = []
    upper, there = stream.patches, stream.patches
    for number, share in enumerate(keep, start=1):
        least = ceil_div(upper, 2) if way.halves else 0
        default = None
        if isinstance(stream.patches, int) and isinstance(there, int):
            default = ceil(Fraction(str(share)) * stream.patches)
            if way.halves and 2 * default < there:
                raise PruningError(
                    f"merging takes at most half of the patches at a block: {share} of "
                    f"{stream.patches} is {default}, less than half of the {there} before"
                )
            there = default
        name = f"kept_{number}"
        symbols.append(Symbol(name=name, lower=least, upper=upper, default=default))
        upper = symbol(name)
    return tuple(symbols)
