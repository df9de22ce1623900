"""Which question: does the script that measures GPUs write what it says, where a CPU can tell?"""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from optional import needed

SCRIPT = Path(__file__).parents[1] / "bench" / "gpu_measure.py"


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_measure", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COLUMNS = {
    "gemm": {"dtype", "m", "n", "k"},
    "convolution": {"batch", "in_channels", "out_channels", "kernel", "input_size", "stride"},
    "stream": {"op", "rows", "columns"},
    "attention": {"kernel", "batch", "sequence", "heads", "head_dim"},
    "tokens": {"policy", "batch", "most_tokens", "total_tokens"},
    "model": {"model", "engine", "batch"},
}


@pytest.mark.export
@pytest.mark.parametrize("kind", COLUMNS)
def test_the_dry_run_writes_every_kind(measure: ModuleType, kind: str, tmp_path: Path) -> None:
    needed("torch")
    if kind == "model":
        needed("diffusers")
    measure.main(["--dry-run", "--kinds", kind, "--out", str(tmp_path)])
    rows = [*csv.DictReader((tmp_path / f"{kind}.csv").read_text().splitlines())]
    assert {"gpu", "latency_ms", "latency_ms_median", "latency_ms_min", "observations"} <= {
        *rows[0]
    }
    assert COLUMNS[kind] <= {*rows[0]}
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    assert {row["gpu"] for row in rows} == {"cpu (dry run)"}
    said = {row.get("engine") or row.get("policy") or row.get("op") for row in rows}
    wanted = {
        "model": {"eager", "compiled"},
        "tokens": {"padded", "packed"},
        "stream": {"group_norm", "softmax", "gather"},
    }
    assert said == wanted.get(kind, {None})


@pytest.mark.export
def test_packed_tokens_give_what_each_image_gives_alone(measure: ModuleType) -> None:
    torch = needed("torch")
    bench = measure.Bench(torch, "cpu", True, 1)
    block = measure._block(bench, 16, 2)
    x = bench.tensor(7, 16)
    with torch.no_grad():
        packed = block(x, [3, 4])
        alone = torch.cat([block(part[None], None)[0] for part in x.split([3, 4])])
    assert torch.allclose(packed, alone, atol=1e-5)


def test_every_kind_has_a_measurement(measure: ModuleType) -> None:
    assert tuple(measure.OF) == measure.KINDS == tuple(COLUMNS)


def test_it_says_that_it_was_not_run_on_a_gpu(
    measure: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        measure.main(["--help"])
    assert "Not run on a GPU by us" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_kind_is_refused(
    measure: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        measure.main(["--kinds", "gem"])
    assert "--kinds: wanted some of gemm, convolution" in capsys.readouterr().err
