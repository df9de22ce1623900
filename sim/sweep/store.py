"""Where the rows of a sweep are kept: a folder with a manifest and a Parquet file for each chunk.

    DIR/manifest.json                    the space, its hash, the version, the length of a chunk
    DIR/rows/chunk-000000012.parquet     the rows of one chunk, whole or not there

Every file is written beside its place and renamed into it.  A chunk has one name whoever computes
it, so that computing it again replaces it and duplicates nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from ..errors import SpaceError, SweepError
from ..spaces.space import Space, differences
from .chunk_rows import Job, Tally, counted
from .parquet import frame, note_of, read, replaced, stated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Manifest", "Store"]

_LAYOUT = 1
_MANIFEST = "manifest.json"
_CHUNK = re.compile(r"chunk-(\d{9,})\.parquet")
_PART = re.compile(r"\.(chunk-\d{9,}\.parquet|manifest\.json)\..*\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a folder of rows is of.

    Attributes:
        space: As `Space.as_dict` says it.
        folder: Where relative paths in it count from; of no further consequence.
        inputs: SHA-256 of the machine, the workloads and what else the space names.
        version: Of Tilewise.
        points: Before constraints.
        chunk: Points of a file.
    """

    space: Mapping[str, Any]
    folder: str
    inputs: Mapping[str, str]
    version: str
    points: int
    chunk: int

    @property
    def chunks(self) -> int:
        """Files, when all is done."""
        return -(-self.points // self.chunk)

    def job(self, chunk: int, only: Sequence[int] = ()) -> Job:
        """The points of a chunk."""
        first = chunk * self.chunk
        return Job(chunk, first, min(first + self.chunk, self.points), tuple(only))

    def refuse_other(self, other: Manifest, folder: Path) -> None:
        """Refuse to mix rows of two sweeps.

        Raises:
            SweepError: The other, which is there already, differs; one line says in what.
        """
        changed = differences(other.space, self.space)
        if not changed and other.version != self.version:
            changed = [f"tilewise was {other.version}, is {self.version}"]
        if not changed:
            names = [name for name, it in self.inputs.items() if other.inputs.get(name) != it]
            changed = [f"the content of {name} changed" for name in names]
        if changed:
            raise SweepError(
                f"{folder} holds another sweep: {'; '.join(changed)}. Give a folder of its own"
            )
        if other.chunk != self.chunk:
            raise SweepError(
                f"{folder} is cut into chunks of {other.chunk} points, not {self.chunk}: leave "
                "--chunk out, or give a folder of its own"
            )

    def text(self) -> str:
        """As JSON."""
        space = Space.of(self.space)
        said = {
            "tilewise": "sweep",
            "layout": _LAYOUT,
            "version": self.version,
            "points": self.points,
            "chunk": self.chunk,
            "space_hash": space.content_hash,
            "space": dict(self.space),
            "inputs": dict(self.inputs),
            "folder": self.folder,
        }
        return json.dumps(said, indent=2) + "\n"

    @classmethod
    def of(cls, text: str) -> Self:
        """Read it back.

        Raises:
            ValueError: It is none, or is not whole.
        """
        found: Any = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("wanted a mapping")
        said = cast("dict[str, Any]", found)
        if said.get("tilewise") != "sweep":
            raise ValueError("wanted the manifest of a sweep")
        if said.get("layout") != _LAYOUT:
            raise ValueError(f"wanted layout {_LAYOUT}, got {said.get('layout')}")
        try:
            whole = Space.of(said["space"]).content_hash == said["space_hash"]
            names = ("space", "folder", "inputs", "version", "points", "chunk")
            manifest = cls(**{name: said[name] for name in names})
        except (KeyError, SpaceError) as error:
            raise ValueError(f"wanted a whole manifest, got {error}") from None
        if not whole:
            raise ValueError("its space does not have the hash it says: it was edited")
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A folder of rows.

    Attributes:
        folder: Where.
        manifest: What it is of.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The sweep in a folder.

        Raises:
            SweepError: There is none.
        """
        path = Path(folder) / _MANIFEST
        try:
            return cls(folder=Path(folder), manifest=Manifest.of(path.read_text("utf-8")))
        except FileNotFoundError:
            raise SweepError(f"{folder} holds no sweep: there is no {path}") from None
        except OSError as error:
            raise SweepError(f"{folder} holds no sweep: {path}: {error.strerror}") from None
        except ValueError as error:
            raise SweepError(f"{path} is no manifest of a sweep: {error}") from None

    @classmethod
    def begin(cls, folder: str | Path, manifest: Manifest) -> Self:
        """The sweep in a folder, begun there if the folder is new or empty.

        Raises:
            SweepError: Another sweep is there, or anything else; or it cannot be written.
        """
        store = cls(folder=Path(folder), manifest=manifest)
        try:
            store.folder.mkdir(parents=True, exist_ok=True)
            others = [p for p in store.folder.iterdir() if not _PART.fullmatch(p.name)]
        except (OSError, ValueError) as error:
            raise store.unwritable(error) from None
        if others and not (store.folder / _MANIFEST).exists():
            raise SweepError(
                f"{folder} holds no sweep, but {others[0].name}: give a new or an empty folder"
            )
        if not others:
            store._replace(store.folder / _MANIFEST, manifest.text().encode())
        # Read in any case: several jobs of an array may have begun it at once.
        there = cls.open(folder)
        manifest.refuse_other(there.manifest, store.folder)
        try:
            store._rows.mkdir(exist_ok=True)
            probe = store._rows / f".{socket.gethostname()}.{os.getpid()}.part"
            probe.touch()  # to know before hours of work
            probe.unlink()
        except OSError as error:
            raise store.unwritable(error) from None
        return store

    @property
    def _rows(self) -> Path:
        return self.folder / "rows"

    def path(self, chunk: int) -> Path:
        """The file of a chunk."""
        return self._rows / f"chunk-{chunk:09d}.parquet"

    def chunks(self) -> Iterator[int]:
        """The chunks that are there, in order."""
        try:
            names = [path.name for path in self._rows.iterdir()]
        except FileNotFoundError:
            return
        except OSError as error:
            raise SweepError(f"{self._rows} cannot be read: {error.strerror}") from None
        yield from sorted(int(found[1]) for name in names if (found := _CHUNK.fullmatch(name)))

    def tallies(self) -> dict[int, Tally]:
        """How each chunk that is there came out; a file that is not whole is not there."""
        return {chunk: tally for chunk in self.chunks() if (tally := self._tally(chunk))}

    def write(self, job: Job, rows: bytes) -> Tally:
        """Keep the rows of a chunk, or of some of its points beside those that are there.

        Returns:
            How the whole chunk came out.

        Raises:
            SweepError: They cannot be written; what is there is whole.
        """
        path = self.path(job.chunk)
        if job.only and path.exists():
            both = replaced(read(path), read(rows), job.only)
            rows = counted(both, job.last - job.first)
        self._replace(path, rows)
        return Tally(**note_of(rows))

    def failed(self, chunk: int) -> tuple[int, ...]:
        """The points of a chunk whose row is an error."""
        return tuple(stated(read(self.path(chunk), ["point", "error"]), "error"))

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows that are there, in the order of their points.

        Raises:
            SweepError: There are none yet.
        """
        there = list(self.tallies())
        if not there:
            raise SweepError(f"{self.folder} has no rows yet: tilewise sweep resume {self.folder}")
        return frame(read(self.path(chunk), columns) for chunk in there)

    def copy(self, chunk: int, other: Store) -> None:
        """Take a chunk from another folder of the same sweep.

        Raises:
            SweepError: It cannot be written.
        """
        self._replace(self.path(chunk), other.path(chunk).read_bytes())

    def tidy(self) -> None:
        """Remove what killed processes left beside chunks that are there."""
        for folder in (self.folder, self._rows):
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    found = _PART.fullmatch(path.name)
                    if found and (folder / found[1]).exists():
                        path.unlink(missing_ok=True)

    def unwritable(self, error: OSError | ValueError) -> SweepError:
        """The refusal to go on, and that nothing is lost."""
        reason = getattr(error, "strerror", None) or error
        done = sum(1 for _ in self.chunks()) if self._rows.is_dir() else 0
        kept = f"; {done} chunks are kept: tilewise sweep resume {self.folder}" if done else ""
        return SweepError(f"{self.folder} cannot be written: {reason}{kept}")

    def _tally(self, chunk: int) -> Tally | None:
        try:
            return Tally(**note_of(self.path(chunk)))
        except (OSError, TypeError, ValueError):
            return None

    def _replace(self, path: Path, content: bytes) -> None:
        # Jobs of other machines may write the same chunk to the same disk at the same time.
        beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and path.exists():
                return  # another run of the same sweep has written it and tidied up
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise self.unwritable(error) from None
