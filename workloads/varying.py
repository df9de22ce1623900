"""What varies from image to image: the tokens that selectors keep, or the size of the image.

Either way a row of a token trace is a binding of some symbols, and there is a largest model that
every image fits into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .extent import Extent, Size, known
from .graph import BindingError, Workload
from .unpruned import kept_symbols, patches_of, unpruned

__all__ = ["Varying"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Varying:
    """A model whose sizes differ from image to image.

    Attributes:
        workload: The model; nothing in it depends on a symbol whose default depends on `names`.
        names: The symbols that differ.
        whole: What every image fits into, its sizes bound: the model before anybody pruned it, or
            for images of the largest size.
        most: The most that one of the symbols may be.
        nested: Whether a symbol is never more than the one before it, as kept counts are.
    """

    workload: Workload
    names: tuple[str, ...]
    whole: Workload
    most: int
    nested: bool

    @classmethod
    def of(
        cls,
        workload: Workload,
        bind: Mapping[str, int],
        symbols: Sequence[str] = (),
        most: int | None = None,
        base: Workload | None = None,
    ) -> Varying:
        """What varies in a model.

        Args:
            workload: A model with token selectors; with `symbols` any model.
            bind: Values of other symbols.
            symbols: Those that vary, if they are not the kept counts.
            most: The most that one of them may be.
            base: The model before anybody pruned it, with `symbols`; `workload` if None.

        Raises:
            BindingError: There are no selectors, the model has no such symbol, or it is bound too.
        """
        bound = [name for name in symbols or kept_symbols(workload) if name in bind]
        if bound:
            raise BindingError(f"{bound[0]} differs from image to image, and cannot be bound too")
        if not symbols:
            whole = unpruned(workload)
            rest = {k: v for k, v in bind.items() if k in {s.name for s in whole.symbols}}
            return cls(
                workload=workload,
                names=kept_symbols(workload),
                whole=whole.bind(rest),
                most=patches_of(workload, bind),
                nested=True,
            )
        if most is None:
            raise BindingError(f"{workload.name}: say how large {', '.join(symbols)} may be")
        base = base or workload
        known_to_base = {s.name for s in base.symbols}
        rest = {name: value for name, value in bind.items() if name in known_to_base}
        return cls(
            workload=_settled(workload, bind),
            names=tuple(symbols),
            whole=base.bind({**rest, **dict.fromkeys(symbols, most)}),
            most=most,
            nested=False,
        )

    @property
    def largest(self) -> tuple[int, ...]:
        """The largest row of a trace."""
        return (self.most,) * len(self.names)

    def others(self, bind: Mapping[str, int]) -> dict[str, int]:
        """Values of the symbols that do not vary."""
        defaults = {
            s.name: known(s.default) for s in self.workload.symbols if s.default is not None
        }
        return {k: v for k, v in (defaults | dict(bind)).items() if k not in self.names}


def _settled(workload: Workload, bind: Mapping[str, int]) -> Workload:
    """The workload with symbols replaced by defaults that depend on others, where none is given."""
    by: dict[str, Size] = {
        s.name: s.default
        for s in workload.symbols
        if isinstance(s.default, Extent) and s.name not in bind
    }
    if not by:
        return workload
    return replace(
        workload,
        operators=tuple(operator.substituted(by) for operator in workload.operators),
        symbols=tuple(s for s in workload.symbols if s.name not in by),
    )
