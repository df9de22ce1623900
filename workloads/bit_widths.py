"""How many bits: of the activations that a layer multiplies, and of each row of its weights.

A row is what makes one output: a column of a product's right operand, an output channel of a
convolution.  Quasar-ViT (Li et al., arXiv:2407.18175, 2024) and FILM-QNN (Sun et al., FPGA 2022)
mix rows of 4 and of 8 bits within a layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

__all__ = ["WIDTHS", "Precision", "QuantizationError", "precision"]

WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)
"""Bits that an integer may have."""


class QuantizationError(ValueError):
    """Bits that nobody has, or a layer that is not there; one line says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bits of a layer.

    >>> mixed = Precision(weights=((8, Fraction(1, 4)), (4, Fraction(3, 4))), activations=6)
    >>> str(mixed), mixed.rows(385)
    ('W8:1/4+4:3/4 A6', ((8, 96), (4, 289)))
    >>> str(Precision(weights=((4, Fraction(1)),)))
    'W4'

    Attributes:
        weights: Bits, widest first, and the share of the rows that has them; shares add up to 1.
        activations: Bits of what is multiplied with them; None leaves it in the format of the run,
            as weights of 4 bits are used on a GPU.

    Raises:
        QuantizationError: An unsupported width, one that is given twice, or shares that do not add
            up to 1.
    """

    weights: tuple[tuple[int, Fraction], ...]
    activations: int | None = None

    def __post_init__(self) -> None:
        widths = [bits for bits, _ in self.weights]
        for bits in (*widths, self.activations):
            if bits is not None and bits not in WIDTHS:
                wanted = ", ".join(map(str, WIDTHS))
                raise QuantizationError(f"bits: wanted one of {wanted}, got {bits}")
        if widths != sorted(set(widths), reverse=True):
            got = ", ".join(map(str, widths))
            raise QuantizationError(f"weights: wanted each width once, widest first, got {got}")
        shares = [share for _, share in self.weights]
        if sum(shares) != 1 or min(shares) <= 0:
            got = " + ".join(map(str, shares)) or "nothing"
            raise QuantizationError(f"weights: wanted positive shares that add up to 1, got {got}")

    def rows(self, count: int) -> tuple[tuple[int, int], ...]:
        """How many of `count` rows have how many bits: whole rows, the last width takes the rest.

        A share is rounded to the nearest row, half a row upwards; widths without a row are left
        out.
        """
        left = count
        found: list[tuple[int, int]] = []
        for bits, share in self.weights[:-1]:
            rows = min(left, int(share * count + Fraction(1, 2)))
            found.append((bits, rows))
            left -= rows
        found.append((self.weights[-1][0], left))
        return tuple((bits, rows) for bits, rows in found if rows)

    def __str__(self) -> str:
        activations = "" if self.activations is None else f"A{self.activations}"
        if len(self.weights) == 1:
            return f"W{self.weights[0][0]}{activations}"
        mix = "+".join(f"{bits}:{share}" for bits, share in self.weights)
        return f"W{mix} {activations}".rstrip()


def precision(given: object) -> Precision:
    """Bits as they are written: `W4A8`, `W4` for weights alone, or the parts of it.

    >>> str(precision("W4A8")), precision("W4").activations
    ('W4A8', None)
    >>> str(precision({"weights": {8: 0.25, 4: 0.75}, "activations": 6}))
    'W8:1/4+4:3/4 A6'

    Args:
        given: Text, or a mapping with `weights` (bits, or a mapping of bits to shares) and
            perhaps `activations` (bits).

    Raises:
        QuantizationError: It is neither, or a width or a share is wrong.
    """
    if isinstance(given, str):
        found = re.fullmatch(r"[wW](\d{1,3})([aA](\d{1,3}))?", given.strip())
        if not found:
            raise QuantizationError(
                "bits: wanted weights and activations as W4A8, or weights alone as W4, "
                f"got {given!r}"
            )
        activations = int(found[3]) if found[3] else None
        return Precision(weights=((int(found[1]), Fraction(1)),), activations=activations)
    if not isinstance(given, Mapping):
        raise QuantizationError(
            f"bits: wanted text as W4A8 or W4, or weights and activations, got {given!r}"
        )
    parts: Mapping[Any, Any] = given  # pyright: ignore[reportUnknownVariableType]
    for key in parts:
        if key not in ("weights", "activations"):
            raise QuantizationError(f"bits: wanted weights and activations, got {key!r}")
    if "weights" not in parts:
        got = ", ".join(parts) or "nothing"
        raise QuantizationError(f"bits: wanted weights, with or without activations, got {got}")
    weights = parts["weights"]
    if isinstance(weights, Mapping):
        mix: Mapping[Any, Any] = weights  # pyright: ignore[reportUnknownVariableType]
    else:
        mix = {_whole("weights", weights): 1}
    shares = [(_whole("weights", bits), _share(share)) for bits, share in mix.items()]
    return Precision(
        weights=tuple(sorted(shares, reverse=True)),
        activations=_activations(parts["activations"]) if "activations" in parts else None,
    )


def _activations(value: object) -> int:
    if isinstance(value, str):
        raise QuantizationError(
            f"activations: wanted a number of bits, got {value!r}; leave them out, and they are in "
            "the format of the run"
        )
    return _whole("activations", value)


def _whole(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise QuantizationError(f"{what}: wanted a number of bits, got {value!r}")
    return value


def _share(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction):
        raise QuantizationError(f"weights: wanted a share between 0 and 1, got {value!r}")
    if not 0 < value <= 1:
        raise QuantizationError(f"weights: wanted a share between 0 and 1, got {value}")
    return Fraction(str(value))
