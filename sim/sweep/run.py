"""Sweeps: every point of a space evaluated and kept, whatever is killed on the way."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ... import __version__
from ..errors import SweepError
from ..spaces.space import Space
from ..spaces.study import Study
from .chunk_rows import Job, Tally
from .schedulers import Scheduler, in_processes, one_by_one
from .store import Manifest, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "Shard", "Status", "merge", "resume", "retry", "rows", "status", "sweep"]

_CHUNKS = 64  # at least, if there are points enough: for progress, and to lose little
_SHORTEST = {"cost": 256, "engine": 1}
_LONGEST = {"cost": 8192, "engine": 16}


class Shard(NamedTuple):
    """Every `of`-th chunk, from the `number`-th on, counted from 1: one job of an array."""

    number: int = 1
    of: int = 1

    def has(self, chunk: int) -> bool:
        """Whether a chunk is one of them."""
        return chunk % self.of == self.number - 1

    @classmethod
    def read(cls, text: str) -> Shard:
        """A shard as it is written.

        >>> Shard.read("3/8")
        Shard(number=3, of=8)

        Raises:
            SweepError: It is none.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise SweepError(f"--shard {text}: wanted i/n with i from 1 to n, as 3/8")
        return cls(int(found[1]), int(found[2]))


class Status(NamedTuple):
    """How far a sweep is.

    Attributes:
        manifest: What it is of.
        done: Chunks that are there.
        tally: How their points came out.
    """

    manifest: Manifest
    done: int
    tally: Tally

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return self.done == self.manifest.chunks


Progress: TypeAlias = Callable[[Tally, int], None]
"""Told how the points so far came out, and how many points there will be."""


def sweep(
    space: Space | Study | str | Path,
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: Shard | None = None,
    chunk: int | None = None,
    progress: Progress = lambda tally, points: None,
) -> Status:
    """Evaluate every point of a space, and keep the rows in a folder.

    A folder where the same sweep was begun is continued.

    Args:
        space: What is swept, or the path of its YAML file.
        folder: Where the rows go; made if there is none.
        workers: Processes; all cores by default.  Rows do not depend on how many there are.
        scheduler: A Dask scheduler instead of processes: its address (`tcp://...`) or its file.
        shard: Only every n-th chunk; the others are for other jobs.
        chunk: Points of a file, which is also what is lost at most, per worker, by a kill.
        progress: Told after every chunk.

    Raises:
        SpaceError: The space names what is not there, or has no points.
        SweepError: The folder holds another sweep or cannot be written; or the scheduler is none.
    """
    study = _study(space)
    study.refuse_empty()
    points = study.size
    if chunk is None:
        chunk = _there(folder) or _chunk(points, study.space.fidelity)
    elif chunk < 1:
        raise SweepError(f"--chunk {chunk}: wanted at least 1 point")
    store = Store.begin(folder, _manifest(study, chunk))
    computing = _scheduler(workers, scheduler)
    return _run(study, store, computing, shard or Shard(), progress)


def resume(
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    shard: Shard | None = None,
    progress: Progress = lambda tally, points: None,
) -> Status:
    """Go on with the sweep in a folder; arguments as for `sweep`.

    Raises:
        SpaceError, SweepError: As `sweep`; or there is no sweep.
    """
    manifest = Store.open(folder).manifest
    return sweep(
        Space.of(manifest.space, manifest.folder),
        folder,
        workers=workers,
        scheduler=scheduler,
        shard=shard,
        chunk=manifest.chunk,
        progress=progress,
    )


def retry(
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress = lambda tally, points: None,
) -> Status:
    """Evaluate the points again whose row is an error; arguments as for `sweep`.

    Raises:
        SpaceError, SweepError: As `sweep`; or there is no sweep.
    """
    manifest = Store.open(folder).manifest
    study = Study.of(Space.of(manifest.space, manifest.folder))
    store = Store.begin(folder, _manifest(study, manifest.chunk))
    tallies = store.tallies()
    failed = (chunk for chunk, tally in tallies.items() if tally.failed)
    jobs = (store.manifest.job(chunk, store.failed(chunk)) for chunk in failed)
    _computed(study, store, _scheduler(workers, scheduler), jobs, tallies, progress)
    return status(folder)


