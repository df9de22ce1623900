"""How far the GEMM model is off on a GPU had that not been measured: `gpu_left_out.py CSV`.

CSV is as for `tilewise calibrate gemm`, with a column gpu of the names that aiconfigurator gives
(`a100_sxm`); it does not come with Tilewise.  Each measured GPU takes the constants that the others
tell of it, as any GPU without measurements does.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from tilewise.arch import Gpu, load_machine
from tilewise.arch.gpu_gemm import gemm_calibrations, known_gemm
from tilewise.sim.gpu.calibrate import roofline_seconds
from tilewise.sim.gpu.fit import errors
from tilewise.sim.gpu.gemm import gemm_seconds, hardware

FORMAT = "bf16"
ROWS = {name: name.replace("-80gb", "") + "_sxm" for name in gemm_calibrations()} | {"l40s": "l40s"}
PIECE = 1000  # shapes at once: every candidate of all would fill memory


def left_out(name: str, measured: pd.DataFrame) -> str:
    """A line: whose constants it takes, and the errors in per cent."""
    gpu = load_machine(name)
    assert isinstance(gpu, Gpu)
    known = known_gemm(gpu, FORMAT, (name,))
    machine = hardware(gpu, FORMAT)
    m, n, k = (measured[axis].to_numpy(float) for axis in "mnk")
    pieces = [slice(first, first + PIECE) for first in range(0, len(m), PIECE)]
    predicted = np.concatenate(
        [gemm_seconds(machine, known.constants, m[p], n[p], k[p]) for p in pieces]
    )
    times = measured["latency_ms_median"].to_numpy(float) * 1e-3
    own = errors(predicted, times)
    plain = errors(roofline_seconds(machine, gpu.launch_s, m, n, k), times)
    return (
        f"| `{name}` | {known.told_by} | {own.mape:.1f} | {own.median:.1f} | {own.p95:.0f} "
        f"| {own.bias:+.1f} | {plain.mape:.0f} |"
    )


def main() -> None:
    """Print the table of docs/gpu.md."""
    table = pd.read_csv(sys.argv[1])
    table = table[table["dtype"] == "bfloat16"]
    for name in gemm_calibrations():
        print(left_out(name, table[table["gpu"] == ROWS[name]]))


if __name__ == "__main__":
    main()
