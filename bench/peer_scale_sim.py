"""Runs SCALE-Sim 3.0.0 on one list of layers; `peers.py` starts it in an environment of its own.

A job comes as JSON on standard input, its answer is the last line of standard output:

    rows, cols, dataflow   the array
    layers                 products `[m, k, n]`, or convolutions `[height, width, kernel height,
                           kernel width, channels, filters, stride]`, their input padded already
    times                  how often all of it is run, in one process
    sram_kib, words_per_cycle   of each of the three SRAMs; without them memory keeps up (`CALC`)

With a bandwidth SCALE-Sim runs in its mode `USER`.  Version 3.0.0 then takes the rate of the two
operands from the SRAM banks' bandwidth and that of the outputs from `Bandwidth`; here all three are
`words_per_cycle`, a word being a byte.  What it calls `Total Cycles` includes its stalls.
"""

import configparser
import csv
import json
import resource
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from scale_sim_table import CONFIG

_PREFETCH = "Total Cycles (incl. prefetch)"


def configuration(job: dict[str, Any]) -> configparser.ConfigParser:
    """That of the stored table, with the job's memory if it has one."""
    config = configparser.ConfigParser()
    config.optionxform = str  # type: ignore[assignment, method-assign]  # it would lower the case
    config.read_string(CONFIG.format(**{key: job[key] for key in ("rows", "cols", "dataflow")}))
    if rate := job.get("words_per_cycle"):
        config["run_presets"]["InterfaceBandwidth"] = "USER"
        config["architecture_presets"]["Bandwidth"] = str(rate)
        for operand in ("Ifmap", "Filter"):
            config["layout"][f"{operand}SRAMBankBandwidth"] = str(rate)
            config["layout"][f"{operand}SRAMBankNum"] = "1"
        for memory in ("Ifmap", "Filter", "Ofmap"):
            config["architecture_presets"][f"{memory}SramSzkB"] = str(job["sram_kib"])
    return config


def topology(layers: list[list[int]]) -> str:
    """The layers in SCALE-Sim's columns: products as M, N, K, and every line ends in a comma."""
    lines = [f"Layer,{' x,' * 20}"]
    for number, sizes in enumerate(layers):
        columns = [sizes[0], sizes[2], sizes[1]] if len(sizes) == 3 else sizes
        lines.append(f"layer{number}, " + "".join(f"{size}, " for size in columns))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def run(job: dict[str, Any], folder: Path) -> tuple[list[dict[str, str]], float, float]:
    """SCALE-Sim's report, a line for each layer; wall and CPU seconds of making and running it."""
    paths = {name: folder / f"{name}.csv" for name in ("topology", "layout")}
    layers: list[list[int]] = job["layers"]
    paths["topology"].write_text(topology(layers))
    unused = [f"layer{number}," + " 1," * 20 for number, _ in enumerate(layers)]
    paths["layout"].write_text("\n".join(["Layer," + " x," * 20, *unused]) + "\n")
    with (folder / "array.cfg").open("w") as file:
        configuration(job).write(file)
    make = import_module("scalesim.scale_sim").scalesim  # without types
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    make(
        save_disk_space=True,
        verbose=False,
        config=str(folder / "array.cfg"),
        topology=str(paths["topology"]),
        layout=str(paths["layout"]),
        input_type_gemm=len(layers[0]) == 3,
    ).run_scale(top_path=str(folder / "out"))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    with (folder / "out" / "run" / "COMPUTE_REPORT.csv").open() as file:
        return list(csv.DictReader(file, skipinitialspace=True)), wall_s, cpu_s


def main() -> None:
    """Answers one job."""
    job = json.load(sys.stdin)
    import_module("scalesim.scale_sim")  # so that no call pays for it
    wall_s: list[float] = []
    cpu_s: list[float] = []
    report: list[dict[str, str]] = []
    for _ in range(job.get("times", 1)):
        with tempfile.TemporaryDirectory() as name:
            report, wall, cpu = run(job, Path(name))
        wall_s.append(wall)
        cpu_s.append(cpu)
    total = [int(layer["Total Cycles"]) for layer in report]
    stalls = [int(layer["Stall Cycles"]) for layer in report]
    answer = {
        "total_cycles": total,
        "stall_cycles": stalls,
        "with_prefetch_cycles": [int(layer[_PREFETCH]) for layer in report],
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(f"\n{json.dumps(answer)}")


if __name__ == "__main__":
    main()
