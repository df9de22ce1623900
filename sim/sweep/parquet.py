"""Rows as Parquet: the one module that knows the format, and that imports pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "encoded", "frame", "note_of", "read", "replaced", "stated", "table"]

Table: TypeAlias = Any
"""A table of pyarrow's, which has no types."""

_KEY = b"tilewise"


def table(columns: Mapping[str, tuple[type, Any]]) -> Table:
    """Columns of int, float, bool or str, given by name, type and values; None is empty."""
    arrow = _arrow()
    types = {int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
    arrays = {
        name: arrow.array(values, type=types[kind], from_pandas=True)
        for name, (kind, values) in columns.items()
    }
    return arrow.table(arrays)


def encoded(rows: Table, note: Mapping[str, int]) -> bytes:
    """A file of rows, with a note that is read without reading them."""
    buffer = io.BytesIO()
    noted = rows.replace_schema_metadata({_KEY: json.dumps(dict(note)).encode()})
    import_module("pyarrow.parquet").write_table(noted, buffer)
    return buffer.getvalue()


def note_of(source: Path | bytes) -> dict[str, int]:
    """The note of a file.

    Raises:
        ValueError: It is no whole file of `encoded`.
        OSError: It cannot be read.
    """
    try:
        schema = import_module("pyarrow.parquet").read_schema(_opened(source))
        found: dict[str, int] = json.loads(schema.metadata[_KEY])
    except (_arrow().ArrowException, KeyError, TypeError) as error:
        raise ValueError(f"no file of rows: {error}") from None
    return found


def read(source: Path | bytes, columns: Sequence[str] | None = None) -> Table:
    """The rows of a file, or some of their columns."""
    wanted = None if columns is None else list(columns)
    # Without the dataset machinery, which starts threads and guesses at names of folders.
    return import_module("pyarrow.parquet").ParquetFile(_opened(source)).read(columns=wanted)


def stated(rows: Table, column: str) -> list[int]:
    """The points of the rows that state something in a column."""
    stating = import_module("pyarrow.compute").is_valid(rows[column])
    found: list[int] = rows.filter(stating)["point"].to_pylist()
    return found


def replaced(rows: Table, by: Table, points: Collection[int]) -> Table:
    """Rows in which those of some points are others, in the order of the points."""
    compute, arrow = import_module("pyarrow.compute"), _arrow()
    again = compute.is_in(rows["point"], value_set=arrow.array(points, type=arrow.int64()))
    return arrow.concat_tables([rows.filter(compute.invert(again)), by]).sort_by("point")


def frame(tables: Iterable[Table]) -> pd.DataFrame:
    """Tables below each other; whole numbers stay whole, also where some are empty."""
    import pandas as pd

    arrow = _arrow()
    kinds = {arrow.int64(): pd.Int64Dtype()}
    found: pd.DataFrame = arrow.concat_tables(tables).to_pandas(types_mapper=kinds.get)
    full = [name for name in found if found[name].dtype == "Int64" and found[name].notna().all()]
    return found.astype(dict.fromkeys(full, "int64"))


def _opened(source: Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _arrow() -> Any:
    return import_module("pyarrow")
