"""How far the cost model is from the engine, over points of a space: the same points by both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arch import Gpu
from .errors import SweepError
from .spaces.evaluate import evaluate
from .spaces.sampling import Sample
from .spaces.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METRICS", "Agreement", "Fidelity", "fidelity"]

METRICS = ("latency_s", "energy_j")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the model and the engine agree on a metric.

    Attributes:
        mean: Mean of the absolute errors, each a part of the engine's number (MAPE).
        p95: The error that 95 of 100 points do not exceed.
        worst: The largest.
        tau: Kendall's tau-b: 1 if both put all points in the same order.
    """

    mean: float
    p95: float
    worst: float
    tau: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Fidelity:
    """Points by the cost model and by the engine.

    Attributes:
        machine: The base machine.
        rows: `point`, every axis, and by metric `cost_...` and `engine_...`; points that both can
            run.
        infeasible: Points that neither can run.
        disagreed: Points that one of the two cannot run, which would be a mistake of ours.
        failed: Points whose row is an error.
    """

    machine: str
    rows: pd.DataFrame
    infeasible: int
    disagreed: int
    failed: int

    def errors(self, metric: str) -> NDArray[np.float64]:
        """`cost / engine - 1`, `(points,)`."""
        cost, engine = (self.rows[f"{by}_{metric}"].to_numpy(float) for by in ("cost", "engine"))
        found: NDArray[np.float64] = cost / engine - 1
        return found

    def agreement(self, metric: str) -> Agreement:
        """How well both agree; tau is NaN if there are less than two points."""
        from scipy.stats import kendalltau  # takes long to import

        off = np.abs(self.errors(metric))
        found: Any = kendalltau(self.rows[f"cost_{metric}"], self.rows[f"engine_{metric}"])
        return Agreement(
            mean=float(off.mean()),
            p95=float(np.quantile(off, 0.95)),
            worst=float(off.max()),
            tau=float(found.statistic),
        )


def fidelity(study: Study, points: int, seed: int) -> Fidelity:
    """Evaluate points of a space by the cost model and by the engine.

    Args:
        study: The space; its own fidelity does not matter.
        points: How many are drawn.  Of a list all are taken that there are, at most so many.
        seed: Of the draws.

    Raises:
        SweepError: There is no point that both can run, or the cost model does not price the space.
    """
    if isinstance(study.machine, Gpu) or study.traces:
        what = study.machine.name if isinstance(study.machine, Gpu) else "a token trace"
        raise SweepError(f"fidelity: the cost model does not price {what}; nothing to compare")
    sample = study.space.sample
    way = sample if sample.listed else Sample(method="random", points=points, seed=seed)
    drawn = replace(study, space=replace(study.space, sample=way))
    chosen = drawn.points(np.arange(min(points, drawn.size)))
    by = {
        name: evaluate(replace(drawn, space=replace(drawn.space, fidelity=name)), chosen)
        for name in ("cost", "engine")
    }
    bad = {name: _stated(frame["infeasible"]) for name, frame in by.items()}
    failed = _stated(by["cost"]["error"]) | _stated(by["engine"]["error"])
    both = ~failed & ~bad["cost"] & ~bad["engine"]
    if not both.any():
        raise SweepError(f"fidelity: none of {len(chosen)} points can be run; widen the space")
    columns: dict[str, pd.Series[Any]] = {
        f"{name}_{metric}": frame[metric][both] for metric in METRICS for name, frame in by.items()
    }
    return Fidelity(
        machine=study.machine.name,
        rows=chosen[both].assign(**columns).reset_index(drop=True),
        infeasible=int((bad["cost"] & bad["engine"] & ~failed).sum()),
        disagreed=int(((bad["cost"] ^ bad["engine"]) & ~failed).sum()),
        failed=int(failed.sum()),
    )


def _stated(column: pd.Series[Any]) -> NDArray[np.bool_]:
    return np.array([isinstance(one, str) and one != "" for one in column], dtype=np.bool_)
