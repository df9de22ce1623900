"""NSGA-II by pymoo: axes as its variables, constraints as its constraint.

K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on
Evolutionary Computation 6(2), 2002; J. Blank and K. Deb, "pymoo: Multi-Objective Optimization in
Python", IEEE Access 8, 2020.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spaces.axes import Axis
from .designs import Shares, shares_of_steps, snapped
from .front import Values
from .problem import Problem
from .random_search import drawn

__all__ = ["Nsga2"]

_ETA = 3.0
"""Distribution index of mutations over numbered values: pymoo's own 20 hardly ever leaves a value
of eight (its guide to discrete variables has 3)."""


class Nsga2:
    """Generations of NSGA-II, the first of them drawn at random within the constraints.

    Args:
        problem: What is searched for.
        population: Designs of a generation.
        seed: The same for the same search.

    Raises:
        ModuleNotFoundError: pymoo is not installed.
    """

    def __init__(self, problem: Problem, population: int, seed: int) -> None:
        self._study = problem.study
        first = drawn(problem, population, np.random.default_rng(seed))
        self._pymoo: Any = import_module("pymoo.core.problem").Problem(
            vars={one.name: _variable(one) for one in self._study.axes},
            n_obj=len(problem.objectives),
            n_ieq_constr=1,
        )
        self._algorithm = _algorithm(population, np.array([self._said(row) for row in first]))
        self._algorithm.setup(self._pymoo, seed=seed, verbose=False)
        self._asked: Any = None

    def ask(self) -> Shares:
        """The next generation; none if nothing new can be made of this one."""
        self._asked = self._algorithm.ask()
        if self._asked is None:  # no child differs from its parents: the space is known
            return np.empty((0, len(self._study.axes)))
        shares = [
            [self._share(one, person.X[one.name]) for one in self._study.axes]
            for person in self._asked
        ]
        return snapped(self._study, np.array(shares, dtype=np.float64))

    def tell(self, shares: Shares, values: Values, violation: NDArray[np.float64]) -> None:
        """How it came out; designs that are not feasible may have no values."""
        known = np.where(np.isfinite(values), values, 0.0)  # never looked at beside a violation
        self._asked.set("F", known)
        self._asked.set("G", violation[:, None])
        for person in self._asked:
            person.evaluated = {"F", "G", "H"}
        self._algorithm.tell(infills=self._asked)

    def _said(self, row: NDArray[np.float64]) -> dict[str, Any]:
        """A design as pymoo's variables say it."""
        found: dict[str, Any] = {}
        for one, share in zip(self._study.axes, row.tolist(), strict=True):
            found[one.name] = int(share * len(one.values)) if one.values else share
        return found

    def _share(self, axis: Axis, said: Any) -> float:
        if not axis.values:
            return float(said)
        return float(shares_of_steps(axis, np.array([int(said)]))[0])


def _variable(axis: Axis) -> Any:
    """Words have no order, listed numbers have, ranges are dense."""
    variables: Any = import_module("pymoo.core.variable")
    if not axis.values:
        return variables.Real(bounds=(0.0, 1.0))
    if axis.kind in ("text", "bool"):
        return variables.Choice(options=list(range(len(axis.values))))
    return variables.Integer(bounds=(0, len(axis.values) - 1))


def _algorithm(population: int, first: NDArray[Any]) -> Any:
    mixed: Any = import_module("pymoo.core.mixed")
    variables: Any = import_module("pymoo.core.variable")
    nsga2: Any = import_module("pymoo.algorithms.moo.nsga2")
    selection: Any = import_module("pymoo.operators.selection.tournament").TournamentSelection
    mutation: Any = import_module("pymoo.operators.mutation.pm").PM
    rounding: Any = import_module("pymoo.operators.repair.rounding").RoundingRepair
    choose: Any = import_module("pymoo.operators.mutation.rm").ChoiceRandomMutation
    alike = mixed.MixedVariableDuplicateElimination()
    mating = mixed.MixedVariableMating(
        selection=selection(func_comp=nsga2.binary_tournament),
        mutation={
            variables.Real: mutation(),
            variables.Integer: mutation(eta=_ETA, vtype=float, repair=rounding()),
            variables.Choice: choose(),
        },
        eliminate_duplicates=alike,
    )
    population_of: Any = import_module("pymoo.core.population").Population
    return nsga2.NSGA2(
        pop_size=population,
        sampling=population_of.new(X=first),
        mating=mating,
        eliminate_duplicates=alike,
        termination=import_module("pymoo.core.termination").NoTermination(),
    )
