"""`tilewise gemm`: the cycles of one product, by the closed form."""

from __future__ import annotations

from typing import Any

from .cli_inputs import systolic_array
from .cli_options import Array, Dataflow, Json, K, M, N, Overlap

__all__ = ["gemm"]


def gemm(
    m: M,
    k: K,
    n: N,
    array: Array = None,
    dataflow: Dataflow = None,
    overlap: Overlap = None,
    json: Json = None,
) -> None:
    """Count the cycles of one product.

    (M x K) @ (K x N) on one array, by the closed form; `explain gemm` says how it comes about.
    """
    from .reports.outputs import Outputs
    from .reports.table import facts
    from .reports.units import percent
    from .sim.derivation import derive
    from .sim.systolic import fold_interval, folds, gemm_cycles

    outputs = Outputs(json=json)
    shape = systolic_array(array, dataflow, overlap)
    split = folds(shape, m, k, n)
    cycles = gemm_cycles(shape, m, k, n)
    numbers: dict[str, Any] = {
        "array": f"{shape.rows}x{shape.cols}",
        "dataflow": shape.dataflow,
        "overlap": shape.overlap,
        "cycles": cycles,
        "folds": split.count,
        "column_blocks": split.blocks,
        "fold_interval_cycles": fold_interval(shape, split.stream),
        "macs": m * n * k,
        "utilization": derive(shape, m, k, n).utilization,
    }
    shown = [
        ("array", f"{numbers['array']} PEs"),
        ("dataflow", shape.dataflow),
        ("overlap", shape.overlap),
        ("cycles", f"{cycles:,}"),
        ("folds", f"{split.count:,}"),
        ("column blocks", f"{split.blocks:,}"),
        ("fold interval", f"{numbers['fold_interval_cycles']:,} cycles"),
        ("MACs", f"{numbers['macs']:,}"),
        ("utilization", percent(numbers["utilization"])),
    ]
    outputs.console.print(facts(f"({m} x {k}) @ ({k} x {n})", shown))
    outputs.write([], {"m": m, "k": k, "n": n, **numbers})
