"""What a fit is judged by: rows that it has not seen, and a roofline on the same rows."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...arch.gpu_calibration import Evidence, Measured

__all__ = ["Report", "error", "evidence", "measured", "report", "today"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How well a fit predicts; errors are mean absolute ones, as shares of the measured time.

    Attributes:
        fitted_shapes, held_out_shapes: Rows that the fit has seen, and that it has not.
        fitted_mape, held_out_mape: Of each.
        roofline_mape: Of the plain roofline, on the rows held out.
        by: The held-out error of groups of rows.
        at_bound: Constants that ended at a bound, which the data thus do not tell.
        converged: Whether the fit came to rest.
    """

    fitted_shapes: int
    held_out_shapes: int
    fitted_mape: float
    held_out_mape: float
    roofline_mape: float
    by: Mapping[str, float] = field(default_factory=dict[str, float])
    at_bound: tuple[str, ...] = ()
    converged: bool = True


def error(predicted_s: Floats, seconds: Floats, rows: NDArray[np.bool_] | None = None) -> float:
    """The mean absolute error as a share of the measured time; 0 of no rows."""
    relative = np.abs(predicted_s / seconds - 1)
    chosen = relative if rows is None else relative[rows]
    return float(chosen.mean()) if chosen.size else 0.0


def measured(sizes: NDArray[np.int64]) -> Measured:
    """The least and the most of sizes."""
    return Measured(least=int(sizes.min()), most=int(sizes.max()))


def report(
    times: Floats,
    roofline: Floats,
    seconds: Floats,
    hidden: NDArray[np.bool_],
    by: Mapping[str, float],
    bound: tuple[str, ...],
) -> Report:
    """How well `times`, and a roofline's, predict measured `seconds`, `(rows,)` all.

    Args:
        times: Predicted, in seconds.
        roofline: The same, of a roofline.
        seconds: Measured.
        hidden: Rows that the fit has not seen.
        by: The held-out error of groups.
        bound: Constants at a bound.
    """
    return Report(
        fitted_shapes=int((~hidden).sum()),
        held_out_shapes=int(hidden.sum()),
        fitted_mape=error(times, seconds, ~hidden),
        held_out_mape=error(times, seconds, hidden),
        roofline_mape=error(roofline, seconds, hidden),
        by=by,
        at_bound=bound,
    )


def evidence(
    hidden: NDArray[np.bool_], data: str, split: str, date: str | None, found: Report | None = None
) -> Evidence:
    """What constants rest on, before they are found (all errors 0) and after."""
    return Evidence(
        data=data,
        split=split,
        date=date or today(),
        fitted_shapes=int((~hidden).sum()),
        held_out_shapes=int(hidden.sum()),
        held_out_mape=round(found.held_out_mape, 4) if found else 0.0,
        roofline_mape=round(found.roofline_mape, 4) if found else 0.0,
    )


def today() -> str:
    """The date, for the record."""
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()
