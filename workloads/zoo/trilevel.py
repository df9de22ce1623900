"""Tri-Level's schedule of a training: which share of examples and tokens each epoch takes.

Kong et al., "Peeling the Onion: Hierarchical Reduction of Data Redundancy for Efficient Vision
Transformer Training", AAAI 2023 (arXiv:2211.10801), as its code has it, which was read:
github.com/ZLKong/Tri-Level-ViT, `engine.py`, `main.py` and `models/models_attn_tok.py`.

- Examples: 256,233 of ImageNet's 1,281,167 are removed before the first epoch.  Every 30 epochs
  some are exchanged for others, so that their number stays.
- Tokens: in blocks 4, 7 and 10, counted from 1, between attention and MLP, those stay that CLS
  attends to most, `ceil(r n)` of the `n` patches there: r, r^2 and r^3 of them all.  The ratio r is
  1 for 10 epochs, falls to its target as a cosine over 100 and stays, to the 300th.
- Attention: connections of little weight are masked behind the product that makes them, by the
  same schedule.  That saves no MACs and no time, and what it takes to find them is left out here.

The code changes r at every iteration; here it is that of the middle of the epoch.
"""

from __future__ import annotations

from functools import cache
from math import ceil, cos, pi
from typing import Final

from ..graph import Workload
from ..training import training_step

__all__ = ["BLOCKS", "EPOCHS", "EXAMPLES", "kept", "ratios", "step"]

EPOCHS: Final = 300
BLOCKS: Final = (4, 7, 10)
EXAMPLES: Final = 1 - 256_233 / 1_281_167
"""The share of the examples that each epoch takes."""

_WARM_UP, _DECAY = 10, 100


def ratios(target: float) -> tuple[float, ...]:
    """The keep ratio of each epoch.

    >>> found = ratios(0.7)
    >>> found[0], round(found[59], 3), found[110], len(found)
    (1, 0.852, 0.7, 300)

    Raises:
        ValueError: The target is not above 0 and at most 1.
    """
    if not 0 < target <= 1:
        raise ValueError(f"a keep ratio is above 0 and at most 1, got {target}")
    return tuple(_ratio(target, epoch) for epoch in range(EPOCHS))


def kept(ratio: float, patches: int = 196) -> dict[str, int]:
    """How many patches are left behind each of the three places.

    >>> kept(0.7)
    {'kept_1': 138, 'kept_2': 97, 'kept_3': 68}
    """
    counts: dict[str, int] = {}
    for place in range(1, len(BLOCKS) + 1):
        patches = ceil(round(ratio * patches, 9))  # 0.7 times 10 is not 7 in binary
        counts[f"kept_{place}"] = patches
    return counts


@cache
def step(base: str = "deit-small") -> Workload:
    """A training step whose patches are symbols, `kept_1` to `kept_3`; unbound, all stay."""
    from ..pruning import pruned  # which reads graphs of the zoo

    return training_step(pruned(base, "trilevel", BLOCKS, (1.0, 1.0, 1.0)))


def _ratio(target: float, epoch: int) -> float:
    if epoch < _WARM_UP:
        return 1
    if epoch >= _WARM_UP + _DECAY:
        return target
    done = (epoch + 0.5 - _WARM_UP) / _DECAY
    return target + (1 - target) * (1 + cos(pi * done)) / 2
