"""Tilewise beside its peers, on the same layers: `make peers`.

- SCALE-Sim 3.0.0: are the compute cycles of `overlap: scale-sim` equal, layer by layer, on DeiT-T,
  S and B, dense and pruned, and on the convolutions of a UNet?  How long does a call take?  How do
  cycles with a finite memory depend on the size of the buffers?
- ZigZag 3.9.1: how long does it take to map a block of DeiT-S, and what do 192, 196 and 197 tokens
  cost?

Each peer gets an environment of its own in `--envs`, where its answers are kept, too: what is asked
again is not run again.  Seconds depend on the machine and its load, cycles do not.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from peer_environments import SCALE_SIM, ZIGZAG, PeerError, Peers
from peer_layers import ARRAY, Layer, Model, Product, block, independent, matmul, models
from peer_tilewise import BLOCK, array_cycles, closed_form, edge, engine, fresh, with_memory

import tilewise
from tilewise.arch import Accelerator, SystolicArray
from tilewise.sim.simulate import simulate

Record = dict[str, Any]
JOB = {"rows": ARRAY.rows, "cols": ARRAY.cols, "dataflow": ARRAY.dataflow}
JOB_CYCLES = 300_000  # of one process of SCALE-Sim: it keeps some 2.7 kB for each
FULL_CYCLES = 1_000_000  # of one layer: 100 s and 2.7 GB
SWEPT = Product(197, 64, 197)  # Q K^T of one head of DeiT-S
SWEPT_KIB = (4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96)
RATE = 8  # bytes per cycle of each of SCALE-Sim's three ports to memory
TOKENS = (192, 196, 197)


# Are compute cycles equal?


def scale_sim_cycles(peers: Peers, layers: Sequence[Layer], title: str) -> Iterator[int]:
    """SCALE-Sim's compute cycles of each layer, in jobs of bounded size."""
    jobs: list[list[Layer]] = []
    room = 0
    for layer in layers:
        room -= layer.shape.cycles
        if room < 0 or len(jobs[-1][-1].sizes) != len(layer.sizes):
            jobs.append([])
            room = JOB_CYCLES - layer.shape.cycles
        jobs[-1].append(layer)
    for number, job in enumerate(jobs, 1):
        question = {**JOB, "layers": [layer.sizes for layer in job]}
        answer = peers.ask(SCALE_SIM, question, f"{title}, job {number} of {len(jobs)}")
        if any(answer["stall_cycles"]):
            raise PeerError(f"scale-sim: stalls where memory keeps up, in {title}")
        yield from answer["total_cycles"]


def compared(peers: Peers, model: Model, layers: Sequence[Layer]) -> list[Record]:
    """Cycles of each layer: SCALE-Sim's, the closed form's, and those of the engine's array."""
    layers = sorted(layers, key=lambda layer: len(layer.sizes))  # products, then convolutions
    machine = edge().replace(array=ARRAY)
    engine = array_cycles(simulate(independent([layer.operator for layer in layers]), machine))
    theirs = scale_sim_cycles(peers, layers, model.title)
    return [
        {
            "model": model.title,
            **layer.shape._asdict(),
            "sizes": layer.sizes,
            "cropped": layer.cropped,
            "scale_sim_cycles": cycles,
            "tilewise_cycles": layer.shape.cycles,
            "engine_array_cycles": array,
            "equal": cycles == layer.shape.cycles,
        }
        for layer, cycles, array in zip(layers, theirs, engine, strict=True)
    ]


def convolution_line(record: Record) -> str:
    """One convolution, or one product that is not equal."""
    theirs, ours = record["scale_sim_cycles"], record["tilewise_cycles"]
    verdict = "equal" if record["equal"] else f"NOT EQUAL, {theirs - ours:+,}"
    if len(sizes := record["sizes"]) == 3:
        return f"    {sizes[0]} x {sizes[1]} x {sizes[2]}: {theirs:,} {ours:,} {verdict}"
    height, width, kernel, _, channels, filters, stride = sizes
    what = "as much as is read" if record["cropped"] else "with its padding"
    return (
        f"    {height:3} x {width:3} {what:18}  {channels:4} -> {filters:4}  "
        f"kernel {kernel:2} stride {stride:2}  {theirs:9,} {ours:9,}  {verdict}"
    )


