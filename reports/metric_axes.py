"""How a metric or a parameter stands on an axis: its words, its unit, and short numbers."""

from __future__ import annotations

import math
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scale", "plain_decades", "scale_of", "set_scale", "short_names"]

_WORDS: Final = {
    "latency_s": ("latency", "s"),
    "latency_p95_s": ("p95 latency", "s"),
    "latency_p99_s": ("p99 latency", "s"),
    "energy_j": ("energy", "J"),
    "edp_js": ("energy-delay product", "J s"),
    "dram_bytes": ("DRAM traffic", "B"),
    "cycles": ("cycles", ""),
    "macs": ("MACs", ""),
    "dsp": ("DSP slices", ""),
    "lut": ("LUTs", ""),
    "ff": ("flip-flops", ""),
    "bram36": ("block RAMs (36 Kibit)", ""),
    "uram": ("UltraRAMs", ""),
}
_ENDINGS: Final = {"bytes_per_s": "B/s", "_bytes": "B", "_hz": "Hz", "_s": "s", "_j": "J"}
_PREFIXES: Final = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
_LONGEST: Final = 18
_DECADE: Final = 10.0
_TWO_DECADES: Final = 200.0  # and what an axis adds beyond its data


class Scale(NamedTuple):
    """What numbers are multiplied with for an axis, and what stands at it.

    Attributes:
        factor: By which they are multiplied.
        unit: Behind a number, prefix included; may be empty.
        label: Of the axis.
    """

    factor: float
    unit: str
    label: str

    def text(self, value: float) -> str:
        """A value with three digits and its unit."""
        shown = value * self.factor
        digits = max(0, 2 - math.floor(math.log10(abs(shown)))) if shown else 0
        return f"{shown:,.{min(digits, 4)}f} {self.unit}".rstrip()


def scale_of(name: str, values: NDArray[np.float64]) -> Scale:
    """The scale of a metric or parameter, by the largest of its values.

    >>> scale_of("latency_s", np.array([4.2e-5, 3e-4]))
    Scale(factor=1000000.0, unit='µs', label='latency (µs)')
    >>> scale_of("dsp", np.array([144.0])).label
    'DSP slices'
    """
    words, unit = _WORDS.get(name, (name, _unit(name)))
    known = np.abs(values[np.isfinite(values)])
    largest = float(known.max()) if len(known) else 0.0
    if not unit or not largest:
        return Scale(1.0, unit, f"{words} ({unit})" if unit else words)
    power = min(max(3 * math.floor(math.log10(largest) / 3), min(_PREFIXES)), max(_PREFIXES))
    prefixed = f"{_PREFIXES[power]}{unit}"
    return Scale(10.0**-power, prefixed, f"{words} ({prefixed})")


def set_scale(axes: Any, which: Literal["x", "y"], shown: NDArray[np.float64]) -> None:
    """A logarithmic axis if the numbers span more than a factor of ten."""
    if len(shown) and shown.min() > 0 and shown.max() / shown.min() > _DECADE:
        getattr(axes, f"set_{which}scale")("log")
        plain_decades(axes, which)


def plain_decades(axes: Any, which: Literal["x", "y"]) -> None:
    """Numbers written out, at whole decades; at 2 and 5 too if there are less than two decades."""
    from matplotlib import ticker

    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    if high / low < _TWO_DECADES:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def short_names(names: list[str]) -> dict[str, str]:
    """Long names without the part of the machine that they are of, where that is unambiguous.

    >>> short_names(["array.rows", "buffers.accumulator_bytes"])
    {'array.rows': 'array.rows', 'buffers.accumulator_bytes': 'accumulator_bytes'}
    """
    ends = {
        name: name if len(name) <= _LONGEST else name.partition(".")[2] or name for name in names
    }
    said = list(ends.values())
    return {name: end if said.count(end) == 1 else name for name, end in ends.items()}


def _unit(name: str) -> str:
    return next((unit for end, unit in _ENDINGS.items() if name.endswith(end)), "")
