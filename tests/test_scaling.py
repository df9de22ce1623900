"""Which question: does an energy table at another node follow the two tables that are cited?"""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.arch import EnergyTable, MachineError, energy_table, sources

CITED = ("cacti-28nm", "horowitz-45nm", "jouppi-7nm")
nodes_nm = st.floats(7, 45)


def prices(table: EnergyTable) -> list[float]:
    """All energies on chip."""
    sram = [
        price
        for point in table.sram
        for price in (point.read_pj_per_byte, point.written_pj_per_byte)
    ]
    macs = [float(table.mac_pj.get(name)) for name in table.mac_pj.names]
    return [*macs, table.vector_op_pj, table.register_pj_per_byte, *sram]


def test_horowitz_at_7_nm_is_jouppis_table() -> None:
    newer, scaled = energy_table("jouppi-7nm"), energy_table("horowitz-45nm", 7)
    for name in scaled.mac_pj.names:
        assert float(scaled.mac_pj.get(name)) == pytest.approx(float(newer.mac_pj.get(name)))
    assert scaled.vector_op_pj == pytest.approx(newer.vector_op_pj)
    assert scaled.register_pj_per_byte == pytest.approx(newer.register_pj_per_byte)
    for capacity in (4096, 8192, 100_000, 1 << 20, 1 << 23):
        read = newer.sram_read_j_per_byte(capacity)
        assert scaled.sram_read_j_per_byte(capacity) == pytest.approx(read)
    assert scaled.dram_pj_per_bit == energy_table("horowitz-45nm").dram_pj_per_bit


@given(st.sampled_from(CITED), st.lists(nodes_nm, min_size=2, max_size=4).map(sorted))
@settings(max_examples=30)
def test_a_smaller_node_never_takes_more_energy(name: str, nodes: list[float]) -> None:
    for small, large in pairwise(nodes):
        less, more = (prices(energy_table(name, node)) for node in (small, large))
        assert all(a <= b * (1 + 1e-12) for a, b in zip(less, more, strict=True))


@pytest.mark.parametrize("name", CITED)
def test_a_table_at_its_own_node_is_itself(name: str) -> None:
    table = energy_table(name)
    assert prices(energy_table(name, table.node_nm)) == prices(table)


def test_a_node_beyond_the_two_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="node_nm: wanted 7 to 45, got 3"):
        energy_table("jouppi-7nm", 3)


def derived_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"name: mine\nderived: {text}\n")
    return path


def test_a_derived_table_is_the_other_at_its_node_times_a_number(tmp_path: Path) -> None:
    table = energy_table(derived_file(tmp_path, "{from: cacti-28nm, node_nm: 16, times: 2}"))
    assert (table.name, table.node_nm) == ("mine", 16)
    once = prices(energy_table("cacti-28nm", 16))
    assert prices(table) == pytest.approx([2 * price for price in once])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{node_nm: 16}", "derived: from: missing key, wanted the name of an energy table"),
        ("{from: horowitz-45nm}", "derived.node_nm: missing key, wanted a number"),
        ("{from: horowitz-45nm, node_nm: 5}", "derived.node_nm: wanted 7 to 45, got 5"),
        ("{from: horowitz-45nm, node_nm: 9, time: 2}", "the nearest is times"),
        ("{from: jouppi, node_nm: 9}", "got 'jouppi'; the nearest is jouppi-7nm"),
        ("{from: zcu102, node_nm: 9}", "wanted a table with numbers, got a derived one"),
        ("16", "derived: wanted a mapping, got 16"),
        ("{from: jouppi-7nm, node_nm: 9}\nnode_nm: 9", "node_nm: wanted nothing beside derived"),
    ],
)
def test_a_wrong_derivation_is_one_line_at_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = derived_file(tmp_path, text)
    with pytest.raises(MachineError) as caught:
        energy_table(path)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_a_derived_number_says_what_it_was_and_what_was_done() -> None:
    found = sources("zcu102-heatvit")
    assert found["energy.mac_pj.int8"].startswith("Horowitz, ISSCC 2014")
    assert found["energy.mac_pj.int8"].endswith("; brought to 16 nm, times 15.02")
    assert "fitted" in found["energy.node_nm"]
    assert found["energy.dram_pj_per_bit.ddr4"].endswith("1300 pJ per 64 bits")
