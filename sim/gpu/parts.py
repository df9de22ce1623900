"""Seconds of a kernel on a GPU, by what takes them."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Confidence", "Parts"]

Confidence = Literal["interpolated", "extrapolated", "uncalibrated"]
"""Between sizes that were measured on this GPU, beyond them, or on a GPU that was not measured."""


class Parts(NamedTuple):
    """What a kernel's time consists of; it is their sum.

    Attributes:
        useful_s: The arithmetic at the peak of the tensor cores.
        edge_s: Tiles' multiply-accumulates outside of the matrix, and what a tile falls short of
            the peak.
        wave_s: SMs that are idle, or have less to do, while the last tiles run.
        memory_s: What bringing the bytes takes beyond the arithmetic.
        vector_s: What the general cores take beyond both.
        launch_s: Before it begins.
        confidence: How far it is from what was measured.
    """

    useful_s: float = 0.0
    edge_s: float = 0.0
    wave_s: float = 0.0
    memory_s: float = 0.0
    vector_s: float = 0.0
    launch_s: float = 0.0
    confidence: Confidence = "uncalibrated"

    @property
    def total_s(self) -> float:
        """The kernel's time."""
        return sum(self[:6])
