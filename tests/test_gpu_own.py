"""Which question: does a run take the constants that a GPU's own file names?"""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from calibration_cases import described, loaded
from command_line import Run

import tilewise as tw
from tilewise.arch import MachineError, load_machine, sources
from tilewise.arch.gpu_attention import AttentionCalibration
from tilewise.arch.gpu_calibration import CALIBRATIONS
from tilewise.arch.gpu_gemm import gemm_calibrations, known_gemm
from tilewise.arch.gpu_own import KINDS, file_name, read_kind
from tilewise.reports.show import machine_view
from tilewise.sim.gpu.calibration_file import text_with
from tilewise.sim.gpu.gemm import gemm_time
from tilewise.sim.variants import fields_of

FITTED_ON = {"gemm": "h200", "attention": "h100", "streams": "t4", "convolution": "t4"}
SHAPE: dict[str, Any] = {"m": 4096, "n": 1024, "k": 1024, "format": "bf16"}


def write(folder: Path, kind: str, gpu: str = "mine", **changed: float) -> Path:
    """Constants that come with Tilewise, as if they had been fitted on the described GPU."""
    known = read_kind(kind, CALIBRATIONS / f"{kind}.yaml")[FITTED_ON[kind]]
    found = dict(known) if kind == "gemm" else {"": known.replace(gpu=gpu)}
    if changed:
        found = {
            name: one.replace(constants=one.constants.replace(**changed))
            for name, one in found.items()
        }
    folder.mkdir(exist_ok=True)
    file = folder / file_name(kind)
    file.write_text(text_with(file, kind, gpu, found), encoding="utf-8")
    return file


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with constants of all kinds in a folder beside its file."""
    for kind in KINDS:
        write(tmp_path / "constants", kind)
    return described(tmp_path, "calibrations: constants")


def test_own_constants_are_those_of_the_files(machine: Path) -> None:
    own = loaded(machine).calibrations
    assert own.kinds == KINDS
    assert dict(own.gemm) == dict(gemm_calibrations()["h200"])
    for kind in KINDS:
        assert (
            getattr(own, kind)
            == read_kind(kind, machine.parent / "constants" / f"{kind}.yaml")["mine"]
        )


def test_a_run_says_interpolated_within_and_extrapolated_beyond(machine: Path) -> None:
    mine, plain = loaded(machine), loaded(described(machine.parent))
    vit = tw.workloads.vit(depth=2, embed=384, heads=6, mlp_ratio=4.0)
    # Streams of a ViT are smaller than what was measured on the T4.
    found = {
        kernel.confidence
        for kernel in tw.simulate(vit, mine, batch=64, format="bf16").operators
        if kernel.kind in ("matmul", "attention")
    }
    assert found == {"interpolated"}
    tokens = tw.simulate(vit, plain, batch=64, format="bf16").confidence
    assert tokens == {"uncalibrated": pytest.approx(1)}
    assert gemm_time(mine, **SHAPE).confidence == "interpolated"
    assert gemm_time(mine, **{**SHAPE, "m": 4}).confidence == "extrapolated"


def test_the_same_constants_under_another_name_give_the_same_times(machine: Path) -> None:
    mine, h200 = loaded(machine), loaded("h200")
    assert gemm_time(mine, **SHAPE) == gemm_time(h200, **SHAPE)
    assert known_gemm(mine, "fp16").own
    assert known_gemm(mine, "tf32").own is False


def test_a_format_measured_as_fp16_serves_bf16_and_the_other_way(tmp_path: Path) -> None:
    bf16 = gemm_calibrations()["h200"]["bf16"]
    file = tmp_path / "gemm.yaml"
    file.write_text(text_with(file, "gemm", "mine", {"fp16": bf16}), encoding="utf-8")
    mine = loaded(described(tmp_path, "calibrations: gemm.yaml"))
    assert mine.calibrations.kinds == ("gemm",)
    for format in ("fp16", "bf16"):
        known = known_gemm(mine, format)
        assert (known.gpu, known.format, known.own) == ("mine", "fp16", True)


def test_machines_with_other_constants_are_other_machines(machine: Path) -> None:
    mine = loaded(machine)
    again = loaded(machine)
    assert (mine, hash(mine)) == (again, hash(again))
    assert pickle.loads(pickle.dumps(mine)) == mine == copy.deepcopy(mine)
    before = gemm_time(mine, **SHAPE).total_s
    write(machine.parent / "constants", "gemm", peak_fraction=0.5)
    slower = loaded(machine)
    assert slower != mine
    # What was worked out for the one is not looked up for the other, in either order.
    assert gemm_time(slower, **SHAPE).total_s > 1.3 * before
    assert gemm_time(mine, **SHAPE).total_s == before


def test_they_serve_no_machine_of_another_name(machine: Path) -> None:
    other = loaded(machine).replace(name="other")
    assert not known_gemm(other, "bf16").own
    vit = tw.workloads.vit(depth=1, embed=192, heads=3, mlp_ratio=4.0)
    found = tw.simulate(vit, other, format="bf16").confidence
    assert found == {"uncalibrated": pytest.approx(1)}


def test_kinds_that_were_not_measured_are_those_that_come_with_tilewise(tmp_path: Path) -> None:
    write(tmp_path, "attention")
    mine = loaded(described(tmp_path, "calibrations: attention.yaml"))
    assert isinstance(mine.calibrations.attention, AttentionCalibration)
    assert not known_gemm(mine, "bf16").own


def test_a_gpu_without_a_family_is_timed_by_its_own_constants(machine: Path, tilewise: Run) -> None:
    machine.write_text(machine.read_text().replace("family: hopper", ""))
    ended = tilewise("run", "deit-small", "--on", str(machine), "--format", "bf16")
    assert ended.code == 0, ended.err
    assert re.search(r"\d % interpolated", ended.out)


def test_showing_a_machine_names_what_was_measured_of_it(machine: Path, tilewise: Run) -> None:
    shown = tilewise("show", str(machine)).out
    assert "gemm, attention, streams, convolution" in shown
    assert "interpolated" not in shown
    assert machine_view(load_machine(machine), sources(machine))
    assert not [key for key in fields_of(loaded(machine)) if key.startswith("calibrations")]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("calibrations: 3", "calibrations: wanted a folder or a file of constants, got 3"),
        ("calibrations: nowhere", "got no such file as {folder}/nowhere"),
        ("calibrations: mine.yaml", "wanted a folder, or gemm.yaml or attention.yaml or "),
        ("calibrations: empty", "calibrations: wanted constants of mine, got none in {folder}"),
        ("calibrations: other", "calibrations: wanted constants of mine, got none in {folder}"),
        ("calibration: other", "calibration: unknown key; the nearest is calibrations"),
    ],
)
def test_a_wrong_key_is_refused_in_a_line(tmp_path: Path, more: str, text: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "other", "attention", gpu="another")
    path = described(tmp_path, more)
    line = path.read_text().splitlines().index(more) + 1
    with pytest.raises(MachineError) as caught:
        load_machine(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert text.format(folder=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "old", "new", "text"),
    [
        ("gemm", "      overlap:", "      overlaps:", "mine.bf16.constants.overlaps: unknown key"),
        (
            "attention",
            "tensor_share: 0.9577",
            "tensor_share: 2",
            "tensor_share: wanted at most 1, got 2",
        ),
        ("streams", "gpus:", "gpu:", "gpu: unknown key; the nearest is gpus"),
        ("streams", "gpus:\n  mine:", "gpus:\n  mine: 3\n  other:", "gpus.mine: wanted a mapping"),
    ],
)
def test_a_wrong_file_of_constants_is_refused_with_its_own_line(
    tmp_path: Path, kind: str, old: str, new: str, text: str
) -> None:
    file = write(tmp_path, kind)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(MachineError, match=rf"^{re.escape(str(file))}:\d+: .*{re.escape(text)}"):
        load_machine(described(tmp_path, "calibrations: ."))
