"""What every candidate of an architecture search costs on a machine, a million at a time.

    space = search_space("quasar-vit", load_machine("zcu102-quasar"))
    space.latency_s(genes)  # (n, genes) whole numbers -> (n,) seconds

A space's table is built once by the engine (seconds), kept on disk, and added up ever after.  How
far sums are from whole networks was measured when the table was built: `space.bias`.

- `quasar-vit`: the genes of `workloads.zoo.quasar`, which are embed, depth, heads, MLP ratio and
  each layer's share of 8-bit rows.
- `heatvit-deit-tiny`, `heatvit-deit-small`, `heatvit-deit-base`: patches kept behind each selector.
- `vit-blocks`: depth, embed, heads, tokens and bits of a stack of blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any, Final, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from ...arch import Accelerator, Gpu
from ..disk_cache import folder, kept
from ..result import Result
from .additivity import Bias, bias
from .blocks import VitBlocks
from .genes import Axis, check
from .heatvit import HeatVit
from .quasar import QuasarVit
from .tables import LookupTable
from .terms import Array, Quantity, Term, is_torch, summed
from .windows import Cost

__all__ = ["Recipe", "SearchSpace", "SpaceError", "search_space", "space_names"]

BIAS_POINTS: Final = 24
BIAS_SEED: Final = 6


class SpaceError(ValueError):
    """No search space of that name or with that option; one line names the nearest."""


class Recipe(Protocol):
    """A search space on a machine: how its table is made, and how added up.

    A frozen dataclass: its `repr` says everything that its table depends on.
    """

    @property
    def machine(self) -> Accelerator | Gpu:
        """What candidates run on."""
        ...

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The genes."""
        ...

    @property
    def falling(self) -> bool:
        """Whether no gene may be above the one before."""
        ...

    def entries(self) -> dict[str, Cost]:
        """The table's entries, by the engine."""
        ...

    def terms(self, table: LookupTable) -> tuple[Term, ...]:
        """What a candidate's cost is the sum of."""
        ...

    def simulate(self, genes: Sequence[int]) -> Result:
        """The engine's run of one whole candidate."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchSpace:
    """What the candidates of a search space cost on a machine.

    Immutable, so that threads share one and processes take a pickled copy.

    Attributes:
        name: Of the space.
        recipe: How it is made; carries the machine.
        table: What its layers cost.
        terms: What a candidate's cost is the sum of.
    """

    name: str
    recipe: Recipe
    table: LookupTable
    terms: tuple[Term, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The genes: what each says, and the values that its numbers from 0 on stand for."""
        return self.recipe.axes

    @property
    def choices(self) -> tuple[int, ...]:
        """How many values each gene has."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def bias(self) -> Bias | None:
        """How sums of entries differ from whole networks; None if the table does not say."""
        return self.table.bias

    @overload
    def latency_s(self, genes: NDArray[np.integer[Any]]) -> Array: ...
    @overload
    def latency_s(self, genes: Any) -> Any: ...
    def latency_s(self, genes: Any) -> Any:
        """Seconds of one image by each candidate.

        Args:
            genes: `(n, genes)` whole numbers, a NumPy array or a torch tensor.

        Returns:
            `(n,)` of the same kind, in 64-bit floats; a tensor on the same device.

        Raises:
            GeneError: Another shape or type, or a number out of range: which row, which place.
        """
        return self._cost(genes, "latency_s")

    @overload
    def energy_j(self, genes: NDArray[np.integer[Any]]) -> Array: ...
    @overload
    def energy_j(self, genes: Any) -> Any: ...
    def energy_j(self, genes: Any) -> Any:
        """Joules of one image by each candidate; else as `latency_s`."""
        return self._cost(genes, "energy_j")

    def _cost(self, genes: Any, what: Quantity) -> Any:
        genes = genes if is_torch(genes) else np.asarray(genes)
        check(genes, self.axes, falling=self.recipe.falling)
        return summed(self.terms, genes, what)

    def random(self, count: int, *, seed: int) -> NDArray[np.int64]:
        """Genes of candidates `(count, genes)`, each value as likely as its others."""
        found = np.random.default_rng(seed).integers(0, self.choices, (count, len(self.axes)))
        return -np.sort(-found, axis=1) if self.recipe.falling else found

    def simulate(self, genes: Sequence[int] | NDArray[np.integer[Any]]) -> Result:
        """The engine's run of one whole candidate `(genes,)`, to confirm what a search found.

        Raises:
            GeneError: As of `latency_s`.
        """
        row = np.asarray(genes)
        check(row[None], self.axes, falling=self.recipe.falling)
        return self.recipe.simulate([int(gene) for gene in row])

    def values(self, genes: NDArray[np.integer[Any]]) -> Array:
        """What genes `(n, genes)` stand for, such as widths and shares: `(n, genes)`."""
        check(genes, self.axes, falling=self.recipe.falling)
        columns = [np.array(axis.values)[genes[:, i]] for i, axis in enumerate(self.axes)]
        return np.stack(columns, axis=1).astype(np.float64)


_SPACES: Final[Mapping[str, Callable[..., Recipe]]] = MappingProxyType(
    {
        "quasar-vit": QuasarVit,
        "heatvit-deit-tiny": partial(HeatVit, embed=192),
        "heatvit-deit-small": partial(HeatVit, embed=384),
        "heatvit-deit-base": partial(HeatVit, embed=768),
        "vit-blocks": VitBlocks,
    }
)


def space_names() -> tuple[str, ...]:
    """The search spaces that there are."""
    return tuple(_SPACES)


def search_space(
    name: str,
    machine: Accelerator | Gpu,
    *,
    table: LookupTable | None = None,
    cache: bool = True,
    **options: Any,
) -> SearchSpace:
    """A search space on a machine.

    Args:
        name: One of `space_names()`.
        machine: What candidates run on, one image at a time.
        table: What layers cost, for instance as measured on a board, in place of the engine's; its
            keys are those of `search_space(name, machine).table`.
        cache: Whether the table is kept on disk, in `disk_cache.folder("tables")`.
        options: Of the space: `activations` of `quasar-vit`; `selectors` of `heatvit-...`; the
            values of each gene of `vit-blocks`.

    Raises:
        SpaceError: There is no such space or option; the message names the nearest.
        TypeError: The machine is none.
        TableError: The table that was given lacks a key.
        MappingError: The machine cannot run a candidate.
    """
    if not isinstance(machine, Accelerator | Gpu):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"search_space wants a machine, got {machine!r}; tilewise.machine(name) loads one"
        )
    recipe = _recipe(name, machine, options)
    if table is not None:
        found = table
    elif cache:
        found = kept(
            folder("tables"),
            f"{name}-{machine.name}",
            repr((name, recipe)),
            lambda: _table(name, recipe),
            read=LookupTable.read,
            text=LookupTable.json_text,
        )
    else:
        found = _table(name, recipe)
    return SearchSpace(name=name, recipe=recipe, table=found, terms=recipe.terms(found))


def _recipe(name: str, machine: Accelerator | Gpu, options: Mapping[str, Any]) -> Recipe:
    if name not in _SPACES:
        raise SpaceError(_nearest(f"no search space is called {name}", name, _SPACES))
    known = set(signature(_SPACES[name]).parameters) - {"machine"}
    for option in options:
        if option not in known:
            raise SpaceError(_nearest(f"{name} has no option {option}", option, sorted(known)))
    return _SPACES[name](machine=machine, **options)


def _nearest(problem: str, given: str, wanted: Mapping[str, Any] | Sequence[str]) -> str:
    near = get_close_matches(given, wanted, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"{problem}{hint} There are {', '.join(wanted)}"


def _table(name: str, recipe: Recipe) -> LookupTable:
    """The table by the engine, its bias measured."""
    from ... import __version__

    table = LookupTable(
        space=name,
        machine=recipe.machine.name,
        machine_hash=hashlib.sha256(repr(recipe.machine).encode()).hexdigest(),
        version=__version__,
        entries=recipe.entries(),
    )
    space = SearchSpace(name=name, recipe=recipe, table=table, terms=recipe.terms(table))
    return replace(table, bias=measured(space, points=BIAS_POINTS, seed=BIAS_SEED))


def measured(space: SearchSpace, *, points: int, seed: int) -> Bias:
    """The additivity bias of a space, over candidates drawn by seed and simulated whole."""
    genes = space.random(points, seed=seed)
    sums = np.stack((space.latency_s(genes), space.energy_j(genes)), axis=1)
    runs = [space.simulate(row) for row in genes]
    whole = np.array([(run.latency_s, run.energy_j) for run in runs])
    return bias(sums, whole, points=points, seed=seed)
