"""How a GPU was modelled, in words: the model, the engine, and how sure the times are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from .units import percent

__all__ = ["INITIALS", "SHORT", "OnGpu", "gpu_line", "gpu_notes", "gpu_values"]

SHORT: Final[Mapping[str, str]] = {
    "interpolated": "interp.",
    "extrapolated": "extrap.",
    "uncalibrated": "uncal.",
}
"""How sure a kernel's time is, for a narrow column."""

INITIALS: Final[Mapping[str, str]] = {label: label[0] for label in SHORT}
"""The same for a narrow terminal."""


class OnGpu(Protocol):
    """What knows how a GPU was modelled: a result, a staircase, a run of policies."""

    @property
    def model(self) -> str:
        """`kernels` or `roofline`; empty for an accelerator."""
        ...

    @property
    def engine(self) -> str:
        """What ran the workload; empty where the model knows of none."""
        ...


def gpu_line(run: OnGpu, confidence: Mapping[str, float] | None = None) -> str:
    """The model and the engine of a GPU, and what part of the time is how sure.

    Empty for an accelerator.
    """
    parts = [run.model, run.engine]
    if confidence:
        sure = ", ".join(f"{percent(share)} {label}" for label, share in confidence.items())
        parts.append(f"of its time {sure}")
    return ", ".join(part for part in parts if part)


def gpu_notes(run: OnGpu) -> list[str]:
    """A line for above a CSV; none for an accelerator."""
    return [f"GPU model {gpu_line(run)}"] if run.model else []


def gpu_values(run: OnGpu) -> dict[str, Any]:
    """The same for JSON, without the shares; empty for an accelerator."""
    return {"model": run.model, "engine": run.engine} if run.model else {}
