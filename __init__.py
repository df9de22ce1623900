"""Tilewise: what hardware gains when the number of tokens varies, and where the rest went.

    import tilewise as tw

    result = tw.simulate(tw.workload("deit-small"), tw.machine("edge-32x32"))

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arch import load_machine as machine
    from .reports.compare import compare
    from .sim.cost import CostModel
    from .sim.nas import SearchSpace, search_space
    from .sim.nas.tables import LookupTable
    from .sim.result import Result
    from .sim.search import search
    from .sim.simulate import simulate
    from .sim.spaces.space import Space
    from .sim.sweep import sweep
    from .workloads import Workload, workload

__version__ = "0.1.0"
__all__ = [
    "CostModel",
    "LookupTable",
    "Result",
    "SearchSpace",
    "Space",
    "Workload",
    "__version__",
    "compare",
    "machine",
    "search",
    "search_space",
    "simulate",
    "sweep",
    "workload",
]

_HOMES = {
    "CostModel": ("sim.cost", "CostModel"),
    "LookupTable": ("sim.nas.tables", "LookupTable"),
    "Result": ("sim.result", "Result"),
    "SearchSpace": ("sim.nas", "SearchSpace"),
    "Space": ("sim.spaces.space", "Space"),
    "Workload": ("workloads", "Workload"),
    "compare": ("reports.compare", "compare"),
    "machine": ("arch", "load_machine"),
    "search": ("sim.search", "search"),
    "search_space": ("sim.nas", "search_space"),
    "simulate": ("sim.simulate", "simulate"),
    "sweep": ("sim.sweep", "sweep"),
    "workload": ("workloads", "workload"),
}


_ROOMS = ("arch", "reports", "sim", "workloads")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewise' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
