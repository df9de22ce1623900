"""Output files appear whole or not at all: written beside, then renamed into place."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["OutputError", "check_writable", "json_text", "made", "write_bytes", "write_text"]


class OutputError(Exception):
    """A file that cannot be written; one line says why."""


def check_writable(paths: Iterable[Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse what could not be written, before the work whose result it is to hold.

    Raises:
        OutputError: One of `paths` cannot be written, is one of `inputs`, or two are the same file.
    """
    kept = {_resolved(path) for path in inputs} - {None}
    seen: set[Path] = set()
    for path in paths:
        if _resolved(path) in kept:
            raise OutputError(f"{path} is an input; give the output a file of its own")
        target = _target(path)
        if target in seen:
            raise OutputError(f"{path} is given for two outputs; give each its own file")
        seen.add(target)
        if _is_special(target):
            continue
        beside = _beside(target)
        try:
            beside.touch(exist_ok=False)
            beside.unlink()
        except OSError as error:
            raise _refusal(path, error) from None


def made(folder: Path) -> Path:
    """The folder, made if there was none.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _refusal(folder, error) from None
    return folder


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`; what was there stays whole until it is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    target = _target(path)
    try:
        if _is_special(target):
            target.write_bytes(content)
            return
        beside = _beside(target)
        try:
            beside.write_bytes(content)
            if target.exists():
                beside.chmod(target.stat().st_mode & 0o7777)
            beside.replace(target)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, error) from None


def json_text(value: Any) -> str:
    """Write `value` as JSON that every reader takes: a NaN or an infinity is an error of ours."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _resolved(path: Path) -> Path | None:
    """The file behind `path`; None if there can be none, which whoever opens it will say."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _target(path: Path) -> Path:
    """The file behind symbolic links, which are kept."""
    try:
        target = path.resolve()
        if target.is_dir():
            raise _refusal(path, "it is a folder; give a file in it")
        if not target.parent.is_dir():
            raise _refusal(path, f"there is no folder {target.parent}")
        if target.exists() and not os.access(target, os.W_OK):
            raise _refusal(path, "it is write-protected")
    except (OSError, RuntimeError, ValueError) as error:  # also links in a circle, a NUL byte
        raise _refusal(path, error) from None
    return target


def _is_special(target: Path) -> bool:
    """True for a pipe or a device, which must be written to and never be replaced."""
    return target.exists() and not target.is_file()


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}.{os.getpid()}.part")


def _refusal(path: Path, reason: object) -> OutputError:
    text = reason.strerror if isinstance(reason, OSError) else None
    return OutputError(f"{path} cannot be written: {text or reason}")
