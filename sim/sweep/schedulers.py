"""Who computes the chunks of a sweep: this process, several, or a cluster (`cluster.py`).

Whoever does gives back bytes; only the process that runs the sweep writes files.  A worker that is
killed loses what it was computing and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple, TypeAlias

from ..errors import SweepError
from ..spaces.study import Study
from .chunk_rows import Job, computed, failed

__all__ = ["DEADLY", "Outcome", "Scheduler", "in_processes", "one_by_one"]

DEADLY = 3
"""How many workers a chunk may take with it before it counts as failed."""


class Outcome(NamedTuple):
    """A chunk that is done, and its rows."""

    job: Job
    rows: bytes


Scheduler: TypeAlias = Callable[[Study, Iterable[Job]], Generator[Outcome, None, None]]
"""Computes chunks, in any order; closed before its end, it stops at once."""


def one_by_one(study: Study, jobs: Iterable[Job]) -> Generator[Outcome, None, None]:
    """Compute chunks in this process."""
    for job in jobs:
        yield Outcome(job, computed(study, job))


def in_processes(workers: int) -> Scheduler:
    """Compute chunks in so many processes of this machine.

    Raises:
        SweepError: (when run) No worker can be started.
    """

    def run(study: Study, jobs: Iterable[Job]) -> Generator[Outcome, None, None]:
        work, deaths = _Work(iter(jobs)), Counter[int]()
        while True:
            yield from _until_one_dies(study, work, workers)
            if not work.broken:
                return
            if not work.proven:
                _refuse_unstartable(study)
            lost, work.lost, work.broken = sorted(work.lost), [], False
            for job in lost:
                deaths[job.chunk] += 1
                if deaths[job.chunk] < DEADLY:
                    work.suspects.append(job)
                    continue
                why = f"its worker process died {DEADLY} times (killed, or out of memory)"
                yield Outcome(job, failed(study, job, why))

    return run


@dataclass(slots=True)
class _Work:
    """What is to be done by one pool after another.

    Nobody can say which of the running chunks killed a worker, so all of them become `suspects`,
    and each of these is computed with no other beside it.

    Attributes:
        left: Chunks that nobody has begun.
        suspects: Chunks that ran when a worker died.
        lost: Those of the last pool.
        broken: Whether the last pool lost a worker.
        proven: Whether any worker ever gave something back.
    """

    left: Iterator[Job]
    suspects: deque[Job] = field(default_factory=deque[Job])
    lost: list[Job] = field(default_factory=list[Job])
    broken: bool = False
    proven: bool = False

    def next(self, running: int, room: int) -> Job | None:
        """A chunk to be computed beside so many others; None if there is no room, or none left."""
        if self.suspects:
            return None if running else self.suspects.popleft()
        return next(self.left, None) if running < room else None


def _until_one_dies(study: Study, work: _Work, workers: int) -> Generator[Outcome, None, None]:
    """Compute chunks in one pool, until there are none left or a worker dies."""
    running: dict[Future[bytes], Job] = {}
    with _pool(study, workers) as pool:
        while not work.broken:
            while job := work.next(len(running), 2 * workers):
                try:
                    running[pool.submit(_on_worker, job)] = job
                except BrokenProcessPool:  # while nobody looked; this job is not to blame
                    work.suspects.appendleft(job)
                    work.broken = True
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                try:
                    rows = future.result()
                except BrokenProcessPool:
                    work.lost.append(job)
                    work.broken = True
                    continue
                work.proven = True
                yield Outcome(job, rows)
        work.lost += running.values()


def _refuse_unstartable(study: Study) -> None:
    """Start one worker, so that what keeps all from starting is not blamed on the chunks."""
    for _ in range(DEADLY):
        with contextlib.suppress(BrokenProcessPool), _pool(study, 1) as pool:
            pool.submit(os.getpid).result()
            return
    raise SweepError(
        "worker processes cannot be started; a script that sweeps does so under "
        'if __name__ == "__main__":, and --workers 1 needs none'
    )


@contextlib.contextmanager
def _pool(study: Study, workers: int) -> Generator[ProcessPoolExecutor, None, None]:
    """Processes that end when this one does, however it ends."""
    # Spawned, not forked: a fork copies locks that other threads of this process hold.
    context = get_context("spawn")
    held, leash = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(study, held)
    )
    try:
        yield pool
    finally:
        leash.close()  # and with it every worker, also those in the middle of a chunk
        pool.shutdown(cancel_futures=True)
        held.close()


_STUDY: list[Study] = []  # of a worker process, sent once when it begins


def _begin(study: Study, leash: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent ends the others
    _STUDY[:] = [study]
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    """End this process as soon as the other end is gone: closed, or its process killed."""
    with contextlib.suppress(EOFError, OSError):
        leash.recv_bytes()
    os._exit(1)


def _on_worker(job: Job) -> bytes:
    return computed(_STUDY[0], job)
