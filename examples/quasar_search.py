"""Searches Quasar-ViT's space for the best model that keeps a latency on a ZCU102.

    python examples/quasar_search.py

Latency is Tilewise's table of the engine zcu102-quasar, and what was found is confirmed by the
engine.  Accuracy is a PROXY, fitted to published top-1 figures: it tells the trend of size and bits
and knows nothing of heads, of shapes or of which layers have which bits.  Give `evolved` a function
of your own supernet instead: genes `(n, 60)` to accuracies `(n,)`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

import tilewise as tw
from tilewise.sim.nas.evolution import Genes, Value, evolved, found
from tilewise.sim.nas.terms import Array
from tilewise.workloads import vit
from tilewise.workloads.zoo.quasar import (
    DEPTHS,
    EMBEDS,
    LAYERS,
    MLP_RATIOS,
    SHARES,
    from_genes,
)

TARGET_S = 1 / 159.6  # the rate of the paper's medium model: arXiv:2407.18175, abstract


class Point(NamedTuple):
    """A published accuracy: a model, the bits of its weights and their shares, and its training."""

    model: str
    embed: int
    depth: int
    bits: tuple[tuple[int, float], ...]
    training: str
    top1: float


_8, _4, _3, _2 = (((bits, 1.0),) for bits in (8, 4, 3, 2))
_MIXED = ((8, 0.25), (4, 0.75))

# Sizes and bits of the three Quasar-ViT models are assumed, see tilewise.workloads.zoo.quasar.
PUBLISHED = (
    # Touvron et al., ICML 2021, table 1; not quantized, which counts as 8 bits
    Point("DeiT-T", 192, 12, _8, "plain", 72.2),
    Point("DeiT-S", 384, 12, _8, "plain", 79.8),
    # I-ViT, github.com/zkkli/I-ViT, README: 8 bits, fine-tuned
    Point("DeiT-T", 192, 12, _8, "plain", 72.24),
    Point("DeiT-S", 384, 12, _8, "plain", 80.12),
    # PSAQ-ViT, github.com/zkkli/PSAQ-ViT at 0823af5, README: quantized without any data
    Point("DeiT-T", 192, 12, _8, "data-free", 71.56),
    Point("DeiT-S", 384, 12, _8, "data-free", 76.92),
    Point("DeiT-T", 192, 12, _4, "data-free", 65.57),
    Point("DeiT-S", 384, 12, _4, "data-free", 73.23),
    # OFQ, github.com/nbasyl/OFQ at 159a0af, README: trained so, activations in as few bits
    Point("DeiT-T", 192, 12, _2, "low-bit", 64.33),
    Point("DeiT-T", 192, 12, _3, "low-bit", 72.72),
    Point("DeiT-T", 192, 12, _4, "low-bit", 75.46),
    Point("DeiT-S", 384, 12, _2, "low-bit", 75.72),
    Point("DeiT-S", 384, 12, _3, "low-bit", 79.57),
    Point("DeiT-S", 384, 12, _4, "low-bit", 81.10),
    # Li et al., Quasar-ViT, ICS 2024, arXiv:2407.18175, abstract
    Point("Quasar-ViT small", 240, 12, _MIXED, "supernet", 74.9),
    Point("Quasar-ViT medium", 288, 13, _MIXED, "supernet", 78.6),
    Point("Quasar-ViT large", 384, 12, _MIXED, "supernet", 80.4),
)
TRAININGS = ("data-free", "low-bit", "supernet")  # against `plain`


@cache
def doublings(embed: int, depth: int, mlp_ratio: float = 4.0) -> float:
    """Logarithm to the base 2 of a model's MACs in billions."""
    model = vit(embed=embed, depth=depth, heads=3, mlp_ratio=mlp_ratio, batch=1)
    return float(np.log2(int(str(model.bind().macs)) / 1e9))


def features(point: Point) -> list[float]:
    """What the proxy is linear in: size, the step of a weight, and an offset for each training.

    A weight of b bits is rounded to steps of 2**-b of its range; rows count by their share.
    """
    step = sum(share * 2.0**-bits for bits, share in point.bits)
    offsets = [float(point.training == training) for training in TRAININGS]
    return [1.0, doublings(point.embed, point.depth), step, *offsets]


