"""The kernels of a run as rows a person can read: each, the slowest, or by module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum

from ..sim.losses import Losses
from ..sim.result import KernelResult, Result

__all__ = ["Row", "by_kernel", "by_module", "slowest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kernel or several together.

    Attributes:
        name: Of the kernel, or the path that its kernels share.
        kinds: Which kinds of operator lead the kernels.
        kernels: How many.
        share: Part of the run's PE-cycles, so that the rows of a run add up to one.
        time_s: That part of the run's latency.
        macs, dram_bytes, energy_j: Sums.
        losses: PE-cycles by cause.
        utilization: As a lone kernel's result says, from its start to its end; None for several,
            which may overlap.
        confidence: How far a lone kernel of a GPU is from what was measured; empty otherwise.
    """

    name: str
    kinds: tuple[str, ...]
    kernels: int
    share: float
    time_s: float
    macs: int
    dram_bytes: int
    energy_j: float
    losses: Losses
    utilization: float | None
    confidence: str = ""

    @property
    def window_utilization(self) -> float:
        """MACs done over MACs possible in its part of the run."""
        shares = self.losses.shares()
        return shares["useful"] + shares["selector"]

    @property
    def main_loss(self) -> tuple[str, float]:
        """The cause that costs it most, and the share of its PE-cycles that went there."""
        shares = self.losses.shares()
        cause = max(list(shares)[2:], key=lambda name: shares[name])  # the first two are work
        return cause, shares[cause]


def by_kernel(result: Result) -> tuple[Row, ...]:
    """One row for each kernel, in the order in which they ran."""
    return tuple(_row(result, operator.name, [operator]) for operator in result.operators)


def slowest(result: Result, count: int) -> tuple[Row, ...]:
    """The `count` kernels that take longest, and the others in one row."""
    ranked = sorted(result.operators, key=lambda operator: operator.losses.total, reverse=True)
    if len(ranked) <= count + 1:
        return tuple(_row(result, operator.name, [operator]) for operator in ranked)
    rows = [_row(result, operator.name, [operator]) for operator in ranked[:count]]
    rest = ranked[count:]
    return (*rows, _row(result, f"{len(rest)} other kernels", rest))


def by_module(result: Result, limit: int = 24) -> tuple[Row, ...]:
    """At most `limit` rows: kernels by the longest module path that still gives so few.

    Few kernels get a row each; names without structure fall back to the slowest kernels.
    """
    operators = result.operators
    if len(operators) <= limit:
        return by_kernel(result)
    depth, names = 0, _prefixes(operators, 1)
    while len(set(names)) <= limit:
        depth += 1
        deeper = _prefixes(operators, depth + 1)
        if len(set(deeper)) > limit or deeper == names:
            return _grouped(result, names)
        names = deeper
    return slowest(result, limit - 1)


def module_paths(operators: Sequence[KernelResult], limit: int) -> list[str]:
    """For each kernel, the module it is shown under if there may be `limit` modules."""
    names = _prefixes(operators, 1)
    for depth in (2, 3, 4):
        deeper = _prefixes(operators, depth)
        if len(set(deeper)) > limit:
            break
        names = deeper
    return names


def _prefixes(operators: Iterable[KernelResult], depth: int) -> list[str]:
    return [".".join(_module(operator.name).split(".")[:depth]) for operator in operators]


def _module(name: str) -> str:
    """The path of `blocks.0.attn.qkv/MatMul` is `blocks.0.attn.qkv`; a bare name is its own."""
    module, _, _ = name.rpartition("/")
    return module or name


def _grouped(result: Result, names: Sequence[str]) -> tuple[Row, ...]:
    groups: dict[str, list[KernelResult]] = {}
    for name, operator in zip(names, result.operators, strict=True):
        groups.setdefault(name, []).append(operator)
    return tuple(_row(result, name, members) for name, members in groups.items())


def _row(result: Result, name: str, members: Sequence[KernelResult]) -> Row:
    losses = Losses.sum(member.losses for member in members)
    whole = result.losses.total
    share = float(losses.total / whole) if whole else 0.0
    return Row(
        name=name,
        kinds=tuple(dict.fromkeys(member.kind for member in members)),
        kernels=len(members),
        share=share,
        time_s=share * result.latency_s,
        macs=sum(member.macs for member in members),
        dram_bytes=sum(member.dram_bytes for member in members),
        energy_j=fsum(joules for member in members for joules in member.energy_j.values()),
        losses=losses,
        utilization=members[0].utilization if len(members) == 1 else None,
        confidence=members[0].confidence if len(members) == 1 else "",
    )
