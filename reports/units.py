"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations

import math

__all__ = ["binary", "duration", "percent", "plain", "quantity", "ratio"]

_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def quantity(value: float, unit: str = "") -> str:
    """Write `value` with three digits, a metric prefix and its unit.

    >>> quantity(0.00484790, "s"), quantity(4598882304, "MACs"), quantity(0, "J")
    ('4.85 ms', '4.60 GMACs', '0 J')
    >>> quantity(999.96, "B/s"), quantity(12.0), quantity(12, "B")
    ('1.00 kB/s', '12.0', '12 B')
    >>> quantity(1234567.8, "s")  # nobody counts in megaseconds
    '1,234,568 s'
    """
    if not value or not math.isfinite(value) or (isinstance(value, int) and abs(value) < 1000):
        return f"{value:g} {unit}".rstrip()
    # Round first: 999.96 is 1.00 k, not 1000.
    rounded = float(f"{value:.2e}")
    if unit == "s" and abs(rounded) >= 1000:
        return f"{value:,.0f} s"
    exponent = 3 * math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    exponent = min(max(exponent, min(_PREFIXES)), max(_PREFIXES))
    return f"{_three_digits(rounded / 10.0**exponent)} {_PREFIXES[exponent]}{unit}".rstrip()


def duration(seconds: float) -> str:
    """Write about how long a person waits.

    >>> duration(0.2), duration(11.2), duration(815), duration(7e4), duration(1e9)
    ('1 s', '11 s', '14 min', '19 h', '11,574 days')
    """
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 100 * length:
            return f"{max(1, seconds / length):.0f} {unit}"
    return f"{seconds / 86400:,.0f} days"


def percent(share: float) -> str:
    """Write a share of one.

    >>> percent(0.9264), percent(1.0), percent(0.00004), percent(0)
    ('92.6 %', '100 %', '<0.1 %', '0 %')
    """
    if share == 0 or share >= 0.9995:
        return f"{share * 100:.0f} %"
    return "<0.1 %" if 0 < share < 0.0005 else f"{share * 100:.1f} %"


def ratio(value: float) -> str:
    """Write a factor.

    >>> ratio(1.7376), ratio(151.2), ratio(0.5604), ratio(float("nan"))
    ('1.74x', '151x', '0.56x', '-')
    """
    return (
        f"{_three_digits(value) if value >= 1 else f'{value:.2f}'}x"
        if math.isfinite(value)
        else "-"
    )


def plain(value: float) -> str:
    """Write three digits or more, without a prefix.

    >>> plain(2570.33), plain(204.66), plain(0)
    ('2,570', '205', '0.00')
    """
    return f"{value:,.0f}" if value >= 1000 else _three_digits(value)


def binary(size_bytes: int) -> str:
    """Write a memory's size.

    >>> binary(524288), binary(1500), binary(80_000_000_000)
    ('512 KiB', '1500 B', '80.0 GB')
    """
    for power, prefix in enumerate(("", "Ki", "Mi", "Gi")):
        count, rest = divmod(size_bytes, 1024**power)
        if not rest and count < 10 * 1024:
            return f"{count} {prefix}B"
    return quantity(size_bytes, "B")


def _three_digits(value: float) -> str:
    digits = math.floor(math.log10(abs(value)) + 1e-12) if value else 0
    return f"{value:.{min(max(2 - digits, 0), 3)}f}"
