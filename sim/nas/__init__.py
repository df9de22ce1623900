"""Search spaces of networks whose latency and energy are sums of entries of a table."""

from .space import Recipe, SearchSpace, SpaceError, search_space, space_names

__all__ = ["Recipe", "SearchSpace", "SpaceError", "search_space", "space_names"]
