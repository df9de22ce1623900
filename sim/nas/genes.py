"""Genes: what whole numbers stand for in a search space, and whether they are in range."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from .terms import is_torch

__all__ = ["Axis", "GeneError", "check"]


class GeneError(ValueError):
    """Genes of another shape or type, or out of range; one line says where and what was wanted."""


class Axis(NamedTuple):
    """A gene.

    Attributes:
        name: What it says.
        values: What its numbers, from 0 on, stand for; rising.
    """

    name: str
    values: tuple[float, ...]


def check(genes: Any, axes: tuple[Axis, ...], *, falling: bool = False) -> None:
    """Refuses genes that are none.

    Args:
        genes: `(n, genes)`, NumPy's or torch's.
        axes: The genes that there are.
        falling: Whether no gene may be above the one before.

    Raises:
        GeneError: They are not whole numbers of that shape, or one is out of range.
    """
    if tuple(genes.shape[1:]) != (len(axes),):
        raise GeneError(
            f"genes: wanted shape (n, {len(axes)}), one row a candidate, got {tuple(genes.shape)}"
        )
    if not _whole(genes):
        raise GeneError(f"genes: wanted whole numbers, got {genes.dtype}")
    tops = _like(genes, [len(axis.values) - 1 for axis in axes])
    outside = (genes < 0) | (genes > tops)
    if bool(outside.any()):
        row, place = _first(outside)
        raise GeneError(
            f"genes: wanted 0 to {int(tops[place])} at row {row}, place {place} "
            f"({axes[place].name}), got {int(genes[row, place])}"
        )
    if falling and bool((above := genes[:, 1:] > genes[:, :-1]).any()):
        row, place = _first(above)
        raise GeneError(
            f"genes: wanted at most the {int(genes[row, place])} of {axes[place].name} at row "
            f"{row}, place {place + 1} ({axes[place + 1].name}), got {int(genes[row, place + 1])}"
        )


def _whole(genes: Any) -> bool:
    if is_torch(genes):
        torch = sys.modules["torch"]
        return not (genes.is_floating_point() or genes.is_complex() or genes.dtype == torch.bool)
    return np.issubdtype(genes.dtype, np.integer)


def _like(genes: Any, numbers: list[int]) -> Any:
    if is_torch(genes):
        return sys.modules["torch"].tensor(numbers, device=genes.device)
    return np.array(numbers)


def _first(where: Any) -> tuple[int, int]:
    """Row and place of the first that is true."""
    found = where.nonzero()
    pair = found[0] if is_torch(where) else (found[0][0], found[1][0])
    return int(pair[0]), int(pair[1])
