"""How many patches HeatViT's selectors keep, as a search space: DeiT by kept count at each place.

Genes are the counts of patches themselves, 0 to 196, none above the one before.  Every count was
priced by the engine, so that the staircase of the machine is in the table as it is: a network with
a selector before its second and its fourth block ran with each count at both, and gives

- a selector in two parts: scoring, which goes by the patches that come, and packing, which goes by
  those that stay (the first selector, to which all patches come, has entries of its own);
- the first block behind a selector, the blocks after it, and what follows the last block.

HeatViT: Dong et al., HPCA 2023, arXiv:2211.08110; selectors before blocks 4, 7 and 10.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ...arch import Accelerator, Gpu
from ...workloads.zoo.vit import vit
from ..result import Result
from ..simulate import simulate
from .genes import Axis
from .tables import LookupTable, layer_key
from .terms import Priced, Term, priced
from .windows import Cost, windows

__all__ = ["HeatVit"]

_PATCHES: Final = 196  # of a 224 x 224 image in patches of 16 x 16
_HEAD: Final = 64  # channels of a head, of all DeiTs
_PROBED: Final = (2, 4)  # a selector before these blocks of five
_NOTHING: Final = Cost(0.0, 0.0)  # of packing, where no patch stays
_PLACE: Final = re.compile(r"(blocks|selectors)\.(\d+)[./]([^:]*)")
_PACKING: Final = ("Gather_3", "ReduceSum_5")  # what of a selector goes by the patches that stay


@dataclass(frozen=True, kw_only=True)
class HeatVit:
    """The keep counts of a DeiT on a machine.

    Attributes:
        machine: What candidates run on.
        embed: Width of a token; heads are 64 wide.
        depth: Blocks.
        selectors: The blocks, counted from 1, that a selector comes before; not the first.
        format: Number format; the machine's own if None.

    Raises:
        ValueError: Selectors are not before blocks 2 to `depth`, in order.
    """

    machine: Accelerator | Gpu
    embed: int
    depth: int = 12
    selectors: tuple[int, ...] = (4, 7, 10)
    format: str | None = None

    falling = True

    def __post_init__(self) -> None:
        places = self.selectors
        rising = all(one < other for one, other in pairwise(places))
        if not places or not rising or places[0] < 2 or places[-1] > self.depth:
            raise ValueError(
                f"selectors={places} must be blocks 2 to {self.depth}, in order, at least one"
            )

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Patches kept behind each selector."""
        counts = tuple(range(_PATCHES + 1))
        return tuple(Axis(f"kept_{number}", counts) for number in range(1, len(self.selectors) + 1))

    def simulate(self, genes: Sequence[int]) -> Result:
        """The engine's run of one whole candidate."""
        return self._run(self.depth, self.selectors, genes)

    def entries(self) -> dict[str, Cost]:
        """The table's entries: means over the places where a like part stood."""
        dense = _parts(self._run(3, (), ()))
        found = {kind: Cost.mean([dense[part] for part in parts]) for kind, parts in _DENSE.items()}
        for kept in counted():
            parts = _parts(self._run(5, _PROBED, (kept, kept)))
            for kind, places in _PRUNED.items():
                found[layer_key(kind, kept=kept)] = Cost.mean(
                    [parts.get(place, _NOTHING) for place in places]
                )
        return found

    def terms(self, table: LookupTable) -> tuple[Term, ...]:
        """What a candidate's cost is the sum of."""
        counts = {"kept": range(_PATCHES + 1)}
        first, block, scores, tail = (
            priced(table, kind, counts) for kind in ("block-first", "block", "scores", "tail")
        )
        dense = self.selectors[0] - 1
        stem = priced(table, "stem", {}).plus(priced(table, "dense-first", {}))
        terms = [Term.of((), stem.plus(_times(priced(table, "dense", {}), dense - 1)))]
        ends = (*self.selectors[1:], self.depth + 1)
        for place, (begin, end) in enumerate(zip(self.selectors, ends, strict=True)):
            selector = priced(table, "packing", counts)
            if not place:
                selector = priced(table, "scores-first", counts)
                selector = selector.plus(priced(table, "packing-first", counts))
            after = scores if place + 1 < len(self.selectors) else tail
            stage = first.plus(_times(block, end - begin - 1))
            terms.append(Term.of((place,), selector.plus(stage).plus(after)))
        return tuple(terms)

    def _run(self, depth: int, selectors: tuple[int, ...], kept: Sequence[int]) -> Result:
        heads = self.embed // _HEAD
        model = vit(depth=depth, embed=self.embed, heads=heads, selectors=selectors)
        bind = {f"kept_{number}": count for number, count in enumerate(kept, start=1)}
        return simulate(model, self.machine, bind=bind, format=self.format)


def counted() -> Sequence[int]:
    """The counts that are priced: all."""
    return range(_PATCHES + 1)


_DENSE: Final = {
    "stem": ("stem",),
    "dense-first": ("blocks.0",),
    "dense": ("blocks.1", "blocks.2"),
}
_PRUNED: Final = {
    "scores-first": ("selectors.0",),
    "packing-first": ("selectors.0 packing",),
    "block-first": ("blocks.1", "blocks.3"),
    "block": ("blocks.2", "blocks.4"),
    "scores": ("selectors.1",),
    "packing": ("selectors.1 packing",),
    "tail": ("tail",),
}
"""Kinds of entries, and where they stand in the networks that price them."""


def _parts(run: Result) -> dict[str, Cost]:
    """Cost by block, selector (up to what packs, and from there) and end of a network."""
    found: dict[str, Cost] = {}
    part = "stem"
    for name, cost in windows(run):
        place = _PLACE.match(name)
        if place:
            packs = place[1] == "selectors" and place[3] in _PACKING
            part = f"{place[1]}.{place[2]}{' packing' if packs else ''}"
        elif part != "stem":
            part = "tail"
        found[part] = found.get(part, _NOTHING).plus(cost)
    return found


def _times(costs: Priced, count: int) -> Priced:
    return Priced(costs.latency_s * count, costs.energy_j * count)
