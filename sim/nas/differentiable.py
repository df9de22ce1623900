"""Latency and energy that gradients flow through: a search space's table, interpolated in torch.

A supernet, or HeatViT's latency-aware loss, wants the cost of what no network has: a width of 250,
half a block more, 93.7 kept tokens.  `differentiable(space)` interpolates each term of the space
between the cells around it, linearly in every gene at once (multilinear), so that the cost is exact
at whole choices and its gradient is that of the cell.

Other searches keep every choice open, with a probability each, and train against the expected
cost, `sum_i p_i cost_i`: ProxylessNAS (Cai et al., ICLR 2019, on making latency differentiable) and
FBNet (Wu et al., CVPR 2019, on its latency-aware loss).  `expected_latency_s` is that sum over all
choices of all genes, exact since genes are drawn independently and a cost is a sum of small tables.
HeatViT: Dong et al., HPCA 2023, arXiv:2211.08110.

Torch is in the extra `torch`; without it everything else of Tilewise works.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ...workloads.extras import require
from .space import SearchSpace

__all__ = ["differentiable"]

_SLACK = 1e-5  # of an axis: how far rounding in 32 bits may lead beyond its ends


def differentiable(space: SearchSpace) -> Any:  # Any: a torch.nn.Module
    """The cost of a search space as a `torch.nn.Module` without parameters.

    - `module.latency_s(values)`, and the module itself, and `module.energy_j(values)`: from
      `(n, genes)` floats, each in what its gene stands for (`space.axes`: a width, a share, a
      count), to `(n,)` seconds or joules of the same type on the same device.  ValueError: a value
      is outside its axis, where the table says nothing.
    - `module.expected_latency_s(shares)` and `module.expected_energy_j(shares)`: from one tensor
      for each gene, `(n, choices)`, the probability of each of its choices, to `(n,)`.

    Raises:
        MissingExtraError: Torch is not installed; the message names the extra.
    """
    return _module_class()(space)


@cache
def _module_class() -> type[Any]:
    torch = require("torch", "torch")

    class DifferentiableCost(torch.nn.Module):  # type: ignore[misc, name-defined]
        """What `differentiable` says."""

        def __init__(self, space: SearchSpace) -> None:
            super().__init__()
            self.space = space
            for place, axis in enumerate(space.axes):
                self._keep(f"axis_{place}", axis.values)
            for number, term in enumerate(space.terms):
                self._keep(f"latency_s_{number}", term.latency_s)
                self._keep(f"energy_j_{number}", term.energy_j)

        def _keep(self, name: str, values: Any) -> None:
            kept = torch.tensor(values, dtype=torch.float64)
            self.register_buffer(name, kept, persistent=False)

        def __reduce__(self) -> Any:  # the class is made when first asked for: pickle the space
            return differentiable, (self.space,)

        def forward(self, values: Any) -> Any:
            return self.latency_s(values)

        def latency_s(self, values: Any) -> Any:
            return self._interpolated("latency_s", values)

        def energy_j(self, values: Any) -> Any:
            return self._interpolated("energy_j", values)

        def expected_latency_s(self, shares: Sequence[Any]) -> Any:
            return self._expected("latency_s", shares)

        def expected_energy_j(self, shares: Sequence[Any]) -> Any:
            return self._expected("energy_j", shares)

        def _interpolated(self, what: str, values: Any) -> Any:
            genes = len(self.space.axes)
            if values.ndim != 2 or values.shape[1] != genes or not values.is_floating_point():
                raise ValueError(
                    f"values: wanted floats of shape (n, {genes}), "
                    f"got {values.dtype} of shape {tuple(values.shape)}"
                )
            cells = [self._cell(place, values[:, place]) for place in range(genes)]
            total = values.new_zeros(len(values))
            for number, term in enumerate(self.space.terms):
                table = getattr(self, f"{what}_{number}").to(values.dtype)
                total = total + _blended(table, [cells[place] for place in term.places])
            return total

        def _cell(self, place: int, values: Any) -> tuple[Any, Any, Any]:
            """The choice below, the one above, and how far from one to the other."""
            name, steps = self.space.axes[place].name, getattr(self, f"axis_{place}")
            slack = _SLACK * (steps[-1] - steps[0])
            outside = ~((values >= steps[0] - slack) & (values <= steps[-1] + slack))
            if bool(outside.any()):
                row = int(outside.nonzero()[0])
                raise ValueError(
                    f"values: wanted {float(steps[0]):g} to {float(steps[-1]):g} at row {row}, "
                    f"place {place} ({name}), got {float(values[row]):g}"
                )
            if len(steps) == 1:
                below = torch.zeros_like(values, dtype=torch.long)
                return below, below, values * 0
            below = torch.searchsorted(steps, values.detach().double().contiguous(), right=True)
            below = (below - 1).clamp(0, len(steps) - 2)
            start, end = steps[below].to(values.dtype), steps[below + 1].to(values.dtype)
            return below, below + 1, (values - start) / (end - start)

        def _expected(self, what: str, shares: Sequence[Any]) -> Any:
            self._check(shares)
            total = shares[0].new_zeros(len(shares[0]))
            for number, term in enumerate(self.space.terms):
                cost = getattr(self, f"{what}_{number}").to(total.dtype)
                cost = cost.expand(len(total), *cost.shape)
                for place in reversed(term.places):
                    share = shares[place]
                    between = [1] * (cost.ndim - 2)
                    cost = (cost * share.reshape(len(total), *between, -1)).sum(-1)
                total = total + cost
            return total

        def _check(self, shares: Sequence[Any]) -> None:
            choices = self.space.choices
            if len(shares) != len(choices):
                raise ValueError(f"shares: wanted {len(choices)} tensors, got {len(shares)}")
            for place, (share, count) in enumerate(zip(shares, choices, strict=True)):
                if tuple(share.shape) != (len(shares[0]), count):
                    raise ValueError(
                        f"shares: wanted shape ({len(shares[0])}, {count}) at place {place} "
                        f"({self.space.axes[place].name}), got {tuple(share.shape)}"
                    )

    return DifferentiableCost


def _blended(table: Any, cells: Sequence[tuple[Any, Any, Any]]) -> Any:
    """A table between the cells' corners: halved along the last gene until none is left."""
    if not cells:
        return table
    corners = [table]
    # From the first axis on, each corner splits in two: below and above, as (n, further axes).
    for number, (below, above, _) in enumerate(cells):
        rows = _rows(number, below)
        corners = [corner[(*rows, index)] for corner in corners for index in (below, above)]
    for _, _, share in reversed(cells):
        pairs = zip(corners[::2], corners[1::2], strict=True)
        corners = [low + share * (high - low) for low, high in pairs]
    return corners[0]


def _rows(number: int, below: Any) -> tuple[Any, ...]:
    """After the first axis a corner has a row for each candidate, which chooses its own."""
    return (below.new_tensor(range(len(below))),) if number else ()
