"""Published figures beside simulated ones: what was fixed on which row, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from types import MappingProxyType

from ..errors import PaperError
from . import deepcache, gpu, heatvit, quasar, trilevel
from .rows import Published, Reproduction, Row, Sensitivity, published

__all__ = [
    "PAPERS",
    "PaperError",
    "Published",
    "Reproduction",
    "Row",
    "Sensitivity",
    "published",
    "reproduce",
    "sensitivities",
]

_Rows = Callable[[], Reproduction]
_Sensitivities = Callable[[], tuple[Sensitivity, ...]]
_OF = MappingProxyType[str, tuple[_Rows, _Sensitivities]](
    {
        "heatvit": (heatvit.reproduction, heatvit.sensitivities),
        "quasar-vit": (quasar.reproduction, quasar.sensitivities),
        "tri-level": (trilevel.reproduction, trilevel.sensitivities),
        "deepcache": (deepcache.reproduction, deepcache.sensitivities),
        "gpu": (gpu.reproduction, gpu.sensitivities),
    }
)

PAPERS: tuple[str, ...] = tuple(_OF)
"""What `reproduce` knows."""


def reproduce(paper: str) -> Reproduction:
    """Every published number of a paper's family, and beside it what Tilewise simulates.

    Raises:
        PaperError: There is no such paper here; the message names the nearest.
    """
    return _of(paper)[0]()


def sensitivities(paper: str) -> tuple[Sensitivity, ...]:
    """What other choices of what the paper leaves open would have given.

    Raises:
        PaperError: As of `reproduce`.
    """
    return _of(paper)[1]()


def _of(paper: str) -> tuple[_Rows, _Sensitivities]:
    if paper not in _OF:
        near = get_close_matches(paper, PAPERS, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise PaperError(f"no paper is called {paper}{hint} There are {', '.join(PAPERS)}.")
    return _OF[paper]
