"""A pruned model without its pruning: the selectors taken out, every token kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .extent import Number, Size, evaluate, known, symbol, symbols_of
from .graph import BindingError, Workload
from .operator import Attention, Operand, Operator, TokenSelection

__all__ = ["kept_symbols", "patches", "patches_of", "static", "unpruned"]


def kept_symbols(workload: Workload) -> tuple[str, ...]:
    """The symbols that stand for tokens kept, in the order in which selectors decide them."""
    found: dict[str, None] = {}
    for operator in workload.operators:
        if isinstance(operator, TokenSelection) and operator.data_dependent:
            found |= dict.fromkeys(sorted(symbols_of(operator.kept) - found.keys()))
    return tuple(found)


def patches(workload: Workload) -> Size:
    """Patches that the first selector chooses from.

    Raises:
        BindingError: The model has no selector.
    """
    for operator in workload.operators:
        if isinstance(operator, TokenSelection) and operator.data_dependent:
            return operator.candidates
    fixed = [symbol.name for symbol in workload.symbols if symbol.name.startswith("kept_")]
    if fixed:
        raise BindingError(
            f"{workload.name} keeps as many tokens of every image, so no count depends on the "
            f"image; bind {', '.join(fixed)}, or prune with heatvit"
        )
    raise BindingError(
        f"{workload.name} has no token selector, so its token count does not depend on the image"
    )


def patches_of(workload: Workload, given: Mapping[str, int] | None = None) -> int:
    """How many patches that is, with values for symbols where it depends on them.

    Raises:
        BindingError: The model has no selector.
    """
    symbols = {s.name: s.default for s in workload.symbols if isinstance(s.default, int)}
    return known(evaluate(patches(workload), {**symbols, **(given or {})}))


def static(workload: Workload) -> Workload:
    """The same work with shapes that are known before it runs, so that nothing waits for them."""
    return replace(
        workload,
        operators=tuple(
            replace(operator, data_dependent=False)
            if isinstance(operator, TokenSelection)
            else operator
            for operator in workload.operators
        ),
    )


def unpruned(workload: Workload) -> Workload:
    """The model before anybody pruned it.

    All that belongs to selectors goes, who read from them reads what they read, and each count
    becomes what makes later layers as long as the first: with a CLS token kept and a package token
    gone, that is one token less than there are patches.

    Raises:
        BindingError: The model has no selector, or a length that this cannot undo.
    """
    patches(workload)
    binding = _everything_kept(workload)
    kept = [operator for operator in workload.operators if not operator.selector]
    removed = {o.name: o for o in workload.operators if o.selector}
    operators = tuple(
        replace(o, operands=tuple(_behind(operand, removed) for operand in o.operands)).bound(
            binding
        )
        for o in kept
    )
    return replace(
        workload,
        operators=operators,
        outputs=tuple(name for name in workload.outputs if name not in removed),
        symbols=tuple(s for s in workload.symbols if s.name not in binding),
        constraints=(),
        free=tuple(node for node in workload.free if "selector" not in node.name),
        parameters=workload.parameters - sum(o.parameters for o in removed.values()),
        notes=(),
    )


def _everything_kept(workload: Workload) -> Mapping[str, Number]:
    """For each kept count the number that restores the length before the first selector."""
    lengths = [o.queries for o in workload.operators if isinstance(o, Attention)]
    first = lengths[0]
    found: dict[str, Number] = {}
    for name in kept_symbols(workload):
        length = next((size for size in lengths if name in symbols_of(size)), None)
        if length is None:
            raise BindingError(
                f"{workload.name}: no attention runs over {name} tokens, so what it was before "
                "pruning is not known"
            )
        extra = length - symbol(name)
        if not isinstance(extra, int) or not isinstance(first, int):
            raise BindingError(
                f"{workload.name}: {name} makes sequences of {length}, wanted {name} and a number "
                f"of other tokens, out of {first}"
            )
        found[name] = first - extra
    return found


def _behind(operand: Operand, removed: Mapping[str, Operator]) -> Operand:
    """The operand with what was removed replaced by what that read."""
    sources: dict[str, None] = {}
    pending = list(operand.sources)
    while pending:
        source = pending.pop(0)
        if source in removed:
            pending = [s for o in removed[source].operands for s in o.sources] + pending
        else:
            sources[source] = None
    return replace(operand, sources=tuple(sources))
