"""A study that kills whoever evaluates one of its points: a worker, but never the test itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tilewise.sim.spaces.study import Study

__all__ = ["DeadlyStudy"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DeadlyStudy(Study):
    """A study whose point `deadly` takes its worker with it."""

    deadly: int

    def points(self, numbers: Iterable[int] | Any) -> pd.DataFrame:
        """As those of a study, if one lives to see them."""
        wanted = list(numbers)
        if self.deadly in wanted and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().points(wanted)
