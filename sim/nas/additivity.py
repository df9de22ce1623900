"""Additivity bias: how the sum of a table's entries differs from the whole network, in the engine.

Look-up tables assume that the cost of a network is the sum of its layers'.  Each layer's entry was
taken where a like layer stood in a network of the engine, so that the sum knows what is prefetched
behind a neighbour; what it cannot know is measured here, never corrected for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bias", "Spread", "bias"]

_ROUNDING = 1e-12  # of a few hundred 64-bit additions


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Relative errors, of the sum of entries over the whole network minus one.

    Attributes:
        mean: With sign: below 0 the table is too fast, or too frugal.
        mean_absolute, p95, maximum: Without sign.
    """

    mean: float
    mean_absolute: float
    p95: float
    maximum: float

    def __str__(self) -> str:
        if self.maximum < _ROUNDING:
            return "equal, but for rounding"
        return (
            f"mean {100 * self.mean:+.2g} % (absolute {100 * self.mean_absolute:.2g} %), "
            f"p95 {100 * self.p95:.2g} %, max {100 * self.maximum:.2g} %"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """The additivity bias of a table, over points drawn by seed.

    Attributes:
        points: How many networks were simulated whole.
        seed: They were drawn by.
        latency, energy: The errors.
    """

    points: int
    seed: int
    latency: Spread
    energy: Spread

    def __str__(self) -> str:
        return (
            f"sum of entries against {self.points} whole networks (seed {self.seed}): "
            f"latency {self.latency}; energy {self.energy}"
        )

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Bias:
        """The bias that a file says."""
        latency, energy = Spread(**said["latency"]), Spread(**said["energy"])
        return cls(points=said["points"], seed=said["seed"], latency=latency, energy=energy)


def bias(
    summed: NDArray[np.float64], whole: NDArray[np.float64], *, points: int, seed: int
) -> Bias:
    """The bias of sums against whole networks, both `(points, 2)`: seconds and joules."""
    latency, energy = (_spread(summed[:, i] / whole[:, i] - 1) for i in range(2))
    return Bias(points=points, seed=seed, latency=latency, energy=energy)


def _spread(errors: NDArray[np.float64]) -> Spread:
    absolute = np.abs(errors)
    return Spread(
        mean=float(errors.mean()),
        mean_absolute=float(absolute.mean()),
        p95=float(np.quantile(absolute, 0.95)),
        maximum=float(absolute.max()),
    )
