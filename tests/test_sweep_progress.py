"""How far a sweep is, on a terminal and in a log."""

from __future__ import annotations

import io

from rich.console import Console

from tilewise.reports.sweep_progress import far, rate
from tilewise.sim.sweep.chunk_rows import Tally


def test_a_log_has_a_line_a_minute_and_what_was_there_has_no_part_in_the_rate() -> None:
    now = [0.0]
    out = io.StringIO()
    with rate(Console(file=out, width=80), clock=lambda: now[0]) as told:
        for points in (1000, 1100, 1200, 1300):
            told(Tally(points=points), 2000)
            now[0] += 40
    lines = out.getvalue().splitlines()
    assert lines == ["1,200 of 2,000 points, 2.50 a second, 5 min left"]


def test_a_terminal_has_a_bar_that_goes_away() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with rate(console) as told:
        told(Tally(points=10), 20)
    assert "10 of 20 points" in out.getvalue()


def test_the_end_has_no_time_left() -> None:
    assert far(Tally(points=20), 20, 20, 2.0) == "20 of 20 points, 10.0 a second"
    assert far(Tally(points=5), 20, 0, 2.0) == "5 of 20 points"
