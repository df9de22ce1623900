"""A sign of life: on a terminal only, and only once the work has taken a second."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["Steps", "steps"]

_PATIENCE_S = 1.0


class Steps(Protocol):
    """What the worker says."""

    def __call__(self, what: str) -> None:
        """The next step begins, and is called `what`."""


@contextmanager
def steps(count: int, console: Console) -> Generator[Steps, None, None]:
    """Show progress through `count` steps on `console` while the block runs."""
    if not console.is_terminal:
        yield lambda what: None
        return
    bar = BarColumn(bar_width=24)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), bar, TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task("", total=count if count > 1 else None)  # one step: only alive
    begun = 0

    def step(what: str) -> None:
        nonlocal begun
        progress.update(task, description=what, completed=begun)
        begun += 1

    timer = threading.Timer(_PATIENCE_S, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield step
    finally:
        timer.cancel()
        timer.join()  # it may be starting the bar this very moment
        if progress.live.is_started:
            progress.stop()
