"""Runs ZigZag on a list of products; `peers.py` starts it in an environment of its own.

A job comes as JSON on standard input, its answer is the last line of standard output:

    rows, cols                what lies along them: k and n, so weights are stationary
    products                  `[copies, m, k, n]`, each a layer with 8-bit operands and 32-bit sums
    input_bytes, weight_bytes, accumulator_bytes   the three SRAMs
    dram_bits_per_cycle       of one port for everything

A PE has a register for two weights, so that one can be loaded while the other works; an SRAM feeds
or takes a word of every row or column in a cycle.  Energies are placeholders: latency is searched.

Source: L. Mei et al., "ZigZag: Enlarging Joint Architecture-Mapping Design Space Exploration for
DNN Accelerators", IEEE Transactions on Computers 2021; version 3.9.1 of the package `zigzag-dse`.
"""

import json
import logging
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

Tree = dict[str, Any]
_INTO, _OUT = ("fh", "tl"), ("fh", "tl", "fl", "th")  # ZigZag's names of a level's transfers
_ARRAY = ["D1", "D2"]


def port(kind: str, number: int, bits: int, **transfers: tuple[str, ...]) -> Tree:
    """A port that moves `bits` in a cycle, for these transfers of each operand."""
    return {
        "name": f"{''.join(word[0] for word in kind.split('_'))}_port_{number}",
        "type": kind,
        "bandwidth_min": 8,
        "bandwidth_max": bits,
        "allocation": [f"{name}, {each}" for name, moves in transfers.items() for each in moves],
    }


def memory(bits: int, served: list[str], *ports: Tree) -> Tree:
    """A memory that is shared along the dimensions of the array that it serves."""
    operands = sorted({entry.split(",")[0] for each in ports for entry in each["allocation"]})
    return {
        "size": bits,
        "r_cost": 1.0,
        "w_cost": 1.0,
        "area": 0.0,
        "latency": 1,
        "operands": operands,
        "ports": list(ports),
        "served_dimensions": served,
    }


def sram(operand: str, size_bytes: int, words: int) -> Tree:
    """An SRAM for an operand of the array."""
    read = port("read", 1, 8 * words, **{operand: ("tl",)})
    return memory(8 * size_bytes, _ARRAY, read, port("write", 1, 8 * words, **{operand: ("fh",)}))


def accelerator(job: Tree) -> Tree:
    """A weight-stationary array in ZigZag's terms: I1 are inputs, I2 weights, O sums."""
    rows, cols, dram = job["rows"], job["cols"], job["dram_bits_per_cycle"]
    return {
        "name": "weight_stationary",
        "memories": {  # ZigZag wants the innermost of an operand first
            "weight_register": memory(
                16, [], port("read", 1, 8, I2=("tl",)), port("write", 1, 8, I2=("fh",))
            ),
            "sum_register": memory(
                32,
                ["D2"],
                port("read", 1, 32, O=("tl",)),
                port("read", 2, 32, O=("th",)),
                port("write", 1, 32, O=("fh",)),
                port("write", 2, 32, O=("fl",)),
            ),
            "accumulators": memory(
                8 * job["accumulator_bytes"],
                _ARRAY,
                port("read", 1, 32 * cols, O=("tl", "th")),
                port("write", 1, 32 * cols, O=("fh", "fl")),
            ),
            "inputs": sram("I1", job["input_bytes"], rows),
            "weights": sram("I2", job["weight_bytes"], cols),
            "dram": memory(10**11, _ARRAY, port("read_write", 1, dram, I1=_INTO, I2=_INTO, O=_OUT)),
        },
        "operational_array": {
            "unit_energy": 1.0,
            "unit_area": 1.0,
            "dimensions": _ARRAY,
            "sizes": [cols, rows],
            "systolic_dimensions": _ARRAY,
        },
    }


def layer(number: int, copies: int, m: int, k: int, n: int) -> Tree:
    """A product in ZigZag's terms; it reads no other layer, which is said by its own number."""
    return {
        "id": number,
        "name": f"layer{number}",
        "operator_type": "Gemm",
        "equation": "O[h][d][k]+=I[h][d][c]*W[h][c][k]",
        "dimension_relations": [],
        "loop_dims": ["H", "D", "C", "K"],
        "loop_sizes": [copies, m, k, n],
        "operand_precision": {"I": 8, "W": 8, "O": 32, "O_final": 8},
        "operand_source": {"I": number, "W": number},
    }


def run(job: Tree, folder: Path) -> Tree:
    """Cycles of each layer, with loading and storing and without, and the seconds of the call."""
    mapping = {
        "name": "default",
        "spatial_mapping": {"D1": [f"K, {job['cols']}"], "D2": [f"C, {job['rows']}"]},
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
    inputs = {
        "workload": [layer(number, *sizes) for number, sizes in enumerate(job["products"])],
        "accelerator": accelerator(job),
        "mapping": [mapping],
    }
    for name, content in inputs.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content))  # JSON is YAML
    map_all = import_module("zigzag.api").get_hardware_performance_zigzag  # without types
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    _, cycles, evaluations = map_all(
        **{name: str(folder / f"{name}.yaml") for name in inputs},
        opt="latency",
        dump_folder=str(folder / "out"),
        pickle_filename=str(folder / "out.pickle"),
        loma_show_progress_bar=False,
    )
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    layers = [each for each, _ in evaluations[0][1]]
    return {
        "cycles": int(cycles),
        "layer_cycles": [int(each.latency_total2) for each in layers],
        "array_cycles": [int(each.ideal_temporal_cycle) for each in layers],
        "stalled_cycles": [int(each.latency_total0) for each in layers],
        "wall_s": wall_s,
        "cpu_s": cpu_s,
    }


def main() -> None:
    """Answers one job."""
    job = json.load(sys.stdin)
    import_module("zigzag.api")  # so that no call pays for it
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        answer = run(job, Path(name))
    print(f"\n{json.dumps(answer)}")


if __name__ == "__main__":
    main()
