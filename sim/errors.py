"""What can go wrong between a valid workload and a valid machine, or with a whole sweep of them.

ValueError
  MappingError    no tile of an operator fits, or no such number format
  PaperError      a paper whose numbers are not here
  SpaceError      a space that says nothing, contradicts itself or names what is not there
Exception
  SweepError      a folder, a scheduler or a shard that cannot be used
"""

from __future__ import annotations

from ..arch.document import Key, dotted

__all__ = ["MappingError", "PaperError", "SpaceError", "SweepError"]


class MappingError(ValueError):
    """The machine cannot hold one tile of an operator, or does not know the number format."""


class PaperError(ValueError):
    """A paper whose numbers are not here; one line names those that are."""


class SpaceError(ValueError):
    """A space that cannot be swept; one line: where, wanted, got, nearest.

    Attributes:
        key: Where in the space, as `("axes", "array.rows")`.
        text: What was wanted and what was got.
    """

    def __init__(self, key: Key, text: str, where: str = "") -> None:
        self.key, self.text = key, text
        place = f"{where}: " if where else ""
        super().__init__(place + (f"{dotted(key)}: " if key else "") + text)

    def __reduce__(self) -> tuple[type[SpaceError], tuple[Key, str]]:
        return SpaceError, (self.key, self.text)  # exceptions pickle their message otherwise


class SweepError(Exception):
    """A sweep that cannot go on; one line says what to change, and what is done is kept."""
