"""How a GPU is modelled: kernel by kernel under an engine, or by the plain roofline."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ...arch import Accelerator, Gpu
from ..errors import MappingError
from .engines import ENGINES, Engine, engine

__all__ = ["MODELS", "GpuModel", "How", "how"]

GpuModel = Literal["kernels", "roofline"]

MODELS: Final[tuple[GpuModel, ...]] = ("kernels", "roofline")

DEFAULT_ENGINE: Final = "compiled"


class How(NamedTuple):
    """A model of GPUs, and the engine that it knows.

    Attributes:
        model: Which.
        engine: What runs the workload; None for the roofline, which knows of none.
    """

    model: GpuModel
    engine: Engine | None = None


def how(
    machine: Accelerator | Gpu, model: str | None = None, named: str | None = None
) -> How | None:
    """What was asked for, or the default; None for an accelerator.

    A GPU whose family is known, or that has calibrations of its own, is modelled kernel by kernel,
    compiled; another by the roofline.

    Args:
        machine: What the workload runs on.
        model: One of `MODELS`.
        named: The name of an engine.

    Raises:
        MappingError: They are unknown, or do not apply to the machine or to each other.
    """
    for option, value in (("engine", named), ("model", model)):
        if value is not None and not isinstance(machine, Gpu):
            raise MappingError(
                f"{option}={value}: wanted a GPU, got {machine.name}, which is an accelerator; "
                "leave it out"
            )
    if not isinstance(machine, Gpu):
        return None
    if model is None:
        model = "kernels" if named is not None or machine.is_known else "roofline"
    if model == "roofline":
        if named is not None:
            raise MappingError(
                f"engine={named}: the roofline knows no engines; leave it out, or take kernels"
            )
        return How("roofline")
    if model != "kernels":
        raise MappingError(f"model: wanted one of {', '.join(MODELS)}, got {model!r}")
    if not machine.is_known:
        raise MappingError(f"{machine.name}: model=kernels wants a GPU with a family, got none")
    return How("kernels", engine(named) if named is not None else ENGINES[DEFAULT_ENGINE])
