"""Which question: does the script that measures GPUs write what it says, where a CPU can tell?"""

import csv
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from command_line import Run
from gpu_cases import MEASURED
from optional import needed

from tilewise.arch.gpu_own import KINDS
from tilewise.sim.gpu.calibrate import GEMM_BOUNDS
from tilewise.sim.gpu.fit_attention import SIZES as ATTENTION_SIZES
from tilewise.sim.gpu.fit_convolution import SIZES as CONVOLUTION_SIZES
from tilewise.sim.gpu.fit_streams import OPERATORS, calibrate_streams

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
    "attention": {"kernel", "batch", "sequence", "heads", "head_dim"},
    "streams": {"op", "dtype", "rows", "columns"},
    "convolution": {"batch", "in_channels", "out_channels", "kernel", "input_size", "stride"},
    "half_convolution": {"dtype", "layout", "batch", "kernel", "stride", "padding"},
    "moves": {"op", "rows", "columns"},
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
        "streams": {*OPERATORS},
        "moves": {"group_norm", "gather"},
    }
    assert said == wanted.get(kind, {None})


@pytest.mark.export
@pytest.mark.parametrize("kind", KINDS)
def test_calibrate_reads_what_the_dry_run_writes_and_wants_only_more_of_it(
    measure: ModuleType, tilewise: Run, kind: str, tmp_path: Path
) -> None:
    needed("torch")
    measure.main(["--dry-run", "--kinds", kind, "--out", str(tmp_path)])
    given = (str(tmp_path / f"{kind}.csv"), "--gpu", "h200", "--out", str(tmp_path / "out.yaml"))
    ended = tilewise("calibrate", kind, *given)
    assert ended.code == 2
    assert re.search(r"wanted at least \d+ rows, got \d+; measure more\n$", ended.err)


def test_a_whole_run_measures_enough_to_be_calibrated(measure: ModuleType) -> None:
    gpu = MEASURED["h100"]
    streams = pd.DataFrame(
        [(op, *size) for op in OPERATORS for size in measure.stream_sizes()],
        columns=["op", "rows", "columns"],
    )
    streams["latency_ms"] = 1e-3 + streams["rows"] * streams["columns"] * 8e3 / gpu.dram.bytes_per_s
    _, report = calibrate_streams(streams, gpu, data="made up")
    assert report.held_out_shapes > 0
    assert len(measure.gemm_sizes()) >= 10 * len(GEMM_BOUNDS)
    plain = [size for size in measure.convolution_sizes() if measure.is_plain(size)]
    assert len(plain) >= 5 * len(CONVOLUTION_SIZES)
    assert measure.CONVOLUTION == CONVOLUTION_SIZES
    assert len(measure.attention_sizes()) >= 5 * len(ATTENTION_SIZES)


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
    assert "--kinds: wanted some of gemm, attention" in capsys.readouterr().err
