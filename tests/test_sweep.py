"""Sweeps: the same rows whoever computes them, in whatever pieces, and whoever is killed."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Run
from deadly_study import DeadlyStudy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optional import needed

from tilewise import __version__
from tilewise.arch import fpga, load_machine
from tilewise.sim.errors import SpaceError, SweepError
from tilewise.sim.policies import policy
from tilewise.sim.ragged import run_policies
from tilewise.sim.simulate import simulate
from tilewise.sim.spaces import evaluate as evaluating
from tilewise.sim.spaces.space import Space
from tilewise.sim.spaces.study import Study
from tilewise.sim.sweep import Shard, merge, resume, retry, rows, status, sweep
from tilewise.sim.sweep.chunk_rows import Job, Tally, computed
from tilewise.sim.sweep.parquet import read
from tilewise.sim.sweep.store import Manifest, Store
from tilewise.workloads import bit_rules, quantized, trace, workload

MODEL = "heatvit-digits16"  # the smallest
QUICK: dict[str, Any] = {  # a GPU's roofline takes milliseconds
    "machine": "a100-80gb",
    "fidelity": "engine",
    "workload": MODEL,
    "axes": {
        "dram.bytes_per_s": [1e12, 2e12],
        "bind.kept_1": [20, 8, 40],
        "batch": [1, 4],
    },
    "constraints": ["batch * bind.kept_1 <= 100"],
}
"""12 points, of which 2 are excluded and 4 fail: `kept_2` is 9 by default, more than 8."""

SLOW: dict[str, Any] = {
    "machine": "edge-32x32",
    "fidelity": "engine",
    "workload": MODEL,
    "axes": {
        "array.rows": [8, 16, 32],
        "array.dataflow": ["ws", "os"],
        "bind.kept_1": [12, 24, 36, 48],
    },
}


@pytest.fixture(scope="module")
def quick() -> Study:
    return Study.of(Space.of(QUICK))


@pytest.fixture(scope="module")
def slow() -> Study:
    return Study.of(Space.of(SLOW))


@pytest.fixture(scope="module")
def undisturbed(slow: Study, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert sweep(slow, folder, workers=1, chunk=1).complete
    return rows(folder)


@pytest.fixture(scope="module")
def whole(quick: Study, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("whole")
    sweep(quick, folder, workers=1)
    return rows(folder)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_exact=True)


# --- what a row says -----------------------------------------------------------------------------


def test_a_row_says_what_the_engine_says(quick: Study, whole: pd.DataFrame) -> None:
    good = whole[whole["error"].isna()]
    assert len(good) == 6
    for row in good.to_dict("records"):
        machine: Any = load_machine("a100-80gb")
        machine = machine.replace(dram=machine.dram.replace(bytes_per_s=row["dram.bytes_per_s"]))
        result = simulate(
            workload(MODEL), machine, bind={"kept_1": row["bind.kept_1"]}, batch=row["batch"]
        )
        for name in ("latency_s", "energy_j", "edp_js", "cycles", "dram_bytes", "macs"):
            assert row[name] == getattr(result, name)
        assert row["utilization"] == result.utilization


def test_a_row_says_where_it_comes_from(whole: pd.DataFrame) -> None:
    assert list(whole.columns) == [
        "point", "machine", "workload", "dram.bytes_per_s", "bind.kept_1", "batch", "format",
        "latency_s", "energy_j", "edp_js", "cycles", "dram_bytes", "macs", "utilization",
        "infeasible", "error", "seed", "fidelity", "version", "config_hash",
    ]  # fmt: skip
    assert set(whole["version"]) == {__version__}
    assert set(whole["format"]) == {"fp16"}
    assert set(whole["fidelity"]) == {"engine"}
    assert whole["seed"].isna().all()
    assert whole["config_hash"].is_unique
    assert whole["point"].is_unique


def test_a_point_that_fails_is_a_row_and_one_that_is_excluded_is_none(
    whole: pd.DataFrame, quick: Study, tmp_path: Path
) -> None:
    failed = whole[whole["error"].notna()]
    assert set(failed["bind.kept_1"]) == {8}
    assert failed["error"].str.startswith("BindingError: kept_2=9 is out of range").all()
    assert failed[["latency_s", "cycles"]].isna().all(axis=None)
    found = sweep(quick, tmp_path, workers=1)
    assert found.tally == Tally(points=12, excluded=2, infeasible=0, failed=4)
    assert found.tally.rows == len(whole) == 10


def test_an_infeasible_point_names_what_forbids_it(tmp_path: Path) -> None:
    points = [
        {"buffers.accumulator_bytes": 4, "array.overlap": "single", "array.dataflow": "ws"},
        {"buffers.accumulator_bytes": 65536, "array.overlap": "single", "array.dataflow": "os"},
        {"buffers.accumulator_bytes": 65536, "array.overlap": "single", "array.dataflow": "is"},
    ]
    space = Space.of({**SLOW, "axes": {"format": "int8"}, "sample": points})
    assert sweep(space, tmp_path, workers=1).tally == Tally(3, 0, 2, 0)
    found = rows(tmp_path)
    assert found["infeasible"].tolist()[:2] == ["buffers.accumulator_bytes", "array.overlap"]
    assert found["latency_s"].notna().tolist() == [False, False, True]


def test_a_device_makes_what_it_cannot_hold_infeasible_and_nothing_else(tmp_path: Path) -> None:
    axes = {"array.rows": [8, 64, 128], "array.cols": [64], "array.count": [1]}
    free = Space.of({"machine": "edge-32x32", "workload": MODEL, "axes": axes})
    for name, one in (("free", free), ("zcu102", free.on("zcu102"))):
        sweep(one, tmp_path / name, workers=1)
    found, without = rows(tmp_path / "zcu102"), rows(tmp_path / "free")
    assert found["infeasible"].fillna("").tolist() == ["", "dsp", "dsp, ff"]
    for at, row in enumerate(found.to_dict("records")):
        machine: Any = load_machine("edge-32x32")
        machine = machine.replace(array=machine.array.replace(rows=row["array.rows"], cols=64))
        built = fpga.resources(machine, format="int8")
        small = fpga.Fit(resources=built, device=fpga.device("zcu102")).excesses
        if small:
            assert row["infeasible"] == ", ".join(each.resource for each in small)
        else:
            assert row["latency_s"] == without["latency_s"][at], "as without"
            assert row["dsp"] == built.total.count("dsp")
    assert found["latency_s"].notna().sum() == 1
    assert set(found["config_hash"]).isdisjoint(without["config_hash"])
    with pytest.raises(SweepError, match='device was "zcu102", is gone'):
        sweep(free, tmp_path / "zcu102", workers=1)


def test_bits_are_those_of_the_option(tmp_path: Path) -> None:
    space = Space.of({**QUICK, "axes": {}, "constraints": [], "bits": ["W8A8", "W4A8"]})
    sweep(space, tmp_path, workers=1)
    for row in rows(tmp_path).to_dict("records"):
        model = quantized(workload(MODEL), bit_rules(row["bits"]))
        assert row["latency_s"] == simulate(model, load_machine("a100-80gb")).latency_s


def test_policies_run_the_trace(tmp_path: Path) -> None:
    space = Space.of(
        {**QUICK, "axes": {}, "constraints": [], "tokens": "digits16", "batch": 64,
         "policy": ["dense", "pad-max"]}
    )  # fmt: skip
    sweep(space, tmp_path, workers=1)
    found = rows(tmp_path).to_dict("records")
    counts = trace("digits16").array()
    run = run_policies(
        workload(MODEL), load_machine("a100-80gb"), counts, policies=[policy("pad-max")], batch=64
    )
    for row, ran in zip(found, run.policies, strict=True):
        assert row["policy"] == ran.policy.name
        assert row["latency_s"] == ran.percentile_s(50)
        assert row["latency_p95_s"] == ran.percentile_s(95)
        assert row["images_per_s"] == ran.images_per_s
    assert pd.isna([row["error"] for row in found]).all()


def test_the_same_point_has_the_same_hash_in_another_space(whole: pd.DataFrame) -> None:
    axes = {**QUICK["axes"], "bind.kept_1": [40]}
    study = Study.of(Space.of({**QUICK, "axes": axes}))
    found = read(computed(study, Job(0, 0, 4))).to_pandas()
    assert set(found["config_hash"]) < set(whole["config_hash"])
    other = Study.of(Space.of({**QUICK, "axes": axes, "format": "int8"}))
    assert not set(read(computed(other, Job(0, 0, 4))).to_pandas()["config_hash"]) & set(
        whole["config_hash"]
    )


def test_the_cost_model_is_asked_once_for_each_workload_and_gives_rows_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, list[str]]] = []

    class Model:
        def __init__(self, machine: Any) -> None:
            pass

        def batch(self, points: pd.DataFrame, model: Any, *, rules: Any) -> pd.DataFrame:
            asked.append((model.name, list(points.columns)))
            if (points["array.rows"] == 32).any():
                raise ValueError("32 is too many")
            return pd.DataFrame(
                {
                    "latency_s": points["array.rows"] / 1e6,
                    "energy_j": 1.0,
                    "cycles": points["array.rows"],
                    "infeasible": [None if rows > 8 else "dram.x" for rows in points["array.rows"]],
                }
            )

    monkeypatch.setattr(evaluating, "CostModel", Model)
    space = Space.of(
        {**SLOW, "fidelity": "cost", "workload": ["deit-small", MODEL],
         "axes": {"bind.kept_1": [12, 24], "array.rows": [8, 16]}}
    )  # fmt: skip
    study = Study.of(space)
    points = study.points(range(study.size))
    found = evaluating.evaluate(study, points)
    assert asked == [
        ("deit-small", ["array.rows"]), (MODEL, ["bind.kept_1", "array.rows"]),
    ]  # fmt: skip
    assert found["cycles"].tolist() == points["array.rows"].tolist()
    assert found["infeasible"].notna().tolist() == [True, False] * 3
    failing = Study.of(Space.of({**space.as_dict(), "axes": {**SLOW["axes"], "workload": MODEL}}))
    points = failing.points(range(failing.size))
    found = evaluating.evaluate(failing, points)
    assert (found["error"].notna() == (points["array.rows"] == 32)).all()
    assert found["error"].dropna().tolist()[0] == "ValueError: 32 is too many"


# --- pieces --------------------------------------------------------------------------------------


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(1, 13), of=st.integers(1, 4))
def test_rows_do_not_depend_on_chunks_and_shards_partition_them(
    chunk: int,
    of: int,
    quick: Study,
    whole: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    parts = [folder / str(number) for number in range(1, of + 1)]
    points: list[int] = []
    for number, part in enumerate(parts, start=1):
        found = sweep(quick, part, workers=1, chunk=chunk, shard=Shard(number, of))
        points += rows(part)["point"].tolist() if found.done else []
    assert sorted(points) == whole["point"].tolist()  # each point in exactly one
    assert merge(parts, folder / "all").complete
    same(rows(folder / "all"), whole)
    one = folder / "one"  # the same shards into one folder
    for number in range(1, of + 1):
        sweep(quick, one, workers=1, chunk=chunk, shard=Shard(number, of))
    same(rows(one), whole)


def test_a_sweep_that_is_run_or_resumed_again_changes_nothing(quick: Study, tmp_path: Path) -> None:
    first = sweep(quick, tmp_path, workers=1, chunk=5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert sweep(quick, tmp_path, workers=1) == resume(tmp_path, workers=1) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == before


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lost=st.sets(st.integers(0, 5)), torn=st.integers(0, 5))
def test_what_is_missing_or_torn_is_computed_again(
    lost: set[int],
    torn: int,
    quick: Study,
    whole: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    sweep(quick, folder, workers=1, chunk=2)
    for path in [folder / "rows" / f"chunk-{chunk:09d}.parquet" for chunk in lost]:
        path.unlink()
    path = folder / "rows" / f"chunk-{torn:09d}.parquet"
    path.write_bytes(b"PAR1 and no more")
    (folder / "rows" / f".{path.name}.host.1.part").write_bytes(b"half")
    assert not status(folder).complete
    assert resume(folder, workers=1).complete
    same(rows(folder), whole)
    assert not list((folder / "rows").glob(".*"))


def test_failed_points_are_evaluated_again_and_no_others(
    quick: Study, whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flaky(*args: Any, batch: int, **options: Any) -> Any:
        if batch == 4:
            raise MemoryError("none left")
        return simulate(*args, batch=batch, **options)

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "simulate", flaky)
        assert sweep(quick, tmp_path, workers=1, chunk=5).tally.failed == 6
    assert "MemoryError: none left" in set(rows(tmp_path)["error"])
    count: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        count.append(1)
        return simulate(*args, **options)

    monkeypatch.setattr(evaluating, "simulate", counted)
    assert retry(tmp_path, workers=1).tally.failed == 4
    assert len(count) == 6
    same(rows(tmp_path), whole)


def test_of_two_parts_with_the_same_chunk_the_better_one_is_taken(
    quick: Study, whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "simulate", broken)
        sweep(quick, tmp_path / "bad", workers=1, chunk=12)
    sweep(quick, tmp_path / "good", workers=1, chunk=12)
    for order in (("bad", "good"), ("good", "bad")):
        out = tmp_path / "-".join(order)
        merge([tmp_path / name for name in order], out)
        same(rows(out), whole)


# --- processes -----------------------------------------------------------------------------------


def test_several_processes_give_the_rows_of_one(
    slow: Study, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    told: list[int] = []
    found = sweep(
        slow, tmp_path, workers=2, chunk=5, progress=lambda tally, points: told.append(tally.points)
    )
    assert found.complete
    assert told == sorted(told)
    assert told[-1] == 24
    same(rows(tmp_path), undisturbed)


def test_a_chunk_that_kills_its_workers_becomes_errors_and_the_others_are_whole(
    slow: Study, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    named = {name: getattr(slow, name) for name in Study.__dataclass_fields__}
    deadly = DeadlyStudy(**named, deadly=3)
    found = sweep(deadly, tmp_path, workers=2, chunk=2)
    assert found.complete
    assert found.tally.failed == 2
    there = rows(tmp_path)
    assert there[there["error"].notna()]["point"].tolist() == [2, 3]
    assert "worker process died 3 times" in there["error"][3]
    same(
        there[there["error"].isna()].reset_index(drop=True)[["point", "latency_s"]],
        undisturbed[~undisturbed["point"].isin([2, 3])].reset_index(drop=True)[
            ["point", "latency_s"]
        ],
    )
    assert retry(tmp_path, workers=1).tally.failed == 0  # by a study that is not deadly
    same(rows(tmp_path), undisturbed)


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    """A sweep of its own session, as a shell starts it."""
    space = folder.parent / "space.yaml"
    space.write_text(json.dumps(SLOW))
    command = [sys.executable, "-m", "tilewise", "sweep", "run", str(space), "--out", str(folder)]
    return subprocess.Popen(
        [*command, "--chunk", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def chunks(folder: Path) -> int:
    return len(list((folder / "rows").glob("chunk-*"))) if (folder / "rows").exists() else 0


def until(so_many: int, folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until there are so many chunks, or the process has ended."""
    while chunks(folder) < so_many and process.poll() is None:
        time.sleep(0.005)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The worker processes of a sweep."""
    found: list[int] = []
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(one.read_text().rpartition(")")[2].split()[1])
            command = one.with_name("cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == process.pid and b"spawn_main" in command:
            found.append(int(one.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether processes end, if they are given the time."""
    for _ in range(1000):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.01)
    return False


