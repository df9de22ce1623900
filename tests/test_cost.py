"""The cost model: the engine's numbers, for many designs at once."""

import json
import pickle
import re
from dataclasses import asdict, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

import tilewise as tw
from tilewise.arch import OVERLAPS, Accelerator, SystolicArray, UnrolledArray
from tilewise.sim.array_work import ArrayWork, array_work
from tilewise.sim.cost import BIND, Cost, CostModel, model
from tilewise.sim.cost.designs import alike
from tilewise.sim.errors import MappingError
from tilewise.sim.formats import Widths
from tilewise.sim.spaces.evaluate import evaluate
from tilewise.sim.spaces.study import Study
from tilewise.sim.variants import FieldError, variant
from tilewise.workloads import BindingError

DEIT = tw.workload("deit-small")
PRUNED = tw.workload("heatvit-deit-small")
SMALL = tw.workload("heatvit-digits16")  # the same symbols, fewer layers
SPACE = Path(__file__).parents[1] / "examples" / "edge_space.yaml"


def _machine(name: str) -> Accelerator:
    machine = tw.machine(name)
    assert isinstance(machine, Accelerator)
    return machine


EDGE = _machine("edge-32x32")
METRICS = [field.name for field in fields(Cost)]

sizes = st.integers(1, 300)
overlaps = st.sampled_from([(d, o) for d, known in OVERLAPS.items() for o in known])


def _systolic(rows: int, cols: int, count: int, kind: tuple[Any, Any]) -> SystolicArray:
    return SystolicArray(rows=rows, cols=cols, count=count, dataflow=kind[0], overlap=kind[1])


def _unrolled(tm: int, tn: int, th: int) -> UnrolledArray:
    return UnrolledArray(
        tm=tm, tn=tn, th=th, word_bits=128, input_ports=2, weight_ports=1, output_ports=1
    )


sides = st.integers(1, 40)
arrays: st.SearchStrategy[SystolicArray | UnrolledArray] = st.one_of(
    st.builds(_systolic, sides, sides, st.integers(1, 3), overlaps),
    st.builds(_unrolled, sides, sides, st.integers(1, 6)),
)


@given(arrays, st.lists(st.tuples(st.integers(1, 5), sizes, sizes, sizes), min_size=1, max_size=5))
def test_a_column_of_tiles_is_the_work_of_each(
    array: SystolicArray | UnrolledArray, tiles: list[tuple[int, int, int, int]]
) -> None:
    widths, rate = Widths(8, 4, 8), Fraction(7, 4)
    columns = [np.array(column) for column in zip(*tiles, strict=True)]
    whole = array_work(array, *columns, bits=widths, rate=rate)
    for row, tile in enumerate(tiles):
        alone = array_work(array, *tile, bits=widths, rate=rate)
        for field in fields(ArrayWork):
            of_all = np.broadcast_to(getattr(whole, field.name), len(tiles))
            assert of_all[row] == pytest.approx(float(getattr(alone, field.name)))


