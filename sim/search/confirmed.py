"""Designs of a front run by the engine: how far the cost model is from it where it matters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..spaces.sampling import Sample
from .problem import Problem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["confirmed"]


def confirmed(problem: Problem, front: pd.DataFrame, knee: int | None, count: int) -> pd.DataFrame:
    """Designs spread over the front, its ends and knee among them, run by the engine.

    Beside each metric stands the engine's, `engine_...`, and by which part the model is off,
    `..._off`: 0.01 is one per cent more than the engine says.

    Args:
        problem: What was searched for.
        front: Feasible designs that no other dominates, in order.
        knee: The `point` of the one at the knee.
        count: How many are run, if there are so many.
    """
    if not count or not len(front):
        return front[:0]
    rows = _spread(front, knee, count)
    study = problem.study
    ours = [one.name for one in study.axes]
    by_engine = replace(study, space=replace(study.space, fidelity="engine", sample=Sample()))
    ran = problem.evaluate(by_engine, rows[ours])
    more = (name for name in ("edp_js", "dram_bytes") if name in problem.objectives)
    for name in ("latency_s", "energy_j", *more):
        engine = ran[name].astype("float64")
        rows[f"engine_{name}"] = engine
        rows[f"{name}_off"] = rows[name].astype("float64") / engine - 1
    said = zip(ran["infeasible"], ran["error"], strict=True)
    rows["engine_says"] = ["".join(one for one in both if isinstance(one, str)) for both in said]
    return rows


def _spread(front: pd.DataFrame, knee: int | None, count: int) -> pd.DataFrame:
    places = np.unique(np.linspace(0, len(front) - 1, min(count, len(front))).round().astype(int))
    chosen = dict.fromkeys(front["point"].iloc[places].tolist())
    if len(places) > 2 and knee not in chosen:  # in place of its neighbour, not of an end
        at = int(np.flatnonzero(front["point"] == knee)[0])
        inner = min(places[1:-1].tolist(), key=lambda place: abs(place - at))
        chosen.pop(front["point"].iloc[inner])
        chosen[knee] = None
    return front[front["point"].isin(list(chosen))].copy()