def status(folder: str | Path) -> Status:
    """How far the sweep in a folder is.

    Raises:
        SweepError: There is none.
    """
    store = Store.open(folder)
    tallies = store.tallies()
    return Status(store.manifest, len(tallies), _sum(tallies.values()))


def rows(folder: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of the sweep in a folder, those that are done, in the order of their points.

    Raises:
        SweepError: There is no sweep, or it has no rows yet.
    """
    return Store.open(folder).frame(columns)


def merge(folders: Sequence[str | Path], out: str | Path) -> Status:
    """Bring the chunks of several folders of one sweep together.

    Of a chunk that is in several, that with the fewest failed points is taken.

    Raises:
        SweepError: They are not of one sweep, or one is none, or `out` cannot be written.
    """
    stores = [Store.open(folder) for folder in folders]
    for store in stores[1:]:
        store.manifest.refuse_other(stores[0].manifest, stores[0].folder)
    into = Store.begin(out, stores[0].manifest)
    best = {chunk: (tally.failed, into) for chunk, tally in into.tallies().items()}
    for store in stores:
        for chunk, tally in store.tallies().items():
            if chunk not in best or tally.failed < best[chunk][0]:
                best[chunk] = tally.failed, store
    for chunk, (_, store) in sorted(best.items(), key=lambda item: item[0]):
        if store is not into:
            into.copy(chunk, store)
    return status(out)


def _study(space: Space | Study | str | Path) -> Study:
    if isinstance(space, Study):
        return space
    return Study.of(space) if isinstance(space, Space) else Study.read(space)


def _manifest(study: Study, chunk: int) -> Manifest:
    return Manifest(
        space=study.space.as_dict(),
        folder=study.space.folder,
        inputs=study.inputs,
        version=__version__,
        points=study.size,
        chunk=chunk,
    )


def _there(folder: str | Path) -> int | None:
    """The length of a chunk where a sweep was begun."""
    with contextlib.suppress(SweepError):
        return Store.open(folder).manifest.chunk
    return None


def _chunk(points: int, fidelity: str) -> int:
    """Points of a chunk: a function of the space alone, as the jobs of an array must agree."""
    return min(max(-(-points // _CHUNKS), _SHORTEST[fidelity]), _LONGEST[fidelity])


def _scheduler(workers: int | None, scheduler: str | None) -> Scheduler:
    if scheduler is not None:
        if workers is not None:
            raise SweepError("--workers: a cluster has its own workers; leave it or --scheduler")
        from .cluster import on_cluster

        return on_cluster(scheduler)
    workers = workers or os.cpu_count() or 1
    return one_by_one if workers == 1 else in_processes(workers)


def _run(
    study: Study, store: Store, computing: Scheduler, shard: Shard, progress: Progress
) -> Status:
    store.tidy()
    tallies = {chunk: it for chunk, it in store.tallies().items() if shard.has(chunk)}
    mine = range(shard.number - 1, store.manifest.chunks, shard.of)
    jobs = (store.manifest.job(chunk) for chunk in mine if chunk not in tallies)
    _computed(study, store, computing, jobs, tallies, progress, mine)
    store.tidy()
    return Status(store.manifest, *_of(tallies))


def _computed(
    study: Study,
    store: Store,
    computing: Scheduler,
    jobs: Iterator[Job],
    tallies: dict[int, Tally],
    progress: Progress,
    mine: range | None = None,
) -> None:
    """Compute chunks and keep them; `tallies` is brought up to date."""
    last = range(store.manifest.chunks) if mine is None else mine
    points = sum(job.last - job.first for job in map(store.manifest.job, last))
    total = _sum(tallies.values())
    progress(total, points)
    with contextlib.closing(computing(study, jobs)) as outcomes:
        for job, found in outcomes:
            before = tallies.get(job.chunk, Tally())
            tallies[job.chunk] = store.write(job, found)
            total = Tally(
                *(
                    all_ - a + b
                    for all_, a, b in zip(total, before, tallies[job.chunk], strict=True)
                )
            )
            progress(total, points)


def _of(tallies: dict[int, Tally]) -> tuple[int, Tally]:
    return len(tallies), _sum(tallies.values())


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.plus(tally)
    return total
