"""Search: the designs of a space that nothing beats in several objectives at once.

    found = search("space.yaml", ["latency_s", "energy_j"], evaluations=2000)
    found.front  # a frame: the designs, their metrics, no row better than another in everything

The optimisers are pymoo's and Optuna's; ours is the problem (`problem.py`), priced a whole
generation at a time by whatever prices sweeps.  Random search with the same budget runs beside
them, so that one sees what they are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...arch import fpga
from ...arch.device import Device
from ...arch.explain import nearest
from ..spaces.space import Space
from ..spaces.study import Study
from .archive import Archive
from .confirmed import confirmed
from .designs import Shares, study_of
from .front import Values, box, hypervolume, knee, nondominated
from .memory import Memory
from .nsga2 import Nsga2
from .problem import Accuracy, Problem, SearchError
from .random_search import RandomSearch
from .tpe import Tpe

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "Found", "Progress", "Searcher", "Trace", "problem_of", "search"]

_POPULATION: Final = 100
_STALE: Final = 20
"""Batches without a new design after which a search ends: the space is known, or it is stuck."""

_BATCH: Final = 1000
"""Random designs that are priced together."""

_MARGIN: Final = 0.1
"""By what part of a front's length the reference point of the hypervolume lies behind it, so that
its ends count too (H. Ishibuchi et al., "How to specify a reference point in hypervolume
calculation for fair performance comparison", Evolutionary Computation 26(3), 2018)."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what runs, how many designs are evaluated, and how many there will be at most."""


class Searcher(Protocol):
    """An optimiser: what it proposes, and what it is told of that."""

    def ask(self) -> Shares:
        """The next designs; none if it is done."""
        ...

    def tell(self, shares: Shares, values: Values, violation: NDArray[np.float64]) -> None:
        """What they came to: `(designs, objectives)`, less being better, and 0 if feasible."""
        ...


class _Method(NamedTuple):
    """How a searcher is made, and which package it needs."""

    make: Callable[[Problem, int, int], Searcher]
    package: str = "pymoo"


METHODS: Final[Mapping[str, _Method]] = MappingProxyType(
    {"nsga2": _Method(Nsga2), "optuna": _Method(Tpe, "optuna"), "random": _Method(RandomSearch)}
)


class Trace(NamedTuple):
    """How good a search was, by how many designs it had evaluated.

    Attributes:
        evaluations: Designs so far, `(steps,)`.
        hypervolume: The part of the box from the best values to the reference point that they
            dominate, `(steps,)`.
    """

    evaluations: tuple[int, ...]
    hypervolume: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        problem: What was searched for.
        method, seed, population: How.
        points: A row for each design that was evaluated, in order: `point` (its number, from 0),
            axes, metrics, resources, `infeasible`, `error`, `feasible`, and whether it is on the
            `front`.
        trace, random: Hypervolume of the search, and of random search with the same budget.
        reference: The point up to which it counts, by objective.
        confirmed: Some rows of the front with the engine's numbers beside the model's.
    """

    problem: Problem
    method: str
    seed: int
    population: int
    points: pd.DataFrame
    trace: Trace
    random: Trace
    reference: Mapping[str, float]
    confirmed: pd.DataFrame

    @property
    def front(self) -> pd.DataFrame:
        """Feasible designs that no other dominates, by the first objective, equal ones once."""
        first = self.problem.objectives[0]
        found = self.points[self.points["front"]].drop_duplicates(list(self.problem.objectives))
        return found.sort_values(first, kind="stable", ascending=first != "accuracy")

    @property
    def knee(self) -> int | None:
        """The `point` at the front's knee; None if nothing was feasible."""
        front = self.front
        if not len(front):
            return None
        return int(front["point"].iloc[knee(_values(self.problem, front))])


def problem_of(
    space: Space | Study | str | Path,
    objectives: Sequence[str] = ("latency_s", "energy_j"),
    device: str | Path | Device | None = None,
    accuracy: Accuracy | None = None,
) -> Problem:
    """What `search` searches for, checked; arguments as there.

    Raises:
        SpaceError, SearchError, MachineError: As `search`.
    """
    target = fpga.device(device) if isinstance(device, str | Path) else device
    return Problem.of(study_of(space), objectives, target, accuracy)


def search(
    space: Space | Study | Problem | str | Path,
    objectives: Sequence[str] = ("latency_s", "energy_j"),
    *,
    method: str = "nsga2",
    evaluations: int = 1000,
    population: int | None = None,
    seed: int = 0,
    device: str | Path | Device | None = None,
    accuracy: Accuracy | None = None,
    confirm: int = 0,
    keep: str | Path | None = None,
    progress: Progress = lambda what, done, most: None,
) -> Found:
    """Search a space for the designs that nothing beats.

    Args:
        space: What is searched, or the path of its YAML file; its `sample` does not matter.  Or a
            whole problem, with its objectives and its device.
        objectives: Two or more of `OBJECTIVES`; as little as can be of each, as much of accuracy.
        method: `nsga2` (pymoo), `optuna` (its multi-objective TPE) or `random`.
        evaluations: Different designs that are priced at most; those that break a constraint of
            the space are not priced and do not count.
        population: Designs of a generation; 100, or a tenth of the evaluations if that is less.
        seed: The same for the same result.
        device: An FPGA that must hold every design: a name or a YAML file.
        accuracy: What designs are worth, if accuracy is an objective.
        confirm: Designs of the front that the engine runs too.
        keep: A folder for what is priced, as it is: the same search with it goes on where it was
            killed, and comes to the same.
        progress: Told after every generation.

    Raises:
        SpaceError: The space names what is not there.
        SearchError: The objectives make no sense, the extra is missing, or no design satisfies the
            constraints.
        SweepError: What is priced cannot be kept.
        MachineError: There is no such device.
    """
    if isinstance(space, Problem):
        problem = space
    else:
        problem = problem_of(space, objectives, device, accuracy)
    _check(method, evaluations, population, confirm)
    if keep is not None:
        problem = replace(problem, evaluate=Memory.of(keep, problem.evaluate).evaluate)
    size = population or min(_POPULATION, max(4, evaluations // 10))
    rival = Archive(problem, evaluations)
    _ran(RandomSearch(problem, min(evaluations, _BATCH), seed), rival, "random", progress)
    priced = rival
    if method != "random":
        priced = Archive(problem, evaluations)
        _ran(METHODS[method].make(problem, size, seed), priced, method, progress)
    low, span = _scale(priced, rival)
    reference = {
        name: float(value)
        for name, value in zip(
            problem.objectives, (low + span * (1 + _MARGIN)) * problem.signs, strict=True
        )
    }
    points = priced.frame()
    found = Found(
        problem=problem,
        method=method,
        seed=seed,
        population=size,
        points=points,
        trace=_trace(priced, size, low, span),
        random=_trace(rival, size, low, span),
        reference=reference,
        confirmed=points[:0],
    )
    progress("engine", 0, confirm)
    return replace(found, confirmed=confirmed(problem, found.front, found.knee, confirm))


def _ran(searcher: Searcher, archive: Archive, name: str, progress: Progress) -> None:
    """Let a searcher use up the budget."""
    stale = 0
    progress(name, 0, archive.most)
    while len(archive) < archive.most and stale < _STALE:
        before = len(archive)
        shares = searcher.ask()
        if not len(shares):
            return
        searcher.tell(shares, *archive.priced(shares))
        stale = 0 if len(archive) > before else stale + 1
        progress(name, len(archive), archive.most)


def _scale(*archives: Archive) -> tuple[Values, Values]:
    """The best of both fronts together, and their length, by objective."""
    values = np.concatenate([archive.feasible for archive in archives])
    front = values[nondominated(values)]
    if not len(front):
        objectives = len(archives[0].problem.objectives)
        return np.zeros(objectives, np.float64), np.ones(objectives, np.float64)
    return box(front)


def _trace(archive: Archive, step: int, low: Values, span: Values) -> Trace:
    """Hypervolume after every `step` evaluations, in shares of the box up to the reference."""
    scaled = (archive.feasible - low) / span
    corner = np.full(scaled.shape[1], 1 + _MARGIN)
    ends = [*range(step, len(archive), step), len(archive)]
    front = np.empty((0, scaled.shape[1]))
    found: list[float] = []
    for first, last in zip([0, *ends], ends, strict=False):
        front = np.concatenate((front, scaled[first:last]))
        front = front[nondominated(front)]
        found.append(hypervolume(front, corner) / float(np.prod(corner)))
    return Trace(tuple(ends), tuple(found))


def _values(problem: Problem, rows: pd.DataFrame) -> Values:
    chosen = rows[list(problem.objectives)]
    return chosen.to_numpy(dtype=np.float64, na_value=np.nan) * problem.signs


def _check(method: str, evaluations: int, population: int | None, confirm: int) -> None:
    if method not in METHODS:
        raise SearchError(
            f"method: wanted one of {', '.join(METHODS)}; got {method!r}{nearest(method, METHODS)}"
        )
    if evaluations < 1:
        raise SearchError(f"evaluations: wanted at least 1, got {evaluations}")
    if population is not None and population < 2:
        raise SearchError(f"population: wanted at least 2, got {population}")
    if confirm < 0:
        raise SearchError(f"confirm: wanted 0 or more, got {confirm}")
    for package in dict.fromkeys(("pymoo", METHODS[method].package)):
        if find_spec(package) is None:
            raise SearchError(
                f"search needs {package}: install the extra, pip install 'tilewise[search]'"
            )