class Proxy(NamedTuple):
    """A straight line through published accuracies; not a prediction of any one model.

    Attributes:
        weights: Of `features`.
        residuals: Fitted minus published, in percentage points, in the order of `PUBLISHED`.
    """

    weights: Array
    residuals: Array


def fitted() -> Proxy:
    """The proxy, by least squares."""
    rows = np.array([features(point) for point in PUBLISHED])
    top1 = np.array([point.top1 for point in PUBLISHED])
    weights = np.linalg.lstsq(rows, top1, rcond=None)[0]
    return Proxy(weights, rows @ weights - top1)


def accuracy(proxy: Proxy) -> Value:
    """The proxy as a function of genes, for models that come out of a supernet."""
    sizes = np.array([[[doublings(e, d, r) for r in MLP_RATIOS] for d in DEPTHS] for e in EMBEDS])
    base, per_doubling, per_step, *offsets = proxy.weights
    supernet = offsets[TRAININGS.index("supernet")]

    def of(genes: Genes) -> Array:
        doubled = sizes[genes[:, 0], genes[:, 1], genes[:, 3]]
        step = 2**-4 + share_wide(genes) * (2**-8 - 2**-4)
        top1: Array = base + supernet + per_doubling * doubled + per_step * step
        return top1

    return of


def share_wide(genes: Genes) -> Array:
    """How many of the weights in the blocks have 8 bits, `(n,)`; the others have 4."""
    ratio = np.array(MLP_RATIOS)[genes[:, 3]]
    one = np.ones_like(ratio)
    size = np.stack((3 * one, one, ratio, ratio), axis=1)[:, None, :]  # in squares of the width
    wide = np.array(SHARES, dtype=np.float64)[genes[:, 4:]].reshape(len(genes), -1, len(LAYERS))
    there = np.arange(max(DEPTHS)) < np.array(DEPTHS)[genes[:, 1]][:, None]
    weight = size * there[:, :, None]
    share: Array = (wide * weight).sum((1, 2)) / weight.sum((1, 2))
    return share


def main(population: int = 512, generations: int = 100) -> None:
    """Searches, and says what was found and how far it can be trusted."""
    space = tw.search_space("quasar-vit", tw.machine("zcu102-quasar"))
    print(f"table: {len(space.table)} entries; {space.bias}")
    proxy = fitted()
    print("\nAccuracy is a PROXY through published points, in % top-1:")
    for each, residual in zip(PUBLISHED, proxy.residuals, strict=True):
        bits = " + ".join(f"{share:.0%} {bits}" for bits, share in each.bits)
        said = f"{each.model}, {bits} bits, {each.training}"
        print(f"  {said:46} {each.top1:6.2f}   fitted {residual:+.2f}")
    spread = float(np.sqrt(np.mean(proxy.residuals**2)))
    _, doubling, step, *_ = proxy.weights
    print(f"  residuals {spread:.2f} (root mean square), {abs(proxy.residuals).max():.2f} at most;")
    print(f"  {doubling:+.2f} for twice the MACs, {step * (2**-8 - 2**-4):+.2f} from 4 to 8 bits")
    best = evolved(
        space, accuracy(proxy), TARGET_S, population=population, generations=generations, seed=1
    )
    drawn = space.random(best.evaluations, seed=1)
    luck = found(space, accuracy(proxy), TARGET_S, drawn, evaluations=best.evaluations)
    point = from_genes([int(gene) for gene in best.genes])
    run = space.simulate(best.genes)
    print(f"\nBest of {best.evaluations:,} candidates that take {TARGET_S * 1e3:.2f} ms at most:")
    print(
        f"  {point.depth} blocks of width {point.embed}, {point.heads} heads, MLP ratio "
        f"{point.mlp_ratio:g}, {share_wide(best.genes[None])[0]:.0%} of the weights in 8 bits"
    )
    print(f"  proxy {best.value:.2f} %; {luck.value:.2f} % by as many random candidates")
    if best.value > (most := max(each.top1 for each in PUBLISHED)):
        print(f"  that is above every published point ({most} %): extrapolated, do not believe it")
    print(
        f"  {best.latency_s * 1e3:.3f} ms and {best.energy_j * 1e3:.1f} mJ by the table, "
        f"{run.latency_s * 1e3:.3f} ms and {run.energy_j * 1e3:.1f} mJ by the engine"
    )


if __name__ == "__main__":
    main()
