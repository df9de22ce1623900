"""Evolutionary search over a search space, a whole generation at a time, under a latency target.

After Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, and
Once-for-All's search (Cai et al., ICLR 2020): the best quarter are the parents, children mix two of
them gene by gene or change a few genes of one, and who misses the target is worth the less the more
it misses.  What a candidate is worth is a function that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .space import SearchSpace
from .terms import Array

__all__ = ["Found", "Genes", "Value", "evolved", "found", "scored"]

Genes: TypeAlias = NDArray[np.int64]
Value: TypeAlias = Callable[[Genes], Array]
"""From genes `(n, genes)` to what each candidate is worth `(n,)`, more being better."""


class Found(NamedTuple):
    """The best candidate of a search.

    Attributes:
        genes: `(genes,)`.
        value: What it is worth to the caller.
        latency_s, energy_j: By the table.
        evaluations: Candidates that the search looked at.
    """

    genes: Genes
    value: float
    latency_s: float
    energy_j: float
    evaluations: int


def evolved(
    space: SearchSpace,
    value: Value,
    target_s: float,
    *,
    population: int = 512,
    generations: int = 100,
    seed: int = 0,
) -> Found:
    """The best candidate that takes `target_s` at most, of one search.

    Args:
        space: What is searched.
        value: What candidates are worth.
        target_s: The latency that none may exceed.
        population: Candidates of a generation.
        generations: Of them.
        seed: The same for the same search.

    Raises:
        ValueError: No candidate of the search kept the target; the message names the quickest.
    """
    random = np.random.default_rng(seed)
    people = space.random(population, seed=seed)
    scores = scored(space, value, target_s, people)
    for _ in range(generations):
        best = np.argsort(-scores, kind="stable")[: max(2, population // 4)]
        parents, kept = people[best], scores[best]
        children = _children(space, parents, population - len(parents), random)
        people = np.concatenate((parents, children))
        scores = np.concatenate((kept, scored(space, value, target_s, children)))
    children_seen = generations * (population - max(2, population // 4))
    return found(space, value, target_s, people, evaluations=population + children_seen)


def found(
    space: SearchSpace, value: Value, target_s: float, genes: Genes, *, evaluations: int
) -> Found:
    """The best of these candidates.

    Raises:
        ValueError: None keeps the target.
    """
    best = genes[np.argmax(scored(space, value, target_s, genes))][None]
    latency_s = float(space.latency_s(best)[0])
    if latency_s > target_s:
        raise ValueError(
            f"no candidate takes {target_s * 1e3:g} ms or less; the quickest that was seen takes "
            f"{latency_s * 1e3:g} ms"
        )
    worth, energy_j = float(value(best)[0]), float(space.energy_j(best)[0])
    return Found(best[0], worth, latency_s, energy_j, evaluations)


def scored(space: SearchSpace, value: Value, target_s: float, genes: Genes) -> Array:
    """What candidates are worth, `(n,)`; those above the target less than any other."""
    latency_s, worth = space.latency_s(genes), value(genes)
    floor = np.finfo(np.float64).min / 2
    return np.where(latency_s <= target_s, worth, floor * (latency_s / (latency_s + target_s)))


def _children(space: SearchSpace, parents: Genes, count: int, random: np.random.Generator) -> Genes:
    """Half mix two parents, half change genes of one, one gene in ten or at least one."""
    genes = parents.shape[1]
    one = parents[random.integers(0, len(parents), count)]
    other = parents[random.integers(0, len(parents), count)]
    mixed = np.where(random.random((count, genes)) < 0.5, one, other)
    drawn = random.integers(0, space.choices, (count, genes))
    changes = random.random((count, genes)) < 0.1
    changes[np.arange(count), random.integers(0, genes, count)] = True
    children = np.where((np.arange(count) % 2 == 0)[:, None], mixed, np.where(changes, drawn, one))
    return -np.sort(-children, axis=1) if space.recipe.falling else children
