"""Which question: is every joule counted once, priced as cited, and none of it negative?"""

import math
from dataclasses import fields
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EDGE, RATE, gemms, machines

from tilewise.arch import FORMATS, Accelerator, FormatError, energy_table, load_machine
from tilewise.arch.formats import holds
from tilewise.sim import attention, gemm, tiling
from tilewise.sim.attention import Heads
from tilewise.sim.energy import Actions, actions, kernel_energy
from tilewise.sim.errors import MappingError
from tilewise.sim.formats import Formats, Widths
from tilewise.sim.gemm import Gemm, GemmMapping, Shape
from tilewise.sim.papers.heatvit import CHOSEN, MACHINE, SELECTORS, WIDTHS, kept
from tilewise.sim.program import KernelProgram
from tilewise.sim.result import Result
from tilewise.sim.simulate import simulate
from tilewise.workloads import zoo
from tilewise.workloads.zoo.vit import vit

TABLES = ("cacti-28nm", "horowitz-45nm", "jouppi-7nm", "zcu102")


def product(m: int, k: int, n: int, *, tile_k: int = 0, stores: bool = True) -> KernelProgram:
    """`(m, k) @ (k, n)` in int8 on `edge-32x32`, in one tile or with its sum cut."""
    one = Gemm(
        shape=Shape(groups=1, repeats=1, m=m, k=k, n=n),
        bits=Widths(8, 8, 8),
        stores=stores,
        input_room=EDGE.buffers.input_bytes,
        vector_cost=Fraction(1),
    )
    mapping = GemmMapping(groups=1, m=m, k=tile_k or k, n=n, order="mn")
    return KernelProgram(name="k", kind="MatMul", nodes=gemm.nodes(one, mapping, EDGE, RATE))


# --- Counts


