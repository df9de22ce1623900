"""What holds of every figure."""

from __future__ import annotations

from typing import Any

from matplotlib.text import Text

from tilewise.reports.figures import INCHES, Width


def assert_text_lies_inside(figure: Any, width: Width) -> None:
    """All text has eight points, and nothing lies beyond the paper's width."""
    figure.draw_without_rendering()
    sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
    assert sizes == {8}
    drawn = figure.get_tightbbox()
    wide, high = figure.get_size_inches()
    assert wide == INCHES[width]
    assert 0 <= drawn.x0 < drawn.x1 <= wide
    assert 0 <= drawn.y0 < drawn.y1 <= high
