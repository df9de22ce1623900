"""Runs SCALE-Sim 3.0.0 and stores its compute cycles, the table behind `overlap: scale-sim`.

SCALE-Sim pins nothing and breaks with NumPy 2.4, hence an environment of its own:

    python3 -m venv scale-sim
    scale-sim/bin/pip install "scalesim==3.0.0" "numpy==2.2.*"
    scale-sim/bin/python bench/scale_sim_table.py tests/data/scale_sim_3.0.0.csv

It is run in its mode `InterfaceBandwidth: CALC`, in which memory keeps up by definition: the
report's `Stall Cycles` must be 0 and its `Total Cycles` are the compute cycles.  (The column
`Total Cycles (incl. prefetch)` counts the loading of its buffers too.)  A row is one layer of one
run; all take about 20 s.

Source: A. Samajdar et al., "A systematic methodology for characterizing scalability of DNN
accelerators using SCALE-Sim", ISPASS 2020; version 3.0.0 of the package `scalesim`.
"""

import csv
import sys
import tempfile
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple


class Gemm(NamedTuple):
    """`(m, k) @ (k, n)`."""

    m: int
    k: int
    n: int


DATAFLOWS = ("ws", "os", "is")
SMALL = (
    Gemm(1, 1, 1), Gemm(1, 20, 12), Gemm(20, 1, 12), Gemm(20, 12, 1), Gemm(7, 9, 5),
    Gemm(16, 16, 16), Gemm(17, 16, 15), Gemm(33, 31, 29),
)  # fmt: skip
SHAPES: dict[tuple[int, int], tuple[Gemm, ...]] = {
    (4, 4): SMALL,
    (8, 4): SMALL,
    (4, 16): SMALL,
    (16, 16): (Gemm(49, 48, 50), Gemm(64, 64, 64), Gemm(138, 64, 138), Gemm(1, 192, 100)),
    (12, 14): (Gemm(49, 48, 50), Gemm(197, 64, 50)),
    (32, 32): (Gemm(197, 64, 197), Gemm(138, 64, 138), Gemm(70, 384, 128), Gemm(49, 138, 64)),
    (64, 32): (Gemm(197, 384, 64), Gemm(129, 65, 33)),
    (128, 128): (Gemm(197, 384, 384), Gemm(138, 64, 138), Gemm(129, 128, 127), Gemm(1, 384, 384)),
}
"""The products by rows and columns of the array; of DeiT-S's sizes and odd ones."""

CONFIG = """\
[general]
run_name = run
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = 1024
FilterSramSzkB = 1024
OfmapSramSzkB = 1024
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = False
"""


def compute_cycles(dataflow: str, rows: int, cols: int, gemms: tuple[Gemm, ...]) -> list[int]:
    """The compute cycles of each product on one array, as SCALE-Sim reports them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, topology, layout = (folder / file for file in ("array.cfg", "gemms.csv", "no.csv"))
        config.write_text(CONFIG.format(rows=rows, cols=cols, dataflow=dataflow))
        # The order of the columns is M, N, K, and every line ends in a comma.
        lines = [f"g{i}, {gemm.m}, {gemm.n}, {gemm.k}," for i, gemm in enumerate(gemms)]
        topology.write_text("\n".join(["Layer, M, N, K,", *lines]) + "\n")
        unused = [f"g{i}," + " 1," * 20 for i, _ in enumerate(gemms)]
        layout.write_text("\n".join(["Layer," + " x," * 20, *unused]) + "\n")
        simulator = import_module("scalesim.scale_sim").scalesim(  # without types
            save_disk_space=True,
            verbose=False,
            config=str(config),
            topology=str(topology),
            layout=str(layout),
            input_type_gemm=True,
        )
        simulator.run_scale(top_path=str(folder / "out"))
        with (folder / "out" / "run" / "COMPUTE_REPORT.csv").open() as file:
            report = list(csv.DictReader(file, skipinitialspace=True))
    if any(int(layer["Stall Cycles"]) for layer in report):
        raise RuntimeError(f"stalls in mode CALC: {report}")
    return [int(layer["Total Cycles"]) for layer in report]


def main(path: Path) -> None:
    """Writes the table.

    Raises:
        RuntimeError: if the environment holds another version, or if a run reports stalls.
    """
    if (found := version("scalesim")) != "3.0.0":
        raise RuntimeError(f"wanted scalesim 3.0.0, got {found}")
    rows_of_table = [
        (dataflow, rows, cols, *gemm, cycles)
        for (rows, cols), gemms in SHAPES.items()
        for dataflow in DATAFLOWS
        for gemm, cycles in zip(gemms, compute_cycles(dataflow, rows, cols, gemms), strict=True)
    ]
    with path.open("w", newline="") as file:
        file.write(
            "# Compute cycles ('Total Cycles' at 0 stalls) of (m, k) @ (k, n) in SCALE-Sim 3.0.0,\n"
            f"# run on {date.today()} by bench/scale_sim_table.py, which says how.\n"
        )
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["dataflow", "rows", "cols", "m", "k", "n", "cycles"])
        table.writerows(rows_of_table)
    print(f"{path}: {len(rows_of_table)} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
