"""The rows of a chunk: points, what they came to and where that comes from, as Parquet.

A chunk is a run of consecutive points.  Its bytes depend on the study and on nothing else, so that
it does not matter who computes it, when, or how often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import __version__
from ..spaces.evaluate import evaluate, metrics_of
from ..spaces.study import Study
from .parquet import Table, encoded, stated, table

if TYPE_CHECKING:
    import pandas as pd
__all__ = ["Job", "Tally", "computed", "config_hashes", "counted", "failed"]

_DIGITS = 20
"""Of SHA-256, in hexadecimal: two of 10^9 points share 80 bits with a chance of one in a million.
All 64 would be half of a row, as they do not compress."""


class Job(NamedTuple):
    """Points `first` to `last` (not in it), which are chunk `chunk`; or `only` some of them."""

    chunk: int
    first: int
    last: int
    only: tuple[int, ...] = ()

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of its points, before constraints."""
        return self.only or range(self.first, self.last)


class Tally(NamedTuple):
    """How many of `points` are `excluded` by constraints, and how the others came out."""

    points: int = 0
    excluded: int = 0
    infeasible: int = 0
    failed: int = 0

    @property
    def rows(self) -> int:
        """Points that the constraints leave."""
        return self.points - self.excluded

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


def computed(study: Study, job: Job) -> bytes:
    """The rows of a chunk."""
    points = study.points(job.numbers)
    return counted(_table(study, points, evaluate(study, points)), len(job.numbers))


def failed(study: Study, job: Job, why: str) -> bytes:
    """The rows of a chunk that could not be computed: an error in each."""
    points = study.points(job.numbers)
    return counted(_table(study, points, _errors(points, why)), len(job.numbers))


def counted(rows: Table, points: int) -> bytes:
    """Rows as a file that says of how many points they are and how they came out."""
    tally = Tally(
        points=points,
        excluded=points - rows.num_rows,
        infeasible=len(stated(rows, "infeasible")),
        failed=len(stated(rows, "error")),
    )
    return encoded(rows, tally._asdict())


def _errors(points: pd.DataFrame, why: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"error": [why] * len(points)}, index=points.index)


def _table(study: Study, points: pd.DataFrame, metrics: pd.DataFrame) -> Table:
    columns: dict[str, tuple[type, Any]] = {}
    for name, kind in _columns(study).items():
        if name in points:
            columns[name] = kind, points[name]
        elif name in metrics:
            columns[name] = kind, metrics[name]
        elif name in metrics_of(study):  # of a chunk that failed as a whole
            columns[name] = kind, [None] * len(points)
        else:
            columns[name] = kind, _said(study, points, name)
    return table(columns)


def _columns(study: Study) -> dict[str, type]:
    """Names and types of the columns: who, every parameter, every metric, and where from."""
    kinds = {"int": int, "float": float, "bool": bool, "text": str}
    found: dict[str, type] = {"point": int, "machine": str}
    found |= {one.name: kinds[one.kind] for one in study.axes}
    found |= {"format": str, "batch": int}
    found |= metrics_of(study) | {"infeasible": str, "error": str}
    return found | {"seed": int, "fidelity": str, "version": str, "config_hash": str}


def _said(study: Study, points: pd.DataFrame, name: str) -> list[Any] | pd.Series[Any]:
    """A column that says the same of every point, or that follows from its parameters."""
    sample = study.space.sample
    if name == "config_hash":
        return config_hashes(study, points)
    if name == "format" and "default_format" in points:
        return points["default_format"]
    said: dict[str, Any] = {
        "machine": study.machine.name,
        "format": study.machine.default_format,
        "batch": 1,
        "seed": sample.seed if sample.drawn else None,
        "fidelity": study.space.fidelity,
        "version": __version__,
    }
    return [said.get(name)] * len(points)


def config_hashes(study: Study, points: pd.DataFrame) -> list[str]:
    """What everything that the numbers of a point depend on hashes to."""
    inputs = study.inputs
    names = [str(name) for name in points.columns if name != "point"]
    named = [name for name in ("workload", "bits", "tokens") if name in names]
    whole: list[object] = [__version__, study.space.fidelity, inputs["machine"], names]
    whole += [inputs["device"]] if study.device else []
    begun = hashlib.sha256(repr(tuple(whole)).encode())
    found: list[str] = []
    for row in zip(*(points[name].astype(object).tolist() for name in names), strict=True):
        of = dict(zip(names, row, strict=True))
        one = begun.copy()
        one.update(repr((row, [inputs[f"{name} {of[name]}"] for name in named])).encode())
        found.append(one.hexdigest()[:_DIGITS])
    return found
