"""A sweep on a Dask cluster: chunks go to its workers, rows come back, and are written here.

Workers need no disk in common with this process: a chunk carries its study with it, files and all.
"""

from __future__ import annotations

import functools
import pickle
import uuid
import zlib
from collections.abc import Generator, Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from ... import __version__
from ...workloads.extras import MissingExtraError, require
from ..errors import SweepError
from ..spaces.study import Study
from .chunk_rows import Job, computed, failed
from .schedulers import Outcome, Scheduler

__all__ = ["on_cluster"]

_WAIT_S = 15
_AHEAD = 2  # chunks for each thread of a worker, so that none is idle while rows travel


def on_cluster(address: str) -> Scheduler:
    """Compute chunks on the cluster of a Dask scheduler.

    Args:
        address: As `tcp://10.0.0.1:8786`, or the path of a scheduler file.

    Raises:
        SweepError: Dask is not installed; or, when run, nobody answers, the scheduler is lost, or a
            worker has another version of Tilewise or none.
    """
    try:
        distributed = require("distributed", "cluster")
    except MissingExtraError as error:
        raise SweepError(f"--scheduler: {error}") from None
    if "://" not in address and not Path(address).is_file():
        raise SweepError(
            f"--scheduler {address}: wanted an address such as tcp://10.0.0.1:8786, or the file "
            "that the scheduler wrote; there is no such file"
        )

    def run(study: Study, jobs: Iterable[Job]) -> Generator[Outcome, None, None]:
        where = {"address": address} if "://" in address else {"scheduler_file": address}
        try:
            client = distributed.Client(**where, timeout=_WAIT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SweepError(f"--scheduler {address}: no scheduler answers: {reason}") from None
        try:
            with client, client.as_current():
                yield from _computed(distributed, client, study, jobs)
        except (CancelledError, distributed.comm.CommClosedError):
            raise SweepError(
                f"--scheduler {address}: the scheduler is lost; what is done is kept: "
                "tilewise sweep resume"
            ) from None

    return run


def _computed(
    distributed: Any, client: Any, study: Study, jobs: Iterable[Job]
) -> Generator[Outcome, None, None]:
    sent = zlib.compress(pickle.dumps(study), 1)
    token, left = uuid.uuid4().hex[:12], iter(jobs)  # two sweeps at once are no business of Dask's
    running: dict[Any, Job] = {}
    while True:
        room = max(2, _AHEAD * sum(client.nthreads().values()))
        while len(running) < room and (job := next(left, None)) is not None:
            key = f"tilewise-{token}-{job.chunk}"
            future = client.submit(_work, sent, __version__, job, key=key, pure=False)
            running[future] = job
        if not running:
            return
        done, _ = distributed.wait(list(running), return_when="FIRST_COMPLETED")
        for future in done:
            job = running.pop(future)
            yield Outcome(job, _rows(distributed, future, study, job))
            future.release()


def _rows(distributed: Any, future: Any, study: Study, job: Job) -> bytes:
    try:
        rows: bytes = future.result()
    except distributed.KilledWorker:
        why = "its cluster workers died again and again (killed, or out of memory)"
        return failed(study, job, why)
    except ModuleNotFoundError as error:
        raise SweepError(f"a cluster worker lacks what it needs: {error}") from None
    return rows


def _work(sent: bytes, version: str, job: Job) -> bytes:
    """Compute a chunk on a worker."""
    if version != __version__:
        raise SweepError(f"a cluster worker has tilewise {__version__}, wanted {version}")
    return computed(_study(sent), job)


@functools.lru_cache(maxsize=2)
def _study(sent: bytes) -> Study:
    found: Study = pickle.loads(zlib.decompress(sent))
    return found
