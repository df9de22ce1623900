"""Architecture evolving: blocks are removed or copied by their value per latency, to a target.

    while a network is too slow, the block that is worth least for its time goes;
    while there is room, the block that is worth most for its time is doubled.

After Y. Li et al., "SnapFusion: Text-to-Image Diffusion Model on Mobile Devices within Two
Seconds", NeurIPS 2023 (arXiv:2306.00980), its algorithm for the UNet, where the value of a block
is what the CLIP score falls by without it.  Here it is what the caller's function says, and the
latency is Tilewise's: of the engine's windows or of a look-up table.  The paper trains between
steps so that a network bears the loss of a block; here nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from ..nas.windows import windows
from ..result import Result

__all__ = ["Blocks", "Copies", "Evolution", "Step", "Value", "blocks_of", "evolved"]

Copies: TypeAlias = Mapping[str, int]
"""By block, how often it is there, one behind the other; 0 if it was removed."""

Value: TypeAlias = Callable[[Copies], float]
"""What an architecture is worth, more being better."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """What the blocks of a network take.

    Attributes:
        latency_s: By block, seconds of one copy.
        rest_s: Seconds of all that is no block, which stays as it is.

    Raises:
        ValueError: There is no block, or one takes no time.
    """

    latency_s: Mapping[str, float]
    rest_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.latency_s:
            raise ValueError("blocks: wanted at least one, got none")
        for name, seconds in self.latency_s.items():
            if not 0 < seconds < math.inf:
                raise ValueError(f"blocks: {name}: wanted seconds above 0, got {seconds}")

    def total_s(self, copies: Copies) -> float:
        """Seconds of the whole network with so many copies of each block."""
        return self.rest_s + math.fsum(
            seconds * copies[name] for name, seconds in self.latency_s.items()
        )


class Step(NamedTuple):
    """One action, and what the network is after it.

    Attributes:
        action: What was done.
        block: To which block.
        score: Its value per second, by which it was chosen.
        value, latency_s: Of the whole network.
    """

    action: Literal["remove", "copy"]
    block: str
    score: float
    value: float
    latency_s: float


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """How a network came to its target.

    Attributes:
        copies: By block, how often it is there in the end.
        value, latency_s: Of the network in the end.
        steps: What was done, in order.
    """

    copies: Copies
    value: float
    latency_s: float
    steps: tuple[Step, ...]


def evolved(
    blocks: Blocks,
    value: Value,
    target_s: float,
    *,
    kept: Iterable[str] = (),
    most: int = 2,
    begin: Copies | None = None,
) -> Evolution:
    """Remove and copy blocks until a network takes `target_s` at most.

    >>> blocks = Blocks(latency_s={"a": 2.0, "b": 1.0, "c": 3.0})
    >>> worth = {"a": 4.0, "b": 3.0, "c": 3.0}
    >>> found = evolved(blocks, lambda n: sum(worth[k] * n[k] for k in n), 4.5)
    >>> [(step.action, step.block, step.score) for step in found.steps]
    [('remove', 'c', 1.0), ('copy', 'b', 3.0)]

    Args:
        blocks: What blocks take.
        value: What an architecture is worth; asked anew before every step, as the loss of one block
            changes what the others are worth.
        target_s: Seconds of the whole network.
        kept: Blocks that nobody may remove.
        most: Copies of a block at most; 1 copies none.
        begin: How often each block is there at first; once if None.

    Raises:
        ValueError: What is named is no block; or the target cannot be met: the message says how
            much the blocks that are kept and the rest take.
    """
    kept = frozenset(kept)
    copies = dict.fromkeys(blocks.latency_s, 1) | dict(begin or {})
    _check(blocks, kept, copies, target_s)
    steps: list[Step] = []
    while blocks.total_s(copies) > target_s:
        steps.append(_removed(blocks, value, copies, kept))
    while found := _copied(blocks, value, copies, target_s, most):
        steps.append(found)
    return Evolution(
        copies=MappingProxyType(copies),
        value=value(copies),
        latency_s=blocks.total_s(copies),
        steps=tuple(steps),
    )


def blocks_of(result: Result, block_of: Callable[[str], str | None]) -> Blocks:
    """What the blocks of a run take: the engine's windows, which add up to the run, by block.

    Args:
        result: Of the whole network.
        block_of: From an operator's name to the name of its block; None if it belongs to none.

    Raises:
        ValueError: No operator belongs to a block.
    """
    found: dict[str, list[float]] = {}
    rest: list[float] = []
    for window in windows(result):
        name = block_of(window.name)
        (rest if name is None else found.setdefault(name, [])).append(window.cost.latency_s)
    latency_s = {name: math.fsum(parts) for name, parts in found.items()}
    # What runs wholly in the shadow of others costs nothing and buys nothing.
    seconds = {name: each for name, each in latency_s.items() if each > 0}
    return Blocks(latency_s=seconds, rest_s=math.fsum(rest))


def _removed(blocks: Blocks, value: Value, copies: dict[str, int], kept: frozenset[str]) -> Step:
    """Take away a copy of the block whose value per latency is least; `copies` is changed."""
    whole = value(copies)
    scores = {
        name: (whole - value({**copies, name: copies[name] - 1})) / blocks.latency_s[name]
        for name in copies
        if copies[name] > (name in kept)
    }
    worst = min(scores, key=lambda name: scores[name])
    copies[worst] -= 1
    return Step("remove", worst, scores[worst], value(copies), blocks.total_s(copies))


def _copied(
    blocks: Blocks, value: Value, copies: dict[str, int], target_s: float, most: int
) -> Step | None:
    """Add a copy of the block whose value per latency is most, of those for which there is room.

    None if there is room for none, or none is worth anything; else `copies` is changed.
    """
    whole = value(copies)
    scores: dict[str, float] = {}
    for name, count in copies.items():
        more = {**copies, name: count + 1}
        if 0 < count < most and blocks.total_s(more) <= target_s:
            scores[name] = (value(more) - whole) / blocks.latency_s[name]
    best = max(scores, key=lambda name: scores[name], default=None)
    if best is None or scores[best] <= 0:
        return None
    copies[best] += 1
    return Step("copy", best, scores[best], value(copies), blocks.total_s(copies))


def _check(
    blocks: Blocks, kept: frozenset[str], copies: Mapping[str, int], target_s: float
) -> None:
    for name in (*kept, *copies):
        if name not in blocks.latency_s:
            raise ValueError(f"{name} is no block; {_some(list(blocks.latency_s))}")
    least = blocks.total_s({name: int(name in kept and copies[name] > 0) for name in copies})
    if not least <= target_s:
        raise ValueError(
            f"target: wanted {target_s * 1e3:g} ms or less, but what stays takes "
            f"{least * 1e3:g} ms; keep fewer blocks or raise the target"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"there are {', '.join(names[:8])}{more}"
