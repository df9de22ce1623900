"""The kinds of kernels that can be calibrated, and how each is fitted: one table.

Whatever the kind, a fit takes a table of measurements and a GPU, and gives a calibration and a
report; of GEMMs, one of each number format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...arch import Gpu, MachineError
from ...arch.explain import got
from ...arch.gpu_attention import AttentionCalibration, AttentionKernel, attention_calibrations
from ...arch.value import Value
from .calibrate import calibrate_formats
from .fit_attention import calibrate_attention
from .fit_convolution import calibrate_convolution
from .fit_report import Report
from .fit_streams import calibrate_streams

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FITS", "Fit", "Found", "kernel_of"]


class Found(NamedTuple):
    """A calibration and how well it predicts."""

    calibration: Value
    report: Report


class Fit(NamedTuple):
    """How a kind is fitted.

    Attributes:
        fit: From measurements and a GPU to what was found, by number format, or by `""` where one
            set of constants serves all formats.
        option: What it can be told beside `data`.
    """

    fit: Callable[..., dict[str, Found]]
    option: str | None = None


def _gemm(
    frame: pd.DataFrame, gpu: Gpu, *, data: str, format: str | None = None
) -> dict[str, Found]:
    reports = calibrate_formats(frame, gpu, format, data=data)
    return {name: Found(one.calibration, one.report) for name, one in reports.items()}


def _attention(
    frame: pd.DataFrame, gpu: Gpu, *, data: str, kernel: str | None = None
) -> dict[str, Found]:
    return {"": Found(*calibrate_attention(frame, gpu, kernel_of(gpu, kernel), data=data))}


def _alone(calibrate: Callable[..., tuple[Value, Report]]) -> Fit:
    def fit(frame: pd.DataFrame, gpu: Gpu, **known: Any) -> dict[str, Found]:
        return {"": Found(*calibrate(frame, gpu, **known))}

    return Fit(fit)


FITS: Final[Mapping[str, Fit]] = {
    "gemm": Fit(_gemm, "format"),
    "attention": Fit(_attention, "kernel"),
    "streams": _alone(calibrate_streams),
    "convolution": _alone(calibrate_convolution),
}
"""By kind, as `arch.gpu_own.KINDS` names them."""


def kernel_of(gpu: Gpu, name: str | None = None) -> AttentionKernel:
    """Return the attention kernel of this name, or the one that a GPU is known to run.

    >>> from tilewise.arch import load_machine
    >>> kernel_of(load_machine("h200")).name
    'fa3'

    Raises:
        MachineError: if there is none of that name, or none is known of the GPU.
    """
    shipped = attention_calibrations()
    kernels = {one.kernel.name: one.kernel for one in shipped.by_gpu.values()}
    if name is not None:
        if name not in kernels:
            wanted = " or ".join(kernels)
            raise MachineError(f"--kernel: wanted {wanted}, got {got(name, kernels)}")
        return kernels[name]
    own: AttentionCalibration | None = gpu.calibrations.attention
    if own is not None:
        return own.kernel
    if not {gpu.name, gpu.family} & {*shipped.by_gpu, *shipped.uses}:
        raise MachineError(
            f"{gpu.name}: which attention kernel it runs is not known; "
            f"name it with --kernel: {' or '.join(kernels)}"
        )
    return shipped.of(gpu.name, gpu.family).kernel
