"""What is computed once and kept on disk, for each version of the code: tables, prices.

A file is named by the hash of all that it depends on, the code included, so that it never has to be
told apart or thrown away.  It is written beside and renamed: who reads sees all of it or none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["code_hash", "folder", "kept"]

T = TypeVar("T")

_PARTS = ("arch", "workloads", "sim")


def folder(kind: str) -> Path:
    """Where things are kept: `tilewise/KIND` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return root / "tilewise" / kind


@functools.cache
def code_hash() -> str:
    """SHA-256 of the modules that make a number: a version alone is older than a change."""
    from .. import __version__

    found = hashlib.sha256(__version__.encode())
    home = Path(__file__).parents[1]
    for part in _PARTS:
        for path in sorted((home / part).rglob("*.py")):
            found.update(path.relative_to(home).as_posix().encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def kept(
    where: Path,
    name: str,
    identity: str,
    build: Callable[[], T],
    *,
    read: Callable[[Path], T],
    text: Callable[[T], str],
) -> T:
    """What has that identity, from disk if it is there and whole.

    A folder that cannot be written is warned of, and the thing built anew.

    Args:
        where: The folder.
        name: What the file's name begins with.
        identity: Everything but the code that it depends on.
        build: Makes it.
        read: Reads a file; ValueError or OSError if that is absent, or cut short by something else
            than Tilewise.
        text: What to write.
    """
    key = hashlib.sha256(f"{code_hash()}{identity}".encode()).hexdigest()
    path = where / f"{name}-{key[:32]}.json"
    try:
        return read(path)
    except (ValueError, OSError):
        built = build()
    try:
        _write(path, text(built))
    except OSError as error:
        reason = error.strerror or str(error)
        warnings.warn(
            f"{where}: {reason}: {name} is built again by every process; "
            "XDG_CACHE_HOME names another folder",
            RuntimeWarning,
            stacklevel=2,
        )
    return built


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
