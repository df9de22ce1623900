"""Settings of all tests: examples have no time limit, and CI draws the same ones every time."""

import gc
import os
from pathlib import Path

import pytest
from command_line import Run
from hypothesis import settings

settings.register_profile("tilewise", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tilewise")

# What tests keep, such as graphs of the zoo, is looked through again and again for cycles: at the
# default of 700 new objects that takes a tenth of their time.
gc.set_threshold(50_000)


@pytest.fixture
def tilewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Runs `tilewise` in a folder of its own, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Run(capsys)
