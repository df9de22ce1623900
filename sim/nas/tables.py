"""A look-up table: what each layer of a search space costs on a machine, by a key that people read.

It is written and read in three shapes:

- YAML is that of Once-for-All and ProxylessNAS (Cai et al., ICLR 2020 and 2019;
  github.com/mit-han-lab/once-for-all, `ofa/nas/efficiency_predictor/latency_lookup_table.py`): keys
  such as `expanded_conv-input:56x56x32-output:28x28x40-expand:3-...`, each with a `mean` in
  milliseconds and the `count` of measurements.  What reads theirs finds `table[key]["mean"]` in
  ours; what Tilewise adds stands beside it, its header in a comment.
- CSV and JSON have one record for each layer, as tables of kernel predictors do (nn-Meter: Zhang
  et al., MobiSys 2021, which NNI's hardware-aware search calls): key, seconds, joules.

>>> table = LookupTable(space="toy", machine="m", machine_hash="0", version="0", entries={
...     layer_key("attn", embed=192, heads=3): Cost(2e-5, 1e-4)})
>>> table["attn-embed:192-heads:3"].latency_s
2e-05
>>> LookupTable.read_text(table.csv_text(), "csv") == table
True
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import yaml

from .additivity import Bias
from .windows import Cost

__all__ = ["LookupTable", "Shape", "TableError", "layer_key"]

Shape: TypeAlias = Literal["json", "csv", "yaml"]
_FORMAT = "tilewise-table/1"
_HEADER = ("space", "machine", "machine_hash", "version")
_UNITS = {"latency_s": "seconds", "energy_j": "joules"}
_MS = 1e3
_SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {".json": "json", ".csv": "csv", ".yaml": "yaml", ".yml": "yaml"}
)


class TableError(ValueError):
    """A table that cannot be read, or lacks a key; one line says what was wanted."""


def layer_key(kind: str, **sizes: object) -> str:
    """The key of a layer: its kind and what it depends on.

    >>> layer_key("mlp.fc1", embed=192, mlp_ratio=3.5)
    'mlp.fc1-embed:192-mlp_ratio:3.5'
    """
    said = (f"{name}:{_plain(value)}" for name, value in sizes.items())
    return "-".join((kind, *said))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else f"{float(value):g}"  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, kw_only=True)
class LookupTable:
    """What each layer of a search space costs on a machine.

    Attributes:
        space, machine: Their names.
        machine_hash: SHA-256 of everything that the machine's file says.
        version: Of Tilewise.
        entries: Key -> seconds and joules; joules are NaN in a table of latencies only.
        bias: How sums of entries differ from whole networks, in the engine; None if not measured.
    """

    space: str
    machine: str
    machine_hash: str
    version: str
    entries: Mapping[str, Cost]
    bias: Bias | None = None

    def __getitem__(self, key: str) -> Cost:
        """The cost of a layer.

        Raises:
            TableError: There is no such key; the message names the nearest.
        """
        if key in self.entries:
            return self.entries[key]
        near = get_close_matches(key, self.entries, n=1, cutoff=0.3)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise TableError(f"the table of {self.space} on {self.machine} has no {key}{hint}")

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def hash(self) -> str:
        """SHA-256 of all that the table says."""
        return hashlib.sha256(self.json_text().encode()).hexdigest()

    def json_text(self) -> str:
        """The table as JSON: a header, and one record for each layer."""
        records = [{"key": key, **cost._asdict()} for key, cost in self.entries.items()]
        lines = ",\n  ".join(json.dumps(record) for record in records)
        header = json.dumps(self._header(), indent=1)[:-2]
        return f'{header},\n "entries": [\n  {lines}\n ]\n}}\n'

    def csv_text(self) -> str:
        """The table as CSV below one comment: `pandas.read_csv(path, comment="#")` reads it."""
        out = io.StringIO()
        out.write(f"# {json.dumps(self._header())}\n")
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(("key", *_UNITS))
        rows.writerows(
            (key, repr(cost.latency_s), repr(cost.energy_j)) for key, cost in self.entries.items()
        )
        return out.getvalue()

    def yaml_text(self) -> str:
        """The table as Once-for-All's YAML: `mean` in milliseconds; exact seconds beside it."""
        layers = {
            key: {"mean": cost.latency_s * _MS, "count": 1, **cost._asdict()}
            for key, cost in self.entries.items()
        }
        return f"# {json.dumps(self._header())}\n{yaml.safe_dump(layers, sort_keys=False)}"

    def to_json(self, path: str | Path) -> None:
        """Writes `json_text`."""
        Path(path).write_text(self.json_text(), encoding="utf-8")

    def to_csv(self, path: str | Path) -> None:
        """Writes `csv_text`."""
        Path(path).write_text(self.csv_text(), encoding="utf-8")

    def to_yaml(self, path: str | Path) -> None:
        """Writes `yaml_text`."""
        Path(path).write_text(self.yaml_text(), encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> LookupTable:
        """The table in a file, which its suffix says the shape of.

        Once-for-All's own YAML is read too: without a header, seconds from `mean`, joules NaN.

        Raises:
            TableError: The suffix is none of those, or the file cannot be read as a table.
        """
        shape = _SHAPES.get(Path(path).suffix)
        if shape is None:
            raise TableError(f"{path}: wanted a file ending in {', '.join(_SHAPES)}")
        try:
            return cls.read_text(Path(path).read_text(encoding="utf-8"), shape)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise TableError(f"{path}: wanted a table, got {reason}") from None
        except TableError as error:
            raise TableError(f"{path}: {error}") from None

    @classmethod
    def read_text(cls, text: str, shape: Shape) -> LookupTable:
        """The table that a text says.

        Raises:
            TableError: It says something else.
        """
        try:
            header, entries = _READERS[shape](text)
            bias = header.get("bias")
            said = {name: str(header.get(name, "unknown")) for name in _HEADER}
            return cls(**said, entries=entries, bias=Bias.of(bias) if bias else None)
        except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            raise TableError(f"wanted a table of layers in {shape}, got: {problem}") from None

    def _header(self) -> dict[str, Any]:
        bias = asdict(self.bias) if self.bias else None
        said = {name: getattr(self, name) for name in _HEADER}
        return {"format": _FORMAT, **said, "units": _UNITS, "bias": bias}


def _cost(record: Mapping[str, Any]) -> Cost:
    seconds = record["latency_s"] if "latency_s" in record else float(record["mean"]) / _MS
    cost = Cost(float(seconds), float(record.get("energy_j", math.nan)))
    if not 0 <= cost.latency_s < math.inf:
        raise TableError(f"wanted a latency of 0 or more, got {cost.latency_s}")
    return cost


def _collected(records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for key, record in records:
        if key in found:
            raise TableError(f"{key} stands there twice")
        found[key] = _cost(record)
    return found


def _commented(text: str) -> dict[str, Any]:
    """The header in the first line, if that is a comment with one."""
    line = text.partition("\n")[0]
    return json.loads(line[2:]) if line.startswith("# {") else {}


def _from_json(text: str) -> tuple[dict[str, Any], dict[str, Cost]]:
    found = json.loads(text)
    return found, _collected((record["key"], record) for record in found["entries"])


def _from_csv(text: str) -> tuple[dict[str, Any], dict[str, Cost]]:
    def records() -> Iterator[tuple[str, Mapping[str, Any]]]:
        lines = (line for line in text.splitlines() if not line.startswith("#"))
        for record in csv.DictReader(lines):
            yield record["key"], record

    return _commented(text), _collected(records())


def _from_yaml(text: str) -> tuple[dict[str, Any], dict[str, Cost]]:
    return _commented(text), _collected(yaml.safe_load(text).items())


_READERS = {"json": _from_json, "csv": _from_csv, "yaml": _from_yaml}
