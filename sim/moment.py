"""What units wait for: a moment in time, and room in a buffer.

SimPy's own events and containers would do, but spend an event on everything that happens, waited
for or not.  Most of it nobody waits for, and most moments are known before they come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import simpy

__all__ = ["Buffer", "Moment", "Process"]

Process = Generator[simpy.Event, None, None]
"""What a unit does, and whatever it waits for."""


class Moment:
    """The cycle at which something will have happened; `at` is None until that is known."""

    __slots__ = ("_env", "_known", "at")

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._known: simpy.Event | None = None
        self.at: int | None = None

    def set(self, at: int) -> None:
        """From now on it is known."""
        self.at = at
        if self._known is not None:
            self._known.succeed()

    def wait(self) -> Process:
        """Until it has come."""
        if self.at is None:
            if self._known is None:
                self._known = simpy.Event(self._env)
            yield self._known
        assert self.at is not None
        if self.at > self._env.now:
            yield self._env.timeout(self.at - self._env.now)

    def left(self, now: int) -> int:
        """Cycles until it comes, 0 if it has; -1 if it is not known."""
        return -1 if self.at is None else max(self.at - now, 0)


class Buffer:
    """Bytes that are taken by one after another, in the order in which they ask."""

    __slots__ = ("_env", "_waiting", "free_bytes")

    def __init__(self, env: simpy.Environment, size_bytes: int) -> None:
        self._env = env
        self._waiting: deque[tuple[int, simpy.Event]] = deque()
        self.free_bytes = size_bytes

    def take(self, size_bytes: int) -> Process:
        """Take bytes as soon as they are free."""
        if self._waiting or size_bytes > self.free_bytes:
            taken = simpy.Event(self._env)
            self._waiting.append((size_bytes, taken))
            yield taken
        else:
            self.free_bytes -= size_bytes

    def give(self, size_bytes: int) -> None:
        """Give bytes back."""
        self.free_bytes += size_bytes
        while self._waiting and self._waiting[0][0] <= self.free_bytes:
            wanted, taken = self._waiting.popleft()
            self.free_bytes -= wanted
            taken.succeed()
