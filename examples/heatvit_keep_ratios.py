"""Chooses how many patches HeatViT's selectors keep in DeiT-S, for a latency on a ZCU102.

    python examples/heatvit_keep_ratios.py

Latency is Tilewise's table of the engine zcu102-heatvit, with every count from 0 to 196 at each of
three selectors.  Accuracy is a PROXY, fitted to published top-1 figures of pruned DeiT-S: it goes
by the share of tokens that all blocks together see, and not by where they are pruned.  There are
1.3 million candidates, few enough to try them all: so the evolutionary search is checked too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import tilewise as tw
from tilewise.sim.nas.evolution import Genes, Value, evolved, found
from tilewise.sim.nas.terms import Array

TARGET_S = 9.15e-3  # of HeatViT's DeiT-S: as UbiMoE (arXiv:2502.05602, table III) prints it
PATCHES = 196


class Point(NamedTuple):
    """A published accuracy of a pruned DeiT-S, and the share of patches behind each selector."""

    model: str
    keep: tuple[float, float, float]
    top1: float


_SPVIT = "SPViT"  # github.com/PeiyanFlying/SPViT, logs: shares as realised
PUBLISHED = (
    Point("DeiT-S", (1.0, 1.0, 1.0), 79.8),  # Touvron et al., ICML 2021, table 1
    Point("DynamicViT", (0.7, 0.49, 0.343), 79.316),  # github.com/raoyongming/DynamicViT, README
    Point(f"{_SPVIT}, 30 epochs", (0.711, 0.445, 0.214), 79.07),
    Point(f"{_SPVIT}, 100 epochs", (0.660, 0.378, 0.154), 77.06),
    Point(f"{_SPVIT}, item 6", (0.768, 0.540, 0.259), 78.23),
    Point(f"{_SPVIT}, item 2", (0.940, 0.801, 0.476), 78.83),
    Point(f"{_SPVIT}, item 5", (0.619, 0.360, 0.139), 76.37),
)


class Proxy(NamedTuple):
    """A straight line through published accuracies; not a prediction of any one model.

    Attributes:
        offset, slope: Of the logarithm to the base 2 of the share of tokens.
        residuals: Fitted minus published, in percentage points, in the order of `PUBLISHED`.
    """

    offset: float
    slope: float
    residuals: Array


def halvings(keep: Array) -> Array:
    """Logarithm to the base 2 of the share of tokens, all blocks together; a quarter is dense."""
    share: Array = np.log2((1 + keep.sum(axis=1)) / 4)
    return share


def fitted() -> Proxy:
    """The proxy, by least squares."""
    shares = halvings(np.array([point.keep for point in PUBLISHED]))
    top1 = np.array([point.top1 for point in PUBLISHED])
    slope, offset = np.polyfit(shares, top1, 1)
    return Proxy(float(offset), float(slope), offset + slope * shares - top1)


def accuracy(proxy: Proxy) -> Value:
    """The proxy as a function of genes, which are counts of patches."""
    return lambda genes: proxy.offset + proxy.slope * halvings(genes / PATCHES)


def everything() -> Genes:
    """Every candidate: all counts, none above the one before."""
    count = np.arange(PATCHES + 1)
    one, two, three = np.meshgrid(count, count, count, indexing="ij")
    ordered = (one >= two) & (two >= three)
    return np.stack((one[ordered], two[ordered], three[ordered]), axis=1)


def main(population: int = 256, generations: int = 60) -> None:
    """Searches, and says what was found and how far it can be trusted."""
    space = tw.search_space("heatvit-deit-small", tw.machine("zcu102-heatvit"))
    print(f"table: {len(space.table)} entries; {space.bias}")
    proxy = fitted()
    print("\nAccuracy is a PROXY through published points, in % top-1:")
    for point, residual in zip(PUBLISHED, proxy.residuals, strict=True):
        keep = " ".join(f"{share:.3f}" for share in point.keep)
        print(f"  {point.model:18} {keep}  {point.top1:6.2f}   fitted {residual:+.2f}")
    print(f"  {-proxy.slope:+.2f} for half the tokens; training differs from point to point,")
    print("  by more than the proxy tells apart among the candidates below.")
    best = evolved(
        space, accuracy(proxy), TARGET_S, population=population, generations=generations, seed=1
    )
    candidates = everything()
    exact = found(space, accuracy(proxy), TARGET_S, candidates, evaluations=len(candidates))
    run = space.simulate(exact.genes)
    print(f"\nPatches that are kept, of {PATCHES}, for {TARGET_S * 1e3:.2f} ms at most:")
    for name, each in (("evolution", best), ("all", exact)):
        print(
            f"  {name:9} of {each.evaluations:9,} candidates: {tuple(map(int, each.genes))}, "
            f"{each.latency_s * 1e3:.3f} ms, {each.energy_j * 1e3:.1f} mJ, proxy {each.value:.2f} %"
        )
    print(f"  the engine says {run.latency_s * 1e3:.3f} ms and {run.energy_j * 1e3:.1f} mJ")


if __name__ == "__main__":
    main()
