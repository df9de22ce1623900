"""The command line, run in this process."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tilewise import cli


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Run:
    """Runs command lines in this process, each with some first arguments before its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *first: str) -> None:
        self._capsys, self._first = capsys, first

    def __call__(self, *arguments: str) -> Ended:
        with pytest.raises(SystemExit) as exit_:
            cli.main((*self._first, *arguments))
        assert isinstance(exit_.value.code, int)
        captured = self._capsys.readouterr()
        return Ended(exit_.value.code, captured.out, captured.err)
