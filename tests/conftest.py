"""Settings of all tests: examples have no time limit, and CI draws the same ones every time."""

import os

from hypothesis import settings

settings.register_profile("tilewise", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tilewise")
