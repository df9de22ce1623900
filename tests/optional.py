"""Modules that only the extras install."""

import importlib
import os
from typing import Any

import pytest


def needed(module: str) -> Any:
    """Imports an optional module, or skips, or fails where the extras are required."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if os.environ.get("TILEWISE_REQUIRE_EXTRAS") == "1":
            pytest.fail(f"TILEWISE_REQUIRE_EXTRAS is 1, but {error}")
        pytest.skip(f"needs the export extra: {error}")
