"""Settings of all tests: examples have no time limit, and CI draws the same ones every time."""

import os
from pathlib import Path

import pytest
from command_line import Run
from hypothesis import settings

settings.register_profile("tilewise", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tilewise")


@pytest.fixture
def tilewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs `tilewise` in a folder of its own, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Run(capsys)
