"""What a search has priced so far: every design once, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..spaces.rows import keys_of
from .designs import Shares
from .front import Values, nondominated
from .problem import Problem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Archive"]


class Archive:
    """Every design that was priced, once, in order."""

    def __init__(self, problem: Problem, most: int) -> None:
        self.problem, self.most = problem, most
        self.rows: list[pd.DataFrame] = []
        self.values = np.empty((0, len(problem.objectives)))
        self.violation = np.empty(0)
        self._places: dict[tuple[Any, ...], int] = {}

    def priced(self, shares: Shares) -> tuple[Values, NDArray[np.float64]]:
        """What designs come to; those that are new are priced, as long as the budget lasts."""
        designs, broken = self.problem.designs(shares)
        keys = keys_of(designs)
        new: dict[tuple[Any, ...], int] = {}
        for at, key in enumerate(keys):
            room = len(self._places) + len(new) < self.most
            if room and not broken[at] and key not in self._places:
                new.setdefault(key, at)
        if new:
            found = self.problem.priced(designs.iloc[list(new.values())].reset_index(drop=True))
            for key in new:
                self._places[key] = len(self._places)
            self.rows.append(found.rows)
            self.values = np.concatenate((self.values, found.values))
            self.violation = np.concatenate((self.violation, found.violation))
        # What breaks the space's constraints is worse than whatever was priced; what the budget
        # did not reach is no better than that.
        worst = 1.0 + (self.violation.max() if len(self.violation) else 0.0)
        values = np.full((len(keys), self.values.shape[1]), np.nan)
        violation = np.asarray(worst + broken, dtype=np.float64)
        for at, key in enumerate(keys):
            place = self._places.get(key)
            if place is not None:
                values[at], violation[at] = self.values[place], self.violation[place]
        return values, violation

    def __len__(self) -> int:
        return len(self._places)

    @property
    def feasible(self) -> Values:
        """The values of feasible designs, and NaN for the others."""
        return np.where((self.violation == 0)[:, None], self.values, np.nan)

    def frame(self) -> pd.DataFrame:
        """All rows."""
        import pandas as pd

        found = pd.concat(self.rows, ignore_index=True)
        found.insert(0, "point", np.arange(len(found)))
        found["front"] = nondominated(self.feasible)
        return found