def summary(title: str, found: Sequence[Record], left_out: str) -> str:
    """How many layers of a model are equal.

    SCALE-Sim numbers its cycles from zero, so the engine's array works one cycle more; more than
    that where the mapper cuts what streams, so that a tile computes while the next is loaded.
    """
    equal = sum(record["equal"] for record in found)
    cycles = sum(record["tilewise_cycles"] for record in found)
    more = [r["engine_array_cycles"] - r["tilewise_cycles"] for r in found]
    return (
        f"  {title}: {equal} of {len(found)} equal, {cycles:,} cycles; {left_out}; "
        f"engine + 1 in {more.count(1)}, cut in {sum(n > 1 for n in more)}"
    )


def equality(peers: Peers, full: bool) -> Iterator[Record]:
    """Every distinct layer of every model, in the first model that has it."""
    seen: set[Layer] = set()
    for model in models():
        limit = FULL_CYCLES if full else model.quick_cycles
        new = [layer for layer in model.layers if layer not in seen]
        chosen = [layer for layer in new if layer.shape.cycles <= limit]
        seen |= {*new}
        if not chosen:
            print(f"  {model.title}: all {len(new)} layers are left to --full")
            continue
        found = compared(peers, model, chosen)
        whole = [record for record in found if not record["cropped"]]
        left = sum(not layer.cropped for layer in new) - len(whole)
        print(summary(model.title, whole, f"{left} over {limit:,} cycles left out"), flush=True)
        odd = [r for r in found if len(r["sizes"]) > 3 or not r["equal"]]
        print("".join(convolution_line(record) + "\n" for record in odd), end="")
        yield from found


# How long does a call take?


def seconds(peers: Peers, full: bool) -> Iterator[Record]:
    """One DeiT-S block, 16 products, on both sides from reading the inputs to the cycles.

    A warm `simulate()` finds its mappings in a cache; SCALE-Sim has none, and calls are alike.
    """
    shapes = [list(shape) for shape in BLOCK.elements()]
    job = {**JOB, "layers": shapes, "times": 4 if full else 2}
    answer = peers.ask(SCALE_SIM, job, f"one DeiT-S block, {job['times']} times")
    first, *warm = answer["wall_s"]
    base = {"first_s": first, "warm_s": median(warm), "cycles": sum(answer["total_cycles"])}
    print(
        f"  SCALE-Sim        first {first:9.3f} s   warm {base['warm_s']:9.3f} s (median of "
        f"{len(warm)})   {base['cycles']:,} cycles, {median(answer['cpu_s']):.1f} CPU-seconds, "
        f"{answer['peak_mb']:,.0f} MB"
    )
    yield {"who": "scale-sim", **base, "cpu_s": answer["cpu_s"], "peak_mb": answer["peak_mb"]}
    for who, action in (("closed form", closed_form), ("simulate()", engine)):
        found = fresh(action)
        first_ratio, warm_ratio = (base[key] / found[key] for key in ("first_s", "warm_s"))
        print(
            f"  {who:14}   first {found['first_s']:9.6f} s   warm {found['warm_s']:9.6f} s   "
            f"{found['cycles']:,} cycles; first {first_ratio:,.0f}x "
            f"({answer['cpu_s'][0] / found['first_cpu_s']:,.0f}x in CPU-seconds), "
            f"warm {warm_ratio:,.0f}x faster"
        )
        yield {"who": who, **found, "first_ratio": first_ratio, "warm_ratio": warm_ratio}


# What does a smaller buffer cost?


def memory(peers: Peers) -> Iterator[Record]:
    """One product at growing buffers; `^` marks more cycles than some smaller buffer had.

    SCALE-Sim's compute cycles are always those of the whole product, and its stalls come from
    prefetching in the order of the demand; Tilewise cuts the product so that tiles and their sums
    fit, which costs cycles of the array, and its total includes the first load and the last store.
    """
    print(
        "     KiB   SCALE-Sim: stalls        total   with prefetch   Tilewise: array        total"
    )
    least = {"scale_sim_cycles": 0, "scale_sim_with_prefetch": 0, "tilewise_cycles": 0}
    for kib in SWEPT_KIB:
        job = {**JOB, "layers": [list(SWEPT)], "sram_kib": kib, "words_per_cycle": RATE}
        theirs = peers.ask(SCALE_SIM, job, f"buffers of {kib} KiB")
        result = simulate(independent([matmul(SWEPT)]), with_memory(kib, RATE))
        found = {
            "scale_sim_cycles": theirs["total_cycles"][0],
            "scale_sim_with_prefetch": theirs["with_prefetch_cycles"][0],
            "tilewise_cycles": result.cycles,
        }
        marked = [f"{n:,}{'^' if 0 < least[key] < n else ' '}" for key, n in found.items()]
        least = {key: min(n, least[key] or n) for key, n in found.items()}
        (stalls,), (array,) = theirs["stall_cycles"], array_cycles(result)
        print(
            f"  {kib:6}          {stalls:10,}  {marked[0]:>12}   {marked[1]:>13}        "
            f"{array:10,}  {marked[2]:>12}"
        )
        yield {"kib": kib, "scale_sim_stalls": stalls, "tilewise_array_cycles": array, **found}


