"""Channels of a model that can only go together: what is added must stay as wide as what it meets.

A dimension of a tensor is a sequence of parts, each the channels of one group: a concatenation has
those of both its sides.  Groups are joined as operators ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import TypeAlias

__all__ = ["Axis", "Groups", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """The channels of a group, or one head's share of them.

    Attributes:
        group: Which.
        heads: Into how many heads the group is divided, if this is one of them.
    """

    group: int
    heads: int = 1


Axis: TypeAlias = tuple[Part, ...] | None
"""The channels of a dimension, in order; None if it is none of channels, or they must all stay."""


@dataclass(slots=True, eq=False)
class Groups:
    """Groups of channels, while they are being found.

    Attributes:
        sizes: Channels of each.
        units: What the number of channels to remove must be a multiple of.
        fixed: Whether all must stay.
        joined: Group -> the group that it became one with, itself at first.
        halves: Group -> the two that it fell into, where a concatenation meets it.
        headed: Groups that are divided into heads, and so cannot fall into two.
    """

    sizes: list[int] = field(default_factory=list[int])
    units: list[int] = field(default_factory=list[int])
    fixed: list[bool] = field(default_factory=list[bool])
    joined: list[int] = field(default_factory=list[int])
    halves: dict[int, tuple[int, int]] = field(default_factory=dict[int, "tuple[int, int]"])
    headed: set[int] = field(default_factory=set[int])

    def new(self, size: int, unit: int = 1) -> Axis:
        """A dimension of channels that nothing else has yet."""
        self.joined.append(len(self.sizes))
        self.sizes.append(size)
        self.units.append(unit)
        self.fixed.append(False)
        return (Part(len(self.sizes) - 1),)

    def resolved(self, axis: tuple[Part, ...]) -> tuple[Part, ...]:
        """The same dimension, by the groups there are now."""
        parts: list[Part] = []
        for part in axis:
            group = self._root(part.group)
            if group in self.halves:
                parts.extend(self.resolved(tuple(Part(half) for half in self.halves[group])))
            else:
                parts.append(Part(group, part.heads))
        return tuple(parts)

    def size(self, axis: tuple[Part, ...]) -> int:
        """Channels of a dimension."""
        return sum(self.sizes[part.group] // part.heads for part in self.resolved(axis))

    def kept(self, axis: tuple[Part, ...], keep: Fraction) -> int:
        """How many of them stay if each group keeps that share.

        Of C channels `C - floor(C keep)` are to go, and whole multiples of the unit do: what a norm
        divides by its groups, alone or beside other channels, it divides afterwards too.
        """
        total = 0
        for part in self.resolved(axis):
            size, unit = self.sizes[part.group], self.units[part.group]
            times = 0 if self.fixed[part.group] else (size - int(size * keep)) // unit
            total += (size - unit * min(times, (size - 1) // unit)) // part.heads
        return total

    def prunable(self, axis: Axis) -> bool:
        """Whether some of its channels could go."""
        return any(not self.fixed[part.group] for part in self.resolved(axis or ()))

    def fix(self, axis: Axis) -> None:
        """Let all channels of a dimension stay."""
        for part in self.resolved(axis or ()):
            self.fixed[part.group] = True

    def in_units(self, axis: Axis, unit: int) -> None:
        """Let channels go in multiples of `unit` only."""
        for part in self.resolved(axis or ()):
            self.units[part.group] = lcm(self.units[part.group], unit)

    def join(self, one: Axis, other: Axis) -> None:
        """Let two dimensions stay equal, channel by channel."""
        if one is None or other is None or not self._aligned(one, other):
            self.fix(one)
            self.fix(other)
            return
        for left, right in zip(self.resolved(one), self.resolved(other), strict=True):
            first, second = self._root(left.group), self._root(right.group)
            if first != second:
                self.joined[first] = second
                self.units[second] = lcm(self.units[first], self.units[second])
                self.fixed[second] |= self.fixed[first]
                self.headed |= {second} if first in self.headed else set()

    def divided(self, axis: Axis, heads: int) -> Axis:
        """One head's share of a dimension; None, all its channels staying, if it has none."""
        parts = self.resolved(axis or ())
        if len(parts) != 1 or parts[0].heads != 1 or self.sizes[parts[0].group] % heads:
            self.fix(axis)
            return None
        self.in_units(parts, heads)
        self.headed.add(parts[0].group)
        return (Part(parts[0].group, heads),)

    def united(self, axis: Axis, heads: int) -> Axis:
        """The channels of all heads, of the share of one."""
        parts = self.resolved(axis or ())
        if len(parts) != 1 or parts[0].heads != heads:
            self.fix(axis)
            return None
        return (Part(parts[0].group),)

    def pieces(self, axis: Axis, sizes: list[int]) -> list[Axis]:
        """A dimension cut into consecutive ones."""
        if axis is not None:
            pieces = [self.new(size) for size in sizes]
            whole = tuple(part for piece in pieces for part in piece or ())
            self.join(axis, whole)
            return pieces
        return [None] * len(sizes)

    def _aligned(self, one: tuple[Part, ...], other: tuple[Part, ...]) -> bool:
        """Splits groups until both have the same parts; False if that cannot be."""
        if self.size(one) != self.size(other):
            return False
        while True:
            pairs = zip(self.resolved(one), self.resolved(other), strict=False)
            for left, right in pairs:
                sizes = self.size((left,)), self.size((right,))
                if sizes[0] != sizes[1]:
                    if not self._split(left if sizes[0] > sizes[1] else right, min(sizes)):
                        return False
                    break
                if left.heads != right.heads:
                    return False
            else:
                return True

    def _split(self, part: Part, at: int) -> bool:
        group = part.group
        if part.heads != 1 or group in self.headed:
            return False
        halves: list[int] = []
        for size in (at, self.sizes[group] - at):
            self.new(size, self.units[group])
            self.fixed[-1] = self.fixed[group]
            halves.append(len(self.sizes) - 1)
        self.halves[group] = (halves[0], halves[1])
        return True

    def _root(self, group: int) -> int:
        while self.joined[group] != group:
            group = self.joined[group]
        return group
