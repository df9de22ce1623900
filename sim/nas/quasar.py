"""Quasar-ViT's search space as a table: layers by width, heads, MLP ratio and share of 8-bit rows.

The cost of a candidate is a sum over its layers.  Each was priced in a network of the engine:

- Attention goes by width and heads, its projection by its own share too.
- qkv, fc1 and fc2 go by width, MLP ratio, their own share and that of the layer before (`after`),
  behind which their weights are prefetched: on machines that wait for weights a layer costs more
  after a quick one.  25 blocks in a row have each pair of shares once.
- The first qkv, whose neighbour is the patch embedding, and what comes after the last block are
  entries of their own, of networks of one block.

So 72 networks price all of the 10^41 candidates, and no candidate is priced by itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np

from ...arch import Accelerator, Gpu
from ...workloads.quantization import BitRules, quantized
from ...workloads.zoo import quasar
from ...workloads.zoo.quasar import (
    DEPTHS,
    EMBEDS,
    HEADS,
    LAYERS,
    MLP_RATIOS,
    SHARES,
    from_genes,
    quasar_vit,
)
from ...workloads.zoo.vit import vit
from ..result import Result
from ..simulate import simulate
from .genes import Axis
from .tables import LookupTable, layer_key
from .terms import Priced, Term, priced
from .windows import Cost, windows

__all__ = ["QuasarVit"]

_EMBED, _DEPTH, _HEADS, _RATIO, _SHARES = range(5)  # places of the genes; a share for each layer
_BLOCK: Final = re.compile(r"blocks\.(\d+)\.?([^/:]*)")
_BY_HEADS: Final = ("attn", "attn.proj")  # the others go by MLP ratio
_LATE: Final = ("norm", "head")

Shares: TypeAlias = tuple[Fraction, ...]
Sizes: TypeAlias = dict[str, Sequence[float | Fraction]]


@dataclass(frozen=True, kw_only=True)
class QuasarVit:
    """Quasar-ViT's space on a machine.

    Attributes:
        machine: What candidates run on.
        activations: Bits of all activations.
    """

    machine: Accelerator | Gpu
    activations: int = 6

    falling = False

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The genes of `workloads.zoo.quasar`."""
        sizes = (
            Axis("embed", EMBEDS),
            Axis("depth", DEPTHS),
            Axis("heads", HEADS),
            Axis("mlp_ratio", MLP_RATIOS),
        )
        wide = tuple(float(share) for share in SHARES)
        return sizes + tuple(
            Axis(f"8-bit rows of blocks.{block}.{layer}", wide)
            for block in range(max(DEPTHS))
            for layer in LAYERS
        )

    def simulate(self, genes: Sequence[int]) -> Result:
        """The engine's run of one whole candidate."""
        point = from_genes(genes)
        return simulate(quasar_vit(point, batch=1, activations=self.activations), self.machine)

    def entries(self) -> dict[str, Cost]:
        """The table's entries: means over the places in the networks where a layer stands."""
        seen: defaultdict[str, list[Cost]] = defaultdict(list)
        for embed in EMBEDS:
            for share in SHARES:
                for key, cost in self._ends(embed, share):
                    seen[key].append(cost)
            # Heads and MLP ratios do not meet in an entry: one row of networks serves both.
            for place in range(max(len(HEADS), len(MLP_RATIOS))):
                heads = HEADS[place % len(HEADS)]
                ratio = MLP_RATIOS[place % len(MLP_RATIOS)]
                for key, cost in self._middle(embed, heads, ratio):
                    seen[key].append(cost)
        return {key: Cost.mean(costs) for key, costs in seen.items()}

    def terms(self, table: LookupTable) -> tuple[Term, ...]:
        """What a candidate's cost is the sum of."""
        embed: Sizes = {"embed": EMBEDS}
        heads: Sizes = {"heads": HEADS}
        ratio: Sizes = {"mlp_ratio": MLP_RATIOS}
        wide: Sizes = {"wide": SHARES}
        after: Sizes = {"after": SHARES}
        blocks = np.array(DEPTHS, dtype=np.float64)
        terms = [
            Term.of((_EMBED,), priced(table, "stem", embed)),
            Term.of((_DEPTH, _EMBED, _RATIO), priced(table, "rest", embed | ratio).times(blocks)),
            Term.of((_DEPTH, _EMBED, _HEADS), priced(table, "attn", embed | heads).times(blocks)),
        ]
        first = priced(table, "attn.qkv-first", embed | wide)
        pairs = {
            layer: priced(table, layer, embed | ratio | after | wide)
            for layer in ("attn.qkv", "mlp.fc1", "mlp.fc2")
        }
        projected = priced(table, "attn.proj", embed | heads | wide)
        for block in range(max(DEPTHS)):
            qkv, proj, fc1, fc2 = (_share(block, layer) for layer in LAYERS)
            if block:
                before = (_EMBED, _RATIO, _share(block - 1, "mlp.fc2"), qkv)
                terms.append(_alive(block, before, pairs["attn.qkv"]))
            else:
                terms.append(Term.of((_EMBED, qkv), first))
            terms.append(_alive(block, (_EMBED, _HEADS, proj), projected))
            terms.append(_alive(block, (_EMBED, _RATIO, proj, fc1), pairs["mlp.fc1"]))
            terms.append(_alive(block, (_EMBED, _RATIO, fc1, fc2), pairs["mlp.fc2"]))
        late = priced(table, "tail", embed | after)
        for depth in DEPTHS:
            last = (np.array(DEPTHS) == depth).astype(np.float64)
            places = (_DEPTH, _EMBED, _share(depth - 1, "mlp.fc2"))
            terms.append(Term.of(places, late.times(last)))
        return tuple(terms)

    def _run(self, embed: int, heads: int, ratio: float, blocks: Sequence[Shares]) -> Result:
        """The engine's run of blocks whose layers have these shares."""
        model = vit(depth=len(blocks), embed=embed, heads=heads, mlp_ratio=ratio, batch=1)
        layers = {
            f"blocks.{block}.{layer}": quasar.mixed(share, self.activations)
            for block, shares in enumerate(blocks)
            for layer, share in zip(LAYERS, shares, strict=True)
        }
        default = quasar.mixed(Fraction(1), self.activations)
        return simulate(quantized(model, BitRules(default=default, layers=layers)), self.machine)

    def _ends(self, embed: int, share: Fraction) -> Iterator[tuple[str, Cost]]:
        """What comes before and after the blocks, and the first block's qkv."""
        run = self._run(embed, HEADS[0], MLP_RATIOS[-1], [(share,) * len(LAYERS)])
        found = _by_layer(run)
        yield layer_key("stem", embed=embed), found[-1, "stem"]
        yield layer_key("tail", embed=embed, after=share), found[-1, "tail"]
        yield layer_key("attn.qkv-first", embed=embed, wide=share), found[0, "attn.qkv"]

    def _middle(self, embed: int, heads: int, ratio: float) -> Iterator[tuple[str, Cost]]:
        """Layers amid others: all but the first block's qkv, each pair of shares once."""
        blocks = _pairs()
        run = self._run(embed, heads, ratio, blocks)
        for (block, layer), cost in _by_layer(run).items():
            if block < 0 or (block == 0 and layer == "attn.qkv"):
                continue
            sizes: dict[str, object] = {"embed": embed}
            sizes |= {"heads": heads} if layer in _BY_HEADS else {"mlp_ratio": ratio}
            if layer in LAYERS:
                place = LAYERS.index(layer)
                if layer not in _BY_HEADS:
                    sizes["after"] = blocks[block][place - 1] if place else blocks[block - 1][-1]
                sizes["wide"] = blocks[block][place]
            yield layer_key(layer, **sizes), cost