def test_a_small_product_is_counted_as_by_hand() -> None:
    """(5 x 40) @ (40 x 20) on 32 x 32 PEs, weights in place: two folds along K, one along N."""
    assert actions(product(5, 40, 20), EDGE) == Actions(
        macs=5 * 40 * 20,
        register_bytes=4000 * (1 + 4),  # an int8 operand and a 32-bit sum each
        input_writes=5 * 40,
        input_reads=5 * 40,  # once for the one block of columns
        weight_writes=40 * 20,
        weight_reads=40 * 20,
        sum_writes=2 * 100 * 4,  # by either fold
        sum_reads=(100 + 100) * 4,  # by the second fold, and by the vector unit
        output_writes=100,
        output_reads=100,
        vector_lane_cycles=EDGE.vector.lanes * -(-100 // EDGE.vector.lanes),
        dram_reads=200 + 800,
        dram_writes=100,
        host_cycles=0,
    )


def test_a_small_product_is_priced_as_by_hand() -> None:
    """Horowitz, ISSCC 2014, buffers between the figure's points; registers: Aladdin, ISCA 2014."""
    found = kernel_energy(product(5, 40, 20), EDGE, 1000)
    assert EDGE.energy == energy_table("horowitz-45nm")
    assert found["mac"] == pytest.approx(4000 * 0.3e-12)
    assert found["registers"] == pytest.approx(20000 * 0.072e-12)
    slope = math.log(12.5 / 2.5) / math.log(32)
    per_byte = 2.5e-12 * (EDGE.buffers.input_bytes / 32768) ** slope
    assert found["input_buffer"] == pytest.approx(400 * per_byte)
    assert found["dram"] == pytest.approx(1100 * EDGE.energy.dram_j_per_byte(EDGE.dram.kind))
    assert found["static"] == pytest.approx(EDGE.static_w * 1000 / EDGE.clock_hz)
    assert found["host"] == 0


def test_inputs_are_read_again_for_every_block_of_columns_and_sums_for_every_fold() -> None:
    wide, cut = actions(product(5, 40, 70), EDGE), actions(product(5, 40, 20, tile_k=20), EDGE)
    assert wide.input_reads == 3 * 5 * 40
    assert wide.input_writes == 5 * 40
    whole = actions(product(5, 40, 20), EDGE)
    assert (cut.sum_writes, cut.sum_reads) == (whole.sum_writes, whole.sum_reads)


def test_a_result_that_stays_is_written_to_the_input_buffer() -> None:
    left, stays = (actions(product(5, 40, 20, stores=stores), EDGE) for stores in (True, False))
    assert stays.input_writes == left.input_writes + 100
    assert stays.output_writes == stays.output_reads == stays.dram_writes == 0


def test_probabilities_are_read_where_their_scores_were() -> None:
    """A head of 4 queries and 6 keys of 8 numbers: 24 scores, 24 probabilities, 32 results."""
    heads = Heads(
        copies=1,
        queries=4,
        keys=6,
        head_dim=8,
        value_dim=8,
        bits=Widths(8, 8, 8),
        input_room=EDGE.buffers.input_bytes,
        softmax_cost=Fraction(4),
        vector_cost=Fraction(1),
        merge_cost=Fraction(2),
    )
    nodes = attention.nodes(heads, attention.choose(heads, EDGE, RATE), EDGE, RATE)
    did = actions(KernelProgram(name="k", kind="attention", nodes=nodes), EDGE)
    assert did.input_reads == did.input_writes == 4 * 8
    assert did.weight_reads == did.weight_writes == 6 * 8 + 6 * 8
    assert did.sum_writes == (24 + 24 + 32) * 4  # scores, probabilities over them, results
    assert did.sum_reads == (24 + 24 + 32) * 4
    assert did.output_writes == did.output_reads == did.dram_writes == 32


@given(st.data())
def test_every_partial_sum_that_is_written_is_read_once(data: st.DataObject) -> None:
    machine = data.draw(machines())
    one = data.draw(gemms(machine))
    try:
        mapping = tiling.choose(one, machine, RATE)
    except MappingError:
        return
    kernel = KernelProgram(name="k", kind="any", nodes=gemm.nodes(one, mapping, machine, RATE))
    did = actions(kernel, machine)
    assert did.sum_reads == did.sum_writes
    assert did.dram_writes == did.output_reads
    assert all(getattr(did, field.name) >= 0 for field in fields(did))
    assert all(joules >= 0 for joules in kernel_energy(kernel, machine, 1).values())


# --- Prices


@pytest.mark.parametrize("name", TABLES)
def test_more_bits_never_take_less_energy_for_the_same_work(name: str) -> None:
    only_int8 = EDGE.array.replace(macs_per_pe_cycle={"int8": Fraction(1)})
    machine = EDGE.replace(
        array=only_int8, energy=energy_table(name), dram=EDGE.dram.replace(kind="ddr4")
    )
    kernel = product(5, 40, 20)
    priced: dict[str, dict[str, float]] = {}
    for format in FORMATS:
        try:
            one = KernelProgram(
                name="k", kind="any", nodes=kernel.nodes, formats=Formats(format, format, format)
            )
            priced[format] = kernel_energy(one, machine, 1)
        except FormatError:
            continue
    assert {"int4", "int8"} <= priced.keys()
    for wide, more in priced.items():
        for narrow, less in priced.items():
            if holds(wide, narrow):
                assert all(more[part] >= less[part] for part in more), (wide, narrow)


def test_reading_and_writing_cost_what_cacti_says() -> None:
    """CACTI 7, 1 MB with a 64-bit port at 28 nm: 40.6 pJ read, 31.7 pJ written."""
    table = energy_table("cacti-28nm")
    assert table.sram_read_j_per_byte(1 << 20) * 8 == pytest.approx(40.6e-12)
    assert table.sram_write_j_per_byte(1 << 20) * 8 == pytest.approx(31.7e-12)
    one_number = energy_table("horowitz-45nm")
    for capacity in (1000, 8192, 50_000, 1 << 24):
        read, written = table.sram_read_j_per_byte(capacity), table.sram_write_j_per_byte(capacity)
        assert 0 < written < read
        both = one_number.sram_read_j_per_byte(capacity)
        assert one_number.sram_write_j_per_byte(capacity) == both


# --- Whole runs


@cache
def run(name: str, host_w: float = 0.0) -> Result:
    machine = load_machine(name)
    if isinstance(machine, Accelerator):
        host = machine.host.replace(round_trip_s=2e-6, active_w=host_w)
        machine = machine.replace(host=host)
    return simulate(zoo.load("heatvit-digits16"), machine)


@pytest.mark.parametrize("name", ["edge-32x32", "zcu102-heatvit", "tpu-v1", "h200"])
def test_the_total_is_the_sum_of_non_negative_parts(name: str) -> None:
    result = run(name)
    parts = [joules for operator in result.operators for joules in operator.energy_j.values()]
    assert min(parts) >= 0
    assert result.energy_j == float(sum(map(Fraction, parts)))
    whole = math.fsum(result.energy_by_component_j.values())
    assert whole == pytest.approx(result.energy_j, rel=1e-14)
    rows = result.frame()
    for component, joules in result.energy_by_component_j.items():
        assert math.fsum(rows[f"{component}_j"]) == joules
    assert math.fsum(rows["energy_j"]) == pytest.approx(result.energy_j, rel=1e-14)


def test_static_energy_is_power_times_time() -> None:
    result = run("edge-32x32")
    static_j = result.energy_by_component_j["static"]
    assert static_j == pytest.approx(EDGE.static_w * result.latency_s)


def test_a_host_takes_its_power_for_as_long_as_it_is_asked() -> None:
    without, result = run("edge-32x32"), run("edge-32x32", 3.0)
    decisions = len(zoo.load("heatvit-digits16").symbols)
    assert decisions
    assert result.energy_by_component_j["host"] == pytest.approx(decisions * 3.0 * 2e-6)
    assert without.energy_by_component_j["host"] == 0
    assert result.cycles == without.cycles


def test_power_and_energy_delay_are_of_the_run_or_of_an_image() -> None:
    result = simulate(vit(depth=1, embed=64, heads=1, image=32), EDGE, batch=4)
    assert result.power_w * result.latency_s == pytest.approx(result.energy_j)
    assert result.edp_js == pytest.approx(result.energy_j * result.latency_s)
    assert result.energy_per_image_j * 4 == pytest.approx(result.energy_j)
    assert result.edp_per_image_js * 16 == pytest.approx(result.edp_js)
    told = result.as_dict()
    assert {"power_w", "edp_js", "edp_per_image_js", "energy_per_image_j"} <= told.keys()
    for operator in told["operators"]:
        assert math.fsum(operator["energy_by_component_j"].values()) == operator["energy_j"]


@pytest.mark.parametrize(
    ("size", "printed_w", "error"),
    [("s", 10.697, 1e-3), ("b", 11.352, 1e-3), ("t", 9.453, 0.06)],
    ids=["DeiT-S, fitted", "DeiT-B, fitted", "DeiT-T, left out"],
)
def test_the_zcu102_draws_what_heatvits_designs_do(
    size: str, printed_w: float, error: float
) -> None:
    """DeiT-S: UbiMoE, arXiv:2502.05602, table III; the others recalled of HeatViT, HPCA 2023."""
    embed = WIDTHS[size]
    model = vit(depth=12, embed=embed, heads=embed // 64, selectors=SELECTORS)
    bind = {f"kept_{number}": count for number, count in enumerate(kept(CHOSEN), start=1)}
    result = simulate(model, load_machine(MACHINE), bind=bind)
    assert result.power_w == pytest.approx(printed_w, rel=error)
