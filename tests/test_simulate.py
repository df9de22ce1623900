"""Which question: do whole models come out as arithmetic and their own laws say?"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewise.arch import Accelerator, Gpu, load_machine, machine_names
from tilewise.sim.errors import MappingError
from tilewise.sim.fusion import fuse
from tilewise.sim.lower import lower
from tilewise.sim.program import tiles, total
from tilewise.sim.roofline import kernel_time
from tilewise.sim.simulate import simulate
from tilewise.workloads import zoo
from tilewise.workloads.extent import known
from tilewise.workloads.graph import BindingError, Workload
from tilewise.workloads.operator import (
    Attention,
    Convolution,
    Elementwise,
    MatMul,
    Normalization,
    Operand,
    Operator,
    TokenSelection,
)
from tilewise.workloads.quantization import in_format

KEPT = {"kept_1": 137, "kept_2": 69, "kept_3": 48}


def machine(name: str = "edge-32x32") -> Accelerator:
    found = load_machine(name)
    assert isinstance(found, Accelerator)
    return found


def gpu(name: str = "a100-80gb") -> Gpu:
    found = load_machine(name)
    assert isinstance(found, Gpu)
    return found


def products(*shapes: tuple[int, int, int], epilogue: bool = False) -> Workload:
    """A chain of independent layers, each with a weight of its own."""
    operators: list[MatMul | Elementwise] = []
    for index, (m, k, n) in enumerate(shapes):
        operators.append(
            MatMul(
                name=f"layer{index}",
                operands=(Operand(sources=("x",), elements=m * k),),
                shape=(m, n),
                m=m,
                k=k,
                n=n,
                weights=1,
            )
        )
        if epilogue:
            operators.append(
                Elementwise(
                    name=f"act{index}",
                    operands=(Operand(sources=(f"layer{index}",), elements=m * n),),
                    shape=(m, n),
                    function="gelu",
                    transcendental=True,
                )
            )
    outputs = tuple(operator.name for operator in operators[epilogue :: 1 + epilogue])
    return Workload(
        name="chain", operators=tuple(operators), inputs=(("x", (1,)),), outputs=outputs
    )


def test_deit_small_has_its_published_macs_and_parameters() -> None:
    result = simulate(zoo.load("deit-small"), machine())
    assert result.macs == pytest.approx(4.599e9, rel=1e-3)
    assert result.parameters == pytest.approx(22.05e6, rel=1e-3)


def test_pruned_deit_small_has_the_macs_of_its_kept_tokens() -> None:
    # Two embeddings of 3, 2 and 2 stages of three blocks, tokens = kept + class + package token.
    tokens = [197, 139, 71, 50]
    block = [12 * n * 384**2 + 2 * n * n * 384 for n in tokens]
    backbone = 3 * sum(block) + 196 * 768 * 384 + 384 * 1000
    result = simulate(zoo.load("heatvit-deit-small"), machine(), bind=KEPT)
    selectors = sum(operator.macs for operator in result.operators if operator.selector)
    assert result.macs == pytest.approx(2.65e9, rel=0.01)
    assert result.macs - selectors == backbone


def test_the_unet_step_has_the_macs_that_flop_counters_give() -> None:
    unet = zoo.load("sd15-unet").bind()
    assert unet.macs == pytest.approx(401.637e9, rel=5e-3)
    assert unet.macs_without_attention == pytest.approx(338.611e9, rel=5e-3)
    assert unet.parameters == pytest.approx(859.521e6, rel=5e-3)


@pytest.mark.parametrize("name", machine_names())
@pytest.mark.parametrize("workload", ["deit-small", "heatvit-deit-small"])
def test_every_machine_runs_every_vit_and_its_losses_add_up(name: str, workload: str) -> None:
    target = load_machine(name)
    result = simulate(zoo.load(workload), target)
    pes = target.array.pes if isinstance(target, Accelerator) else 1
    assert result.losses.total == pes * result.cycles
    assert sum(result.losses.shares().values()) == pytest.approx(1)
    assert result.macs == sum(operator.macs for operator in result.operators)
    assert 0 < result.utilization <= 1
    assert result.energy_j > 0
    assert all(joules >= 0 for joules in result.energy_by_component_j.values())


@given(
    st.lists(st.integers(0, 196), min_size=3, max_size=3).map(lambda kept: sorted(kept)[::-1]),
    st.sampled_from(["edge-32x32", "gemmini-16x16", "zcu102-heatvit", "a100-80gb"]),
)
@settings(max_examples=12)
def test_any_kept_counts_run_down_to_none(kept: list[int], name: str) -> None:
    bind = dict(zip(KEPT, kept, strict=True))
    target = load_machine(name)
    result = simulate(zoo.load("heatvit-deit-small"), target, bind=bind)
    assert result.macs == sum(operator.macs for operator in result.operators)
    pes = target.array.pes if isinstance(target, Accelerator) else 1
    assert result.losses.total == pes * result.cycles


def test_dram_traffic_is_the_sum_of_tiles_and_at_least_compulsory() -> None:
    workload, target = zoo.load("deit-small").bind(), machine()
    program = lower(workload, target, "int8")
    result = simulate(zoo.load("deit-small"), target)
    assert result.dram_bytes == sum(
        tile.weight_bytes + tile.input_bytes + tile.store_bytes
        for kernel in program.kernels
        for tile in tiles(kernel.nodes)
    )
    owned = sum(operator.parameters for operator in workload.operators)
    image, logits = 3 * 224 * 224, 1000
    assert result.dram_bytes >= owned + image + logits


def test_stored_bytes_are_those_of_outputs_that_do_not_stay() -> None:
    workload = zoo.load("deit-small").bind()
    ample = machine().replace(
        buffers=machine().buffers.replace(input_bytes=1 << 26, weight_bytes=1 << 26)
    )
    program = lower(workload, ample, "int8")
    assert sum(total(kernel.nodes).store_bytes for kernel in program.kernels) == 1000


def test_a_batch_of_a_dynamic_graph_loads_weights_for_all_its_images() -> None:
    target = machine().replace(
        buffers=machine().buffers.replace(input_bytes=1 << 26, weight_bytes=1 << 26)
    )
    one = simulate(zoo.load("heatvit-deit-small"), target, bind=KEPT)
    four = simulate(zoo.load("heatvit-deit-small"), target, bind=KEPT, batch=4)
    assert four.batch == 4
    assert four.macs == 4 * one.macs
    assert four.latency_s < 4 * one.latency_s
    # Three more images bring their pixels, but not another three times 22 MB of weights.
    assert four.dram_bytes - one.dram_bytes < 0.15 * one.dram_bytes


def test_a_batch_symbol_takes_the_batch() -> None:
    result = simulate(zoo.load("deit-small"), machine(), batch=3)
    assert (result.batch, result.bindings["batch"]) == (3, 3)
    assert result.macs == 3 * simulate(zoo.load("deit-small"), machine()).macs
    with pytest.raises(BindingError, match="batch is given twice: 3 and, bound, 2"):
        simulate(zoo.load("deit-small"), machine(), batch=3, bind={"batch": 2})


def test_wider_numbers_never_cost_less() -> None:
    results = [
        simulate(zoo.load("deit-small"), machine(), format=f) for f in ("int4", "int8", "fp16")
    ]
    for field in ("cycles", "dram_bytes", "energy_j"):
        values = [getattr(result, field) for result in results]
        assert values == sorted(values), field


def test_a_format_the_machine_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(MappingError, match=r"a100-80gb.*wanted one of .*fp16.*got 'fp8'"):
        simulate(zoo.load("deit-small"), gpu(), format="fp8")
    with pytest.raises(MappingError, match=r"edge-32x32.*wanted one of .*int8.*got 'fp32'"):
        simulate(zoo.load("deit-small"), machine(), format="fp32")


@pytest.mark.parametrize(
    ("field", "size"), [("input_bytes", 1), ("weight_bytes", 1), ("accumulator_bytes", 7)]
)
def test_a_buffer_too_small_for_one_tile_is_named(field: str, size: int) -> None:
    buffers = machine().buffers.replace(**{field: size})
    with pytest.raises(MappingError, match=rf"layer0.*{field} gives {size}"):
        simulate(products((64, 64, 64)), machine().replace(buffers=buffers))


def test_an_activation_rides_on_its_product() -> None:
    plain, fused = products((64, 96, 64)), products((64, 96, 64), epilogue=True)
    kernels = fuse(fused.operators, fused.outputs)
    assert [(k.name, k.tail.name) for k in kernels] == [("layer0", "act0")]
    assert simulate(fused, machine()).dram_bytes == simulate(plain, machine()).dram_bytes


def test_an_output_that_is_read_twice_is_not_swallowed() -> None:
    workload = products((64, 96, 64), epilogue=True)
    kernels = fuse(workload.operators, ("layer0", "act0"))
    assert [k.name for k in kernels] == ["layer0", "act0"]


def test_after_a_decision_everything_waits_for_the_host_but_weights() -> None:
    slow = machine().replace(host=machine().host.replace(round_trip_s=1e-3))
    workload = zoo.load("heatvit-deit-small")
    gap = (
        simulate(workload, slow, bind=KEPT).cycles - simulate(workload, machine(), bind=KEPT).cycles
    )
    assert gap == 3 * slow.host_cycles
    waits = simulate(workload, slow, bind=KEPT).losses.wait
    assert waits == pytest.approx(3 * slow.host_cycles * slow.array.pes, rel=1e-3)


def test_a_selection_that_is_not_data_dependent_is_no_barrier() -> None:
    workload = zoo.load("heatvit-deit-small")
    static = replace(
        workload,
        operators=tuple(
            replace(operator, data_dependent=False)
            if isinstance(operator, TokenSelection)
            else operator
            for operator in workload.operators
        ),
    )
    slow = machine().replace(host=machine().host.replace(round_trip_s=1e-3))
    assert simulate(static, slow, bind=KEPT).cycles < simulate(workload, slow, bind=KEPT).cycles


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 600))
@settings(max_examples=50)
def test_a_gpu_kernel_takes_the_longer_roof_and_a_launch(m: int, k: int, n: int) -> None:
    card = gpu()
    workload = in_format(products((m, k, n)), "fp16")
    (kernel,) = fuse(workload.operators, workload.outputs)
    time = kernel_time(kernel, card, "fp16")
    assert time.math_s == pytest.approx(2 * m * k * n / 312e12)
    assert time.memory_s == pytest.approx(2 * (m * k + k * n + m * n) / 2039e9)
    assert time.total_s == max(time.math_s, time.memory_s) + card.launch_s


def test_attention_in_three_kernels_moves_its_scores() -> None:
    # Each of 12 layers writes and reads 6 x 197 x 197 scores, and their softmax, in fp16.
    scores = 12 * 4 * 6 * 197 * 197 * 2
    # PyTorch copies queries, keys, values and results of 197 x 384, too.
    heads = 12 * 4 * 2 * 197 * 384 * 2
    for engine, added in (("compiled", scores + heads), ("tensorrt", scores)):
        fused, unfused = (
            simulate(zoo.load("deit-small"), machine, engine=engine)
            for machine in (gpu(), gpu().replace(fused_attention=False))
        )
        assert unfused.macs == fused.macs
        assert unfused.dram_bytes - fused.dram_bytes == added


def test_a_large_gpu_product_runs_near_its_peak() -> None:
    result = simulate(products((8192, 8192, 8192)), gpu(), model="roofline")
    assert 0.95 < result.utilization <= 1
    assert result.losses.shares()["memory"] < 0.05


def test_an_odd_token_count_costs_a_stair_and_no_cliff() -> None:
    cycles = {
        tokens: simulate(
            products((tokens, 384, 1152), (tokens, 384, 384), (tokens, 384, 1536)), machine()
        ).cycles
        for tokens in (192, 196, 197)
    }
    assert cycles[192] <= cycles[196] <= cycles[197] < 1.1 * cycles[192]


def made_of(*operators: Operator, inputs: Mapping[str, tuple[int, ...]]) -> Workload:
    """A workload whose last operator is the output."""
    return Workload(
        name="made",
        operators=operators,
        inputs=tuple(inputs.items()),
        outputs=(operators[-1].name,),
    )


def reads(*sources: tuple[str, int]) -> tuple[Operand, ...]:
    return tuple(Operand(sources=(name,), elements=elements) for name, elements in sources)


@pytest.mark.parametrize("name", ["gemmini-16x16", "edge-32x32"])
@pytest.mark.parametrize("length", [384, 300_000, 2_000_000])
def test_norms_of_any_width_run_and_load_their_parameters(name: str, length: int) -> None:
    norm = Normalization(
        name="norm", operands=reads(("x", 4 * length)), shape=(4, length), form="layer",
        rows=4, row_length=length, affine=2 * length,
    )  # fmt: skip
    result = simulate(made_of(norm, inputs={"x": (4, length)}), machine(name))
    assert result.dram_bytes >= 4 * length + 2 * length + 4 * length


@pytest.mark.parametrize("name", ["gemmini-16x16", "edge-32x32", "zcu102-systolic"])
@pytest.mark.parametrize(("tokens", "batch"), [(196, 2), (1024, 1), (4096, 1)])
def test_a_position_embedding_of_any_size_rides_on_its_patches(
    name: str, tokens: int, batch: int
) -> None:
    patches = MatMul(
        name="patches", operands=reads(("x", batch * tokens * 768)), shape=(batch, tokens, 384),
        m=batch * tokens, k=768, n=384, weights=1, bias=True,
    )  # fmt: skip
    position = Elementwise(
        name="position", operands=reads(("patches", batch * tokens * 384)),
        shape=(batch, tokens, 384), function="add", affine=tokens * 384,
    )  # fmt: skip
    workload = made_of(patches, position, inputs={"x": (batch, tokens, 768)})
    owned = 768 * 384 + 384 + tokens * 384
    moved = batch * tokens * (768 + 384)
    assert simulate(workload, machine(name)).dram_bytes >= owned + moved


def test_a_bias_of_any_length_runs() -> None:
    wide = MatMul(
        name="wide", operands=reads(("x", 16)), shape=(1, 300_000),
        m=1, k=16, n=300_000, weights=1, bias=True,
    )  # fmt: skip
    result = simulate(made_of(wide, inputs={"x": (1, 16)}), machine())
    assert result.dram_bytes == 16 + 16 * 300_000 + 300_000 + 300_000


def test_half_the_rate_asks_half_as_much_of_the_input_buffer() -> None:
    convolution = Convolution(
        name="conv", operands=reads(("x", 64 * 32 * 32)), shape=(1, 64, 32, 32),
        batch=1, in_channels=64, out_channels=64, kernel=(3, 3), stride=(1, 1), dilation=(1, 1),
        padding=(2, 2), in_size=(32, 32), out_size=(32, 32),
    )  # fmt: skip
    workload = made_of(convolution, inputs={"x": (1, 64, 32, 32)})
    # 32 rows x 2 bytes at half a word per cycle are the 32 bytes per cycle that the buffer gives.
    assert simulate(workload, machine(), format="fp16").utilization > 0.9
    half = machine().replace(buffers=machine().buffers.replace(im2col_bytes_per_cycle=16))
    throttled = simulate(workload, half, format="fp16")
    assert throttled.utilization == pytest.approx(0.5, abs=0.05)
    assert throttled.losses.shares()["memory"] > 0.4


def test_a_transposed_convolution_stores_what_is_left_after_adding_overlaps() -> None:
    spread = Convolution(
        name="up", operands=reads(("x", 64 * 32 * 32)), shape=(1, 64, 64, 64),
        batch=1, in_channels=64, out_channels=64, kernel=(4, 4), stride=(2, 2), dilation=(1, 1),
        padding=(2, 2), in_size=(32, 32), out_size=(64, 64), transposed=True,
    )  # fmt: skip
    result = simulate(made_of(spread, inputs={"x": (1, 64, 32, 32)}), machine())
    assert result.macs == 32 * 32 * 64 * 64 * 16
    compulsory = 64 * 32 * 32 + 64 * 64 * 16 + 64 * 64 * 64
    assert compulsory <= result.dram_bytes < 2 * compulsory


def test_a_trained_score_bias_is_loaded_with_the_scores_of_every_head() -> None:
    tokens, heads = 128, 4
    sizes = [(name, heads * tokens * 32) for name in ("q", "k", "v")]
    attention = Attention(
        name="attention", operands=reads(*sizes), shape=(heads, tokens, 32), copies=heads,
        kv_copies=heads, queries=tokens, keys=tokens, head_dim=32, value_dim=32,
    )  # fmt: skip
    biased = replace(attention, affine=heads * tokens * tokens)
    shape = (heads, tokens, 32)
    inputs: dict[str, tuple[int, ...]] = {"q": shape, "k": shape, "v": shape}
    for target in (machine(), gpu()):
        plain = simulate(made_of(attention, inputs=inputs), target)
        bias = simulate(made_of(biased, inputs=inputs), target)
        width = 1 if isinstance(target, Accelerator) else 2
        assert bias.dram_bytes - plain.dram_bytes == heads * tokens * tokens * width


def test_the_hash_of_a_run_knows_workload_machine_and_format() -> None:
    one = simulate(zoo.load("deit-small"), machine())
    assert one.config_hash == simulate(zoo.load("deit-small"), machine()).config_hash
    others = [
        simulate(zoo.load("deit-small"), machine(), batch=2),
        simulate(zoo.load("deit-small"), machine(), format="fp16"),
        simulate(zoo.load("deit-small"), machine().replace(clock_hz=2e9)),
    ]
    assert len({one.config_hash, *(other.config_hash for other in others)}) == 4


def test_the_frame_has_a_row_for_every_kernel() -> None:
    result = simulate(zoo.load("deit-small"), machine())
    frame = result.frame()
    assert len(frame) == len(result.operators)
    assert int(frame["macs"].sum()) == result.macs
    assert known(zoo.load("deit-small").bind().macs) == result.macs
    assert (
        sum((operator.losses.useful for operator in result.operators), Fraction(0)) == result.macs
    )
