"""Several small products in one multiplier: what a DSP slice of an FPGA does in a cycle.

A DSP48E2 (AMD UG579) multiplies 27 by 18 bits, signed, and adds into 48.  Operands that are put
side by side on its ports, `w1 2^s + w2` times `a1 2^t + a2`, give their products side by side too:
one field for each pair.  AMD describes two int8 products with an operand in common (WP486, 2017)
and four int4 ones (WP521, 2020); FILM-QNN (Sun et al., FPGA 2022) two of 8 x 5 and four of 4 x 5
bits.  All of them follow from the widths of the ports:

- a field must hold a product, and with a chain of L products added in the slice their sum;
- a negative field borrows one from the field above it, which the one who takes the fields apart
  gives back, so that the sum of a field must lie strictly within its range;
- the operands on a port, with their distance, must fit its width, one bit less if there are
  several: the sum of two negative ones reaches beyond the range of the upper one alone.

After L products the fields must be taken apart.  Adders in LUTs do that beside the slice; without
them the slice spends a cycle on it, so that n products a cycle become n L / (L + 1): two int8
products in chains of seven are 7/4.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from .formats import PerProduct, bits

__all__ = ["PACKINGS", "PORTS", "Packing", "packing", "rates"]

PORTS = (27, 18)
"""Bits of the two ports of a DSP48E2's multiplier, signed (AMD UG579)."""

PACKINGS = MappingProxyType({"dsp48e2": False, "dsp48e2-lut-adders": True})
"""Names that stand for MACs per PE and cycle in a machine's file, and whether LUTs add."""

_SUM = 48  # bits of its accumulator


class Packing(NamedTuple):
    """Operands side by side on the two ports of a multiplier.

    Attributes:
        weights, activations: How many of each.
        weight_step, activation_step: Bits from one to the next on its port; 0 for a single one.
        field: Bits of a product's field, the highest apart.
        chain: Products that may be added up before the fields must be taken apart.
        weights_wide: Whether the weights are on the wider port.
    """

    weights: int
    activations: int
    weight_step: int
    activation_step: int
    field: int
    chain: int
    weights_wide: bool

    @property
    def products(self) -> int:
        """Multiply-accumulates in a cycle, while none is spent on taking fields apart."""
        return self.weights * self.activations

    @property
    def rate(self) -> Fraction:
        """Multiply-accumulates in a cycle where the slice itself takes its fields apart."""
        if self.products == 1:
            return Fraction(1)
        return Fraction(self.products * self.chain, self.chain + 1)


@lru_cache(maxsize=1024)
def packing(weight_bits: int, activation_bits: int, *, lut_adders: bool = False) -> Packing:
    """The packing of signed products with the best rate; of equal ones the longest chain.

    >>> packing(8, 8).rate, packing(8, 8).chain, packing(4, 4).products
    (Fraction(7, 4), 7, 4)

    Args:
        weight_bits: Of a weight, two's complement.
        activation_bits: Of an activation, two's complement.
        lut_adders: True if LUTs take the fields apart, so that no cycle is spent on it.

    Raises:
        ValueError: An operand has no bits, or is wider than its port.
    """
    found = [
        one
        for weights in range(1, 5)
        for activations in range(1, 5)
        for wide in (True, False)
        for one in [_packed(weight_bits, activation_bits, weights, activations, wide)]
        if one is not None
    ]
    if not found:
        raise ValueError(
            f"packing: wanted operands of at least 2 bits that fit ports of {PORTS[0]} and "
            f"{PORTS[1]}, got {weight_bits} and {activation_bits}"
        )
    return max(found, key=lambda p: (p.products if lut_adders else p.rate, p.chain, -p.products))


def rates(name: str) -> PerProduct:
    """MACs that a DSP slice does in a cycle, for every pair of integers.

    >>> rates("dsp48e2").get("int8"), rates("dsp48e2-lut-adders").get("w4a5")
    (Fraction(7, 4), Fraction(4, 1))

    Args:
        name: One of `PACKINGS`.
    """
    found: dict[str, Fraction] = {}
    for product, (weights, activations) in PerProduct.of_all():
        if weights.startswith("int") and activations.startswith("int"):
            one = packing(bits(weights), bits(activations), lut_adders=PACKINGS[name])
            found[product] = Fraction(one.products) if PACKINGS[name] else one.rate
    return PerProduct(**found)


def _packed(
    weight_bits: int, activation_bits: int, weights: int, activations: int, wide: bool
) -> Packing | None:
    """So many on each port, as far apart as the ports allow; None if they do not fit."""
    if min(weight_bits, activation_bits) < 2:
        return None
    weight_port, activation_port = PORTS if wide else PORTS[::-1]
    # The denser operand steps by one field, the other by a row of such fields.
    best: Packing | None = None
    for inner in ("weights", "activations") if weights > 1 and activations > 1 else ("weights",):
        for field in range(_SUM, 0, -1):
            steps = (field, weights * field) if inner == "weights" else (activations * field, field)
            weight_step = steps[0] if weights > 1 else 0
            activation_step = steps[1] if activations > 1 else 0
            fits = (
                (weights - 1) * weight_step + weight_bits + (weights > 1) <= weight_port
                and (activations - 1) * activation_step + activation_bits + (activations > 1)
                <= activation_port
                and weights * activations * field <= _SUM
            )
            if not fits:
                continue
            chain = _chain(weight_bits, activation_bits, field)
            if chain and (best is None or chain > best.chain):
                best = Packing(
                    weights, activations, weight_step, activation_step, field, chain, wide
                )
            break
    return best


def _chain(weight_bits: int, activation_bits: int, field: int) -> int:
    """How many signed products of the largest size add up to less than half a field's range."""
    largest = 1 << (weight_bits + activation_bits - 2)
    return ((1 << (field - 1)) - 1) // largest