# What do 192, 196 and 197 tokens cost?


def staircase(peers: Peers) -> Iterator[Record]:
    """One DeiT-S block, product by product, on `edge-32x32` as it is.

    Both stream tokens past weights; ZigZag's total has no DRAM latency, set-up or vector unit.
    `at least` is MACs over PEs.
    """
    machine = edge()
    array, buffers = machine.array, machine.buffers
    assert isinstance(array, SystolicArray)
    job = {
        "rows": array.rows,
        "cols": array.cols,
        "input_bytes": buffers.input_bytes,
        "weight_bytes": buffers.weight_bytes,
        "accumulator_bytes": buffers.accumulator_bytes,
        "dram_bits_per_cycle": round(8 * machine.dram_bytes_per_cycle),
    }
    print(
        "  tokens                      at least       array  attention's       total"
        "  from 192  seconds"
    )
    first: dict[str, int] = {}
    for tokens in TOKENS:
        shapes = block(tokens)
        sizes = [[copies, *shape] for shape, copies in shapes.items()]
        answer = peers.ask(ZIGZAG, {**job, "products": sizes}, f"a block at {tokens} tokens")
        least = sum(c * s.m * s.k * s.n for s, c in shapes.items()) // machine.array.pes
        rows = {
            "ZigZag": answer,
            "Tilewise": simulated(shapes, machine, at_once=False),
            "Tilewise, one run": simulated(shapes, machine, at_once=True),
        }
        for who, found in rows.items():
            array, total = found["array_cycles"], found["cycles"]
            heads = sum(n for n, copies in zip(array, shapes.values(), strict=True) if copies > 1)
            print(
                f"  {tokens:6}  {who:18}{least:10,}{sum(array):12,}{heads:13,}{total:12,}"
                f"{total / first.setdefault(who, total) - 1:+10.1%}{found['wall_s']:9.3f}"
            )
            yield {"tokens": tokens, "who": who, "least_cycles": least, **found}


def simulated(shapes: Mapping[Product, int], machine: Accelerator, *, at_once: bool) -> Record:
    """Products in one simulation, or each in its own, as ZigZag evaluates them."""
    start = time.perf_counter()
    operators = [matmul(*item) for item in shapes.items()]
    runs = [operators] if at_once else [[operator] for operator in operators]
    results = [simulate(independent(run), machine) for run in runs]
    return {
        "wall_s": time.perf_counter() - start,
        "array_cycles": [cycles for result in results for cycles in array_cycles(result)],
        "cycles": sum(result.cycles for result in results),
    }


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="a few minutes (the default)")
    mode.add_argument("--full", action="store_true", help="every layer that fits: an hour")
    kept = Path.home() / ".cache" / "tilewise-peers"
    parser.add_argument("--envs", type=Path, default=kept, help="environments and answers")
    parser.add_argument("--output", type=Path, metavar="FILE", help="all numbers as JSON")
    options = parser.parse_args()
    peers = Peers(options.envs)
    versions = {peer.name: peers.versions(peer) for peer in (SCALE_SIM, ZIGZAG)}
    versions["tilewise"] = {"tilewise": tilewise.__version__, "python": platform.python_version()}
    print("Versions")
    for who, numbers in versions.items():
        print(f"  {who:10} " + ", ".join(f"{name} {number}" for name, number in numbers.items()))
    found: dict[str, Any] = {"versions": versions}
    for name, title, section in sections(peers, options.full):
        print(f"\n{title}", flush=True)
        try:
            found[name] = list(section)
        except PeerError as error:  # the other sections may not need it
            found[name] = str(error)
            print(f"  {error}")
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def sections(peers: Peers, full: bool) -> Iterator[tuple[str, str, Iterator[Record]]]:
    """What is printed: a key for the output, a heading, and the records as they are measured."""
    yield "equality", "Compute cycles on 32x32 WS: SCALE-Sim's, and ours", equality(peers, full)
    yield "seconds", "One DeiT-S block on 32x32 WS, imports excluded", seconds(peers, full)
    yield "memory", f"{SWEPT.m} x {SWEPT.k} x {SWEPT.n} with three buffers of", memory(peers)
    yield "staircase", "One DeiT-S block on edge-32x32, product by product", staircase(peers)


if __name__ == "__main__":
    main()
