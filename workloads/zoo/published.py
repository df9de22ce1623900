"""What others count of the zoo's models, beside what is counted here.

A model agrees with a published line if its parameters are within 0.1 % of it and its MACs within
0.5 %.  Lines that are recalled, or whose reason says why they differ, are shown and not held to it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from types import MappingProxyType
from typing import Final

from ..graph import Workload
from ..operator import Attention, Operator, Softmax
from . import load, names

__all__ = ["TOLERANCES", "Counted", "Published", "checked", "counted", "published"]

TOLERANCES: Final[Mapping[str, float]] = MappingProxyType(
    {"parameters_m": 1e-3, "gmacs": 5e-3, "gmacs_without_attention": 5e-3}
)
"""How far a counted number may be from a published one, as a share of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a model is, at its defaults.

    Attributes:
        model: Its name.
        parameters_m: Millions of trained numbers.
        gmacs: Thousand million multiply-accumulates of one forward.
        gmacs_without_attention: Without attention's two products.
        tokens: Queries of its self-attentions, stage by stage; empty if it has none.
    """

    model: str
    parameters_m: float
    gmacs: float
    gmacs_without_attention: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A line of `published.csv`.

    Attributes:
        model: Of which.
        values: Quantity of `TOLERANCES` -> what is published; those that are not are left out.
        provenance: `computed`, `seen` or `recalled`.
        source: Where.
        reason: Why it is not held to the tolerance; empty if it is.
    """

    model: str
    values: Mapping[str, float]
    provenance: str
    source: str
    reason: str

    @property
    def gated(self) -> bool:
        """Whether a model must agree with it."""
        return not self.reason and self.provenance != "recalled"

    def differences(self, counted: Counted) -> dict[str, float]:
        """Quantity -> counted over published, less one."""
        return {name: getattr(counted, name) / value - 1 for name, value in self.values.items()}

    def agrees(self, counted: Counted) -> bool:
        """Whether each difference is within its tolerance."""
        return all(
            abs(difference) <= TOLERANCES[name]
            for name, difference in self.differences(counted).items()
        )


def counted(name: str, workload: Workload | None = None) -> Counted:
    """What a model of the zoo is at its defaults.

    Args:
        name: Of the zoo.
        workload: The model, if it is not that of the zoo.

    >>> counted("deit-small").tokens
    (197,)
    """
    model = (load(name) if workload is None else workload).bind()
    queries = [tokens for o in model.operators if (tokens := _queries(o)) is not None]
    return Counted(
        model=name,
        parameters_m=model.parameters / 1e6,
        gmacs=_number(model.macs) / 1e9,
        gmacs_without_attention=_number(model.macs_without_attention) / 1e9,
        tokens=tuple(tokens for tokens, _ in groupby(queries)),
    )


def published() -> tuple[Published, ...]:
    """Every line, in the order of the file."""
    return tuple(_lines())


def checked() -> Iterator[tuple[Counted, tuple[Published, ...]]]:
    """Each model of the zoo as it is counted, and what is published of it."""
    lines = published()
    for name in names():
        yield counted(name), tuple(line for line in lines if line.model == name)


def _lines() -> Iterator[Published]:
    text = resources.files(__package__ or __name__).joinpath("published.csv").read_text()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for row in csv.DictReader(lines):
        yield Published(
            model=row["model"],
            values=MappingProxyType({name: float(row[name]) for name in TOLERANCES if row[name]}),
            provenance=row["provenance"],
            source=row["source"],
            reason=row["reason"],
        )


def _queries(operator: Operator) -> int | None:
    """Tokens of a self-attention, which may be written out as in a training step."""
    if isinstance(operator, Attention) and operator.queries == operator.keys:
        return _number(operator.queries)
    if isinstance(operator, Softmax) and operator.name.endswith("/Attention/softmax"):
        return _number(operator.row_length)
    return None


def _number(size: object) -> int:
    assert isinstance(size, int)
    return size
