"""The arrays in Verilog, under Icarus Verilog: every output and the clock edge at which it leaves.

The Verilog is the tests' own (`tests/rtl/`) and so is in a source checkout only.  The sequencing is
the hardware's: a fold begins every `interval` edges, whether or not the array is ready.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch import Overlap, SystolicArray
from .registers import Ints
from .systolic import folds

__all__ = ["Rtl", "RtlError", "why_unavailable"]

Words = NDArray[np.int8]

_SOURCES = Path(__file__).parents[1] / "tests" / "rtl"
_KINDS: tuple[Overlap, ...] = (
    "single", "shadow-broadcast", "shadow-gated", "global-drain", "pe-drain"
)  # fmt: skip


class RtlError(RuntimeError):
    """Icarus Verilog refused or failed, or an output left twice; says what it printed."""


def why_unavailable() -> str:
    """Why nothing can be run here, for people; empty if it can."""
    if not list(_SOURCES.glob("*.v")):
        return "needs a source checkout, with tests/rtl"
    missing = [name for name in ("iverilog", "vvp") if not shutil.which(name)]
    return f"{missing[0]} not found" if missing else ""


class Rtl:
    """The Verilog arrays, built in a folder once for each size and kind."""

    def __init__(self, folder: Path) -> None:
        """Keep what is built, and operands, in `folder`."""
        self._folder = folder
        self._built = cache(self._build)

    def multiply(
        self, array: SystolicArray, left: Words, right: Words, interval: int
    ) -> tuple[Ints, Ints]:
        """Pass `left @ right` through one array; sums are 32 bits wide and wrap around.

        Args:
            array: The array; its `count` and its rates play no part.
            left: `(m, k)`.
            right: `(k, n)`.
            interval: Clock edges from the begin of a fold to that of the next.

        Returns:
            The outputs `(m, n)`, and the edges at which they left, zero if never.

        Raises:
            RtlError: Icarus Verilog fails, or an output leaves twice.
        """
        if array.dataflow == "is":
            product, edges = self.multiply(
                array.replace(dataflow="ws"), right.T, left.T, interval=interval
            )
            return product.T, edges.T
        rows, cols = array.rows, array.cols
        (m, k), n = left.shape, right.shape[1]
        count = folds(array, m, k, n)
        columns = [band.T for band in _bands(right.T, cols)]
        if array.dataflow == "ws":
            top = [tile[::-1] for column in columns for tile in _bands(column, rows)]
            inputs = [band.T for band in _bands(left.T, rows)]
        else:
            top, inputs = columns, [band.T for band in _bands(left, rows)]
        # Memories are as deep as the defaults where that is enough, so that arrays are built once.
        words = max(4096, sum(map(len, top)), sum(map(len, inputs)))
        depth = max(256, count.stream)
        program = self._built(rows, cols, _KINDS.index(array.overlap), words, depth)
        printed = _call(
            "vvp", "-n", program,
            f"+top={self._memory('top', top)}", f"+left={self._memory('left', inputs)}",
            f"+folds={count.count}", f"+steps={count.per_block}", f"+interval={interval}",
            f"+stream={count.stream}",
            f"+edges={count.count * interval + 2 * rows + cols + count.stream}",
        )  # fmt: skip
        product, edges = np.zeros((2, m, n), dtype=np.int64)
        for line in printed.splitlines():
            if "$finish" in line:  # newer versions of vvp say so
                continue
            edge, row, column, value = map(int, line.split())
            if row < m and column < n:
                if edges[row, column]:
                    raise RtlError(f"output {row}, {column} left twice")
                product[row, column], edges[row, column] = value, edge
        return product, edges

    def _build(self, rows: int, cols: int, kind: int, words: int, depth: int) -> Path:
        program = self._folder / f"{rows}x{cols}-{kind}-{words}-{depth}.vvp"
        sizes = {"ROWS": rows, "COLS": cols, "VARIANT": kind, "WORDS": words, "DEPTH": depth}
        parameters = [f"-Pbench.{name}={value}" for name, value in sizes.items()]
        sources = sorted(_SOURCES.glob("*.v"))
        _call("iverilog", "-g2012", "-s", "bench", *parameters, "-o", program, *sources)
        return program

    def _memory(self, name: str, tiles: Iterable[Words]) -> Path:
        """Write a word a line, lane 0 rightmost."""
        file = self._folder / f"{name}.hex"
        file.write_text("".join(f"{w[::-1].tobytes().hex()}\n" for tile in tiles for w in tile))
        return file


def _call(*command: str | Path) -> str:
    """Return what a program prints, which must not fail."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RtlError(f"{command[0]} failed: {done.stdout}{done.stderr}".strip())
    return done.stdout


def _bands(matrix: NDArray[Any], height: int) -> list[Words]:
    """Cut into bands of rows, the last filled up with zeros."""
    whole = np.pad(matrix, ((0, -len(matrix) % height), (0, 0)))
    return [whole[at : at + height] for at in range(0, len(whole), height)]
