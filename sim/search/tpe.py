"""Optuna's multi-objective TPE: axes as its distributions, constraints as its constraint.

Y. Ozaki et al., "Multiobjective tree-structured Parzen estimator", Journal of Artificial
Intelligence Research 73, 2022; T. Akiba et al., "Optuna: A Next-generation Hyperparameter
Optimization Framework", KDD 2019.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spaces.axes import Axis
from .designs import Shares, shares_of_steps, snapped
from .front import Values
from .problem import Problem

__all__ = ["Tpe"]


class Tpe:
    """Trials of the tree-structured Parzen estimator, a batch at a time.

    Args:
        problem: What is searched for.
        batch: Trials of a batch; they know of each other as trials that run (a constant liar).
        seed: The same for the same search.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
    """

    def __init__(self, problem: Problem, batch: int, seed: int) -> None:
        self._optuna: Any = import_module("optuna")
        self._axes, self._batch, self._space = problem.study.axes, batch, problem.study
        self._distributions = {one.name: self._distribution(one) for one in self._axes}
        sampler = self._optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=batch
        )
        with self._quiet():
            self._study = self._optuna.create_study(
                directions=["minimize"] * len(problem.objectives), sampler=sampler
            )
        self._asked: list[Any] = []

    def ask(self) -> Shares:
        """The next batch."""
        self._asked = [self._study.ask(self._distributions) for _ in range(self._batch)]
        shares = np.array(
            [[self._share(one, trial.params[one.name]) for one in self._axes]
             for trial in self._asked], dtype=np.float64,
        )  # fmt: skip
        return snapped(self._space, shares)

    def tell(self, shares: Shares, values: Values, violation: NDArray[np.float64]) -> None:
        """How it came out; designs that are not feasible may have no values."""
        known = np.where(np.isfinite(values), values, 0.0)  # ranked by the violation alone
        for trial, row, by in zip(self._asked, known.tolist(), violation.tolist(), strict=True):
            trial.set_constraint("violation", by)
            self._study.tell(trial, row)

    def _distribution(self, axis: Axis) -> Any:
        """Words have no order, listed numbers have, ranges are dense."""
        of = self._optuna.distributions
        if not axis.values:
            return of.FloatDistribution(0.0, 1.0)
        if axis.kind in ("text", "bool"):
            return of.CategoricalDistribution(tuple(range(len(axis.values))))
        return of.IntDistribution(0, len(axis.values) - 1)

    def _share(self, axis: Axis, said: Any) -> float:
        if not axis.values:
            return float(said)
        return float(shares_of_steps(axis, np.array([int(said)]))[0])

    @contextmanager
    def _quiet(self) -> Generator[None, None, None]:
        """Without Optuna's line about a new study, and with its log as it was behind it."""
        log = self._optuna.logging
        before = log.get_verbosity()
        log.set_verbosity(log.WARNING)
        try:
            yield
        finally:
            log.set_verbosity(before)
