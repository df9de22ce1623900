"""The cost model: how far it is from the engine, and how many design points a second it prices.

Wall times depend on the machine, so nothing is asserted; how far the two are apart does not.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

import tilewise
from tilewise.sim.cost import CostModel
from tilewise.sim.spaces.evaluate import evaluate
from tilewise.sim.spaces.study import Study

Fidelity = Literal["cost", "engine"]

SPACE = Path(__file__).parents[1] / "examples" / "edge_space.yaml"
POINTS = 500


def _by(fidelity: Fidelity, numbers: range) -> pd.DataFrame:
    study = Study.read(SPACE)
    study = replace(study, space=replace(study.space, fidelity=fidelity))
    return evaluate(study, study.points(numbers)).set_axis(pd.Index(numbers))


def agreement(count: int = POINTS) -> list[str]:
    """The model beside the engine on points of `examples/edge_space.yaml`."""
    chunks = [range(start, min(start + 25, count)) for start in range(0, count, 25)]
    with ProcessPoolExecutor() as pool:
        engine = pd.concat(pool.map(partial(_by, "engine"), chunks))
    model = _by("cost", range(count))
    points = Study.read(SPACE).points(range(count))
    both = points.assign(
        error=(model["cycles"].astype(float) / engine["cycles"].astype(float) - 1).to_numpy(),
        energy=(model["energy_j"] / engine["energy_j"] - 1).to_numpy(),
    )
    cycles, bytes_ = engine["cycles"].to_numpy(float), engine["dram_bytes"].to_numpy(float)
    on_bus = bytes_ / points["dram.bytes_per_s"].to_numpy(float) * 1e9
    rate = points["format"].map({"int8": 1, "int4": 2}).to_numpy(float)
    pes = (points["array.rows"] * points["array.cols"]).to_numpy(float)
    bound = on_bus > engine["macs"].to_numpy(float) / (pes * rate)
    tau = kendalltau(model["cycles"].astype(float), cycles).statistic
    lines = [
        f"{_spread(both['error'])}   energy {_spread(both['energy'])}   tau {tau:.4f}   "
        f"{count} points, {np.mean(bound):.0%} of them memory-bound"
    ]
    for names, group in both.groupby(["workload", "array.dataflow"]):
        lines.append(f"{_spread(group['error'])}   {' '.join(map(str, names))}")
    return lines


def _spread(errors: pd.Series) -> str:
    size = errors.abs()
    return f"mean {size.mean():5.2%} p95 {size.quantile(0.95):5.2%} max {size.max():6.2%}"


def varied_rate(count: int = 100) -> str:
    """Points a second where nothing is alike: machines and token counts, both at random."""
    rng = np.random.default_rng(0)
    frame = _machines(rng, count)
    for symbol, (low, high) in {
        "kept_1": (98, 197),
        "kept_2": (49, 98),
        "kept_3": (20, 49),
    }.items():
        frame[f"bind.{symbol}"] = rng.integers(low, high, count)
    model = CostModel(tilewise.machine("edge-32x32"))
    workload = tilewise.workload("heatvit-deit-small")
    start = time.process_time()
    model.batch(frame, workload)
    rate = count / (time.process_time() - start)
    return (
        f"{rate:9,.0f}/s   {count:,} machines, each with token counts of its own, {workload.name}"
    )


def hardware_rate(count: int, goal: float = 10_000) -> str:
    """Machines a second for all of DeiT-S, mapping included, on one core.

    The more of them are asked for at once, the more are alike in what a layer's tiling depends on.
    """
    rng = np.random.default_rng(0)
    frame = _machines(rng, count)
    model, workload = CostModel(tilewise.machine("edge-32x32")), tilewise.workload("deit-small")
    model.batch(_machines(rng, 2000), workload)
    start = time.process_time()
    model.batch(frame, workload)
    rate = count / (time.process_time() - start)
    return f"{rate:9,.0f}/s   {rate / goal:4.2f} of {goal:,.0f}/s   {count:,} machines, deit-small"


def _machines(rng: np.random.Generator, count: int) -> pd.DataFrame:
    def kib(low: int, high: int) -> NDArray[np.int64]:
        return 1024 * 2 ** rng.integers(low, high, count)

    return pd.DataFrame(
        {
            "array.rows": rng.choice([16, 32, 64, 128], count),
            "array.cols": rng.choice([16, 32, 64, 128], count),
            "buffers.input_bytes": kib(6, 12),
            "buffers.weight_bytes": kib(6, 12),
            "buffers.output_bytes": kib(5, 9),
            "buffers.accumulator_bytes": kib(5, 10),
            "dram.bytes_per_s": rng.choice([3.2e9, 6.4e9, 12.8e9, 25.6e9, 51.2e9, 102.4e9], count),
            "vector.lanes": rng.choice([16, 32, 64, 128], count),
        }
    )


def warm_call(goal_s: float = 1e-3) -> str:
    """A call whose answer is known."""
    model, workload = CostModel(tilewise.machine("edge-32x32")), tilewise.workload("deit-small")
    start = time.perf_counter()
    model.predict(workload)
    first_s = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(100):
        model.predict(workload)
    warm_s = (time.perf_counter() - start) / 100
    return (
        f"{1e3 * warm_s:7.3f} ms   {warm_s / goal_s:4.2f} of {1e3 * goal_s:g} ms   "
        f"a warm call; the first {1e3 * first_s:.0f} ms"
    )


SWEEP = """
machine: edge-32x32
workload: heatvit-deit-small
bits: [W8A8, W4A8]
axes:
  array.rows: [16, 32]
  array.cols: [16, 32]
  buffers.input_bytes: [262144, 524288]
  buffers.weight_bytes: [262144, 524288]
  dram.bytes_per_s: [6.4e+9, 12.8e+9, 25.6e+9, 51.2e+9]
  vector.lanes: [16, 32]
  bind.kept_1: {from: 120, to: 180, count: COUNT}
  bind.kept_2: {from: 60, to: 110, count: COUNT}
  bind.kept_3: {from: 20, to: 50, count: COUNT}
"""


def sweep_rates(counts: tuple[int, ...] = (3, 5, 16)) -> list[str]:
    """Points a second of whole sweeps, rows written: 128 machines x 2 bits x tokens of DeiT-S.

    Args:
        counts: How many token counts each of three selectors has; 16 make a million points, which
            all cores sweep.
    """
    lines: list[str] = []
    cores = os.cpu_count() or 1
    for count in counts:
        points = 256 * count**3
        for workers in sorted({1 if points < 1e6 else cores, cores}):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "space.yaml"
                path.write_text(SWEEP.replace("COUNT", str(count)))
                start = time.perf_counter()
                tilewise.sweep(tilewise.Space.read(path), Path(folder) / "sweep", workers=workers)
                wall_s = time.perf_counter() - start
            lines.append(
                f"{wall_s:7.1f} s   {points / wall_s:8,.0f}/s   {points:,} points, "
                f"{workers} workers"
            )
    return lines


def main() -> None:
    """Prints all of it."""
    print("Cost model: design points on one core, mapping included")
    for count in (20_000, 100_000):
        print(hardware_rate(count), flush=True)
    print(varied_rate(), flush=True)
    print(warm_call(), flush=True)
    print("\nCost model: whole sweeps")
    for line in sweep_rates():
        print(line, flush=True)
    print(f"\nCost model: cycles beside the engine's, {SPACE.name}")
    print("\n".join(agreement()))


if __name__ == "__main__":
    main()
