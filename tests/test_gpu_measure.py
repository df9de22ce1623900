"""Which question: does the script that measures GPUs write what it says, where a CPU can tell?"""

import csv
import importlib.util
import re
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from calibration_cases import loaded
from command_line import Run
from gpu_cases import MEASURED
from optional import needed

from tilewise.arch.gpu_own import KINDS
from tilewise.sim.gpu.fit import held_out
from tilewise.sim.gpu.fit_attention import SIZES as ATTENTION_SIZES
from tilewise.sim.gpu.fit_convolution import SIZES as CONVOLUTION_SIZES
from tilewise.sim.gpu.fit_streams import OPERATORS, calibrate_streams
from tilewise.sim.gpu.gemm import hardware, least_bytes, plan

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
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind == "model" else ())  # whole models
        for kind in COLUMNS
    ],
)
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
    shapes = np.array(measure.gemm_sizes())
    assert len(shapes) >= 300
    assert shapes[:, 0].min() == 32
    whole, single = held_out(shapes[:, 1:], shapes)
    assert whole.any()
    assert single.any()
    plain = [size for size in measure.convolution_sizes() if measure.is_plain(size)]
    assert len(plain) >= 5 * len(CONVOLUTION_SIZES)
    assert measure.CONVOLUTION == CONVOLUTION_SIZES
    assert len(measure.attention_sizes()) >= 5 * len(ATTENTION_SIZES)


@pytest.mark.parametrize("gpu", ["t4", "h100"])
def test_weights_take_turns_as_the_model_of_products_assumes(measure: ModuleType, gpu: str) -> None:
    machine = loaded(gpu)
    m, n, k = np.array(measure.gemm_sizes()).T
    known = hardware(machine, "fp16")
    moved = least_bytes(known, plan(known, m, n, k))
    sets = [
        measure.weight_sets(machine.l2_bytes, *(int(size) for size in shape))
        for shape in zip(n, k, strict=True)
    ]
    assert {*sets} >= ({1, 5} if gpu == "t4" else {2, 5})
    assert ((np.array(sets) - 1) * moved.weights[:, 0] == moved.between[:, 0]).all()


@pytest.mark.export
def test_products_are_measured_in_both_halves_with_weights_in_turn(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = needed("torch")
    bench = measure.Bench(torch, "cpu", True, 1)
    used: list[int] = []
    multiply = torch.nn.functional.linear

    def linear(x: Any, weights: Any) -> Any:
        used.append(weights.data_ptr())
        return multiply(x, weights)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    rows = [*measure.gemms(bench)]
    assert [row["dtype"] for row in rows] == ["float16", "bfloat16"]
    assert [row["weight_sets"] for row in rows] == [5, 5]
    assert [len(set(used[:5])), len(set(used[5:]))] == [5, 5]


class Cuda:
    """As much of `torch.cuda` as a kernel's time asks for; a replay does what was captured."""

    def __init__(self, capability: tuple[int, int] = (8, 0)) -> None:
        self.capability, self.replays, self.taken = capability, 0, 0

    def get_device_capability(self) -> tuple[int, int]:
        return self.capability

    def CUDAGraph(self) -> "Cuda":  # noqa: N802 (its name in torch)
        return self

    def Event(self, *, enable_timing: bool) -> "Cuda":  # noqa: N802
        assert enable_timing
        return self

    def graph(self, graph: "Cuda") -> nullcontext[None]:
        assert graph is self
        return nullcontext()

    def record(self) -> None: ...

    def synchronize(self) -> None: ...

    def replay(self) -> None:
        self.replays += 1

    def elapsed_time(self, end: "Cuda") -> float:
        assert end is self
        return 30.0


@pytest.mark.parametrize(("sets", "calls"), [(1, 10), (2, 10), (3, 12), (4, 12), (5, 10)])
def test_a_graph_holds_whole_rounds_of_the_kernels_that_take_turns(
    measure: ModuleType, sets: int, calls: int
) -> None:
    cuda, seen = Cuda(), list[int]()
    bench = measure.Bench(SimpleNamespace(cuda=cuda, no_grad=nullcontext), "cuda", False, 2)
    row = bench.kernel(*(partial(seen.append, one) for one in range(sets)))
    assert seen[: 3 * sets] == [*range(sets)] * 3  # to warm up
    assert seen[3 * sets :] == [*range(sets)] * (calls // sets)
    assert row["latency_ms"] == pytest.approx(30.0 / calls)
    assert cuda.replays == row["observations"] == 2


def test_bf16_is_measured_where_tensor_cores_compute_in_it(measure: ModuleType) -> None:
    for capability, formats in (((7, 5), 1), ((8, 0), 2), ((10, 0), 2)):
        bench = measure.Bench(SimpleNamespace(cuda=Cuda(capability)), "cuda", False, 1)
        assert bench.half_formats == ("float16", "bfloat16")[:formats]


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
