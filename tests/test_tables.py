"""Look-up tables: what is written is read, and windows of a run are the whole run."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from nas_cases import engine, made_up

import tilewise
from tilewise.sim import disk_cache
from tilewise.sim.disk_cache import code_hash, folder, kept
from tilewise.sim.nas.additivity import Bias, Spread, bias
from tilewise.sim.nas.tables import LookupTable, Shape, TableError, layer_key
from tilewise.sim.nas.windows import Cost, windows
from tilewise.sim.simulate import simulate
from tilewise.workloads import vit

SHAPES: tuple[Shape, ...] = ("json", "csv", "yaml")
SPREAD = Spread(mean=-0.01, mean_absolute=0.02, p95=0.03, maximum=0.1)
BIAS = Bias(points=3, seed=7, latency=SPREAD, energy=replace(SPREAD, mean=0.0))
COSTS = st.builds(
    Cost,
    st.floats(0, 1e3, allow_nan=False),
    st.floats(-1e3, 1e3, allow_nan=False),
)
KEYS = st.text("abcxyz.:-0123456789", min_size=1).filter(lambda key: key.strip() == key)


def table(**entries: Cost) -> LookupTable:
    found = {key.replace("_", "-"): cost for key, cost in entries.items()}
    return LookupTable(
        space="toy", machine="m", machine_hash="ab", version="1", entries=found, bias=BIAS
    )


TOY = table(attn=Cost(1.25e-5, 3e-4), fc1=Cost(0.1 + 0.2, 1 / 3))


@settings(max_examples=50)
@given(st.dictionaries(KEYS, COSTS, min_size=1), st.sampled_from(SHAPES))
def test_what_is_written_is_read(entries: dict[str, Cost], shape: Shape) -> None:
    one = replace(TOY, entries=entries)
    text = {"json": one.json_text, "csv": one.csv_text, "yaml": one.yaml_text}[shape]()
    assert LookupTable.read_text(text, shape) == one


@pytest.mark.parametrize("suffix", ["json", "csv", "yaml", "yml"])
def test_a_file_says_its_shape_by_its_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"table.{suffix}"
    write = {"json": TOY.to_json, "csv": TOY.to_csv}.get(suffix, TOY.to_yaml)
    write(path)
    assert LookupTable.read(path) == TOY
    assert LookupTable.read(path).hash == TOY.hash
    assert "seconds" in path.read_text()


def test_tables_that_differ_have_other_hashes() -> None:
    other = replace(TOY, entries={**TOY.entries, "attn": Cost(1.26e-5, 3e-4)})
    assert len({TOY.hash, other.hash, replace(TOY, machine_hash="cd").hash}) == 3


def test_the_yaml_is_read_as_once_for_alls() -> None:
    found = yaml.safe_load(TOY.yaml_text())
    assert {key: value["mean"] for key, value in found.items()} == {
        key: cost.latency_s * 1e3 for key, cost in TOY.entries.items()
    }
    assert {value["count"] for value in found.values()} == {1}


def test_once_for_alls_yaml_is_read_with_joules_unknown(tmp_path: Path) -> None:
    key = "expanded_conv-input:56x56x32-output:28x28x40-expand:3-kernel:5-stride:2-idskip:0"
    path = tmp_path / "pixel.yaml"
    path.write_text(f"{key}: {{count: 20, mean: 2.5}}\nConv: {{count: 1, mean: 1.0}}\n")
    found = LookupTable.read(path)
    assert found[key].latency_s == 2.5e-3
    assert math.isnan(found[key].energy_j)
    assert found.machine == "unknown"


def test_the_csv_is_read_by_pandas(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    TOY.to_csv(path)
    frame = pd.read_csv(path, comment="#").set_index("key")
    assert list(frame.columns) == ["latency_s", "energy_j"]
    assert frame.loc["fc1", "latency_s"] == pytest.approx(0.1 + 0.2, rel=1e-15)


def test_a_missing_key_names_the_nearest() -> None:
    with pytest.raises(TableError, match=r"toy on m has no fc2; the nearest is fc1"):
        _ = TOY["fc2"]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("t.json", "{", "wanted a table of layers in json"),
        ("t.json", "[]", "wanted a table of layers in json"),
        ("t.csv", "key,latency_s\na,x\n", "could not convert"),
        ("t.csv", "name,latency_s\na,1\n", "'key'"),
        ("t.csv", "key,latency_s\na,1\na,1\n", "a stands there twice"),
        ("t.yaml", "a: {count: 3}", "'mean'"),
        ("t.yaml", "a: {mean: -1}", "latency of 0 or more"),
        ("t.txt", "", "ending in .json, .csv, .yaml"),
    ],
)
def test_a_wrong_file_says_in_one_line_what_was_wanted(
    name: str, text: str, wanted: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        LookupTable.read(path)
    assert wanted in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        LookupTable.read(tmp_path / "none.csv")


def test_keys_read_like_once_for_alls() -> None:
    assert layer_key("mlp.fc1", embed=192, wide=0.25) == "mlp.fc1-embed:192-wide:0.25"
    assert layer_key("stem") == "stem"


@pytest.mark.parametrize("machine", ["zcu102-quasar", "edge-128x128", "a100-80gb"])
def test_windows_add_up_to_the_run(machine: str) -> None:
    model = vit(depth=3, embed=64, heads=2, batch=1, selectors=(2,))
    run = simulate(model, tilewise.machine(machine), bind={"kept_1": 90})
    costs = [window.cost for window in windows(run)]
    assert sum(cost.latency_s for cost in costs) == pytest.approx(run.latency_s, rel=1e-12)
    assert math.fsum(cost.energy_j for cost in costs) == pytest.approx(run.energy_j, rel=1e-12)
    assert min(cost.latency_s for cost in costs) >= 0


def test_the_bias_of_sums_is_signed_and_their_spread_is_not() -> None:
    whole = np.ones((4, 2))
    summed = whole + np.array([[0.1, 0.0], [-0.3, 0.0], [0.1, 0.0], [0.1, 0.0]])
    found = bias(summed, whole, points=4, seed=1)
    assert found.latency.mean == pytest.approx(0)
    assert found.latency.mean_absolute == pytest.approx(0.15)
    assert found.latency.maximum == pytest.approx(0.3)
    assert found.energy == Spread(mean=0, mean_absolute=0, p95=0, maximum=0)
    assert "max 30 %" in str(found)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tilewise" / "tables"


def cached(name: str, identity: str, build: Callable[[], LookupTable]) -> LookupTable:
    where = folder("tables")
    return kept(where, name, identity, build, read=LookupTable.read, text=LookupTable.json_text)


def test_a_table_is_built_once_for_each_identity(home: Path) -> None:
    built: list[str] = []

    def build() -> LookupTable:
        built.append("once")
        return TOY

    assert [cached("toy", "a", build) for _ in range(3)] == [TOY] * 3
    assert len(built) == 1
    cached("toy", "b", build)
    assert len(built) == 2
    assert folder("tables") == home
    names = sorted(path.name for path in home.iterdir())
    assert len(names) == 2
    assert all(re.fullmatch(r"toy-[0-9a-f]{32}\.json", name) for name in names)


def test_a_table_of_other_code_is_built_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached("toy", "a", lambda: TOY)
    monkeypatch.setattr(disk_cache, "code_hash", lambda: "other")
    cached("toy", "a", lambda: TOY)
    assert len(list(home.iterdir())) == 2


def test_a_file_cut_short_is_written_again(home: Path) -> None:
    cached("toy", "a", lambda: TOY)
    (path,) = home.iterdir()
    path.write_text(path.read_text()[:40])
    assert cached("toy", "a", lambda: TOY) == TOY
    assert LookupTable.read(path) == TOY


def test_a_folder_that_cannot_be_written_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tilewise").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="built again by every process; XDG_CACHE_HOME"):
        assert cached("toy", "a", lambda: TOY) == TOY


def test_the_code_hash_is_that_of_every_process() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(code_hash) == code_hash()


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG base directory specification has it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert folder("tables") == Path(os.path.expanduser("~/.cache/tilewise/tables"))  # noqa: PTH111


def test_a_measured_table_takes_the_engines_place() -> None:
    made = made_up("quasar-vit")
    space = tilewise.search_space("quasar-vit", engine(), table=made)
    assert space.table is made
    assert space.bias is None
    short = replace(made, entries={k: v for k, v in made.entries.items() if k[:4] != "tail"})
    with pytest.raises(TableError, match="has no tail-embed:192-after:0"):
        tilewise.search_space("quasar-vit", engine(), table=short)
