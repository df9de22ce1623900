"""Random search: designs drawn alike over the axes, which is what every other search must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..spaces.sampling import ROUNDS
from .designs import Shares, snapped
from .front import Values
from .problem import Problem, SearchError

__all__ = ["RandomSearch", "drawn"]


class RandomSearch:
    """Draws that satisfy the constraints of the space, by seed.

    Args:
        problem: What is searched for.
        batch: Designs proposed at a time.
        seed: The same for the same draws.
    """

    def __init__(self, problem: Problem, batch: int, seed: int) -> None:
        self._problem, self._batch = problem, batch
        self._random = np.random.default_rng(seed)

    def ask(self) -> Shares:
        """The next designs."""
        return drawn(self._problem, self._batch, self._random)

    def tell(self, shares: Shares, values: Values, violation: NDArray[np.float64]) -> None:
        """Nothing is learnt."""


def drawn(problem: Problem, count: int, random: np.random.Generator) -> Shares:
    """So many designs that satisfy the space's constraints, drawn alike over the axes.

    Raises:
        SearchError: None was found: the constraints contradict each other.
    """
    found = np.empty((0, len(problem.study.axes)))
    for tried in range(1, ROUNDS + 1):
        shares = snapped(problem.study, random.random((count, len(problem.study.axes))))
        found = np.concatenate((found, shares[problem.designs(shares)[1] == 0]))
        if len(found) >= count:
            return found[:count]
        if not len(found) and tried * count >= 1_000_000:
            break
    if len(found):  # a space of few designs: those there are
        return found
    text = " and ".join(problem.study.space.constraints)
    raise SearchError(f"constraints: no design was found by drawing that satisfies {text}")
