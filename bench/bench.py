"""Speed and size as ratios and counts: `make bench`.

Wall times are medians over cold processes and are set against a goal, a ratio below 1 keeps it.
They depend on the machine, so nothing is asserted; sizes and counts do not.
"""

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import simpy

import tilewise
from tilewise.arch import Accelerator
from tilewise.sim.engine import run
from tilewise.sim.lower import lower
from tilewise.sim.ragged import run_policies
from tilewise.sim.result import Result
from tilewise.sim.spans import UNITS
from tilewise.workloads import Workload, sampled, vit
from tilewise.workloads.extent import known

REPOSITORY = Path(__file__).parents[1]
GRAPHS = REPOSITORY / "workloads" / "zoo" / "graphs"
COLD = (  # what is typed, its goal in seconds, how often it is tried
    ("--help", 0.5, 7),
    ("run deit-small --on edge-32x32", 3.0, 5),
    ("run heatvit-deit-small --on edge-32x32", 3.0, 5),
    ("run sd15-unet --on edge-32x32", 10.0, 3),
)
WARM = (
    ("deit-small", "edge-32x32"),
    ("heatvit-deit-small", "edge-32x32"),
    ("sd15-unet", "edge-32x32"),
    ("sd15-unet", "a100-80gb"),
)


def seconds(action: Callable[[], object], times: int) -> float:
    """The median wall time of an action."""
    taken: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return median(taken)


def cold(arguments: str, goal_s: float, times: int) -> str:
    """A command in a process of its own."""

    def command() -> None:
        line = [sys.executable, "-m", "tilewise", *arguments.split()]
        subprocess.run(line, check=True, capture_output=True, cwd=tempfile.gettempdir())

    wall_s = seconds(command, times)
    return f"{wall_s:6.2f} s   {wall_s / goal_s:4.2f} of {goal_s:g} s   tilewise {arguments}"


def warm(workload: str, machine: str) -> str:
    """A simulation in this process: what the simulator does in a second, and for what."""
    model, target = tilewise.workload(workload), tilewise.machine(machine)
    results: list[Result] = []
    wall_s = seconds(lambda: results.append(tilewise.simulate(model, target)), 3)
    result = results[-1]
    spans, tiles = len(result.spans), int((result.spans.unit == UNITS.index("array")).sum())
    return (
        f"{wall_s:6.2f} s   {tiles:7,} tiles {tiles / wall_s:9,.0f}/s   "
        f"{spans:7,} spans {spans / wall_s:9,.0f}/s   "
        f"{result.latency_s / wall_s:8.5f} of real time   {workload} on {machine}"
    )


class _Counting(simpy.Environment):
    """SimPy's environment, counting events."""

    events = 0

    def step(self) -> None:
        _Counting.events += 1
        super().step()


def counted(action: Callable[[], object]) -> int:
    """The SimPy events of an action."""
    _Counting.events = 0
    with patch.object(simpy, "Environment", _Counting):
        action()
    return _Counting.events


def jump(name: str, model: Workload, machine: Accelerator) -> str:
    """The engine with its jump and without."""
    program = lower(model, machine, machine.default_format)
    found: dict[bool, tuple[float, int, int]] = {}
    for jumps in (True, False):
        start = time.perf_counter()
        cycles = run(program, machine, jump=jumps).cycles
        wall_s = time.perf_counter() - start
        events = counted(partial(run, program, machine, jump=jumps))
        found[jumps] = wall_s, events, cycles
    (quick_s, few, cycles), (slow_s, many, same) = found[True], found[False]
    equal = "equal" if cycles == same else f"NOT EQUAL: {cycles} and {same}"
    return (
        f"{quick_s:6.2f} s {few:9,} events with, {slow_s:6.2f} s {many:10,} without: "
        f"{many / few:5.1f}x fewer, {slow_s / quick_s:5.1f}x faster, cycles {equal}   "
        f"{name}, {known(model.macs) / 1e9:,.1f} GMACs"
    )


def jumps() -> list[str]:
    """A ViT and two UNets."""
    machine = tilewise.machine("edge-32x32")
    assert isinstance(machine, Accelerator)
    models = {
        "deit-base": vit(depth=12, embed=768, heads=12).bind({"batch": 1}),
        "sd15-unet": tilewise.workload("sd15-unet").bind(),
        "sdxl-unet": tilewise.workload("sdxl-unet").bind(),
    }
    return [jump(name, model, machine) for name, model in models.items()]


def ragged(images: int = 10_000, goal_s: float = 30.0) -> str:
    """Drawn token counts under every policy, in as many processes as there are cores."""
    model, machine = tilewise.workload("heatvit-deit-small"), tilewise.machine("edge-32x32")
    counts = sampled(196, (0.7, 0.35, 0.24), images=images, seed=1).array()
    distinct = len(np.unique(counts, axis=0))
    workers = os.cpu_count() or 1
    start = time.perf_counter()
    ran = run_policies(model, machine, counts, workers=workers)
    wall_s = time.perf_counter() - start
    return (
        f"{wall_s:6.2f} s   {wall_s / goal_s:4.2f} of {goal_s:g} s   {images:,} images "
        f"({distinct:,} different), {len(ran.policies)} policies, {workers} processes   "
        f"{ran.workload} on {ran.machine}"
    )


def sizes() -> list[str]:
    """Bytes of what is shipped."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "build", "--outdir", folder, str(REPOSITORY)]
        subprocess.run(build, check=True, capture_output=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as content:
            files = content.infolist()
        shipped = [("wheel", wheel.stat().st_size)]
    code = [file for file in files if file.filename.endswith(".py")]
    shipped += [
        (f"wheel unpacked, {len(files)} files", sum(file.file_size for file in files)),
        (f"of it Python, {len(code)} files", sum(file.file_size for file in code)),
    ]
    shipped += [(path.name, path.stat().st_size) for path in sorted(GRAPHS.iterdir())]
    return [f"{size / 1e3:8,.1f} kB   {name}" for name, size in shipped]


def main() -> None:
    """Prints everything."""
    print("Cold: the wall time of a process, and as a part of its goal")
    for arguments, goal_s, times in COLD:
        print(cold(arguments, goal_s, times), flush=True)
    print("\nWarm: one simulation after another in a process")
    for workload, machine in WARM:
        print(warm(workload, machine), flush=True)
    print("\nJump: tiles that repeat are skipped")
    for line in jumps():
        print(line, flush=True)
    print("\nVarying tokens: many images under every policy")
    print(ragged(), flush=True)
    print("\nSizes")
    print("\n".join(sizes()))


if __name__ == "__main__":
    main()
