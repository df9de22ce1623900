"""Fit positive constants to measured seconds: least squares of logarithms, within physical bounds.

Errors are of the logarithm, so that 3 us and 3 ms weigh alike, under a loss that is square for a
small error and linear for a large one: a library that once chose badly must not bend the physics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "Errors", "Fitted", "errors", "fit", "held_out"]

_Floats = NDArray[np.float64]
_TURNING_ERROR: Final = 0.1  # of the logarithm: about 10 %, from where the loss is linear
_STEP: Final = 1e-3  # relative; below it the choice of another tile hides the slope
_TOLERANCE: Final = 1e-5
_MOST_EVALUATIONS: Final = 150  # each with one more for every constant
_HELD_OUT_GROUPS: Final = 0.1  # of the groups, and of what is left as much again


class Bounds(NamedTuple):
    """Where a constant begins and between which values physics leaves it, all positive."""

    start: float
    low: float
    high: float


class Fitted(NamedTuple):
    """The constants by name, whether the fit came to rest, and which lie at a bound."""

    values: dict[str, float]
    converged: bool
    at_bound: tuple[str, ...]


class Errors(NamedTuple):
    """Of latency, in per cent: mean and median of the absolute, 95th percentile, signed mean."""

    mape: float
    median: float
    p95: float
    bias: float


def fit(
    seconds: Callable[[Mapping[str, float]], _Floats],
    measured_s: _Floats,
    bounds: Mapping[str, Bounds],
    restarts: int = 1,
) -> Fitted:
    """Return the constants with which `seconds` is nearest to what was measured, `[S]` both.

    It begins at `start`, then `restarts` times more from points drawn around it by a fixed seed,
    and keeps the best.
    """
    from scipy.optimize import least_squares

    names = tuple(bounds)
    start, low, high = (np.log([bounds[name][part] for name in names]) for part in range(3))
    target = np.log(measured_s)
    random = np.random.default_rng(0)

    def residuals(logarithms: _Floats) -> _Floats:
        values = dict(zip(names, np.exp(logarithms).tolist(), strict=True))
        return np.asarray(np.log(seconds(values)) - target)

    margin = 1e-3 * (high - low)
    best, least = None, np.inf
    for attempt in range(1 + restarts):
        aside = random.normal(0.0, 0.1, len(names)) * (high - low) if attempt else 0.0
        found = least_squares(
            residuals,
            np.clip(start + aside, low + margin, high - margin),
            bounds=(low, high),
            loss="soft_l1",
            f_scale=_TURNING_ERROR,
            diff_step=np.full(len(names), _STEP),
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            max_nfev=_MOST_EVALUATIONS,
        )
        if found.cost < least:
            best, least = found, float(found.cost)
    assert best is not None
    values = dict(zip(names, np.exp(best.x).tolist(), strict=True))
    near = np.minimum(best.x - low, high - best.x) < 0.01 * (high - low)
    at_bound = tuple(name for name, is_near in zip(names, near, strict=True) if is_near)
    return Fitted(values, bool(best.status > 0), at_bound)


def errors(predicted_s: _Floats, measured_s: _Floats) -> Errors:
    """Return how far predictions are off, in per cent of what was measured."""
    if not len(measured_s):
        return Errors(0.0, 0.0, 0.0, 0.0)
    off = 100.0 * (predicted_s / measured_s - 1.0)
    size = np.abs(off)
    return Errors(
        float(size.mean()),
        float(np.median(size)),
        float(np.quantile(size, 0.95)),
        float(off.mean()),
    )


def held_out(
    groups: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows are kept from the fit: with their whole group, and one by one.

    A row goes by a hash of its own integers, `[S, ...]`, so that the same shape is held out from
    every file, whatever else is in it or in which order.

    Args:
        groups: What names the group of a row, as n and k of a GEMM.
        rows: What names the row, as m, n and k.
    """
    whole = _hashed(groups, 1) < _HELD_OUT_GROUPS
    single = _hashed(rows, 2) < _HELD_OUT_GROUPS / (1 - _HELD_OUT_GROUPS)
    return whole, single & ~whole


def _hashed(integers: NDArray[np.int64], salt: int) -> _Floats:
    """A number in [0, 1) for each row: FNV-1a over its integers (Fowler, Noll and Vo, 1991)."""
    state = np.full(len(integers), 0xCBF29CE484222325 + salt, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in integers.T.astype(np.uint64):
            for shift in (0, 8, 16, 24):
                byte = (column >> np.uint64(shift)) & np.uint64(0xFF)
                state = (state ^ byte) * np.uint64(0x100000001B3)
        # The last bytes reach only the low bits: fold the high ones in.
        state = (state ^ (state >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray((state >> np.uint64(11)).astype(float) / 2.0**53)
