"""A stack of transformer blocks as a search space: depth, width, heads, tokens and bits.

The grid that a supernet interpolates over.  Blocks only, as they are the same whatever comes before
and after: a model adds its own patch embedding and head.  A stack costs its first block plus, for
every further one, what a block costs amid others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Final

import numpy as np

from ...arch import Accelerator, Gpu
from ...workloads.bit_widths import Precision
from ...workloads.block import block, stacked
from ...workloads.quantization import BitRules, quantized
from ...workloads.zoo.vit import vit
from ..result import Result
from ..simulate import simulate
from .genes import Axis
from .tables import LookupTable, layer_key
from .terms import Term, priced
from .windows import Cost, windows

__all__ = ["VitBlocks"]

_BLOCK: Final = re.compile(r"(\d+)\.")
_PROBED: Final = 4


@dataclass(frozen=True, kw_only=True)
class VitBlocks:
    """A stack of blocks on a machine; each gene's values are rising.

    Attributes:
        machine: What candidates run on.
        depth: Numbers of blocks.
        embed: Widths of a token.
        heads: Attention heads; they divide every width.
        tokens: Tokens that stay in the stack, CLS and package token included.
        bits: Of the weights.
        activations: Bits of all activations.
        mlp_ratio: Hidden width of the MLPs over `embed`.

    Raises:
        ValueError: A gene has no values, or they do not rise.
    """

    machine: Accelerator | Gpu
    depth: tuple[int, ...] = tuple(range(1, 25))
    embed: tuple[int, ...] = (192, 240, 288, 336, 384)
    heads: tuple[int, ...] = (3, 6)
    tokens: tuple[int, ...] = (25, 50, 75, 100, 125, 150, 175, 197)
    bits: tuple[int, ...] = (4, 8)
    activations: int = 8
    mlp_ratio: float = 4.0

    falling = False

    def __post_init__(self) -> None:
        for name, values in self.axes:
            if not values or sorted(set(values)) != list(values):
                raise ValueError(f"{name}: wanted rising values, got {values}")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Depth, embed, heads, tokens and bits."""
        return (Axis("depth", self.depth), *(Axis(*each) for each in self._sizes().items()))

    def simulate(self, genes: Sequence[int]) -> Result:
        """The engine's run of one whole stack."""
        depth, *sizes = (axis.values[gene] for axis, gene in zip(self.axes, genes, strict=True))
        return self._run(int(depth), *(int(size) for size in sizes))

    def entries(self) -> dict[str, Cost]:
        """The table's entries."""
        found: dict[str, Cost] = {}
        names = tuple(self._sizes())
        for values in product(*self._sizes().values()):
            blocks = [Cost(0.0, 0.0)] * _PROBED
            for name, cost in windows(self._run(_PROBED, *values)):
                place = _BLOCK.match(name)
                assert place, name
                blocks[int(place[1])] = blocks[int(place[1])].plus(cost)
            sizes = dict(zip(names, values, strict=True))
            found[layer_key("block-first", **sizes)] = blocks[0]
            found[layer_key("block", **sizes)] = Cost.mean(blocks[1:])
        return found

    def terms(self, table: LookupTable) -> tuple[Term, ...]:
        """What a candidate's cost is the sum of."""
        first, further = (priced(table, kind, self._sizes()) for kind in ("block-first", "block"))
        depths = np.array(self.depth, dtype=np.float64)
        whole = first.times(np.ones_like(depths)).plus(further.times(depths - 1))
        return (Term.of(tuple(range(len(self.axes))), whole),)

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        return {
            "embed": self.embed,
            "heads": self.heads,
            "tokens": self.tokens,
            "bits": self.bits,
        }

    def _run(self, depth: int, embed: int, heads: int, tokens: int, bits: int) -> Result:
        model = vit(depth=2, embed=embed, heads=heads, mlp_ratio=self.mlp_ratio, batch=1)
        stack = stacked(block(model), tokens, blocks=depth)
        precision = Precision(weights=((bits, Fraction(1)),), activations=self.activations)
        return simulate(quantized(stack, BitRules(default=precision)), self.machine)
