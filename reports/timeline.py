"""The geometry of a timeline: how busy each unit was, stretch by stretch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..sim.result import Result
from ..sim.spans import UNITS
from .charts import LABELS, PLOT, Segment
from .groups import module_paths
from .style import UNIT_COLORS, UNIT_LABELS
from .units import percent, quantity

__all__ = ["Timeline", "Track", "timeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One unit: the outline of how busy it was."""

    y: float
    label: str
    color: str
    path: str
    busy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """How busy each unit was over time, under the modules that ran."""

    tracks: tuple[Track, ...]
    modules: tuple[Segment, ...]
    ticks: tuple[tuple[float, str], ...]
    unit: str
    axis: float
    height: float


_TRACK, _STRIP = 30.0, 26.0
_BINS = 700
_MODULES = 24


def timeline(result: Result) -> Timeline:
    """Every unit's busy share in each of some hundred stretches of the run."""
    cycles = max(result.cycles, 1)
    edges = np.linspace(0.0, float(cycles), _BINS + 1)
    spans = result.spans.expanded()
    tracks: list[Track] = []
    y = _STRIP + 10
    for unit in UNITS:
        of_unit = spans.is_of(unit)
        if not of_unit.any():
            continue
        busy = _busy_before(edges, spans.start[of_unit], np.minimum(spans.end, cycles)[of_unit])
        shares = np.diff(busy) / np.diff(edges)
        tracks.append(
            Track(
                y=y,
                label=UNIT_LABELS[unit],
                color=UNIT_COLORS[unit],
                path=_outline(shares),
                busy=f"{percent(float(busy[-1]) / cycles)} busy",
            )
        )
        y += _TRACK + 10
    scale, prefix = _unit_of(result.latency_s)
    ticks = tuple(
        (LABELS + PLOT * t / max(result.latency_s * scale, 1e-12), f"{t:g}")
        for t in _round_steps(result.latency_s * scale)
    )
    return Timeline(
        tracks=tuple(tracks),
        modules=tuple(_modules(result, cycles)),
        ticks=ticks,
        unit=f"{prefix}s",
        axis=y,
        height=y + 42,
    )


def _busy_before(
    times: NDArray[np.float64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How long a unit has worked before each of `times`; its spans do not overlap."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum(ends[order], starts[order])
    done = np.cumsum(ends - starts)
    corners = np.column_stack((starts, ends)).ravel()
    worked = np.column_stack((done - (ends - starts), done)).ravel()
    return np.asarray(np.interp(times, corners, worked), dtype=np.float64)


def _outline(shares: NDArray[np.float64]) -> str:
    """An SVG path of steps, as high as the share is large."""
    heights = np.round(_TRACK * (1 - np.clip(shares, 0.0, 1.0)), 1)
    changes = np.flatnonzero(np.concatenate(([True], heights[1:] != heights[:-1])))
    step = PLOT / len(shares)
    parts = [f"M0 {_TRACK:g}"]
    for index in changes.tolist():
        parts.append(f"H{index * step:.1f}V{heights[index]:g}")
    return "".join([*parts, f"H{PLOT:g}V{_TRACK:g}Z"])


def _modules(result: Result, cycles: int) -> list[Segment]:
    """Stretches in which kernels of one module start, one after another."""
    paths = module_paths(result.operators, _MODULES)
    begins: list[tuple[int, str]] = []
    for path, operator in zip(paths, result.operators, strict=True):
        if not begins or begins[-1][1] != path:
            begins.append((max(operator.start_cycle, begins[-1][0] if begins else 0), path))
    found: list[Segment] = []
    for index, ((begin, path), (end, _)) in enumerate(pairwise([*begins, (cycles, "")])):
        width = PLOT * (end - begin) / cycles
        title = f"{path}: {quantity((end - begin) / result.clock_hz, 's')}"
        fitting = (name for name in (path, path.rpartition(".")[2]) if width > 6.5 * len(name) + 4)
        color = "#E8E8E8" if index % 2 else "#D5D5D5"
        found.append(
            Segment(
                x=LABELS + PLOT * begin / cycles,
                width=width,
                color=color,
                ink="#222222",
                text=next(fitting, ""),
                title=title,
            )
        )
    return found


def _unit_of(seconds: float) -> tuple[float, str]:
    for scale, prefix in ((1.0, ""), (1e3, "m"), (1e6, "µ")):
        if seconds * scale >= 1:
            return scale, prefix
    return 1e9, "n"


def _round_steps(maximum: float) -> list[float]:
    """Round numbers from 0 up to `maximum`, some six of them."""
    if maximum <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(maximum / 4))
    step = next(power * f for f in (1, 2, 5, 10) if maximum / (power * f) <= 8)
    return [round(step * i, 12) for i in range(int(maximum / step + 1e-9) + 1)]
