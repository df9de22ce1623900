"""What one result gains over another: the speed-up beside the reduction in MACs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..sim.result import Result
from .units import ratio

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

__all__ = ["Comparison", "Gain", "compare", "factor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """One result beside the base, image for image; a ratio above 1 is a gain.

    Attributes:
        speed_up: Latency of the base over this one's.
        mac_ratio: MACs of the base over this one's.
        energy_ratio: Joules of the base over this one's.
    """

    speed_up: float
    mac_ratio: float
    energy_ratio: float

    @property
    def realized(self) -> float:
        """Speed-up over what the MACs alone would give."""
        return _over(self.speed_up, self.mac_ratio)


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Results beside the first of them; `print` shows the table.

    Attributes:
        results: At least one; the first is the base.
    """

    results: tuple[Result, ...]

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("a comparison needs at least one result, got none")

    @property
    def base(self) -> Result:
        """What the others are compared with."""
        return self.results[0]

    @property
    def gains(self) -> tuple[Gain, ...]:
        """One for each result, the base's own included."""
        return tuple(_gain(self.base, result) for result in self.results)

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each result but the base: what its MACs promise and what it keeps."""
        return tuple(
            f"{result.workload} on {result.machine}{_bits(self.base, result)}: "
            f"MACs {factor(gain.mac_ratio, 'fewer')}, latency {factor(gain.speed_up, 'less')}"
            for result, gain in zip(self.results[1:], self.gains[1:], strict=True)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the workloads wants to be known, and whether the batches differ."""
        notes = [note for result in self.results for note in result.notes]
        batches = {result.batch for result in self.results}
        if len(batches) > 1:
            counts = " and ".join(f"{r.workload} {r.batch}" for r in self.results)
            notes.append(f"compared by the image, but the batches differ: {counts}")
        return tuple(dict.fromkeys(notes))

    def as_dicts(self) -> list[dict[str, Any]]:
        """One mapping for each result, ready for JSON; a ratio without meaning is None."""
        return [
            {
                "workload": result.workload,
                "machine": result.machine,
                "format": result.format,
                "bits": result.bits,
                "batch": result.batch,
                "latency_per_image_s": result.latency_per_image_s,
                "utilization": result.utilization,
                "energy_per_image_j": result.energy_per_image_j,
                "macs_per_image": result.macs / result.batch,
                "mac_ratio": _number(gain.mac_ratio),
                "speed_up": _number(gain.speed_up),
                "energy_ratio": _number(gain.energy_ratio),
                "realized": _number(gain.realized),
            }
            for result, gain in zip(self.results, self.gains, strict=True)
        ]

    def frame(self) -> pd.DataFrame:
        """One row for each result."""
        import pandas as pd

        return pd.DataFrame(self.as_dicts())

    def table(self) -> Table:
        """The comparison as a table for a terminal."""
        from .table import comparison_table

        return comparison_table(self)

    def __str__(self) -> str:
        from .table import as_text

        return as_text(self.table())

    def __repr__(self) -> str:
        names = ", ".join(f"{result.workload} on {result.machine}" for result in self.results)
        return f"Comparison({names})"


def compare(*results: Result) -> Comparison:
    """Compare results with the first of them, image for image.

    Raises:
        ValueError: There is no result.
    """
    return Comparison(results)


def _bits(base: Result, result: Result) -> str:
    """In what a result and its base store their numbers, if one has bits of its own."""
    own, before = result.bits or result.format, base.bits or base.format
    if own != before:
        return f" ({own}; base: {before})"
    return f" ({own})" if result.bits else ""


def _gain(base: Result, result: Result) -> Gain:
    return Gain(
        speed_up=_over(base.latency_per_image_s, result.latency_per_image_s),
        mac_ratio=_over(base.macs / base.batch, result.macs / result.batch),
        energy_ratio=_over(base.energy_per_image_j, result.energy_per_image_j),
    )


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def factor(value: float, gain: str, loss: str = "more") -> str:
    """A gain in words that are right both ways.

    It is equal where three digits show no difference.

    >>> factor(1.7376, "fewer"), factor(0.5755, "fewer"), factor(0.9998, "less")
    ('1.74x fewer', '1.74x more', 'equal')
    """
    if not math.isfinite(value) or not value:
        return "not comparable"
    shown = ratio(max(value, 1 / value))
    if shown == ratio(1):
        return "equal"
    return f"{shown} {gain if value > 1 else loss}"
