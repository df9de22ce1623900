"""A run as a trace that Perfetto and chrome://tracing open: a process a run, a track a unit.

The viewers keep whole nanoseconds, cut off from microseconds in floating point.  Every time is
therefore rounded to a nanosecond first and then written as the least float that is cut back to it,
so that slices which meet in the model meet in the viewer, and never overlap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..sim.result import Result
from ..sim.spans import UNITS
from .style import UNIT_LABELS

__all__ = ["microseconds", "trace", "trace_text"]

SLICES = 200_000
"""Slices beyond which neighbours are drawn as one; the viewer gets slow with many more."""

Column = NDArray[np.int64]


def trace(*results: Result, limit: int = SLICES) -> dict[str, Any]:
    """The Trace Event Format of Chrome, in its JSON object form.

    Each slice is named after its kernel.  `args.busy_cycles` is the work inside a slice, which is
    less than its length only where slices had to be merged; `metadata` says so if they were.
    `args.kernel_macs` and `args.kernel_dram_bytes` are the whole kernel's on each of its slices.

    Args:
        results: Each becomes a process.
        limit: How many slices a result may have.
    """
    events: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    for process, result in enumerate(results, start=1):
        title = f"{result.workload} on {result.machine}"
        events += _names(process, title, result)
        gap, slices = _slices(result, limit)
        events += _events(process, result, slices)
        metadata[f"{process}: {title}"] = _facts(result, gap)
    return {"traceEvents": events, "displayTimeUnit": "ns", "metadata": metadata}


def trace_text(*results: Result, limit: int = SLICES) -> str:
    """The trace as the text of a JSON file, without spaces because it is long."""
    return json.dumps(trace(*results, limit=limit), allow_nan=False, separators=(",", ":"))


def _names(process: int, title: str, result: Result) -> Iterator[dict[str, Any]]:
    yield _metadata("process_name", process, 0, {"name": title})
    for track, unit in enumerate(UNITS):
        if np.any(result.spans.unit == track):
            yield _metadata("thread_name", process, track + 1, {"name": UNIT_LABELS[unit]})
            yield _metadata("thread_sort_index", process, track + 1, {"sort_index": track})


def _metadata(name: str, process: int, track: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": process, "tid": track, "args": args}


def _facts(result: Result, gap: int) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "version": result.version,
        "format": result.format,
        "batch": result.batch,
        "bindings": dict(result.bindings),
        "config_hash": result.config_hash,
        "cycles": result.cycles,
        "clock_hz": result.clock_hz,
    }
    if gap >= 0:
        facts["merged"] = (
            f"slices of one kernel on one unit that are at most {gap} cycles apart are drawn as "
            "one; args.busy_cycles is the work inside"
        )
    return facts


def _slices(result: Result, limit: int) -> tuple[int, tuple[Column, ...]]:
    """The gap that was merged over (-1 for none), and unit, kernel, start, end, busy cycles."""
    spans = result.spans.expanded()
    order = np.lexsort((spans.end, spans.start, spans.unit))
    order = order[spans.end[order] > spans.start[order]]
    slices: tuple[Column, ...] = (
        spans.unit[order],
        spans.kernel[order],
        spans.start[order],
        spans.end[order],
        spans.end[order] - spans.start[order],
    )
    gap = -1
    while len(slices[0]) > limit and gap <= result.cycles:
        gap = 0 if gap < 0 else max(1, 2 * gap)
        slices = _merged(slices, gap)
    return gap, slices


def _merged(slices: tuple[Column, ...], gap: int) -> tuple[Column, ...]:
    unit, kernel, start, end, busy = slices
    joined = (unit[1:] == unit[:-1]) & (kernel[1:] == kernel[:-1]) & (start[1:] - end[:-1] <= gap)
    first = np.flatnonzero(np.concatenate(([True], ~joined)))
    last = np.concatenate((first[1:], [len(unit)])) - 1
    return unit[first], kernel[first], start[first], end[last], np.add.reduceat(busy, first)


def _events(process: int, result: Result, slices: tuple[Column, ...]) -> Iterator[dict[str, Any]]:
    unit, kernel, start, end, busy = slices
    first, last = (
        np.rint(cycles * (1e9 / result.clock_hz)).astype(np.int64) for cycles in (start, end)
    )
    begins, lengths = microseconds(first), microseconds(last - first)
    columns = (unit, kernel, begins, lengths, busy)
    rows = cast(
        "Iterable[tuple[int, int, float, float, int]]",
        zip(*(column.tolist() for column in columns), strict=True),
    )
    for track, index, begin, length, cycles in rows:
        operator = result.operators[index]
        yield {
            "name": operator.name,
            "cat": operator.kind,
            "ph": "X",
            "pid": process,
            "tid": track + 1,
            "ts": begin,
            "dur": length,
            "args": {
                "mapping": operator.mapping,
                "kernel_macs": operator.macs,
                "kernel_dram_bytes": operator.dram_bytes,
                "busy_cycles": cycles,
            },
        }


def microseconds(nanoseconds: Column) -> NDArray[np.float64]:
    """The least floats that times 1000, cut off, are the nanoseconds again.

    >>> microseconds(np.array([1001])).item(), 1.001 * 1000
    (1.0010000000000001, 1000.9999999999999)
    """
    times = nanoseconds / 1000.0
    short = (times * 1000.0).astype(np.int64) < nanoseconds
    return np.where(short, np.nextafter(times, np.inf), times)
