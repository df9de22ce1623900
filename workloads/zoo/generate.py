"""Regenerates the shipped graphs: `python -m tilewise.workloads.zoo.generate [NAME...]`.

The same versions of torch and onnxscript write the same bytes.  `graphs.csv` lists what is shipped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import logging
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from .. import zoo
from ..extras import require
from ..onnx_export import save
from ..onnx_file import load

__all__ = ["GRAPHS", "Graph", "generate", "graph_of", "listed", "written"]

GRAPHS = Path(__file__).parent / "graphs"
"""Where the shipped graphs are."""

_LIST = "graphs.csv"


class Graph(NamedTuple):
    """A line of `graphs.csv`.

    Attributes:
        name: Of the model.
        size: Bytes of the compressed file.
        opset: The ONNX operator set.
        nodes: Of the graph.
        symbols: Sizes that vary, separated by spaces.
        sha256: Of the compressed file.
    """

    name: str
    size: int
    opset: int
    nodes: int
    symbols: str
    sha256: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.size} bytes, opset {self.opset}, {self.nodes} nodes, "
            f"symbols {self.symbols or 'none'}, sha256 {self.sha256}"
        )


def graph_of(name: str, path: Path) -> Graph:
    """What the file of a model is."""
    model, content = load(path)[0], path.read_bytes()
    symbols = {
        size.dim_param
        for value in [*model.graph.input, *model.graph.value_info]
        for size in value.type.tensor_type.shape.dim
        if size.dim_param.isidentifier()
    }
    return Graph(
        name=name,
        size=len(content),
        opset=model.opset_import[0].version,
        nodes=len(model.graph.node),
        symbols=" ".join(sorted(symbols)),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def written(name: str, path: Path) -> Graph:
    """Exports a model of the zoo into a file, whole or not at all.

    Raises:
        KeyError: It has no graph of its own.
        MissingExtraError: A package of the export extra is not installed.
        OSError: The file cannot be written.
    """
    require("torch", "export")  # which sets the levels of its loggers
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses packages nobody needs
    save(zoo.exports()[name](), path)
    return graph_of(name, path)


def generate(name: str, folder: Path = GRAPHS) -> str:
    """Writes one graph into a folder and says what it is and whether it is a new one."""
    path = folder / f"{name}.onnx.gz"
    before = load(path)[0] if path.exists() else None
    graph = written(name, path)
    change = "new" if before is None else "unchanged" if load(path)[0] == before else "CHANGED"
    return f"{name}: {change},{str(graph).partition(':')[2]}"


def listed() -> tuple[Graph, ...]:
    """The lines of `graphs.csv`: what is shipped."""
    text = resources.files(__package__ or "").joinpath(_LIST).read_text()
    return tuple(
        Graph(row[0], int(row[1]), int(row[2]), int(row[3]), row[4], row[5])
        for row in list(csv.reader(io.StringIO(text)))[1:]
    )


def _list_again() -> None:
    """Writes `graphs.csv` anew."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(Graph._fields)
    for name in zoo.exports():
        path = GRAPHS / f"{name}.onnx.gz"
        if path.exists():
            lines.writerow(graph_of(name, path))
    (GRAPHS.parent / _LIST).write_text(text.getvalue())


def main(arguments: Sequence[str] | None = None) -> None:
    """Regenerates the graphs named on the command line, or all."""
    exports = zoo.exports()
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(exports)}")
    parser.add_argument("--out", type=Path, default=GRAPHS, help="the folder to write into")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - exports.keys())
    if unknown:
        parser.error(f"no graph is called {', '.join(unknown)}; there are {', '.join(exports)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or exports:
        sys.stdout.write(f"{generate(name, options.out)}\n")
        sys.stdout.flush()
    if options.out == GRAPHS:
        _list_again()


if __name__ == "__main__":
    main()
