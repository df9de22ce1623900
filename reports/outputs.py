"""Where the reading of a run goes: JSON, HTML and traces, on request."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from .compare import Comparison
from .files import OutputError, check_writable, json_text, write_text

__all__ = ["Outputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Files that a user asked for; they are refused at once if they cannot be written.

    Attributes:
        json: Path of the numbers, `-` for standard output.
        html: Path of the report.
        trace: Path of the trace.
        inputs: What the command reads, which no output may replace.

    Raises:
        OutputError: One of them cannot be written, or is an input or another output.
    """

    json: str | None = None
    html: Path | None = None
    trace: Path | None = None
    inputs: Sequence[Path] = ()

    def __post_init__(self) -> None:
        for option, path in (("--html", self.html), ("--trace", self.trace)):
            if path == Path("-"):
                raise OutputError(f"{option} -: only --json - is standard output; give a file")
        json = None if self.json in (None, "-") else Path(self.json)
        outputs = [path for path in (json, self.html, self.trace) if path is not None]
        check_writable(outputs, self.inputs)

    @property
    def console(self) -> Console:
        """Where tables go: standard error if standard output is for JSON alone."""
        return Console(stderr=self.json == "-", highlight=False)

    def write(
        self, comparisons: Sequence[Comparison], values: Mapping[str, Any] | None = None
    ) -> None:
        """Write every file that was asked for.

        Args:
            comparisons: For the report and the trace.
            values: For the JSON.

        Raises:
            OutputError: A file cannot be written; what was there is whole.
        """
        if self.json == "-":
            sys.stdout.write(json_text(values))
        elif self.json is not None:
            self._file(Path(self.json), json_text(values))
        if self.html is not None:
            from .html import html_text

            self._file(self.html, html_text(comparisons))
        if self.trace is not None:
            from .trace import trace_text

            results = [result for comparison in comparisons for result in comparison.results]
            self._file(self.trace, trace_text(*results))

    def _file(self, path: Path, text: str) -> None:
        write_text(path, text)
        self.console.print(f"wrote {path}", markup=False, soft_wrap=True)
