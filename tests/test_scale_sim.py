"""`overlap: scale-sim` is what SCALE-Sim 3.0.0 reports, run by run."""

import csv
from pathlib import Path

import pytest

from tilewise.arch import Dataflow, SystolicArray
from tilewise.sim.systolic import gemm_cycles

TABLE = Path(__file__).parent / "data" / "scale_sim_3.0.0.csv"
DATAFLOWS: tuple[Dataflow, ...] = ("ws", "os", "is")


def runs(dataflow: Dataflow) -> list[dict[str, int]]:
    """The stored runs of one dataflow: rows, cols, m, k, n and the cycles reported."""
    with TABLE.open() as file:
        lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [
        {column: int(value) for column, value in line.items() if column != "dataflow"}
        for line in lines
        if line["dataflow"] == dataflow
    ]


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_compute_cycles_equal_every_stored_run_of_scale_sim(dataflow: Dataflow) -> None:
    stored = runs(dataflow)
    computed = [
        run
        | {
            "cycles": gemm_cycles(
                SystolicArray(
                    rows=run["rows"], cols=run["cols"], dataflow=dataflow, overlap="scale-sim"
                ),
                run["m"],
                run["k"],
                run["n"],
            )
        }
        for run in stored
    ]
    assert computed == stored


def test_the_stored_runs_cover_ragged_folds_single_rows_and_arrays_that_are_not_square() -> None:
    stored = [run for dataflow in DATAFLOWS for run in runs(dataflow)]
    assert len(stored) >= 40
    assert {dataflow: len(runs(dataflow)) for dataflow in DATAFLOWS} == dict.fromkeys(
        DATAFLOWS, len(stored) // 3
    )
    assert any(run["rows"] != run["cols"] for run in stored)
    assert all(any(run[size] == 1 for run in stored) for size in ("m", "k", "n"))
    assert any(run["m"] == 197 and run["m"] % run["rows"] for run in stored)
