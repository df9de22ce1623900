"""A YAML file as plain values, with the line of every key and the source of every number."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

Key = tuple[str | int, ...]


class MachineError(ValueError):
    """A machine that cannot be read; one line: file, line, key, wanted, got, nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML mapping; treat `values` as read-only, it is cached.

    `lines` maps each key, as a path such as `("array", "rows")`, to its line, counted from 1.
    `sources` maps the dotted key of each number that states one to where it comes from.
    """

    file: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    lines: dict[Key, int] = field(default_factory=dict[Key, int])
    sources: dict[str, str] = field(default_factory=dict[str, str])
    numbers: set[str] = field(default_factory=set[str])

    def line(self, key: Key) -> int:
        """Return the line of `key`, or of the innermost key around it that was written."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def fail(self, key: Key, text: str) -> NoReturn:
        """Raise a `MachineError` at `key`."""
        prefix = f"{dotted(key)}: " if key else ""
        raise MachineError(f"{self.file}:{self.line(key)}: {prefix}{text}")


def dotted(key: Key) -> str:
    """Write a key as people do.

    >>> dotted(("energy", "sram", 0, "read_pj_per_byte"))
    'energy.sram[0].read_pj_per_byte'
    """
    return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in key).lstrip(".")


def read_document(path: Path) -> Document:
    """Read a YAML file; unchanged files are parsed once.

    A number is written plainly (`16`, `2.5`, `150e6`, `7/4`), or as
    `{value: 150e6, source: "..."}`, or with `assumed: why` in place of `source`. A `source` or
    `assumed` beside other keys covers the numbers there and below that name none of their own.

    Raises:
        MachineError: if it is missing, no file, not text, not YAML or not a mapping, or says a
            key twice.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MachineError(f"{path}: wanted a YAML file, got no such file") from None
    except IsADirectoryError:
        raise MachineError(f"{path}: wanted a YAML file, got a directory") from None
    except (OSError, ValueError) as error:
        raise MachineError(f"{path}: wanted a YAML file, got {error}") from None
    return _parse(content, str(path))


@functools.lru_cache(maxsize=64)
def _parse(content: bytes, file: str) -> Document:
    from .nodes import fill  # here: only reading a file needs PyYAML

    document = Document(file=file)
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise UnicodeDecodeError("utf-8", content, content.index(0), 0, "a NUL byte")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MachineError(f"{file}:{line}: wanted UTF-8 text, got a binary file") from None
    fill(document, text)
    return document
