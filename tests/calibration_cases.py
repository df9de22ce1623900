"""Measurements that the models make themselves, and a GPU that a user describes."""

from pathlib import Path

import numpy as np
import pandas as pd

from tilewise.arch import Gpu, load_machine
from tilewise.arch import load as machines
from tilewise.arch.gpu_attention import attention_calibration
from tilewise.arch.gpu_convolution import convolution_calibration
from tilewise.arch.gpu_gemm_constants import gemm_calibrations
from tilewise.arch.gpu_streams import stream_calibration
from tilewise.sim.gpu import fit_attention, fit_convolution, fit_streams
from tilewise.sim.gpu.gemm import gemm_seconds, hardware
from tilewise.sim.gpu.streams import StreamKind

H200 = Path(machines.__file__).parent / "machines" / "h200.yaml"


def described(folder: Path, more: str = "") -> Path:
    """A machine file: an H200 named mine, and keys beside."""
    path = folder / "mine.yaml"
    text = H200.read_text(encoding="utf-8").replace("name: h200", "name: mine", 1)
    path.write_text(f"{text}\n{more}\n", encoding="utf-8")
    return path


def loaded(path: Path | str) -> Gpu:
    found = load_machine(path)
    assert isinstance(found, Gpu)
    return found


def gemm(gpu: Gpu) -> pd.DataFrame:
    random = np.random.default_rng(0)
    sizes = {name: 32 * random.integers(1, 200, 200) for name in "mnk"}
    constants = gemm_calibrations()["h200"]["bf16"].constants
    seconds = gemm_seconds(hardware(gpu, "fp16"), constants, *sizes.values())
    return pd.DataFrame({**sizes, "dtype": "float16", "latency_ms_median": seconds * 1e3})


def attention(gpu: Gpu) -> pd.DataFrame:
    random = np.random.default_rng(0)
    sizes = {
        "batch": random.choice([1, 8, 32], 200),
        "sequence": random.choice([50, 197, 577, 1024, 4096], 200),
        "heads": random.choice([3, 6, 12], 200),
        "head_dim": random.choice([64, 80], 200),
    }
    seconds = fit_attention.predicted_s(gpu, attention_calibration("h100"), sizes)
    return pd.DataFrame(sizes).assign(latency_ms=seconds * 1e3)


def streams(gpu: Gpu) -> pd.DataFrame:
    random = np.random.default_rng(0)
    count = 400
    op = random.choice([*fit_streams.OPERATORS], count)
    kinds = np.asarray([fit_streams.OPERATORS[name].kind for name in op])
    sizes = {
        "rows": random.integers(2_000, 100_000, count),
        "columns": random.choice([384, 768, 1024, 1536, 4096, 8192], count),
    }
    sizes["written_bytes"] = 4 * sizes["rows"] * sizes["columns"]
    sizes["read_bytes"] = sizes["written_bytes"] * [fit_streams.OPERATORS[n].reads for n in op]
    seconds = np.zeros(count)
    each: set[StreamKind] = {operator.kind for operator in fit_streams.OPERATORS.values()}
    for kind in each:
        rows = kinds == kind
        of_kind = {name: values[rows] for name, values in sizes.items()}
        seconds[rows] = fit_streams.measured_s(gpu, stream_calibration("t4"), kind, of_kind)
    frame = pd.DataFrame({"op": op, "rows": sizes["rows"], "columns": sizes["columns"]})
    return frame.assign(latency_ms=seconds * 1e3)


def convolution(gpu: Gpu) -> pd.DataFrame:
    random = np.random.default_rng(0)
    sizes = {
        "batch": random.integers(1, 64, 300),
        "in_channels": random.integers(3, 1024, 300),
        "out_channels": random.integers(3, 1024, 300),
        "kernel": np.full(300, 3),
        "input_size": random.choice([5, 7, 8, 12, 14, 28, 56], 300),
        "stride": np.ones(300, dtype=np.int64),
        "padding": np.ones(300, dtype=np.int64),
    }
    seconds = fit_convolution.measured_s(gpu, convolution_calibration("t4"), sizes)
    return pd.DataFrame(sizes).assign(latency_ms=seconds * 1e3)


MADE = {"gemm": gemm, "attention": attention, "streams": streams, "convolution": convolution}
"""By kind, from a GPU to rows that `tilewise calibrate` reads."""
