"""What a search has priced, kept in a folder as it goes, so that the same search goes on.

A search proposes the same designs in the same order again, by its seed.  So nothing of the
optimiser has to be kept: it starts again, and whatever it was told before it is told at once.

DIR/part-000000012.parquet     designs that were priced together: `config_hash` and metrics
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import SweepError
from ..spaces.evaluate import columns_of_rows, framed
from ..spaces.rows import Row, records
from ..spaces.study import Study
from ..sweep.chunk_rows import config_hashes
from ..sweep.parquet import encoded, read, table
from .problem import Evaluate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Memory", "forget"]

_KEY = "config_hash"
_PARTS = "part-*.parquet"
_AT_ONCE = {"cost": 10_000, "engine": 4}
"""Designs that a kill loses at most; the cost model takes little longer for many than for few."""


@dataclass(frozen=True, eq=False)
class Memory:
    """Designs that were priced, by what all their numbers depend on.

    Attributes:
        folder: Where they are kept.
        pricing: What prices those that are new.
        known: Metrics of the others.
    """

    folder: Path
    pricing: Evaluate = field(repr=False)
    known: dict[str, Row] = field(default_factory=dict[str, Row], repr=False)

    @classmethod
    def of(cls, folder: str | Path, pricing: Evaluate) -> Self:
        """What is kept in a folder, made if there is none; a file that is not whole is not there.

        Raises:
            SweepError: It cannot be written.
        """
        known: dict[str, Row] = {}
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SweepError(f"{folder} cannot be written: {error.strerror}") from None
        for path in sorted(Path(folder).glob(_PARTS)):
            try:
                rows: list[dict[str, Any]] = read(path).to_pylist()
                known |= {row.pop(_KEY): row for row in rows}
            except (OSError, ValueError, KeyError):
                path.unlink(missing_ok=True)
        return cls(Path(folder), pricing, known)

    def evaluate(self, study: Study, designs: pd.DataFrame) -> pd.DataFrame:
        """As `spaces.evaluate.evaluate`, and whatever is new is kept.

        Raises:
            SweepError: It cannot be kept.
        """
        keys = config_hashes(study, designs)
        new = [at for at, key in enumerate(keys) if key not in self.known]
        length = _AT_ONCE[study.space.fidelity]
        for first in range(0, len(new), length):
            places = new[first : first + length]
            found = self.pricing(study, designs.iloc[places])
            self._keep(study, [keys[at] for at in places], found)
        return framed(study, [self.known[key] for key in keys]).set_axis(designs.index)

    def _keep(self, study: Study, keys: list[str], found: pd.DataFrame) -> None:
        kinds = columns_of_rows(study)
        columns = {name: (kind, found[name]) for name, kind in kinds.items()}
        rows = table({_KEY: (str, keys), **columns})
        path = self.folder / f"part-{len(self.known):09d}.parquet"
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            beside.write_bytes(encoded(rows, {"rows": len(keys)}))
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise SweepError(f"{self.folder} cannot be written: {error.strerror}") from None
        self.known.update(zip(keys, records(found), strict=True))


def forget(folder: Path) -> None:
    """Remove what was kept, once all of it stands elsewhere."""
    if not folder.is_dir():
        return
    for pattern in (_PARTS, f".{_PARTS}.*.part"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
