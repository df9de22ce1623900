"""What machines promise: exact arithmetic, honest sources, values that stay what they are."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tilewise import arch
from tilewise.arch import (
    FORMATS,
    OVERLAPS,
    VECTOR_FUNCTIONS,
    Accelerator,
    Buffers,
    EnergyTable,
    FormatError,
    Gpu,
    PerFormat,
    PerProduct,
    SystolicArray,
    UnrolledArray,
    VectorUnit,
    energy_table,
    load_machine,
    machine_names,
    sources,
)
from tilewise.arch.document import read_document

HERE = Path(arch.__file__).parent
FILES = sorted([*(HERE / "machines").glob("*.yaml"), *(HERE / "energy_tables").glob("*.yaml")])
costs = st.fractions(min_value=Fraction(1, 64), max_value=16, max_denominator=64)
elements = st.integers(min_value=0, max_value=10**7)


def accelerator(name: str) -> Accelerator:
    machine = load_machine(name)
    assert isinstance(machine, Accelerator)
    return machine


def gpu(name: str) -> Gpu:
    machine = load_machine(name)
    assert isinstance(machine, Gpu)
    return machine


def unrolled(**changes: Any) -> UnrolledArray:
    sizes = {"tm": 2, "tn": 3, "th": 5, "word_bits": 128}
    ports = {"input_ports": 1, "weight_ports": 2, "output_ports": 3}
    return UnrolledArray.model_validate(sizes | ports | changes)


# --- The vector unit


@given(lanes=st.integers(1, 512), cost=costs, a=elements, b=elements)
def test_vector_cycles_are_an_exact_ceiling_monotone_and_subadditive(
    lanes: int, cost: Fraction, a: int, b: int
) -> None:
    unit = VectorUnit(lanes=lanes, softmax_cycles=cost)
    together, first, second = (unit.cycles("softmax", n) for n in (a + b, a, b))
    assert max(first, second) <= together <= first + second
    assert (first - 1) * lanes < a * cost <= first * lanes or first == a == 0
    assert together >= first + second - 1, "splitting wastes less than one cycle"


@given(cost=costs, counts=st.lists(elements, min_size=1))
def test_vector_cycles_of_an_array_are_those_of_its_items(
    cost: Fraction, counts: list[int]
) -> None:
    unit = VectorUnit(lanes=7, activation_cycles=cost)
    assert unit.cycles("activation", np.array(counts)).tolist() == [
        unit.cycles("activation", count) for count in counts
    ]


def test_every_vector_function_has_a_cost_and_no_other_name_has() -> None:
    unit = VectorUnit(lanes=1)
    assert [unit.cost(function) for function in VECTOR_FUNCTIONS] == [1] * 8
    with pytest.raises(ValueError, match=r"wanted one of requantize, .*, got 'lanes'"):
        unit.cycles("lanes", 1)


# --- Formats, arrays, buffers


def test_formats_have_bits_and_an_unknown_one_is_refused() -> None:
    assert [arch.bits(name) for name in FORMATS] == [2, 3, 4, 5, 6, 7, 8, 16, 4, 8, 16, 16, 32, 32]
    with pytest.raises(FormatError, match=r"wanted one of int2, .*fp32, got 'int1'"):
        arch.bits("int1")


@pytest.mark.parametrize("name", ["fp8", "get", "nothing"])
def test_a_missing_format_names_those_there_are(name: str) -> None:
    with pytest.raises(FormatError, match=f"wanted one of int8, fp16, got '{name}'"):
        PerFormat(int8=Fraction(1), fp16=Fraction(1, 2)).get(name)


def test_an_a100_has_no_fp8() -> None:
    with pytest.raises(FormatError, match=r"wanted one of int4, int8, fp16, .* got 'fp8'"):
        gpu("a100-80gb").flops_per_s("fp8")


@pytest.mark.parametrize("dataflow", OVERLAPS)
def test_an_array_takes_the_overlaps_of_its_dataflow_and_no_other(dataflow: arch.Dataflow) -> None:
    every: set[arch.Overlap] = {overlap for known in OVERLAPS.values() for overlap in known}
    assert SystolicArray(rows=2, cols=2, dataflow=dataflow).overlap == OVERLAPS[dataflow][0]
    for overlap in every:
        if overlap in OVERLAPS[dataflow]:
            SystolicArray(rows=2, cols=2, dataflow=dataflow, overlap=overlap)
        else:
            with pytest.raises(ValidationError, match="overlap: wanted one of"):
                SystolicArray(rows=2, cols=2, dataflow=dataflow, overlap=overlap)


def test_an_unrolled_array_counts_its_multipliers_and_the_operands_of_a_word() -> None:
    rates = PerProduct(int8=Fraction(1), int4=Fraction(2))
    array = unrolled(word_bits=100, macs_per_pe_cycle=rates)
    assert (array.pes, array.macs_per_cycle("int4")) == (30, Fraction(60))
    assert [array.per_word(bits) for bits in (4, 8, 16)] == [25, 12, 6]
    with pytest.raises(FormatError, match="wanted one of int4, int8, got 'fp16'"):
        array.macs_per_cycle("fp16")


def test_a_word_holds_an_operand_of_every_format() -> None:
    assert unrolled(word_bits=8).per_word(8) == 1
    with pytest.raises(ValidationError, match=r"word_bits: wanted at least 8, .* got 7"):
        unrolled(word_bits=7)
    with pytest.raises(ValidationError, match="macs_per_pe_cycle: wanted at least one format"):
        unrolled(macs_per_pe_cycle=PerProduct())


def test_an_array_counts_its_pes_and_macs() -> None:
    rates = PerProduct(int8=Fraction(1), int4=Fraction(7, 4))
    array = SystolicArray(rows=3, cols=5, count=2, macs_per_pe_cycle=rates)
    assert (array.pes, array.macs_per_cycle("int4")) == (30, Fraction(105, 2))


def test_a_tile_takes_at_most_half_a_buffer() -> None:
    buffers = Buffers(input_bytes=9, weight_bytes=8, output_bytes=7, accumulator_bytes=31)
    assert buffers.input_tile_bytes == 4
    assert buffers.weight_tile_bytes == 4
    assert buffers.output_tile_bytes == 3
    assert buffers.accumulator_tile_words == 3
    assert buffers.total_bytes == 55


# --- Accelerators


@pytest.mark.parametrize(
    ("clock_hz", "latency_s", "cycles"),
    [(1e9, 1e-7, 100), (1e9, 1.001e-7, 101), (150e6, 2e-7, 30), (3e8, 1e-9, 1), (1e9, 0, 0)],
)
def test_latency_in_cycles_is_the_ceiling_of_the_decimals_as_written(
    clock_hz: float, latency_s: float, cycles: int
) -> None:
    machine = accelerator("edge-32x32")
    machine = machine.replace(
        clock_hz=clock_hz,
        dram=machine.dram.replace(latency_s=latency_s),
        host=machine.host.replace(round_trip_s=latency_s),
    )
    assert machine.dram_latency_cycles == machine.host_cycles == cycles


def test_bandwidth_per_cycle_is_exact() -> None:
    assert accelerator("zcu102-systolic").dram_bytes_per_cycle == 128
    assert accelerator("tpu-v1").dram_bytes_per_cycle == Fraction(340, 7)


def test_replace_checks_the_whole_again() -> None:
    with pytest.raises(ValidationError, match="default_format: wanted one of int8"):
        accelerator("tpu-v1").replace(default_format="fp16")
    with pytest.raises(ValidationError, match="colour"):
        accelerator("tpu-v1").replace(colour="red")


# --- Energy


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.parent.name != "machines"])
def test_sram_energy_meets_its_cited_points_and_rises(name: str) -> None:
    table = energy_table(name)
    for point in table.sram:
        read, written = point.read_pj_per_byte, point.written_pj_per_byte
        assert table.sram_read_j_per_byte(point.capacity_bytes) == read * 1e-12
        assert table.sram_write_j_per_byte(point.capacity_bytes) == written * 1e-12
    for per_byte in (table.sram_read_j_per_byte, table.sram_write_j_per_byte):
        energies = [per_byte(2**k) for k in range(8, 28)]
        assert energies == sorted(energies)
        with pytest.raises(ValueError, match="capacity_bytes: wanted more than 0, got 0"):
            per_byte(0)


def test_sram_energy_between_two_points_is_their_geometric_mean_halfway() -> None:
    table = energy_table("horowitz-45nm")
    assert table.sram_read_j_per_byte(16384) == pytest.approx((1.25 * 2.5) ** 0.5 * 1e-12)


def test_horowitz_energies_are_those_of_the_figure() -> None:
    """M. Horowitz, ISSCC 2014, figure 1.1.9: int8 multiply 0.2, int32 add 0.1 pJ."""
    table = energy_table("horowitz-45nm")
    assert table.mac_j("int8", "int8") == pytest.approx(0.3e-12)
    assert table.mac_j("fp32", "fp32") == pytest.approx((3.7 + 0.9) * 1e-12)
    assert table.dram_j_per_byte("ddr4") * 8 == pytest.approx(1300e-12, rel=0.01)


def test_a_table_prices_every_product_of_the_array() -> None:
    machine = load_machine("edge-32x32")
    assert isinstance(machine, Accelerator)
    with pytest.raises(
        ValidationError, match="wanted a table with mac_pj for fp16, got 'cacti-28nm'"
    ):
        machine.replace(energy=energy_table("cacti-28nm"))


def test_sram_points_must_rise() -> None:
    table = energy_table("horowitz-45nm")
    with pytest.raises(ValidationError, match="rising capacity_bytes, got 1048576, 32768, 8192"):
        table.replace(sram=table.sram[::-1])


def test_gpu_energy_adds_up_and_stops_at_the_power_limit() -> None:
    h200 = gpu("h200")
    light = h200.energy(seconds=1.0, flops=1e12, dram_bytes=1e9, format="bf16")
    assert light.total_j == pytest.approx(509 + 0.185 + 4.05e-12 * 8e9)
    heavy = h200.energy(seconds=1.0, flops=1e16, dram_bytes=4.8e12, format="bf16")
    assert heavy.total_j == pytest.approx(700)
    assert heavy.compute_j / heavy.dram_j == pytest.approx(0.185 * 1e16 / (4.05 * 8 * 4.8e12))
    assert h200.energy(seconds=0, flops=0, dram_bytes=0, format="bf16").total_j == 0


def test_a_busy_h200_draws_what_was_measured() -> None:
    """Large bf16 GEMMs at 80 % of the peak: 0.99 pJ/FLOP and 691 of 700 W were measured."""
    h200 = gpu("h200")
    flops = 0.8 * h200.flops_per_s("bf16")
    drawn_w = h200.energy(seconds=1.0, flops=flops, dram_bytes=1e12, format="bf16").total_j
    assert drawn_w == pytest.approx(691, rel=0.05)


# --- What is shipped


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_number_says_where_it_comes_from(path: Path) -> None:
    document = read_document(path)
    assert document.values["name"] == path.stem
    assert document.numbers - document.sources.keys() == set()
    for key, source in document.sources.items():
        assert len(source.removeprefix("assumed: ")) > 12, f"{key}: {source!r} says too little"


@pytest.mark.parametrize("name", machine_names())
def test_a_machine_is_a_value(name: str) -> None:
    machine = load_machine(name)
    again = load_machine(HERE / "machines" / f"{name}.yaml")
    assert machine == again
    assert hash(machine) == hash(again)
    assert pickle.loads(pickle.dumps(machine)) == machine
    with pytest.raises(ValidationError, match="frozen"):
        setattr(machine, "name", "other")  # noqa: B010 (the checkers know that it is frozen)
    assert machine.description


@pytest.mark.parametrize("name", machine_names())
def test_sources_name_every_number_of_a_machine(name: str) -> None:
    found = sources(name)
    assert "clock_hz" in found
    assert ("energy.mac_pj.int8" in found) == isinstance(load_machine(name), Accelerator)


def test_the_shipped_machines_are_these() -> None:
    assert machine_names() == (
        "a10", "a100-40gb", "a100-80gb", "a5000", "b200", "edge-128x128", "edge-32x32",
        "edge-4x32x32", "gemmini-16x16", "h100", "h200", "jetson-orin", "l4", "l40s", "rtx-3090",
        "rtx-4090", "rtx-5090", "t4", "tpu-v1", "v100", "zcu102-heatvit", "zcu102-quasar",
        "zcu102-systolic",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tops"),
    [
        ("tpu-v1", 92),
        ("gemmini-16x16", 0.512),
        ("zcu102-heatvit", 0.691),
        ("zcu102-systolic", 0.691),
    ],
)
def test_peak_int8_rate_is_the_published_one(name: str, tops: float) -> None:
    """TPU v1: Jouppi et al., ISCA 2017, table 2. The others: two operations per PE and cycle."""
    machine = accelerator(name)
    rate = 2 * machine.array.macs_per_cycle("int8") * Fraction(machine.clock_hz)
    assert float(rate) / 1e12 == pytest.approx(tops, rel=0.005)


@pytest.mark.parametrize(("name", "flop_per_sm_cycle"), [("a100-80gb", 2048), ("h200", 4096)])
def test_gpu_peaks_are_sms_times_clock_times_tensor_rate(name: str, flop_per_sm_cycle: int) -> None:
    machine = gpu(name)
    peak = machine.sms * machine.clock_hz * flop_per_sm_cycle
    assert machine.flops_per_s("fp16") == pytest.approx(peak, rel=0.001)


@pytest.mark.parametrize("name", ["zcu102-heatvit", "zcu102-systolic"])
def test_a_zcu102_machine_fits_its_device(name: str) -> None:
    """AMD DS891: XCZU9EG, 2520 DSP slices, 912 BRAM36 of 4 KiB without parity."""
    machine = accelerator(name)
    # A DSP slice for each PE, up to four for a lane of the vector unit.
    assert machine.array.pes + 4 * machine.vector.lanes <= 2520
    assert machine.buffers.total_bytes <= 912 * 4096


def test_the_zcu102_machines_differ_in_their_arrays_only() -> None:
    unrolled, systolic = accelerator("zcu102-heatvit"), accelerator("zcu102-systolic")
    named = {"name": systolic.name, "description": systolic.description}
    buffers = unrolled.buffers.replace(
        im2col_bytes_per_cycle=systolic.buffers.im2col_bytes_per_cycle
    )
    assert unrolled.replace(array=systolic.array, buffers=buffers, **named) == systolic
    assert unrolled.array.pes == systolic.array.pes


def test_the_ports_of_the_heatvit_engine_are_those_of_its_device() -> None:
    """AMD DS891: six AXI memory ports from the fabric to the processing system, of 128 bits."""
    array = accelerator("zcu102-heatvit").array
    assert isinstance(array, UnrolledArray)
    assert array.input_ports + array.weight_ports + array.output_ports == 6
    assert array.word_bits == 128


def test_an_energy_table_written_into_the_machine_is_read_too(tmp_path: Path) -> None:
    table = (HERE / "energy_tables" / "horowitz-45nm.yaml").read_text()
    machine = (HERE / "machines" / "edge-32x32.yaml").read_text()
    inline = "\n  ".join(line for line in table.splitlines() if not line.startswith("#"))
    path = tmp_path / "inline.yaml"
    path.write_text(machine.replace("energy: horowitz-45nm", f"energy:\n  {inline}"))
    loaded = load_machine(path)
    assert isinstance(loaded, Accelerator)
    assert isinstance(loaded.energy, EnergyTable)
    assert loaded == accelerator("edge-32x32")
    assert sources(path) == sources("edge-32x32")
