"""Tilewise's side of the comparison with its peers: machines, cycles of the array, seconds."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from peer_layers import ARRAY, block, independent, matmul

import tilewise
from tilewise.arch import Accelerator, Buffers
from tilewise.sim.result import Result
from tilewise.sim.simulate import simulate

BLOCK = block(197)


def edge() -> Accelerator:
    """`edge-32x32`, whose array is as large as the one that is compared."""
    machine = tilewise.machine("edge-32x32")
    assert isinstance(machine, Accelerator)
    return machine


def array_cycles(result: Result) -> list[int]:
    """Cycles for which each kernel holds the array, so without any wait."""
    spans = result.spans
    taken = (spans.end - spans.start) * spans.counts * spans.is_of("array")
    return [int(taken[spans.kernel == kernel].sum()) for kernel in range(len(result.operators))]


def with_memory(kib: int, port_rate: int) -> Accelerator:
    """The array with three buffers of `kib` KiB, and one bus as fast as SCALE-Sim's three ports.

    Accumulators hold as many sums as the output buffer has bytes, at four bytes each; vector unit
    and latencies are taken out of the way.
    """
    machine = edge()
    size = kib * 1024
    return machine.replace(
        array=ARRAY,
        buffers=Buffers(
            input_bytes=size, weight_bytes=size, output_bytes=size, accumulator_bytes=4 * size
        ),
        dram=machine.dram.replace(
            bytes_per_s=3 * port_rate * machine.clock_hz, latency_s=0.0, setup_cycles=0
        ),
        vector=machine.vector.replace(lanes=4096),
    )


def closed_form() -> int:
    """The compute cycles of one DeiT-S block, copies of a head counted each."""
    return sum(copies * shape.cycles for shape, copies in BLOCK.items())


def engine() -> int:
    """The array's cycles in a simulation of the same products, machine file and all."""
    layers = [matmul(shape, copies) for shape, copies in BLOCK.items()]
    return sum(array_cycles(simulate(independent(layers), edge().replace(array=ARRAY))))


def first_and_warm(action: Callable[[], int], times: int) -> dict[str, float]:
    """Wall and CPU seconds of the first call, the median wall seconds of later ones, the cycles."""
    calls = [_timed(action) for _ in range(times + 1)]
    wall_s, cpu_s, cycles = zip(*calls, strict=True)
    return {
        "first_s": wall_s[0],
        "first_cpu_s": cpu_s[0],
        "warm_s": median(wall_s[1:]),
        "cycles": cycles[0],
    }


def _timed(action: Callable[[], int]) -> tuple[float, float, int]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    cycles = action()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s, cycles


def fresh(action: Callable[[], int], processes: int = 5, times: int = 20) -> dict[str, float]:
    """Medians over processes in which everything is imported and nothing was called."""
    context = multiprocessing.get_context("spawn")
    runs: list[dict[str, float]] = []
    for _ in range(processes):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            runs.append(pool.submit(first_and_warm, action, times).result())
    return {name: median(run[name] for run in runs) for name in runs[0]}
