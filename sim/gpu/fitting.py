"""Fitting a few physical constants to measured kernels: bounded, converged, some rows held out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

__all__ = ["Bound", "CalibrationError", "Report", "columns", "error", "fit", "held_out"]

Floats = NDArray[np.float64]

Bound = tuple[float, float, float]
"""The least, a usual, and the most value of a constant."""

_STARTS = 3
_SEED = 2026
_USUAL_ERROR = 0.1  # beyond it, a row counts by its error, not by its square: clocks throttle


class CalibrationError(ValueError):
    """Measurements from which nothing can be fitted; one line: where, wanted, got, cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How well a fit predicts; errors are mean absolute ones, as shares of the measured time.

    Attributes:
        fitted_shapes, held_out_shapes: Rows that the fit has seen, and that it has not.
        fitted_mape, held_out_mape: Of each.
        roofline_mape: Of the plain roofline, on the rows held out.
        by: The held-out error of groups of rows.
    """

    fitted_shapes: int
    held_out_shapes: int
    fitted_mape: float
    held_out_mape: float
    roofline_mape: float
    by: Mapping[str, float] = field(default_factory=dict[str, float])


def columns(
    frame: pd.DataFrame, sizes: Sequence[str], what: str
) -> tuple[dict[str, NDArray[np.int64]], Floats]:
    """The sizes of measured kernels, and their seconds.

    Raises:
        CalibrationError: A column is missing, empty, or holds what is no size or time.
    """
    for name in (*sizes, "latency_ms"):
        if name not in frame.columns:
            got = ", ".join(str(column) for column in frame.columns) or "none"
            raise CalibrationError(
                f"{what}: wanted the columns {', '.join(sizes)}, latency_ms; got {got}; "
                f"add or rename {name}"
            )
    if len(frame) < 5 * len(sizes):
        raise CalibrationError(
            f"{what}: wanted at least {5 * len(sizes)} rows, got {len(frame)}; measure more"
        )
    found: dict[str, Any] = {}
    for name in (*sizes, "latency_ms"):
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        wrong = ~(np.isfinite(numbers) & (numbers > 0))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CalibrationError(
                f"{what}: row {row}: {name}: wanted a number above 0, "
                f"got {frame[name].iloc[row]!r}; drop the row"
            )
        found[name] = numbers
    times = found.pop("latency_ms") * 1e-3
    return {name: values.astype(np.int64) for name, values in found.items()}, times


def held_out(*sizes: NDArray[np.int64], one_in: int = 5) -> NDArray[np.bool_]:
    """Which rows a fit must not see, `(rows,)`: one in five by the CRC of their sizes.

    Equal sizes fall on the same side, today and on any machine.
    """
    rows = np.stack([np.asarray(size, dtype="<i8") for size in sizes], axis=1)
    return np.asarray([zlib.crc32(row.tobytes()) % one_in == 0 for row in rows], dtype=bool)


def fit(
    predict: Callable[[Mapping[str, float]], Floats],
    bounds: Mapping[str, Bound],
    seconds: Floats,
    what: str,
) -> dict[str, float]:
    """Return the constants that come closest to measured `seconds`, `(rows,)`, in log error.

    The best of three starts, one usual and two drawn with a fixed seed; `scipy`'s trust-region
    reflective method with a soft L1 loss.

    Raises:
        CalibrationError: No start converges.
    """
    names = tuple(bounds)
    lower, usual, upper = (np.asarray([bounds[n][i] for n in names]) for i in range(3))
    random = np.random.default_rng(_SEED)
    # Between bound and usual value: far from it are no physical constants, and many minima.
    drawn = [usual + random.uniform(-0.5, 0.5) * (upper - lower) * 0.5 for _ in range(_STARTS - 1)]
    log_s = np.log(seconds)

    def residuals(values: Floats) -> Floats:
        return np.log(predict(dict(zip(names, values.tolist(), strict=True)))) - log_s

    best: Any = None
    for start in (usual, *drawn):
        inside = np.clip(start, lower + 1e-6 * (upper - lower), upper - 1e-6 * (upper - lower))
        found = least_squares(
            residuals,
            inside,
            bounds=(lower, upper),
            x_scale=(upper - lower) / 4,
            diff_step=np.full(len(names), 1e-4),
            loss="soft_l1",
            f_scale=_USUAL_ERROR,
            max_nfev=200,
        )
        if found.success and (best is None or found.cost < best.cost):
            best = found
    if best is None:
        raise CalibrationError(
            f"{what}: wanted a fit that converges in 200 steps, got none from {_STARTS} starts; "
            "measure more sizes"
        )
    # A constant that ends at its bound is the bound, not a hair inside of it.
    near = 1e-5 * (upper - lower)
    values = np.where(best.x < lower + near, lower, np.where(best.x > upper - near, upper, best.x))
    return {name: float(f"{value:.4g}") for name, value in zip(names, values, strict=True)}


def error(predicted_s: Floats, seconds: Floats, rows: NDArray[np.bool_] | None = None) -> float:
    """The mean absolute error as a share of the measured time; 0 of no rows."""
    relative = np.abs(predicted_s / seconds - 1)
    chosen = relative if rows is None else relative[rows]
    return float(chosen.mean()) if chosen.size else 0.0