on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.mark.slow  # CI kills the workers of a chunk, and one of a cluster
@on_linux
def test_a_sweep_killed_at_random_moments_loses_running_chunks_only(
    undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    chance, folder, kept = random.Random(), tmp_path / "out", 0
    for _ in range(3):
        process = started(folder, "--workers", "2")
        until(kept + chance.randint(0, 6), folder, process)
        time.sleep(chance.uniform(0, 0.2))
        workers = workers_of(process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert gone(workers), "workers outlive the sweep"
        assert chunks(folder) >= kept, "a chunk is lost"
        kept = chunks(folder)
    if not (folder / "manifest.json").exists():  # killed before it began anything
        return
    assert resume(folder, workers=1).complete
    same(rows(folder), undisturbed)
    assert not [path for path in folder.rglob("*.part") if path.parent.name == "rows"]


@pytest.mark.slow  # CI kills the workers of a chunk, and one of a cluster
@on_linux
def test_a_sweep_whose_workers_are_killed_goes_on(
    undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process = started(folder, "--workers", "2")
    for wanted in (2, 8):
        until(wanted, folder, process)
        for pid in workers_of(process)[:1]:
            os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("24 rows: 24 with metrics\n")
    same(rows(folder), undisturbed)


@on_linux
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process = started(folder, "--workers", "2")
    until(3, folder, process)
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"tilewise: stopped; what is done is kept: tilewise sweep resume {folder}\n"
    assert gone(workers)
    assert 3 <= chunks(folder) < 24
    resume(folder, workers=1)
    same(rows(folder), undisturbed)


# --- a cluster -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = needed("distributed")
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


@pytest.mark.filterwarnings("default")  # of Dask's own threads and sockets
def test_a_cluster_whose_worker_is_killed_gives_the_rows_of_one_process(
    cluster: Any, slow: Study, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    killed: list[int] = []

    def progress(tally: Tally, points: int) -> None:
        if tally.points >= 4 and not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    found = sweep(slow, tmp_path, scheduler=cluster.scheduler_address, chunk=2, progress=progress)
    assert killed
    assert found.complete
    same(rows(tmp_path), undisturbed)


@pytest.mark.slow  # CI kills the workers of a chunk, and one of a cluster
@pytest.mark.filterwarnings("default")
def test_a_chunk_that_kills_cluster_workers_becomes_errors(
    cluster: Any, slow: Study, tmp_path: Path
) -> None:
    named = {name: getattr(slow, name) for name in Study.__dataclass_fields__}
    few = replace(DeadlyStudy(**named, deadly=3), axes=slow.axes)
    found = sweep(few, tmp_path, scheduler=cluster.scheduler_address, chunk=12)
    assert found.complete
    assert found.tally.failed == 12
    assert "cluster workers died" in rows(tmp_path)["error"][3]


def test_a_scheduler_that_is_not_there_is_told(quick: Study, tmp_path: Path) -> None:
    needed("distributed")
    with pytest.raises(SweepError, match=r"--scheduler none\.json: .* there is no such file"):
        sweep(quick, tmp_path / "a", scheduler="none.json")
    with pytest.raises(SweepError, match="leave it or --scheduler"):
        sweep(quick, tmp_path / "b", scheduler="none.json", workers=2)


def test_without_dask_the_extra_is_named(
    quick: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SweepError, match=r'pip install "tilewise\[cluster\]"'):
        sweep(quick, tmp_path, scheduler="tcp://127.0.0.1:1")


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_of_another_space_is_refused_with_the_difference(
    quick: Study, tmp_path: Path
) -> None:
    sweep(quick, tmp_path, workers=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    other = Space.of({**QUICK, "axes": {**QUICK["axes"], "batch": [1, 8]}})
    with pytest.raises(SweepError, match=r"axes\.batch was \[1, 4\], is \[1, 8\]") as caught:
        sweep(other, tmp_path, workers=1)
    assert "\n" not in str(caught.value)
    with pytest.raises(SweepError, match="into chunks of 1 points, not 5"):
        sweep(quick, tmp_path, workers=1, chunk=5)
    sweep(other, tmp_path / "other", workers=1)
    with pytest.raises(SweepError, match=r"axes\.batch was"):
        merge([tmp_path, tmp_path / "other"], tmp_path / "out")
    assert {path: path.read_bytes() for path in tmp_path.glob("rows/*")}.items() <= before.items()


def test_a_machine_that_changed_or_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tmp_path / "mine.yaml"
    shipped = Path(__file__).parents[1] / "arch" / "machines" / "a100-80gb.yaml"
    machine.write_text(shipped.read_text())
    space = Space.of({**QUICK, "machine": str(machine)})
    sweep(space, tmp_path / "out", workers=1)
    machine.write_text(shipped.read_text().replace("name: a100-80gb", "name: mine"))
    with pytest.raises(SweepError, match="the content of machine changed"):
        resume(tmp_path / "out", workers=1)
    machine.write_text(shipped.read_text())
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{__version__}"', '"0.0.1"'))
    with pytest.raises(SweepError, match=f"tilewise was 0.0.1, is {__version__}"):
        resume(tmp_path / "out", workers=1)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, "holds no sweep"),
        ("", "is no manifest of a sweep"),
        ("[]", "wanted a mapping"),
        ("{}", "wanted the manifest of a sweep"),
        ('{"tilewise": "sweep", "layout": 9}', "wanted layout 1, got 9"),
        ('{"tilewise": "sweep", "layout": 1}', "wanted a whole manifest"),
    ],
)
def test_a_folder_that_is_no_sweep_is_told(
    content: str | None, wanted: str, quick: Study, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    for attempt in (status, resume, retry, rows):
        with pytest.raises(SweepError, match=wanted):
            attempt(tmp_path)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SweepError, match="new or an empty folder" if content is None else wanted):
        sweep(quick, tmp_path, workers=1)


def test_an_edited_manifest_is_told(quick: Study, tmp_path: Path) -> None:
    sweep(quick, tmp_path, workers=1)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("2000000000000.0", "3000000000000.0"))
    with pytest.raises(SweepError, match="it was edited"):
        status(tmp_path)


def test_a_manifest_reads_back(quick: Study, tmp_path: Path) -> None:
    sweep(quick, tmp_path, workers=1)
    manifest = Store.open(tmp_path).manifest
    assert Manifest.of(manifest.text()) == manifest
    assert Space.of(manifest.space) == quick.space


# --- the command ---------------------------------------------------------------------------------


RUN = ("run", "space.yaml", "--out", "out", "--workers", "1")


@pytest.fixture
def tilewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    Path("space.yaml").write_text(json.dumps(QUICK))

    return Run(capsys, "sweep")


def test_the_exit_status_says_that_a_point_failed(tilewise: Run) -> None:
    code, out, err = tilewise(*RUN)
    assert code == 1
    assert out == ("out: 10 rows: 6 with metrics, 4 failed; 2 points excluded by constraints\n")
    assert err.startswith("tilewise: 4 points failed;")
    assert err.endswith("tilewise sweep retry out\n")
    assert tilewise("retry", "out", "--workers", "1")[0] == 1
    Path("fine.yaml").write_text(json.dumps({**QUICK, "axes": {}, "constraints": []}))
    assert tilewise("run", "fine.yaml", "--out", "fine")[0] == 0


def test_status_says_how_far_a_sweep_is(tilewise: Run) -> None:
    tilewise(*RUN, "--chunk", "5", "--shard", "2/2")
    code, out, _ = tilewise("status", "out")
    assert code == 0
    assert "1 of 3, of 5 points" in out
    assert tilewise("resume", "out", "--workers", "1")[0] == 1
    assert "3 of 3, of 5 points" in tilewise("status", "out")[1]


def test_shards_are_merged(tilewise: Run, whole: pd.DataFrame) -> None:
    for shard in ("1/2", "2/2"):
        tilewise("run", "space.yaml", "--out", shard[0], "--workers", "1", "--shard", shard)
    assert tilewise("merge", "1", "2", "--out", "all")[0] == 1
    same(rows("all"), whole)


def test_rows_are_shown_sorted_and_written_as_csv_and_json(tilewise: Run) -> None:
    tilewise(*RUN)
    code, out, _ = tilewise("show", "out", "--sort", "latency_s", "--head", "3")
    assert code == 0
    for word in ("point", "kept_1", "latency_s", "µs"):
        assert word in out
    args = ("show", "out", "--sort", "-latency_s", "--columns", "point,latency_s,error")
    _, out, _ = tilewise(*args, "--csv", "-", "--head", "2")
    found = list(csv.DictReader(io.StringIO(out)))
    assert [set(row) for row in found] == [{"point", "latency_s", "error"}] * 2
    assert float(found[0]["latency_s"]) >= float(found[1]["latency_s"])
    _, out, _ = tilewise(*args, "--json", "-")
    values = json.loads(out)
    assert len(values) == 10
    assert values[-1]["latency_s"] is None
    assert values[-1]["error"].startswith("BindingError")
    assert tilewise(*args, "--csv", "rows.csv")[::2] == (0, "wrote rows.csv\n")
    assert len(Path("rows.csv").read_text().splitlines()) == 11


def test_columns_without_room_are_named_and_metrics_are_shown(
    tilewise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilewise(*RUN)
    for columns, left in (("70", "kept_1"), ("300", "")):
        monkeypatch.setenv("COLUMNS", columns)
        _, out, _ = tilewise("show", "out")
        head = next(line for line in out.splitlines() if "point" in line)
        assert {"latency_s", "energy_j", "error"} <= set(head.split())
        assert ("no room for " in out) == bool(left)
        assert ("…" in head) is False


MISTAKES: list[tuple[list[str], str]] = [
    (["run", "none.yaml", "--out", "o"], "none.yaml: wanted a YAML file, got no such file"),
    (["run", "space.yaml", "--out", "space.yaml/o"], "space.yaml/o cannot be written: Not a dir"),
    (
        ["run", "space.yaml", "--out", "o", "--shard", "0/4"],
        "--shard 0/4: wanted i/n with i from 1",
    ),
    (["run", "space.yaml", "--out", "o", "--shard", "5/4"], "--shard 5/4"),
    (["run", "space.yaml", "--out", "o", "--chunk", "0"], "Invalid value for '--chunk'"),
    (["run", "space.yaml", "--out", "o", "--device", "zcu10"], "device: wanted one of u250, "),
    (["run", "space.yaml", "--out", "o", "--device", "zcu102"], "a100-80gb is a GPU, which no"),
    (["run", "space.yaml", "--out", "."], ". holds no sweep, but "),
    (["status", "."], ". holds no sweep: there is no manifest.json"),
    (["show", "there", "--sort", "latenci_s"], "no column is called latenci_s; the nearest is lat"),
    (["show", "there", "--columns", "poin"], "no column is called poin; the nearest is point"),
    (["show", "there", "--csv", "-", "--json", "-"], "standard output takes one of them"),
    (["show", "there", "--csv", "no/rows.csv"], "no/rows.csv cannot be written"),
    (["merge", "there", "nowhere", "--out", "o"], "nowhere holds no sweep"),
]


def test_a_mistake_is_one_line_and_exit_status_2(tilewise: Run) -> None:
    tilewise("run", "space.yaml", "--out", "there", "--workers", "1")
    for arguments, wanted in MISTAKES:
        code, out, err = tilewise(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("tilewise: "), arguments
        assert wanted in err
        assert err.count("\n") == 1


@on_linux
def test_a_full_disk_keeps_what_is_there(tilewise: Run, whole: pd.DataFrame) -> None:
    tilewise(*RUN, "--chunk", "4", "--shard", "1/3")
    run_ = f"{sys.executable} -m tilewise sweep resume out --workers 1"
    # A file may be no longer than 1 KiB: the next chunk is the first that does not fit.
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; {run_}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "tilewise: out cannot be written: File too large; 1 chunks are kept: "
        "tilewise sweep resume out\n"
    )
    assert chunks(Path("out")) == 1
    tilewise("resume", "out", "--workers", "1")
    same(rows("out"), whole)


def test_a_space_without_points_writes_nothing(tilewise: Run) -> None:
    Path("none.yaml").write_text(json.dumps({**QUICK, "constraints": ["batch > 9"]}))
    code, _, err = tilewise("run", "none.yaml", "--out", "out")
    assert (code, err) == (
        2,
        "tilewise: constraints: none of 12 points satisfies them: batch > 9\n",
    )
    assert not Path("out").exists()
    with pytest.raises(SpaceError):
        sweep("none.yaml", "out")