def _engine(machine: Accelerator, workload: tw.Workload, **options: object) -> tw.Result:
    return tw.simulate(workload, machine, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workload", [DEIT, PRUNED], ids=lambda w: w.name)
@pytest.mark.parametrize(
    "name",
    ["edge-32x32", "gemmini-16x16", "tpu-v1", "zcu102-heatvit", "zcu102-quasar", "zcu102-systolic"],
)
def test_it_agrees_with_the_engine_on_shipped_machines(name: str, workload: tw.Workload) -> None:
    machine = _machine(name)
    cost, run = CostModel(machine).predict(workload), _engine(machine, workload)
    assert cost.macs == run.macs
    assert cost.cycles == pytest.approx(run.cycles, rel=0.025)  # tpu-v1: 1.9 %
    assert cost.utilization == pytest.approx(run.utilization, rel=0.025)
    assert cost.edp_js == cost.latency_s * cost.energy_j


def test_where_the_tilings_are_the_same_so_are_bytes_and_energy() -> None:
    machine = _machine("zcu102-heatvit")
    cost, run = CostModel(machine).predict(DEIT), _engine(machine, DEIT)
    assert cost.dram_bytes == run.dram_bytes
    assert cost.cycles == run.cycles
    assert cost.energy_j == pytest.approx(run.energy_j, rel=1e-9)


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return Study.read(SPACE).points(range(24))


def test_it_agrees_with_the_engine_on_points_of_a_space(points: pd.DataFrame) -> None:
    study = Study.read(SPACE)
    ours = evaluate(study, points)
    by_engine = replace(study, space=replace(study.space, fidelity="engine"))
    theirs = evaluate(by_engine, points)
    assert (ours["infeasible"].isna() == theirs["infeasible"].isna()).all()
    model, engine = ours["cycles"].astype(float), theirs["cycles"].astype(float)
    errors = (model / engine - 1).abs()
    assert errors.mean() <= 0.02
    assert errors.quantile(0.95) <= 0.05
    assert kendalltau(model, engine).statistic >= 0.98
    energies = (ours["energy_j"] / theirs["energy_j"] - 1).abs()
    assert energies.mean() <= 0.02


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    rows = 10
    kept = -np.sort(-rng.integers(2, 64, (rows, 3)), axis=1)
    return pd.DataFrame(
        {
            "array.rows": rng.choice([8, 16, 33], rows),
            "array.dataflow": rng.choice(["ws", "os", "is"], rows),
            "buffers.input_bytes": rng.choice([65536, 131072, 524288], rows),
            "dram.bytes_per_s": rng.choice([3.2e9, 25.6e9], rows),
            "vector.lanes": rng.choice([8, 32], rows),
            "format": rng.choice(["int8", "int4"], rows),
            **{f"{BIND}kept_{i + 1}": kept[:, i] for i in range(3)},
        },
        index=np.arange(100, 100 + rows),
    )


def test_a_frame_is_its_rows_in_any_order() -> None:
    frame, model = _frame(), CostModel(EDGE)
    whole = model.batch(frame, SMALL)
    assert list(whole.index) == list(frame.index)
    shuffled = frame.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(model.batch(shuffled, SMALL).loc[frame.index], whole)
    parts = pd.concat([model.batch(frame[:5], SMALL), model.batch(frame[5:], SMALL)])
    pd.testing.assert_frame_equal(parts, whole)


def test_a_row_is_a_prediction() -> None:
    frame = _frame()[:6]
    whole = CostModel(EDGE).batch(frame, SMALL)
    for number in range(len(frame)):
        point = {str(name): frame[name].tolist()[number] for name in frame.columns}
        row = whole.iloc[number]
        bind = {k.removeprefix(BIND): v for k, v in point.items() if k.startswith(BIND)}
        changes = {k: v for k, v in point.items() if not k.startswith(BIND) and k != "format"}
        machine = variant(EDGE, changes)
        assert isinstance(machine, Accelerator)
        alone = CostModel(machine).predict(SMALL, bind, format=point["format"])
        assert asdict(alone) == pytest.approx({name: row[name] for name in METRICS})


def test_bits_and_batches_are_columns_too() -> None:
    frame = pd.DataFrame({"bits": ["W8A8", "W4A8", "W4A8"], "batch": [1, 1, 2]})
    found = CostModel(EDGE).batch(frame, DEIT)
    for row, (bits, batch) in enumerate(zip(frame["bits"], frame["batch"], strict=True)):
        alone = CostModel(EDGE).predict(DEIT, bits=str(bits), batch=int(batch))
        assert found["cycles"][row] == pytest.approx(alone.cycles)
    assert found["dram_bytes"][1] < found["dram_bytes"][0]
    assert found["macs"][2] == 2 * found["macs"][1]


def test_a_point_that_fits_nothing_names_what_it_lacks() -> None:
    frame = pd.DataFrame(
        {"buffers.weight_bytes": [524288, 64], "buffers.accumulator_bytes": [262144, 262144]}
    )
    found = CostModel(EDGE).batch(frame, DEIT)
    assert found["infeasible"][0] == ""
    assert "buffers.weight_bytes" in found["infeasible"][1]
    assert found[METRICS].iloc[1].isna().all()
    assert found[METRICS].iloc[0].notna().all()
    small = variant(EDGE, {"buffers.weight_bytes": 64})
    assert isinstance(small, Accelerator)
    with pytest.raises(MappingError, match=r"buffers\.weight_bytes"):
        CostModel(small).predict(DEIT)


def test_a_value_that_no_machine_has_is_infeasible() -> None:
    frame = pd.DataFrame({"array.rows": [32, 0, -4], "dram.bytes_per_s": [1e9, 1e9, float("nan")]})
    found = CostModel(EDGE).batch(frame, DEIT)
    assert found["infeasible"][0] == ""
    assert found["infeasible"][1] == "array.rows"
    assert found["infeasible"][2] != ""


@pytest.mark.parametrize(
    ("column", "error", "says"),
    [
        ("array.row", FieldError, "array.rows"),
        ("bind.kept_9", BindingError, "kept_9"),
        ("bit", FieldError, "bits"),
    ],
)
def test_a_column_that_means_nothing_is_refused(
    column: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        CostModel(EDGE).batch(pd.DataFrame({column: [1, 2]}), PRUNED)


def test_a_gpu_has_a_model_of_its_own() -> None:
    with pytest.raises(TypeError, match="simulate"):
        CostModel(tw.machine("h200"))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(MappingError, match="bf16"):
        CostModel(EDGE).predict(DEIT, format="bf16")


def test_what_the_engine_alone_knows_is_refused() -> None:
    machine = _machine("edge-4x32x32")
    dealt = machine.replace(array=machine.array.replace(split="head"))
    with pytest.raises(MappingError, match=r"array\.split"):
        CostModel(dealt).predict(DEIT)


def test_it_can_be_sent_to_another_process() -> None:
    model = CostModel(EDGE)
    first = model.predict(DEIT)
    again = pickle.loads(pickle.dumps(model)).predict(DEIT)
    assert again == first
    assert model.predict(DEIT) is first  # from memory


def test_another_process_finds_it_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = CostModel(EDGE, cache=tmp_path).predict(DEIT)
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(r"deit-small-edge-32x32-[0-9a-f]{32}\.json", file.name)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("priced again")

    with monkeypatch.context() as patched:
        patched.setattr(model, "estimated", refused)
        assert CostModel(EDGE, cache=tmp_path).predict(DEIT) == first
        with pytest.raises(AssertionError, match="priced again"):
            CostModel(EDGE, cache=tmp_path).predict(DEIT, bits="W4A8")
    for torn in (file.read_text()[:20], "[]", "{}", '{"latency_s": 1}'):
        file.write_text(torn)
        assert CostModel(EDGE, cache=tmp_path).predict(DEIT) == first
    assert json.loads(file.read_text()) == asdict(first)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    CostModel(EDGE, cache=True).predict(DEIT)
    assert len(list((tmp_path / "home" / "tilewise" / "costs").iterdir())) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(1, 40), st.sampled_from([3, 1 << 12, 1 << 40]))
def test_rows_are_told_apart_by_their_columns(seed: int, count: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    columns: list[Any] = [
        rng.integers(0, 3, count), rng.integers(-span, span, count), rng.choice([0.5, 1e9], count),
        rng.integers(0, span, count) % 5 * span, 7,
    ]  # fmt: skip
    first, kind = alike(columns, count)
    rows = [tuple(c if isinstance(c, int) else c[row] for c in columns) for row in range(count)]
    known = sorted(set(rows))
    assert kind.tolist() == [known.index(row) for row in rows]
    assert first.tolist() == [rows.index(row) for row in known]


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 196), st.sampled_from([1, 2, 5]))
def test_tokens_cost_what_the_engine_says(kept: int, batch: int) -> None:
    bind = {"kept_1": 196, "kept_2": kept, "kept_3": kept}
    cost = CostModel(EDGE).predict(PRUNED, bind, batch=batch)
    run = _engine(EDGE, PRUNED, bind=bind, batch=batch)
    assert cost.cycles == pytest.approx(run.cycles, rel=0.05)
