"""What an FPGA must hold: memories by hand, equations on runs held back, a design too large."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch import Accelerator, FormatError, MachineError, PerProduct, fpga, load_machine
from tilewise.arch.block_ram import PORT_SHAPES, bram18s, urams
from tilewise.arch.component import RESOURCES, Component, memory, total
from tilewise.arch.document import read_document
from tilewise.arch.fpga import FpgaError
from tilewise.arch.fpga_array import (
    MACS,
    Design,
    Fitted,
    Kind,
    errors,
    estimate,
    luts_per_mac,
    runs,
    tool,
)
from tilewise.arch.load import device_names, load_device
from tilewise.cli import main

REPOSITORY = Path(__file__).parents[1]
BOARDS = ("zcu102-heatvit", "zcu102-systolic")
sizes = st.integers(1, 5000)
depths = st.integers(1, 100_000)


def accelerator(name: str) -> Accelerator:
    machine = load_machine(name)
    assert isinstance(machine, Accelerator)
    return machine


def part(found: fpga.Resources, name: str) -> Component:
    (component,) = (each for each in found.components if each.name == name)
    return component


# --- Memories


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [
        (36, 512, 1),
        (37, 512, 2),
        (36, 513, 2),
        (72, 1024, 4),
        (18, 1024, 1),
        (9, 2048, 1),
        (8, 4096, 2),
        (1, 16384, 1),
        (1, 16385, 2),
        (384, 10923, 242),  # 11 x 22 of 36 x 512; 43 x 6 of 9 x 2048 would be 258
    ],
)
def test_block_rams_are_those_counted_by_hand(width: int, depth: int, blocks: int) -> None:
    assert bram18s(width, depth) == blocks


@given(width=sizes, depth=depths)
def test_no_single_shape_needs_fewer_block_rams(width: int, depth: int) -> None:
    alone = [-(-width // w) * -(-depth // d) for w, d in PORT_SHAPES]
    assert bram18s(width, depth) == min(alone)
    assert bram18s(width, depth) * 18 * 1024 >= width * depth, "no bit is lost"


@given(width=sizes, depth=depths, more=sizes)
def test_block_rams_and_ultrarams_are_monotone(width: int, depth: int, more: int) -> None:
    for blocks in (bram18s, urams):
        assert blocks(width, depth) <= blocks(width + more, depth)
        assert blocks(width, depth) <= blocks(width, depth + more)


def test_a_memory_has_a_size() -> None:
    with pytest.raises(ValueError, match="wanted at least 1 bit and 1 word, got 0 x 5"):
        bram18s(0, 5)


def test_a_memory_is_doubled_and_goes_to_ultraram_where_it_fills_half_of_it() -> None:
    half = 72 * 4096
    assert memory("m", 72, half).bram18 == 2 * bram18s(72, 4096) == 32
    assert (memory("m", 72, half, uram=2).uram, memory("m", 72, half, uram=2).bram18) == (2, 0)
    assert memory("m", 72, half, uram=1).uram == 0, "there is room for one half only"
    assert memory("m", 72, half // 2, uram=2).uram == 2
    assert memory("m", 72, half // 2 - 72, uram=2).uram == 0, "more than half would be empty"


def test_block_rams_are_paired_across_components() -> None:
    odd = Component(name="a", bram18=3, basis="assumed")
    assert (odd.bram36, total((odd, odd)).bram36) == (2, 3)


# --- The equations


def test_the_table_says_what_made_it() -> None:
    assert tool().startswith("Yosys 0.")
    assert {run.role for run in runs()} == {"fit", "held", "fact"}
    held = {run.design for run in runs() if run.role == "held"}
    assert not held & {run.design for run in runs() if run.role == "fit"}


# The largest error that docs/fpga.md states, by how a MAC is made; a smaller one is no failure.
STATED = {
    "dsp": {"lut": 0.04, "ff": 0.04},
    "dsp-multiply": {"lut": 0.05, "ff": 0.04},
    "lut": {"lut": 0.35, "ff": 0.04},
}


@pytest.mark.parametrize("mac", MACS)
@pytest.mark.parametrize("kind", ["shadow-gated", "pe-drain", "unrolled"])
def test_equations_meet_runs_that_they_were_not_fitted_to(kind: Kind, mac: fpga.Mac) -> None:
    for error in errors(kind, mac):
        assert error.mean <= error.largest <= STATED[mac][error.resource], error
        assert error.runs >= 2


@pytest.mark.parametrize("kind", ["single", "shadow-broadcast", "shadow-gated"])
def test_more_pes_or_bits_never_take_less(kind: Kind) -> None:
    small = Design(kind=kind, mac="dsp", rows=8, cols=8, bits=4)
    for change in ({"rows": 48}, {"cols": 48}, {"bits": 16}):
        large = small.replace(**change)
        for resource in get_args(Fitted):
            assert estimate(small)[resource] <= estimate(large)[resource]


def test_yosys_takes_one_slice_for_a_mac_of_eight_bits_and_none_for_four() -> None:
    for run in runs():
        if run.design.mac != "lut" and run.design.kind != "sequencer":
            assert run.dsp == (run.design.pes if run.design.bits > 4 else 0)
        else:
            assert run.dsp == 0


# --- A machine


@pytest.mark.parametrize("name", BOARDS)
def test_the_boards_machines_fit_their_board_with_a_slice_for_each_mac(name: str) -> None:
    machine = accelerator(name)
    for mac in ("dsp", "dsp-multiply"):
        found = fpga.fit(machine, fpga.device("zcu102"), mac=mac)
        assert found.fits, found.excesses
        assert part(found.resources, "array").dsp == machine.array.pes == 2304
    found.require()


def test_buffers_are_as_wide_as_the_array_needs() -> None:
    machine = accelerator("zcu102-systolic")
    found = fpga.resources(machine)
    # 384 bits x 2^22 / 384 words twice; sums of 48 x 32 bits: 43 x 3 of 36 x 512, twice.
    assert part(found, "input buffer").bram18 == 2 * 242
    assert part(found, "accumulators").bram18 == 2 * 43 * 3
    narrow = machine.replace(array=machine.array.replace(rows=24))
    assert "192 bits" in part(fpga.resources(narrow), "input buffer").note
    swapped = machine.replace(array=machine.array.replace(rows=24, dataflow="is"))
    assert "384 bits" in part(fpga.resources(swapped), "input buffer").note
    assert "192 bits" in part(fpga.resources(swapped), "weight buffer").note


def test_multipliers_that_share_a_slice_are_counted_once() -> None:
    found = fpga.fit(accelerator("zcu102-quasar"), fpga.device("zcu102"))
    assert part(found.resources, "array").dsp == 144 * 16 * 2 // 2 == 2304
    assert found.fits


def test_macs_of_luts_stand_beside_those_in_slices() -> None:
    machine = accelerator("zcu102-heatvit")
    plain, mixed = (part(fpga.resources(machine, lut_pes=count), "array") for count in (0, 300))
    assert mixed.dsp == plain.dsp - 300 == 2004
    assert mixed.lut == pytest.approx(plain.lut + 300 * luts_per_mac(8, "unrolled"), abs=1)
    with pytest.raises(FpgaError, match="lut_pes: wanted at most the array's 2,304 PEs, got 2,305"):
        fpga.resources(machine, lut_pes=2305)


def test_packed_macs_share_a_slice_and_widen_what_streams() -> None:
    machine = accelerator("zcu102-systolic")
    twice = machine.replace(
        array=machine.array.replace(macs_per_pe_cycle=PerProduct(int8=Fraction(2)))
    )
    found = fpga.resources(twice)
    assert part(found, "array").dsp == 2304
    assert "768 bits" in part(found, "input buffer").note
    assert "384 bits" in part(found, "weight buffer").note
    alone = fpga.resources(twice, macs_per_dsp=Fraction(1))
    assert part(alone, "array").dsp == 2 * 2304


@pytest.mark.parametrize("name", ["zcu102-heatvit", "zcu102-systolic", "gemmini-16x16"])
def test_the_total_is_the_sum_of_the_parts(name: str) -> None:
    found = fpga.resources(accelerator(name))
    for resource in ("dsp", "lut", "ff", "bram18", "uram"):
        parts = (component.count(resource) for component in found.components)
        assert found.total.count(resource) == sum(parts)


def test_a_design_too_large_is_a_result_that_names_the_resource() -> None:
    machine = accelerator("zcu102-systolic")
    large = machine.replace(array=machine.array.replace(rows=64, cols=64))
    found = fpga.fit(large, fpga.device("zcu102"))
    assert not found.fits
    (excess,) = (each for each in found.excesses if each.resource == "dsp")
    assert (excess.need, excess.limit, excess.excess) == (64 * 64 + 192, 2520, 1768)
    with pytest.raises(fpga.FpgaError, match=r"does not fit zcu102: dsp 4,288 of 2,520, 1,768 too"):
        found.require()


def test_macs_of_luts_take_no_slice_and_many_luts() -> None:
    machine = accelerator("zcu102-systolic")
    slices, luts = fpga.resources(machine), fpga.resources(machine, mac="lut")
    assert part(luts, "array").dsp == 0
    assert part(luts, "array").lut > 5 * part(slices, "array").lut


def test_ultraram_is_used_where_there_is_some() -> None:
    machine = accelerator("zcu102-systolic")
    with_uram = fpga.fit(machine, fpga.device("u250")).resources.total
    assert with_uram.uram > 0
    assert with_uram.bram36 < fpga.resources(machine).total.bram36


def test_a_selector_of_its_own_takes_slices_and_a_shared_one_takes_none() -> None:
    machine = accelerator("zcu102-heatvit")
    base = fpga.resources(machine).total
    shared = fpga.resources(machine, selector="shared").total
    dedicated = fpga.resources(machine, selector="dedicated").total
    assert base.dsp == shared.dsp < dedicated.dsp
    assert base.lut < shared.lut < dedicated.lut


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(fpga.FpgaError, match="a100-80gb: wanted an accelerator, got a GPU"):
        fpga.resources(load_machine("a100-80gb"))
    with pytest.raises(fpga.FpgaError, match=r"wanted one of dsp, .*; got 'luts'; the nearest"):
        fpga.resources(accelerator("zcu102-systolic"), mac="luts")  # type: ignore[arg-type]
    with pytest.raises(fpga.FpgaError, match=r"^edge-32x32: .* int8, got fp16; .* \(--format\)$"):
        fpga.resources(accelerator("edge-32x32"))
    with pytest.raises(
        FormatError, match=r"^zcu102-systolic does not compute in bf16 \(--format\): .* 'bf16'$"
    ):
        fpga.resources(accelerator("zcu102-systolic"), format="bf16")
    with pytest.raises(fpga.FpgaError, match="wanted at most 18 bits, got 32"):
        fpga.slices_per_pe(32, Fraction(1))


# --- Devices


@pytest.mark.parametrize("name", device_names())
def test_a_device_states_where_its_numbers_come_from(name: str) -> None:
    document = read_document(REPOSITORY / "arch" / "devices" / f"{name}.yaml")
    assert document.numbers <= set(document.sources)
    assert load_device(name).name == name


def test_a_wrong_device_is_one_line_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"device: wanted one of .*'zcu120'; the nearest is"):
        fpga.device("zcu120")
    path = tmp_path / "mine.yaml"
    whole = (REPOSITORY / "arch" / "devices" / "zcu102.yaml").read_text()
    path.write_text(whole.replace("  lut:", "  luts:"))
    with pytest.raises(MachineError, match=r"mine.yaml:8: resources.luts: unknown key; the near"):
        fpga.device(path)
    path.write_text(whole.replace("dsp: 2520", "dsp: 0"))
    with pytest.raises(MachineError, match=r"mine.yaml:7: resources.dsp: wanted more than 0"):
        fpga.device(path)


# --- The command


def test_the_command_prints_the_breakdown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fpga", "zcu102-systolic", "--selector", "shared"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    for words in ("array", "vector unit", "2,496", "not placed and not routed", "HeatViT reports"):
        assert words in printed


def test_the_command_fails_in_one_line_if_the_device_is_too_small(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fit.json"
    with pytest.raises(SystemExit) as end:
        main(["fpga", "zcu102-systolic", "--device", "zcu104", "--json", str(file)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("tilewise: zcu102-systolic does not fit zcu104: dsp 2,496 of 1,728")
    assert error.count("\n") == 1
    values = json.loads(file.read_text())
    assert not values["fits"]
    assert values["excess"]["dsp"] == 768
    assert set(values["available"]) == set(RESOURCES)


def test_the_title_says_which_pes_are_of_luts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fit.json"
    with pytest.raises(SystemExit) as end:
        main(["fpga", "zcu102-heatvit", "--lut-pes", "300", "--json", str(file)])
    assert end.value.code == 0
    title, _, _ = capsys.readouterr().out.partition("\n")
    assert title.endswith("MACs by dsp, 300 PEs by lut")
    assert json.loads(file.read_text())["lut_pes"] == 300


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zcu102-heatvit", "--format", "fp16"], "zcu102-heatvit does not compute in fp16"),
        (["edge-32x32"], "edge-32x32: wanted a PE for int4 or int8, got fp16"),
    ],
)
def test_a_format_that_cannot_be_built_names_the_machine_and_the_option(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["fpga", *arguments])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith(f"tilewise: {said}")
    assert "--format" in error
    assert error.count("\n") == 1
