"""What can go wrong between a valid workload and a valid machine."""

__all__ = ["MappingError", "PaperError"]


class MappingError(ValueError):
    """The machine cannot hold one tile of an operator, or does not know the number format."""


class PaperError(ValueError):
    """A paper whose numbers are not here; one line names those that are."""
