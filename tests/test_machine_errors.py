"""Every way to get a machine file wrong, and the one line that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewise.arch import Accelerator, MachineError, UnrolledArray, load_machine

MACHINE = """\
kind: accelerator
name: mine
clock_hz: 1e9
array:
  rows: 16
  cols: 8
  dataflow: ws
  macs_per_pe_cycle: {int8: 7/4}
buffers:
  input_bytes: 65536
  weight_bytes: 65_536
  output_bytes: 16384
  accumulator_bytes: 32768
dram: {kind: ddr4, bytes_per_s: 19.2e9, latency_s: 1e-7, setup_cycles: 010}
vector:
  lanes: {value: 8, source: a datasheet}
host:
  round_trip_s: 0
energy: horowitz-45nm
"""

UNROLLED = """\
  kind: unrolled
  tm: 8
  tn: 16
  th: 2
  word_bits: 128
  weight_ports: 1
  input_ports: 2
  macs_per_pe_cycle: {int8: 1}
  output_ports: 1
"""


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MachineError) as caught:
        load_machine(path)
    text = str(caught.value)
    assert "\n" not in text, "one error is one line"
    assert text.startswith(str(path)), "and it begins with the file"
    return text.removeprefix(f"{path}:")


def test_the_file_that_the_others_are_made_from_is_right(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MACHINE)
    machine = load_machine(path)
    assert isinstance(machine, Accelerator)
    assert machine.array.macs_per_cycle("int8") == 224
    assert machine.buffers.weight_bytes == 65536
    assert machine.dram.setup_cycles == 10, "YAML 1.1 would have read an octal eight"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # a key
        ("rows:", "rowz:", "5: array.rowz: unknown key; the nearest is rows"),
        ("  cols: 8\n", "", "4: array.cols: missing key, wanted an integer"),
        (
            "host:\n  round_trip_s: 0\n",
            "",
            "1: host: missing key, wanted a mapping of round_trip_s",
        ),
        (
            "  cols: 8",
            "  cols: 8\n  rows: 9",
            "7: array.rows: duplicate key, first written on line 5",
        ),
        (
            "host:",
            "zzzzzz: 1\nhost:",
            "17: zzzzzz: unknown key; wanted name, description, clock_hz",
        ),
        ("host:", "? [a]\n: 1\nhost:", "17: ?: wanted a name for a key, got a list"),
        # an integer
        ("rows: 16", "rows: 0", "5: array.rows: wanted more than 0, got 0"),
        ("rows: 16", "rows: -4", "5: array.rows: wanted more than 0, got -4"),
        ("rows: 16", "rows: 1.5", "5: array.rows: wanted an integer, got 1.5"),
        ("rows: 16", "rows: '16'", "5: array.rows: wanted an integer, got '16'"),
        ("rows: 16", "rows: true", "5: array.rows: wanted an integer, got true"),
        ("rows: 16", "rows:", "5: array.rows: wanted an integer, got nothing"),
        ("rows: 16", "rows: [16]", "5: array.rows: wanted an integer, got a list"),
        ("010", "-1", "14: dram.setup_cycles: wanted at least 0, got -1"),
        # another number
        ("clock_hz: 1e9", "clock_hz: fast", "3: clock_hz: wanted a number, got 'fast'"),
        ("clock_hz: 1e9", "clock_hz: 0", "3: clock_hz: wanted more than 0, got 0"),
        ("clock_hz: 1e9", "clock_hz: 1e999", "3: clock_hz: wanted a finite number, got inf"),
        ("7/4", "-1", "8: array.macs_per_pe_cycle.int8: wanted more than 0, got -1"),
        ("7/4", "1/0", "8: array.macs_per_pe_cycle.int8: wanted a number, got '1/0'"),
        ("7/4", ".nan", "8: array.macs_per_pe_cycle.int8: wanted a finite number, got nan"),
        # a part
        (
            "host:\n  round_trip_s: 0",
            "host: 0",
            "17: host: wanted a mapping of round_trip_s, active_w; got 0",
        ),
        ("name: mine", "name: 7", "2: name: wanted text, got 7"),
        # a choice
        (
            "kind: accelerator",
            "kind: cpu",
            "1: kind: wanted accelerator or gpu, got 'cpu'; the nearest is gpu",
        ),
        ("kind: accelerator", "kind: {}", "1: kind: wanted accelerator or gpu, got a mapping"),
        ("kind: accelerator\n", "", "1: kind: missing key, wanted accelerator or gpu"),
        (
            "dataflow: ws",
            "dataflow: wss",
            "7: array.dataflow: wanted ws, os or is; got 'wss'; the nearest is ws",
        ),
        ("kind: ddr4", "kind: ddr", "14: dram.kind: wanted ddr3, ddr4, lpddr4, lpddr5"),
        (
            "int8: 7/4",
            "in8: 7/4",
            "8: array.macs_per_pe_cycle.in8: unknown key; the nearest is int8",
        ),
        (
            "array:\n  rows: 16\n  cols: 8\n  dataflow: ws\n  macs_per_pe_cycle: {int8: 7/4}",
            "array: 7",
            "4: array: wanted a mapping, got 7",
        ),
        (
            "array:",
            "array:\n  kind: sistolic",
            "5: array.kind: wanted systolic or unrolled, got 'sistolic'; the nearest is systolic",
        ),
        # the parts together
        (
            "dataflow: ws",
            "dataflow: os\n  overlap: single",
            "8: array.overlap: wanted one of pe-drain, global-drain, scale-sim ",
        ),
        (
            "clock_hz",
            "default_format: fp16\nclock_hz",
            "3: default_format: wanted one of int8, got 'fp16'",
        ),
        ("{int8: 7/4}", "{}", "8: array.macs_per_pe_cycle: wanted at least one format, got none"),
        # a source
        (
            "8, source",
            "8, sauce",
            "16: vector.lanes.sauce: unknown key beside `value`; wanted source",
        ),
        ("a datasheet", "7", "16: vector.lanes.source: wanted text that says so, got 7"),
        ("a datasheet", "''", "16: vector.lanes.source: wanted text that says so, got nothing"),
        (
            "a datasheet",
            "x, assumed: y",
            "16: vector.lanes.assumed: wanted source or assumed, got both",
        ),
        ("value: 8", "value: [8]", "16: vector.lanes.value: wanted a number, got a list"),
        ("kind: acc", "source: me\nkind: acc", "1: source: unknown key"),
        # the energy table
        (
            "horowitz-45nm",
            "horowits-45nm",
            "19: energy: wanted one of cacti-28nm, horowitz-45nm, jouppi-7nm, zcu102, or a path",
        ),
        ("horowitz-45nm", "5", "19: energy: wanted the name of an energy table, got 5"),
        (
            "horowitz-45nm",
            "mine/nope.yaml",
            "19: energy: wanted an energy table, got no such file as ",
        ),
        (
            "horowitz-45nm",
            "{name: x, description: y}",
            "19: energy.node_nm: missing key, wanted a number",
        ),
        # YAML
        (
            "cols: 8",
            "cols: 8: 9",
            "6: wanted YAML, got a syntax error: mapping values are not allowed",
        ),
        (
            "host:",
            "\thost:",
            "17: wanted YAML, got a syntax error: found character that cannot start",
        ),
        ("host:", "---\nhost:", "17: wanted YAML, got a syntax error: but found another document"),
        (
            "rows: 16",
            "rows: &n 16\n  deep: *n",
            "6: wanted the value written out, got the alias *n",
        ),
        (
            "rows: 16",
            "rows: 16\n  split: heads",
            "6: array.split: wanted tile, head or image; got 'heads'; the nearest is head",
        ),
        ("rows: 16", "rows: !size 16", "5: array.rows: wanted plain YAML, got the tag !size"),
        ("rows: 16", "rows: " + "[" * 99_999, "5: wanted at most 16 levels of nesting, got more"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert MACHINE.count(old) == 1, "the test itself must change one place"
    told = refusal(tmp_path / "mine.yaml", MACHINE.replace(old, new))
    assert told[: len(expected)] == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "kind: unrolled",
            "kind: unroled",
            "5: array.kind: wanted systolic or unrolled, got 'unroled'; the nearest is unrolled",
        ),
        ("kind: unrolled", "kind: [1]", "5: array.kind: wanted systolic or unrolled, got a list"),
        ("  kind: unrolled\n", "", "5: array.tm: unknown key; wanted rows, cols, count, split"),
        (
            "weight_ports",
            "weigt_ports",
            "10: array.weigt_ports: unknown key; the nearest is weight",
        ),
        ("  th: 2\n", "", "4: array.th: missing key, wanted an integer"),
        ("tn: 16", "tn: 0", "7: array.tn: wanted more than 0, got 0"),
        (
            "word_bits: 128",
            "word_bits: 4",
            "9: array.word_bits: wanted at least 8, one operand of the widest format, got 4",
        ),
        (
            "int8: 1",
            "int8: 1, in4: 2",
            "12: array.macs_per_pe_cycle.in4: unknown key; the nearest is int4",
        ),
    ],
)
def test_a_mistake_in_an_unrolled_array_is_told_as_well(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    start, end = MACHINE.index("  rows:"), MACHINE.index("buffers:")
    right = MACHINE[:start] + UNROLLED + MACHINE[end:]
    path = tmp_path / "mine.yaml"
    path.write_text(right)
    machine = load_machine(path)
    assert isinstance(machine, Accelerator)
    assert isinstance(machine.array, UnrolledArray)
    assert right.count(old) == 1, "the test itself must change one place"
    assert refusal(path, right.replace(old, new))[: len(expected)] == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "1: wanted a mapping of keys to values, got an empty file"),
        ("# only a comment\n", "1: wanted a mapping of keys to values, got an empty file"),
        ("- kind: gpu\n", "1: wanted a mapping of keys to values, got a list"),
        ("edge-32x32\n", "1: wanted a mapping of keys to values, got 'edge-32x32'"),
        (b"kind: gpu\n\x89PNG\r\n", "2: wanted UTF-8 text, got a binary file"),
        (b"PK\x03\x04\n\n\x00\x00", "3: wanted UTF-8 text, got a binary file"),
        ("kind: \x07\n", "1: wanted YAML, got a syntax error: a character YAML does not allow"),
    ],
)
def test_a_file_that_is_no_machine_at_all(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    assert refusal(tmp_path / "mine.yaml", content) == expected


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"gone\.yaml: wanted a YAML file, got no such file$"):
        load_machine(tmp_path / "gone.yaml")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"wanted a YAML file, got a directory$"):
        load_machine(tmp_path)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("edge-32", "edge-32x32"), ("A100", "a100-80gb"), ("tpuv1", "tpu-v1"), ("h200 ", "h200")],
)
def test_an_unknown_name_lists_the_known_ones_and_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(MachineError) as caught:
        load_machine(name)
    text = str(caught.value)
    assert text.startswith("machine: wanted one of a10, a100-40gb, a100-80gb, a5000, ")
    assert text.endswith(f"or a path ending in .yaml; got {name!r}; the nearest is {nearest}")


def test_a_mistake_in_an_energy_table_is_told_at_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MACHINE.replace("horowitz-45nm", "energy.yaml"))
    (tmp_path / "energy.yaml").write_text("name: x\nnode_nm: 7\nsram:\n  - read_pj_per_byte: 0\n")
    with pytest.raises(MachineError) as caught:
        load_machine(tmp_path / "mine.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'energy.yaml'}:1: mac_pj: missing key")


@given(
    start=st.integers(0, len(MACHINE)),
    length=st.integers(0, 12),
    inserted=st.text("abw 019-.,:/{}[]#&*!'\n\t\x00é", max_size=6),
)
def test_no_damage_gets_past_the_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, inserted: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_text(MACHINE[:start] + inserted + MACHINE[start + length :], encoding="utf-8")
    told = ""
    try:
        load_machine(path)
    except MachineError as error:
        told = str(error)
    assert "\n" not in told
    assert told.startswith(f"{path}:") or not told


def test_a_file_that_was_mended_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    refusal(path, MACHINE.replace("rows: 16", "rows: 0"))
    path.write_text(MACHINE)
    assert load_machine(path).name == "mine"
