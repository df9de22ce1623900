"""A cost that is a sum of tables, each over a few genes: for a million candidates at once.

A term is an array whose axes are genes: what the second block's `fc1` costs by embed, MLP ratio and
the shares of its rows.  A candidate's cost is the sum of its cells.  NumPy and torch run the same
few lines, in the same order, so that they agree to the last bit and no row knows of another.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .tables import LookupTable, layer_key

__all__ = ["Array", "Priced", "Quantity", "Term", "is_torch", "on_device", "priced", "summed"]

Array: TypeAlias = NDArray[np.float64]
Quantity: TypeAlias = Literal["latency_s", "energy_j"]

_ROWS = 1 << 15
"""Candidates at a time: their columns stay in a core's cache."""
_DEVICE_ROWS = 1 << 18
"""Candidates at a time on a GPU: a quarter of a gigabyte of indices."""


class Priced(NamedTuple):
    """Costs as arrays over the values of some sizes."""

    latency_s: Array
    energy_j: Array

    def times(self, factors: Array) -> Priced:
        """Each cost by each factor: factors are the first axis."""
        return Priced(*(np.multiply.outer(factors, costs) for costs in self))

    def plus(self, other: Priced) -> Priced:
        """One after the other, over the same sizes."""
        return Priced(self.latency_s + other.latency_s, self.energy_j + other.energy_j)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Term:
    """A part of the cost.

    Attributes:
        places: The genes that it depends on.
        latency_s, energy_j: An axis for each, as long as that gene has values.
    """

    places: tuple[int, ...]
    latency_s: Array
    energy_j: Array

    def __post_init__(self) -> None:
        for costs in (self.latency_s, self.energy_j):
            costs.setflags(write=False)  # threads share them

    @classmethod
    def of(cls, places: tuple[int, ...], costs: Priced) -> Term:
        """A term of priced sizes."""
        return cls(places=places, latency_s=costs.latency_s, energy_j=costs.energy_j)


def priced(table: LookupTable, kind: str, sizes: Mapping[str, Sequence[Any]]) -> Priced:
    """A table's costs of a kind of layer over every combination of sizes.

    Raises:
        TableError: The table lacks one of them.
    """
    shape = tuple(map(len, sizes.values()))
    costs = [
        table[layer_key(kind, **dict(zip(sizes, values, strict=True)))]
        for values in product(*sizes.values())
    ]
    latency, energy = zip(*costs, strict=True)
    return Priced(np.array(latency).reshape(shape), np.array(energy).reshape(shape))


def is_torch(values: object) -> bool:
    """Whether something is a torch tensor; torch is not imported to know."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def summed(terms: Sequence[Term], genes: Any, what: Quantity) -> Any:  # Any: NumPy's or torch's
    """The cost of every candidate, `(n,)`, of genes `(n, genes)` that are in range."""
    if not is_torch(genes):
        return _summed(terms, genes, what)
    if genes.device.type == "cpu":  # the same memory; NumPy is quicker at it than torch
        return sys.modules["torch"].from_numpy(_summed(terms, genes.detach().numpy(), what))
    return on_device(terms, genes, what)


def _summed(terms: Sequence[Term], genes: NDArray[np.integer[Any]], what: Quantity) -> Array:
    tables = [getattr(term, what).ravel() for term in terms]
    total = np.zeros(len(genes))
    for start in range(0, len(genes), _ROWS):
        rows = slice(start, start + _ROWS)
        columns = np.ascontiguousarray(genes[rows].T, dtype=np.intp)
        total[rows] = _added(terms, tables, columns, total[rows])
    return total


def on_device(terms: Sequence[Term], genes: Any, what: Quantity) -> Any:
    """The same by torch, wherever the tensor is."""
    torch = sys.modules["torch"]
    tables = [torch.tensor(getattr(t, what).ravel(), device=genes.device) for t in terms]
    total = torch.zeros(len(genes), dtype=torch.float64, device=genes.device)
    for start in range(0, len(genes), _DEVICE_ROWS):
        rows = slice(start, start + _DEVICE_ROWS)
        columns = genes[rows].T.long().contiguous()
        total[rows] = _added(terms, tables, columns, total[rows])
    return total


def _added(terms: Sequence[Term], tables: Sequence[Any], columns: Any, total: Any) -> Any:
    """Adds each term's cells; genes that terms begin with alike are joined to one index once."""
    joined: dict[tuple[int, ...], Any] = {}
    for term, table in zip(terms, tables, strict=True):
        if not term.places:
            total = total + table[0]
            continue
        index = columns[term.places[0]]
        for end, count in enumerate(term.latency_s.shape[1:], start=2):
            begin = term.places[:end]
            if begin not in joined:
                joined[begin] = index * count + columns[begin[-1]]
            index = joined[begin]
        total = total + table[index]
    return total
