"""Fitting a few physical constants to measured kernels: bounded, converged, some rows held out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

__all__ = [
    "Bound",
    "CalibrationError",
    "at_bound",
    "check_split",
    "columns",
    "fit",
    "held_out",
    "missing",
    "refuse",
    "refuse_above",
]

Floats = NDArray[np.float64]

Bound = tuple[float, float, float]
"""The least, a usual, and the most value of a constant."""

_MOST_SIZE = 2**40  # rows or columns: far beyond any GPU's memory, and exact in all that follows
_MOST_PRODUCT = 2**50  # of a kernel's sizes: times bytes and taps it is still a whole number
_MILLISECONDS = (1e-6, 1e9)  # a cycle or two, and eleven days
_STARTS = 3
_SEED = 2026
_USUAL_ERROR = 0.1  # beyond it, a row counts by its error, not by its square: clocks throttle


class CalibrationError(ValueError):
    """Measurements that nothing can be fitted to; one line: where, wanted, got, cure."""


def columns(
    frame: pd.DataFrame,
    sizes: Sequence[str],
    what: str,
    *,
    time: str = "latency_ms",
    least: int | None = None,
) -> tuple[dict[str, NDArray[np.int64]], Floats]:
    """The sizes of measured kernels, and their seconds.

    Args:
        frame: One measurement a row; its index is what errors call a row.
        sizes: The columns that hold sizes.
        what: Of what these are measurements, for errors.
        time: The column that holds milliseconds.
        least: How many rows are wanted; five for each size if None.

    Raises:
        CalibrationError: A column is missing, rows are too few, or one holds what is no size (a
            whole number from 1 to 2^40) or no time.
    """
    missing(frame, (*sizes, time), what)
    least = 5 * len(sizes) if least is None else least
    if len(frame) < least:
        raise CalibrationError(
            f"{what}: wanted at least {least} rows, got {len(frame)}; measure more"
        )
    found: dict[str, Any] = {}
    for name in (*sizes, time):
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
        positive = np.isfinite(numbers) & (numbers > 0)
        _refuse(frame, what, name, ~positive, "a number above 0")
        if name != time:
            _refuse(frame, what, name, numbers % 1 != 0, "a whole number")
            # Before it becomes an integer of 64 bits, which what is larger wraps around.
            _refuse(frame, what, name, numbers > _MOST_SIZE, f"at most {_MOST_SIZE}")
        else:
            least_ms, most_ms = _MILLISECONDS
            beyond = (numbers < least_ms) | (numbers > most_ms)
            _refuse(frame, what, name, beyond, f"milliseconds from {least_ms:g} to {most_ms:g}")
        found[name] = numbers
    times = found.pop(time) * 1e-3
    return {name: values.astype(np.int64) for name, values in found.items()}, times


def missing(frame: pd.DataFrame, wanted: Sequence[str], what: str) -> None:
    """Refuse a table that lacks columns; the error names all of them.

    Raises:
        CalibrationError: It does.
    """
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        have = ", ".join(str(column) for column in frame.columns) or "none"
        raise CalibrationError(
            f"{what}: wanted the columns {', '.join(wanted)}; got {have}; "
            f"add or rename {', '.join(absent)}"
        )


def _refuse(
    frame: pd.DataFrame,
    what: str,
    name: str,
    wrong: NDArray[np.bool_],
    wanted: str,
    values: NDArray[Any] | None = None,
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        given: NDArray[Any] = frame[name].to_numpy() if values is None else values
        value: object = given.tolist()[row]  # as Python writes it
        raise CalibrationError(
            f"{what}: row {frame.index[row]}: {name}: wanted {wanted}, got {value!r}; drop the row"
        )


def refuse(frame: pd.DataFrame, what: str, name: str, wanted: Sequence[object]) -> None:
    """Refuse rows that hold anything else in a column.

    Raises:
        CalibrationError: A row does.
    """
    text = f"one of {', '.join(map(str, wanted))}" if len(wanted) > 1 else str(wanted[0])
    _refuse(frame, what, name, ~frame[name].isin(list(wanted)).to_numpy(), text)


def refuse_above(
    frame: pd.DataFrame,
    what: str,
    name: str,
    values: NDArray[Any],
    most: int = _MOST_PRODUCT,
    why: str = "",
) -> None:
    """Refuse rows in which a column, or what is worked out of several, is more than `most`.

    Args:
        frame: The measurements, for the row's number.
        what: Of what these are measurements.
        name: What errors call the values.
        values: One a row; products as floats, since integers would wrap around.
        most: By default what integers of 64 bits hold with the bytes of each number.
        why: Who wants no more, for errors.

    Raises:
        CalibrationError: A row has more.
    """
    wanted = f"at most {most}{why}"
    _refuse(frame, what, name, np.asarray(values > most), wanted, values)


def held_out(*sizes: NDArray[np.int64], one_in: int = 5) -> NDArray[np.bool_]:
    """Which rows a fit must not see, `(rows,)`: one in five by the CRC of their sizes.

    Equal sizes fall on the same side, today and on any machine.
    """
    rows = np.stack([np.asarray(size, dtype="<i8") for size in sizes], axis=1)
    return np.asarray([zlib.crc32(row.tobytes()) % one_in == 0 for row in rows], dtype=bool)


def check_split(hidden: NDArray[np.bool_], what: str) -> None:
    """Refuse rows that all fall on one side of the split, as a few sizes may.

    Raises:
        CalibrationError: They do.
    """
    if hidden.all() or not hidden.any():
        fitted, held = int((~hidden).sum()), int(hidden.sum())
        raise CalibrationError(
            f"{what}: wanted rows to fit and rows to hold out, got {fitted} and {held}; "
            "measure other sizes"
        )


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


def at_bound(constants: Mapping[str, float], bounds: Mapping[str, Bound]) -> tuple[str, ...]:
    """The constants that `fit` left at a bound: the data do not tell them."""
    return tuple(name for name, value in constants.items() if value in bounds[name][::2])
