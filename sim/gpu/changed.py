"""A GPU that is not, or no longer, the one that constants were fitted on."""

from __future__ import annotations

from functools import lru_cache

from ...arch import Gpu, load_machine, machine_names

__all__ = ["has_other_power", "is_changed", "launch_ratio"]

_MEASURED_ON = (
    "sms", "clock_hz", "peak_flops", "vector_flops", "dram", "l2_bytes", "launch_s", "tdp_w",
)  # fmt: skip


@lru_cache(maxsize=64)
def is_changed(gpu: Gpu) -> bool:
    """Whether a GPU has the name of a shipped one, and is another in what takes time.

    Constants that a machine file brings along are that machine's, whatever its name.
    """
    shipped = _shipped(gpu.name)
    if shipped is None or gpu.calibrations.gpu == gpu.name:
        return False
    return any(getattr(gpu, what) != getattr(shipped, what) for what in _MEASURED_ON)


@lru_cache(maxsize=64)
def has_other_power(gpu: Gpu) -> bool:
    """Whether it may draw more or less than when it was measured."""
    shipped = _shipped(gpu.name)
    return is_changed(gpu) and shipped is not None and gpu.tdp_w != shipped.tdp_w


@lru_cache(maxsize=256)
def launch_ratio(gpu: Gpu, measured: str) -> float:
    """How much longer a launch takes than on the machine that constants were fitted on.

    1 for constants that a machine file brings along, as nobody knows another machine for them.
    """
    shipped = _shipped(measured)
    if shipped is None or gpu.calibrations.gpu == measured or not shipped.launch_s:
        return 1.0
    return gpu.launch_s / shipped.launch_s


def _shipped(name: str) -> Gpu | None:
    machine = load_machine(name) if name in machine_names() else None
    return machine if isinstance(machine, Gpu) else None