def _pairs() -> list[Shares]:
    """Shares of `LAYERS` in blocks, so that neighbours but for qkv and proj have each pair once.

    The shares of proj, fc1 and fc2 are i, j and i + j modulo their number, which is each pair of
    neighbours once; and qkv follows each share of the fc2 before it with another one each time.  A
    last block closes the ring.
    """
    count = len(SHARES)
    blocks: list[list[int]] = []
    followed = [0] * count
    for i in range(count):
        for j in range(count):
            before = blocks[-1][-1] if blocks else (2 * count - 2) % count
            blocks.append([followed[before], i, j, (i + j) % count])
            followed[before] += 1
    blocks.append(blocks[0])
    return [tuple(SHARES[share] for share in block) for block in blocks]


def _by_layer(run: Result) -> dict[tuple[int, str], Cost]:
    """Cost by block and layer; of block -1 are `stem` and `tail`, and `rest` is all other work."""
    found: dict[tuple[int, str], Cost] = {}
    for name, cost in windows(run):
        inside = _BLOCK.match(name)
        if inside:
            layer = inside[2] if inside[2] in (*LAYERS, "attn") else "rest"
            where = (int(inside[1]), layer)
        else:
            where = (-1, "tail" if name.split("/")[0] in _LATE else "stem")
        found[where] = found.get(where, Cost(0.0, 0.0)).plus(cost)
    return found


def _share(block: int, layer: str) -> int:
    """The place of a layer's share among the genes."""
    return _SHARES + len(LAYERS) * block + LAYERS.index(layer)


def _alive(block: int, places: tuple[int, ...], costs: Priced) -> Term:
    """A block's term, which is 0 for candidates that do not have the block."""
    alive = (np.array(DEPTHS) > block).astype(np.float64)
    if alive.all():
        return Term.of(places, costs)
    return Term.of((_DEPTH, *places), costs.times(alive))
