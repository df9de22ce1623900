"""A published number and a simulated one, side by side."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal, NamedTuple

__all__ = [
    "Claim",
    "Kind",
    "Published",
    "Reproduction",
    "Row",
    "Sensitivity",
    "published",
    "rows_of",
]

Kind = Literal["fixed", "predicted", "counted", "not comparable"]


class Published(NamedTuple):
    """A line of `published.csv`: a number as printed.

    Attributes:
        key: The line's own name.
        paper: The command that shows it.
        model: Of which it is printed.
        what: Of it.
        published: The number.
        unit: Its unit; `x` is a factor.
        provenance: `seen` in the source itself, or `recalled`, not checked against it.
        source: Where.
        reason: Why it is not compared; empty if it is.
    """

    key: str
    paper: str
    model: str
    what: str
    published: float
    unit: str
    provenance: str
    source: str
    reason: str


class Claim(NamedTuple):
    """What Tilewise has to say about a published number.

    Attributes:
        simulated: In the same unit.
        note: What was fixed, or why they differ.
        kind: `fixed` if an open parameter was chosen, or a price fitted, by this very number;
            `predicted` if nothing was; `counted` if no machine was needed.
        roofline: What the plain roofline says, of a GPU.
    """

    simulated: float
    note: str = ""
    kind: Kind = "predicted"
    roofline: float | None = None


class Row(NamedTuple):
    """A published number beside a simulated one.

    Attributes:
        line: What is published.
        claim: What is simulated; None if they are not comparable.
    """

    line: Published
    claim: Claim | None

    @property
    def kind(self) -> Kind:
        """The claim's."""
        return self.claim.kind if self.claim else "not comparable"

    @property
    def simulated(self) -> float | None:
        """In the unit of what is published."""
        return self.claim.simulated if self.claim else None

    @property
    def note(self) -> str:
        """What was fixed, why they differ, or why they are not compared."""
        return self.claim.note if self.claim else self.line.reason

    @property
    def error(self) -> float | None:
        """Of what is simulated, over what is published.

        >>> line = published("heatvit")[0]
        >>> Row(line, Claim(1.25 * line.published)).error
        0.25
        """
        return self.claim.simulated / self.line.published - 1 if self.claim else None

    @property
    def roofline_error(self) -> float | None:
        """The same of the plain roofline, if that was asked."""
        if self.claim is None or self.claim.roofline is None:
            return None
        return self.claim.roofline / self.line.published - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A paper's numbers, and what had to be assumed for them.

    Attributes:
        paper: Its name here.
        title: Its citation.
        assumptions: What the paper leaves open, as it was taken.
        rows: In the order of `published.csv`.
    """

    paper: str
    title: str
    assumptions: tuple[str, ...]
    rows: tuple[Row, ...]

    def of(self, kind: Kind, provenance: str | None = None) -> tuple[Row, ...]:
        """The rows of a kind, and of a provenance if one is given."""
        return tuple(
            row
            for row in self.rows
            if row.kind == kind and provenance in (None, row.line.provenance)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Readings under other choices of what a paper leaves open.

    Attributes:
        title: What is varied.
        readings: What is read, with its unit.
        published: The same as printed; None where it is not.
        variants: A choice and its readings, the one that was taken first.
    """

    title: str
    readings: tuple[str, ...]
    published: tuple[float | None, ...]
    variants: tuple[tuple[str, tuple[float, ...]], ...]


def published(paper: str) -> tuple[Published, ...]:
    """What is printed, of one paper's family."""
    text = resources.files(__name__.rpartition(".")[0]).joinpath("published.csv")
    lines = text.read_text(encoding="utf-8").splitlines()
    found = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(
        Published(published=float(line.pop("published")), **line)
        for line in found
        if line["paper"] == paper
    )


def rows_of(paper: str, claims: Mapping[str, Claim]) -> tuple[Row, ...]:
    """A row for each published number of a paper, in order.

    Raises:
        ValueError: A number that can be compared has no claim, or a claim no such number.
    """
    lines = published(paper)
    missing = {line.key for line in lines if not line.reason} ^ claims.keys()
    if missing:
        raise ValueError(f"{paper}: wanted a claim for each number, got {sorted(missing)} wrong")
    return tuple(Row(line, claims.get(line.key)) for line in lines)
