"""Searches for the designs that no other beats, confirmed by the engine."""

from .run import METHODS, Found, Progress, Searcher, Trace, problem_of, search

__all__ = ["METHODS", "Found", "Progress", "Searcher", "Trace", "problem_of", "search"]
