"""What a row of a token trace must be: counts that never rise, and masks that keep as many."""

from __future__ import annotations

from collections.abc import Sequence

from .keep_masks import counted

__all__ = ["TraceError", "checked_row", "checked_survived"]


class TraceError(ValueError):
    """A token trace is none, or there is none of that name; one line says what to change."""


def checked_row(
    row: Sequence[int], patches: int, selectors: int, where: str, over: Sequence[str] = ()
) -> None:
    """Asserts that a row is one of a trace.

    Raises:
        TraceError: It holds no count, or not `selectors` of them, or a count that is negative or
            larger than the one before, or with `over` larger than `patches` or less than 1; the
            message begins with `where`.
    """
    if not row:
        raise TraceError(f"{where}: wanted a kept count for each selector, got none")
    if len(row) != selectors:
        raise TraceError(f"{where}: wanted {selectors} kept counts as in the first, got {len(row)}")
    if over and len(over) != len(row):
        raise TraceError(f"{where}: wanted a number for each of {', '.join(over)}, got {len(row)}")
    before = patches
    origin = "the most that the trace states" if over else "the patches of an image"
    for number, kept in enumerate(row, start=1):
        name = over[number - 1] if over else f"kept_{number}"
        if kept < bool(over):
            raise TraceError(f"{where}: wanted {name} of {int(bool(over))} or more, got {kept}")
        if kept > before:
            raise TraceError(f"{where}: wanted {name} of at most {before}, {origin}, got {kept}")
        if not over:
            before, origin = kept, f"which is kept_{number}"


def checked_survived(digits: str, row: Sequence[int], patches: int, where: str) -> None:
    """Asserts that masks, a digit for each patch, keep what a row counts.

    Raises:
        TraceError: There is not a digit for each patch, or they keep more or less; the message
            begins with `where`.
    """
    if len(digits) != patches:
        raise TraceError(f"{where}: wanted masks of {patches} patches, got those of {len(digits)}")
    found = counted(digits, len(row))
    if found != tuple(row):
        got = f"digits above {len(row)}" if found is None else ", ".join(map(str, found))
        raise TraceError(
            f"{where}: wanted masks that keep {', '.join(map(str, row))}, as is counted, got {got}"
        )
