"""Tables kept on disk: built once for each machine, space and version of the code.

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

from .tables import LookupTable, TableError

__all__ = ["cached", "code_hash", "folder"]

_PARTS = ("arch", "workloads", "sim")


def folder() -> Path:
    """Where tables are kept: `tilewise/tables` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return root / "tilewise" / "tables"


@functools.cache
def code_hash() -> str:
    """SHA-256 of the modules that make a number: a version alone is older than a change."""
    from ... import __version__

    found = hashlib.sha256(__version__.encode())
    home = Path(__file__).parents[1]
    for part in _PARTS:
        for path in sorted((home / part).rglob("*.py")):
            found.update(path.relative_to(home).as_posix().encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def cached(name: str, identity: str, build: Callable[[], LookupTable]) -> LookupTable:
    """The table of that identity, from disk if it is there.

    A folder that cannot be written is warned of once for each table, and the table built anew.

    Args:
        name: What the file's name begins with.
        identity: Everything but the code that the table depends on.
        build: Makes the table.
    """
    key = hashlib.sha256(f"{code_hash()}{identity}".encode()).hexdigest()
    path = folder() / f"{name}-{key[:32]}.json"
    try:
        return LookupTable.read(path)
    except TableError:  # absent, or cut short by something else than Tilewise
        table = build()
    try:
        _write(path, table.json_text())
    except OSError as error:
        reason = error.strerror or str(error)
        warnings.warn(
            f"{path.parent}: {reason}: the table is built again by every process; "
            "XDG_CACHE_HOME names another folder",
            RuntimeWarning,
            stacklevel=2,
        )
    return table


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
