"""How far a sweep is: points, rate and time left; a bar on a terminal, in a log a line a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from ..sim.sweep.chunk_rows import Tally
from .units import duration, plain

__all__ = ["far", "rate"]

_BETWEEN_S = 60.0


@contextmanager
def rate(
    console: Console, clock: Callable[[], float] = time.monotonic
) -> Generator[Callable[[Tally, int], None], None, None]:
    """Show on `console` how far a sweep is while the block runs; yields what is to be told so."""
    begun = said = clock()
    first: int | None = None  # what was there already has no part in the rate
    bar = BarColumn(bar_width=24)
    columns = (SpinnerColumn(), bar, TextColumn("{task.description}"))
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task("", total=None)

    def told(tally: Tally, points: int) -> None:
        nonlocal first, said
        first = tally.points if first is None else first
        now = clock()
        text = far(tally, points, tally.points - first, now - begun)
        if console.is_terminal:
            progress.update(task, description=text, completed=tally.points, total=points)
        elif now - said >= _BETWEEN_S:
            said = now
            console.print(text, markup=False, soft_wrap=True)

    if console.is_terminal:
        progress.start()
    try:
        yield told
    finally:
        if console.is_terminal:
            progress.stop()


def far(tally: Tally, points: int, since: int, seconds: float) -> str:
    """How far a sweep is, in words.

    >>> far(Tally(points=500, failed=2), 2000, 100, 10.0)
    '500 of 2,000 points, 10.0 a second, 2 min left, 2 failed'
    """
    parts = [f"{tally.points:,} of {points:,} points"]
    if since and seconds > 0:
        parts.append(f"{plain(since / seconds)} a second")
        if points > tally.points:
            parts.append(f"{duration((points - tally.points) * seconds / since)} left")
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    return ", ".join(parts)
