"""The command line: what it prints and writes, and one line for whatever a user gets wrong."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from command_line import Run
from onnx import TensorProto, helper

from tilewise import __version__, cli
from tilewise.arch import SystolicArray, machine_names
from tilewise.cli_options import ENGINES as NAMED_ENGINES
from tilewise.cli_workloads import traced_workload
from tilewise.sim.gpu.engines import ENGINES
from tilewise.sim.systolic import gemm_cycles
from tilewise.workloads import zoo

GPU = ("--on", "a100-80gb")  # the quickest machine to simulate
ROOFLINE = ("--gpu-model", "roofline")


def relu(shape: Sequence[int | str], *, op: str = "Relu", domain: str = "") -> bytes:
    """A graph of one node."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], name="only", domain=domain)],
        "graph",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 20)]
    opsets += [helper.make_opsetid(domain, 1)] if domain else []
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


# --- what it does --------------------------------------------------------------------------------


def test_run_prints_the_headline_numbers(tilewise: Run) -> None:
    code, out, err = tilewise("run", "heatvit-deit-small", *GPU, "--bind", "kept_1=120")
    assert (code, err) == (0, "")
    assert "heatvit-deit-small on a100-80gb" in out
    assert "kept_1=120, kept_2=69 (default), kept_3=48 (default)" in out
    for word in ("latency", "utilization", "energy", "Where the time went", "blocks.11"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80


def test_run_lists_every_kernel_if_asked(tilewise: Run) -> None:
    few, all_ = (tilewise("run", "deit-small", *GPU, *more).out for more in ((), ("--all",)))
    assert "--all lists each" in few
    assert len(all_.splitlines()) > 2 * len(few.splitlines())
    assert "blocks.7.mlp.fc2/MatMul" in all_


def test_rows_of_several_widths_are_told_apart(tilewise: Run) -> None:
    out = tilewise("run", "quasar-vit-small", "--on", "edge-32x32", "--all").out
    for bits in ("int8", "int4"):
        assert f"blocks.11.attn.proj:{bits} " in out


def test_one_bind_takes_several_pairs(tilewise: Run) -> None:
    several = ("--bind", "kept_1=100", "kept_2=50", "kept_3=25")
    each = [word for pair in several[1:] for word in ("--bind", pair)]
    shown = [
        tilewise("run", "heatvit-deit-small", *GPU, *bind, "--json", "-").out
        for bind in (several, each)
    ]
    assert shown[0] == shown[1]
    assert json.loads(shown[0])["bindings"] == {"kept_1": 100, "kept_2": 50, "kept_3": 25}


def test_a_model_is_pruned_where_the_user_says(tilewise: Run) -> None:
    prune = ("--prune", "heatvit@4,7,10", "--keep", "0.7,0.5,.35")
    code, out, err = tilewise("run", "deit-small", *GPU, *prune, "--bind", "kept_3=48")
    assert (code, err) == (0, "")
    assert "heatvit-deit-small on a100-80gb" in out
    assert "kept_1=138 (default), kept_2=98 (default), kept_3=48" in out
    counts = ("--bind", "kept_1=137", "kept_2=69", "kept_3=48", "--json", "-")
    ours, shipped = (
        json.loads(tilewise("run", *workload, *GPU, *counts).out)
        for workload in (("deit-small", *prune), ("heatvit-deit-small",))
    )
    assert ours == shipped


def test_of_two_workloads_the_second_is_pruned(tilewise: Run) -> None:
    prune = ("--prune", "tome@4", "--keep", "0.5", "--batch", "4", "--json", "-")
    values = json.loads(tilewise("compare", "deit-small", "deit-small", *GPU, *prune).out)
    assert [result["workload"] for result in values["results"]] == ["deit-small", "tome-deit-small"]
    assert values["comparison"][1]["mac_ratio"] > 1.5
    assert [result["bindings"].get("kept_1") for result in values["results"]] == [None, 98]


def test_json_on_stdout_is_alone_there(tilewise: Run) -> None:
    code, out, err = tilewise("run", "deit-small", *GPU, "--batch", "2", "--json", "-")
    values = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    assert (values["workload"], values["machine"], values["batch"]) == (
        "deit-small", "a100-80gb", 2,
    )  # fmt: skip
    assert values["macs"] == 2 * 4598882304
    assert "deit-small on a100-80gb" in err


def test_every_output_is_written(tilewise: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "a.html", "a.trace")]
    options = [word for path in paths for word in (f"--{path.suffix[1:]}", str(path))]
    code, out, _ = tilewise("run", "deit-small", *GPU, *options)
    assert code == 0
    assert out.count("wrote ") == 3
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert json.loads(paths[0].read_text())["version"] == __version__
    assert paths[1].read_text().startswith("<!DOCTYPE html>")
    assert json.loads(paths[2].read_text())["traceEvents"]


def test_compare_puts_the_speed_up_beside_the_macs(tilewise: Run) -> None:
    arguments = ("compare", "deit-small", "heatvit-deit-small", "--on", "edge-32x32")
    code, out, err = tilewise(*arguments, "--bind", "kept_1=100", "--json", "c.json")
    assert (code, err) == (0, "")
    assert re.search(r"heatvit-deit-small on edge-32x32: MACs \d\.\d\dx fewer, latency \d", out)
    assert re.search(r"^ +heatvit-deit-small .* ↓\d\.\d\dx +↓\d", out, re.MULTILINE), "not cut"
    values = json.loads(Path("c.json").read_text())
    assert [result["workload"] for result in values["results"]] == list(arguments[1:3])
    assert values["comparison"][0]["speed_up"] == 1
    assert values["comparison"][1]["mac_ratio"] > 1


def test_ragged_prints_every_policy_and_writes_it(tilewise: Run, tmp_path: Path) -> None:
    Path("good.csv").write_text("kept_1,kept_2,kept_3\n137,69,48\n100,60,20\n90,60,20\n")
    code, out, err = tilewise(
        "ragged", "heatvit-deit-small", "--on", "edge-128x128", "--tokens", "good.csv",
        "--batch", "2", "--json", "r.json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    values = json.loads((tmp_path / "r.json").read_text())
    assert values["tokens"]["images"] == 3
    assert len(values["policies"]) == 11
    assert list(values["left_out"]) == ["tile-skip"], "a trace of counts alone"
    assert "tile-skip is left out: which patches are kept is not known" in out
    for one in values["policies"]:
        assert re.search(rf"^{one['policy']}", out, re.MULTILINE)
        assert sum(one["losses"].values()) == pytest.approx(1)
        assert one["latency_p50_s"] <= one["latency_p95_s"] <= one["latency_p99_s"]
        assert list(one["waterfall"].values())[-1] == pytest.approx(one["speed_up"])
    assert "of 196 patches stay 109.0, 63.0, 29.3 on average" in out


def test_ragged_and_compare_say_how_a_gpu_was_modelled(tilewise: Run) -> None:
    Path("one.csv").write_text("kept_1,kept_2,kept_3\n137,69,48\n")
    ragged = ("ragged", "heatvit-deit-small", "--tokens", "one.csv", "--policies", "exact")
    _, out, _ = tilewise(*ragged, *GPU, "--engine", "eager", "--json", "r.json")
    assert "  1 image of one, in batches of 1, " in out
    assert "\n  GPU model kernels, eager, of its time " in out
    values = json.loads(Path("r.json").read_text())
    assert (values["model"], values["engine"]) == ("kernels", "eager")
    alone = tilewise("run", "heatvit-deit-small", *GPU, "--engine", "eager", "--json", "-").out
    dense, exact = values["policies"]
    assert exact["confidence"] == json.loads(alone)["confidence"]
    assert sum(dense["confidence"].values()) == pytest.approx(1)
    _, out, _ = tilewise(*ragged, "--on", "edge-128x128", "--json", "r.json")
    assert "GPU model" not in out
    values = json.loads(Path("r.json").read_text())
    assert not {"model", "engine"} & values.keys()
    assert "confidence" not in values["policies"][0]
    both = ("compare", "deit-small", "heatvit-deit-small")
    _, out, _ = tilewise(*both, *GPU, "--engine", "eager")
    for name in both[1:]:
        assert f"GPU model of {name}: kernels, eager, of its time " in out
    assert "GPU model of deit-small: roofline\n" in tilewise(*both, *GPU, *ROOFLINE).out


def test_help_names_every_engine(tilewise: Run) -> None:
    assert tuple(ENGINES) == NAMED_ENGINES
    for name in ("run", "compare", "ragged", "advise", "figure"):
        words = re.sub(r"-\s+", "-", tilewise(name, "--help").out)  # broken at hyphens
        said = re.search(r"What runs it on a GPU: (.*?); compiled\s+by\s+default", words, re.DOTALL)
        assert said
        assert tuple(said[1].split()) == tuple(" ".join(f"{e}," for e in ENGINES)[:-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "deit-small", "--on", "t4"),
        ("run", "ddpm-cifar10", "--on", "t4"),
        ("compare", "deit-small", "deit-tiny", "--on", "t4"),
        ("ragged", "heatvit-digits16", "--on", "t4", "--tokens", "digits16"),
        ("advise", "deit-tiny", "--on", "t4"),
        *(
            ("figure", what, "deit-tiny", "--on", "t4", "--out", "x")
            for what in ("cliff", "waterfall", "sparsity")
        ),
    ],
)
@pytest.mark.parametrize("format", ["fp8", "fp9", ""])
def test_a_format_that_a_machine_lacks_names_both(
    tilewise: Run, arguments: tuple[str, ...], format: str
) -> None:
    code, out, err = tilewise(*arguments, "--format", format)
    said = f"t4: format: wanted one of int4, int8, fp16, fp32, got '{format}'"
    nothing = "--format: wanted the name of a number format, got nothing; "
    assert (code, out) == (2, "")
    assert err.startswith(f"tilewise: {said if format else nothing}")
    assert not Path("x").exists()


def test_ragged_prunes_a_model_that_has_no_selectors(tilewise: Run) -> None:
    options = ("--on", "edge-128x128", "--tokens", "spvit-deit-small", "--policies", "exact")
    prune = ("--prune", "heatvit@4,7,10", "--keep", "0.7,0.5,0.35")
    code, out, _ = tilewise("ragged", "deit-small", *prune, *options, "--json", "-")
    again, same, _ = tilewise("ragged", "heatvit-deit-small", *options, "--json", "-")
    assert (code, again) == (0, 0)
    assert json.loads(out)["policies"] == json.loads(same)["policies"]


def test_ragged_runs_some_policies_on_a_trace_of_another_size(tilewise: Run) -> None:
    code, out, err = tilewise(
        "ragged", "heatvit-digits16", "--on", "edge-32x32", "--tokens", "dynamicvit-deit-small",
        "--policies", "exact,pad-max", "--json", "-",
    )  # fmt: skip
    assert code == 0
    values = json.loads(out)
    assert [one["policy"] for one in values["policies"]] == ["dense", "exact", "pad-max"]
    assert "196 patches applied to 64" in values["tokens"]["note"]
    assert "of 64 patches stay" in err


def test_demo_shows_its_workloads_on_arrays_and_a_gpu(
    tilewise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_DEMO_MACHINES", ("a100-80gb", "h200"))  # quick ones
    code, out, err = tilewise("demo")
    assert (code, err) == (0, "")
    for name in ("deit-small", "heatvit-deit-small", "sd15-unet", "a100-80gb", "h200"):
        assert re.search(rf"^ *{name}", out, re.MULTILINE)
    assert out.count("MACs 1.74x fewer") == 2
    assert max(map(len, out.splitlines())) <= 80
    page = (tmp_path / "tilewise-demo.html").read_text()
    assert page.count("<section>") == 6
    assert len(page) < 2_000_000


@pytest.mark.parametrize(
    ("options", "array"),
    [
        ((), SystolicArray(rows=32, cols=32)),
        (
            ("--array", "16X8", "--dataflow", "os", "--overlap", "scale-sim"),
            SystolicArray(rows=16, cols=8, dataflow="os", overlap="scale-sim"),
        ),
    ],
)
def test_gemm_takes_m_k_n_in_this_order(
    tilewise: Run, options: tuple[str, ...], array: SystolicArray
) -> None:
    code, out, err = tilewise("gemm", "197", "384", "1536", *options, "--json", "-")
    values = json.loads(out)
    assert code == 0
    assert values["cycles"] == gemm_cycles(array, 197, 384, 1536)
    assert (values["m"], values["n"], values["k"]) == (197, 1536, 384)
    assert values["overlap"] == array.overlap
    assert 0 < values["utilization"] <= 1
    assert "(197 x 384) @ (384 x 1536)" in err
    assert re.search(rf"cycles +{values['cycles']:,}", err)
    assert re.search(r"MACs +116,195,328", err)
    assert re.search(rf"fold interval +{values['fold_interval_cycles']:,} cycles", err)


def test_gemm_counts_the_smallest_product_which_scale_sim_numbers_zero(tilewise: Run) -> None:
    smallest = ("1", "1", "1", "--array", "1x1", "--dataflow", "os", "--overlap", "scale-sim")
    values = json.loads(tilewise("gemm", *smallest, "--json", "-").out)
    assert (values["cycles"], values["utilization"]) == (0, 1)
    assert tilewise("explain", "gemm", *smallest).code == 0


def test_list_and_show_know_everything_that_is_shipped(tilewise: Run) -> None:
    for what, names in (("workloads", zoo.names()), ("machines", machine_names())):
        listed = tilewise("list", what).out
        assert all(name in listed for name in names)
    for name in ("heatvit-deit-small", "quasar-vit-small", "ldm4-unet", *machine_names()):
        code, out, err = tilewise("show", name)
        assert (code, err) == (0, "")
        assert name in out
        assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"kept_2 +0 +kept_1 +69", tilewise("show", "heatvit-deit-small").out)


def test_a_graph_of_the_user_runs_once_its_symbols_are_bound(tilewise: Run) -> None:
    Path("mine.onnx").write_bytes(relu(["n", 4]))
    Path("mine.onnx.gz").write_bytes(gzip.compress(relu(["n", 4])))
    for name in ("mine.onnx", "mine.onnx.gz", "./mine.onnx"):
        assert tilewise("run", name, *GPU, "--bind", "n=3").code == 0
    code, _, err = tilewise("run", "mine.onnx", *GPU)
    assert code == 2
    assert re.fullmatch(r"tilewise: .*\bn\b.*bind it, for example n=1\n", err)
    assert "to be bound" in tilewise("show", "mine.onnx").out


def test_all_that_is_unbound_is_told_at_once(tilewise: Run) -> None:
    Path("mine.onnx").write_bytes(relu(["n", "height", "width"]))
    for more, expected in (
        ((), "batch, and for height, width: bind them, for example n=1 height=1 width=1"),
        (("--bind", "height=2"), "batch, and for width: bind them, for example n=1 width=1"),
        (("--bind", "n=2"), "mine needs values for height, width: bind them, for example height=1"),
        (("--batch", "4"), "instead of --batch 4, --bind n=4 height=1 width=1"),
    ):
        code, _, err = tilewise("run", "mine.onnx", *GPU, *more)
        assert (code, expected in err) == (2, True), err


def test_a_written_file_runs_as_its_source_does(tilewise: Run) -> None:
    assert tilewise("quantize", "heatvit-digits16", "--bits", "W4", "--out", "a.onnx").code == 0
    ours, source = (
        json.loads(tilewise("run", *model, *GPU, "--json", "-").out)
        for model in (("a.onnx",), ("heatvit-digits16", "--bits", "W4"))
    )
    assert ours["bindings"] == source["bindings"]
    assert ours["cycles"] == source["cycles"]
    assert ours["bits"] == source["bits"] == "weights int4; activations fp16"


def test_compare_says_what_bits_each_has(tilewise: Run) -> None:
    pair = ("compare", "deit-small", "deit-small", *GPU)
    out = " ".join(tilewise(*pair, "--bits", "W4").out.split())
    assert "on a100-80gb (weights int4; activations fp16; base: fp16): MACs equal, latency" in out
    assert "on a100-80gb: MACs equal, latency equal" in " ".join(tilewise(*pair).out.split())
    out = " ".join(tilewise("compare", *["quasar-vit-small"] * 2, *GPU).out.split())
    assert "on a100-80gb (weights int4 71%, int8 29%; activations int8): MACs equal" in out


def test_bits_are_given_once_where_images_differ_in_size(tilewise: Run) -> None:
    Path("m.onnx").write_bytes(relu([1, 4, "height", "width"]))
    model, trace, _ = traced_workload("m.onnx", "latents-photos", {}, bits="W4A8")
    assert trace.over == ("height", "width")
    assert model.operators[0].format == "int8"


def test_a_graph_whose_batch_alone_is_unbound_is_shown_for_one_image(tilewise: Run) -> None:
    for name, size in (("batch", "batch"), ("n", "n"), ("one", 1)):
        Path(f"{name}.onnx").write_bytes(relu([size, 4321]))
    shown = {name: tilewise("show", f"{name}.onnx").out for name in ("batch", "n", "one")}
    assert "by symbols" in shown["n"]
    for name in ("batch", "one"):
        assert "by symbols" not in shown[name]
        assert "4.32 k" in shown[name]
    assert "values are for batch=1" in shown["batch"]
    assert "values are for" not in shown["one"]


def test_batch_means_the_same_to_both_of_a_comparison(tilewise: Run) -> None:
    pair = ("compare", "deit-small", "heatvit-deit-small", *GPU)
    values = json.loads(tilewise(*pair, "--batch", "4", "--json", "-").out)
    assert [result["batch"] for result in values["results"]] == [4, 4]
    assert values["notes"] == []


def test_help_says_what_a_batch_is(tilewise: Run) -> None:
    words = re.sub(r"[\s│|]+", " ", tilewise("run", "--help").out)
    assert "Runs of the graph; a graph with a symbol" in words


def test_a_batch_multiplies_what_a_graph_fixes(tilewise: Run) -> None:
    Path("two.onnx").write_bytes(relu([2, 4]))
    out = tilewise("run", "two.onnx", *GPU, "--batch", "4", "--json", "-").out
    assert json.loads(out)["batch"] == 8


def test_an_operation_that_is_unknown_is_a_warning(tilewise: Run) -> None:
    Path("odd.onnx").write_bytes(relu([2, 4], op="Frobnicate", domain="com.example"))
    code, out, err = tilewise("run", "odd.onnx", *GPU)
    assert code == 0
    assert "odd on a100-80gb" in out
    assert re.search(r"^  note: only: com\.example\.Frobnicate ", out, re.MULTILINE)
    assert re.fullmatch(r"tilewise: warning: only: com\.example\.Frobnicate .*\n", err)


def test_version_and_help(tilewise: Run) -> None:
    assert tilewise("--version") == (0, f"tilewise {__version__}\n", "")
    for arguments in ((), ("--help",), ("run", "-h")):
        code, out, err = tilewise(*arguments)
        assert (code, err) == (0, "")
        assert "Usage: tilewise" in out


# --- what a user can get wrong -------------------------------------------------------------------

RUN = ("run", "deit-small", *GPU)
PRUNE = (*RUN, "--prune")
PRUNED = ("run", "heatvit-deit-small", *GPU)
TOPK = ("--prune", "topk@4,7,10", "--keep", "0.7,0.5,0.35")
RAGGED = ("ragged", "heatvit-deit-small", "--on", "edge-32x32")
EXPLAIN = ("explain", "gemm", "5", "3", "6")

WRONG: list[tuple[tuple[str, ...], str]] = [
    # the workload
    (("run", "missing.onnx", *GPU), r"missing\.onnx: there is no such file"),
    (("run", "garbage.onnx", *GPU), r"garbage\.onnx is not an ONNX model"),
    (("run", "truncated.onnx", *GPU), r"truncated\.onnx is not an ONNX model, or is cut off"),
    (("run", "truncated.onnx.gz", *GPU), r"truncated\.onnx\.gz is a gzip file that is cut off"),
    (("run", "empty.onnx", *GPU), r"empty\.onnx is empty"),
    (("run", "folder", *GPU), r"folder is a directory"),
    (("run", "./deit-small", *GPU), r"deit-small: there is no such file"),
    (("run", "deit-smal", *GPU), r"did you mean deit-small\?"),
    (("run", "mine.onnx", *GPU), r"needs a value for n"),
    (("run", "xyzzy", *GPU), r"no model is called xyzzy\. There are deit-tiny"),
    (("compare", "deit-small", "sd15-net", *GPU), r"did you mean sd15-unet\?"),
    # the machine
    (("run", "deit-small", "--on", "a100"), r"nearest is a100-80gb"),
    (("run", "deit-small", "--on", "missing.yaml"), r"missing\.yaml: wanted a YAML file"),
    (("run", "deit-small", "--on", "zero.yaml"), r"zero\.yaml:\d+: array\.rows: wanted more than"),
    (("run", "deit-small", "--on", "odd.yaml"), r"odd\.yaml:\d+: array\.rowz: unknown key"),
    (("run", "deit-small", "--on", "lacking.yaml"), r"lacking\.yaml:\d+: array\.rows: missing"),
    (("run", "deit-small", "--on", "tiny.yaml"), r"buffer"),
    # the binding
    ((*RUN, "--bind", "kept_1=3"), r"no symbol kept_1; it has batch"),
    ((*PRUNED, "--bind", "kept_1=197"), r"kept_1=197 is out of range: .* at most 196"),
    ((*PRUNED, "--bind", "kept_1=100", "kept_2=101"), r"kept_2=101 .* at most kept_1 = 100"),
    ((*PRUNED, "--bind", "kept_1=-1"), r"kept_1=-1 is out of range: .* at least 0"),
    ((*PRUNED, "--bind", "kept_1=many"), r"--bind kept_1=many: wanted .* whole number"),
    ((*PRUNED, "--bind", "kept_1=1.5"), r"--bind kept_1=1\.5: wanted .* whole number"),
    ((*PRUNED, "--bind", "kept_1"), r"--bind kept_1: wanted a name and a whole number"),
    ((*PRUNED, "--bind", "=3"), r"--bind =3: wanted a name"),
    ((*PRUNED, "--bind", "kept_1=1", "kept_1=2"), r"kept_1 is already bound to 1"),
    (("compare", "deit-small", "heatvit-deit-small", *GPU, "--bind", "x=1"), r"no symbol x"),
    (
        ("compare", "deit-small", "heatvit-deit-small", *GPU, "--bind", "batch=4"),
        r"heatvit-deit-small has no symbol batch; use --batch 4",
    ),
    (("run", "fixed.onnx", *GPU, "--bind", "batch=4"), r"use --batch 4"),
    (("run", "mine.onnx", *GPU, "--batch", "4"), r"looks like its batch: .* --bind n=4$"),
    # the format and the batch
    ((*RUN, "--format", "int9"), r"int9"),
    ((*RUN, "--format", "fp8"), r"wanted one of .*fp16.*got 'fp8'"),
    ((*RUN, "--batch", "0"), r"batch=0 is out of range"),
    ((*RUN, "--batch", "two"), r"--batch.*valid integer"),
    # the outputs
    ((*RUN, "--json", "folder"), r"folder cannot be written: it is a folder"),
    ((*RUN, "--html", "missing/a.html"), r"cannot be written: there is no folder"),
    ((*RUN, "--trace", "/proc/a.json"), r"/proc/a\.json cannot be written"),
    ((*RUN, "--json", "same", "--html", "same"), r"two outputs"),
    (("demo", "--html", "folder"), r"folder cannot be written"),
    (("demo", "--html", "-"), r"--html -: only --json - is standard output"),
    ((*RUN, "--html", "-"), r"--html -: only --json - is standard output"),
    ((*RUN, "--trace", "-"), r"--trace -: only --json - is standard output"),
    ((*RUN, "--trace", "same", "--html", "./same"), r"two outputs"),
    (("run", "fixed.onnx", *GPU, "--html", "./fixed.onnx"), r"fixed\.onnx is an input"),
    (("run", "plain", *GPU, "--html", "plain"), r"plain is an input"),
    (("run", "link.onnx", *GPU, "--trace", "fixed.onnx"), r"fixed\.onnx is an input"),
    (("run", "fixed.onnx", *GPU, "--json", "link.onnx"), r"link\.onnx is an input"),
    (("run", "deit-small", "--on", "good.yaml", "--json", "good.yaml"), r"good\.yaml is an input"),
    (("compare", "deit-small", "fixed.onnx", *GPU, "--html", "fixed.onnx"), r"is an input"),
    # pruning
    ((*RUN, "--keep", "0.5"), r"--keep 0\.5: say how to prune too"),
    ((*RUN, "--prune", "topk@4"), r"--prune topk@4: say what share"),
    ((*PRUNE, "topk", "--keep", "1"), r"--prune topk: wanted a method and blocks"),
    ((*PRUNE, "topk@4,", "--keep", "1"), r"--prune topk@4,: wanted a method and blocks"),
    ((*PRUNE, "@4", "--keep", "1"), r"--prune @4: wanted a method and blocks"),
    ((*PRUNE, "topk@4", "--keep", "70%"), r"--keep 70%: wanted a share for each block"),
    ((*PRUNE, "topc@4", "--keep", "1"), r"called topc; did you mean topk\?"),
    ((*PRUNE, "topk@7,4", "--keep", "1,1"), r"blocks 7, 4 must be counted from 1 and rise"),
    ((*PRUNE, "topk@0", "--keep", "1"), r"blocks 0 must be counted from 1"),
    ((*PRUNE, "topk@13", "--keep", "1"), r"blocks 1 to 12, and no block 13"),
    ((*PRUNE, "topk@4,7", "--keep", "1"), r"blocks 4, 7, but 1 shares"),
    ((*PRUNE, "topk@4,7", "--keep", "0.5,0.7"), r"0\.7 cannot be kept after 0\.5"),
    ((*PRUNE, "topk@4", "--keep", "1.5"), r"above 0 and at most 1, not 1\.5"),
    ((*PRUNE, "topk@4", "--keep", "0"), r"above 0 and at most 1, not 0\.0"),
    (("run", "fixed.onnx", *GPU, "--prune", "topk@1", "--keep", "1"), r"fixed is no ViT"),
    (("run", "sd15-unet", *GPU, "--prune", "topk@1", "--keep", "1"), r"sd15-unet is no ViT"),
    # the closed form
    (("gemm", "1", "1", "1", "--array", "32xx32"), r"--array 32xx32: wanted rows x columns"),
    (("gemm", "1", "1", "1", "--array", "0x32"), r"--array 0x32: .* at least 1"),
    (("gemm", "1", "1", "1", "--dataflow", "xs"), r"--dataflow xs: wanted one of ws"),
    (("gemm", "1", "1", "1", "--overlap", "pe-drain"), r"--overlap pe-drain: .* --dataflow ws"),
    (("gemm", "0", "1", "1"), r"'m'.*greater than or equal to 1|0 is not in the range"),
    (("gemm", "1", "x", "1"), r"'k'.*valid integer"),
    (("gemm", "1", "1", "1", "--array", "100000x1"), r"--array 100000x1: .* at most 99999"),
    # how it is made
    (("explain",), r"Missing command"),
    (("explain", "conv"), r"No such command 'conv'"),
    ((*EXPLAIN[:-1],), r"Missing argument 'n'"),
    ((*EXPLAIN[:-1], "0"), r"'n'.*greater than or equal to 1|0 is not in the range"),
    (
        (*EXPLAIN[:-1], "10" + "0" * 14),
        r"M x K x N = .*: wanted at most 1,000,000,000,000,000 MACs",
    ),
    ((*EXPLAIN, "--array", "4"), r"--array 4: wanted rows x columns"),
    ((*EXPLAIN, "--dataflow", "os", "--overlap", "single"), r"--overlap single: .* --dataflow os"),
    ((*EXPLAIN, "--on", "a100-80gb"), r"--on a100-80gb: wanted .* array, got a GPU"),
    ((*EXPLAIN, "--on", "zcu102-heatvit"), r"wanted .* systolic array, got an unrolled one"),
    ((*EXPLAIN, "--on", "edge32"), r"edge-32x32"),
    ((*EXPLAIN, "--on", "tiny.yaml"), r"too small for one tile"),
    ((*EXPLAIN, "--on", "good.yaml", "--json", "good.yaml"), r"good\.yaml is an input"),
    ((*EXPLAIN, "--patience", "-1"), r"--patience"),
    ((*EXPLAIN, "--patience", "inf"), r"--patience"),
    ((*EXPLAIN, "--json", "missing/a.json"), r"there is no folder"),
    # the command
    (("rnu", "deit-small"), r"No such command 'rnu'.*'run'"),
    (("run", "deit-small"), r"Missing option '--on'"),
    ((*RUN, "--on", "h200"), r"--on is given twice"),
    ((*RUN, "--on=h200"), r"--on is given twice"),
    ((*RUN, "--jsn", "x"), r"No such option: --jsn.*--json"),
    (("run",), r"Missing argument"),
    (("demo", "more"), r"unexpected extra argument"),
    (
        ("list", "machine"),
        r"wanted workloads, pipelines, machines, traces or devices; did you mean machines\?",
    ),
    # token traces and policies
    ((*RAGGED, "--tokens", "dinov2"), r"dinov2-crops"),
    ((*RAGGED, "--tokens", "missing.csv"), r"missing\.csv"),
    ((*RAGGED, "--tokens", "nan.csv"), r"nan\.csv.*line 3"),
    ((*RAGGED, "--tokens", "negative.csv"), r"negative\.csv.*line 2.*0 or more, got -1"),
    ((*RAGGED, "--tokens", "rising.csv"), r"rising\.csv.*line 2.*at most 50.*got 60"),
    ((*RAGGED, "--tokens", "two.csv"), r"has 3 selectors, the trace has 2"),
    ((*RAGGED, "--tokens", "empty.csv"), r"empty\.csv"),
    ((*RAGGED, "--tokens", "garbage.onnx"), r"garbage\.onnx"),
    ((*RAGGED, "--tokens", "good.csv", "--policies", "pak"), r"did you mean pack\?"),
    ((*RAGGED, "--tokens", "good.csv", "--batch", "0"), r"--batch"),
    ((*RAGGED, "--tokens", "good.csv", "--tile", "0"), r"--tile"),
    ((*RAGGED, "--tokens", "good.csv", "--order", "queues"), r"did you mean queue\?"),
    ((*RAGGED, "--tokens", "good.csv", "--policies", "exact/bach"), r"did you mean batch\?"),
    (
        (*RAGGED, "--tokens", "good.csv", "--policies", "tile-skip"),
        r"which patches are kept is not known",
    ),
    ((*RAGGED, "--tokens", "good.csv", "--json", "good.csv"), r"good\.csv is an input"),
    (
        (*RAGGED, "--tokens", "good.csv", "--bind", "kept_1=3"),
        r"kept_1 differs from image to image, and cannot be bound too",
    ),
    (
        (*RAGGED[:1], "deit-small", *RAGGED[2:], "--tokens", "digits16", *TOPK),
        r"keeps as many tokens of every image.*bind kept_1, kept_2, kept_3, or prune with heatvit",
    ),
    (
        ("ragged", "deit-small", "--on", "edge-32x32", "--tokens", "digits16"),
        r"deit-small has no token selector",
    ),
    # bits
    ((*RUN, "--bits", "W9A8"), r"bits: wanted one of 2, 3, 4, 5, 6, 7, 8, 16, got 9"),
    ((*RUN, "--bits", "int8"), r"wanted weights and activations as W4A8, or .* W4, got 'int8'"),
    ((*RUN, "--bits", "again.yaml"), r"again\.yaml:2: .*the key blocks\.\* twice, first on line 1"),
    (
        (*RUN, "--bits", "lone.yaml"),
        r"lone\.yaml: blocks\.\*: bits: wanted weights, with or without",
    ),
    (
        ("run", "quasar-vit-small", *GPU, "--bits", "W8A8"),
        r"quasar-vit-small is quantized already, at .*; give the model that .*, or no bits",
    ),
    (
        ("quantize", "quasar-vit-small", "--bits", "W8A8", "--out", "q.onnx"),
        r"quasar-vit-small is quantized already, at ",
    ),
    (("run", "deit-small", "--on", "h200", "--format", "int16"), r"wanted one of int8, fp8"),
    (("run", "deit-small", "--on", "edge-32x32", "--bits", "W4A16"), r"int4 weights by int16"),
    ((*RUN, "--bits", "missing.yaml"), r"missing\.yaml: wanted a YAML file of bits, got No such"),
    ((*RUN, "--bits", "unknown.yaml"), r"no layer is called blocks\.0\.attn\.qkw; did you mean"),
    ((*RUN, "--bits", "twice.yaml"), r"both match blocks\.0\.attn\.qkv/MatMul"),
    (
        (*RUN, "--bits", "shares.yaml"),
        r"shares\.yaml: default: weights: wanted positive shares that add",
    ),
    ((*RUN, "--bits", "list.yaml"), r"list\.yaml: wanted default, layers or both, got \["),
    # resources
    (("fpga", "a100-80gb"), r"wanted an accelerator, got a GPU"),
    (("fpga", "zcu102-heatvit", "--lut-pes", "9999"), r"wanted at most the array's 2,304 PEs"),
    (("show", "edge32"), r"no such workload or machine; did you mean edge-32x32\?"),
]

TOKENS = {
    "good": "kept_1,kept_2,kept_3\n137,69,48\n100,60,20\n",
    "nan": "kept_1,kept_2,kept_3\n137,69,48\n100,nan,20\n",
    "negative": "kept_1,kept_2,kept_3\n137,69,-1\n",
    "rising": "kept_1,kept_2,kept_3\n50,60,20\n",
    "two": "kept_1,kept_2\n137,69\n",
    "empty": "",
}

BITS = {
    "unknown": "layers: {blocks.0.attn.qkw: W4A8}\n",
    "twice": "layers: {'blocks.*': W4A8, '*.qkv': W8A8}\n",
    "shares": "default: {weights: {8: 0.5, 4: 0.4}, activations: 8}\n",
    "list": "[W4A8]\n",
    "again": "layers: {'blocks.*': W4A8,\n  'blocks.*': W8A8}\n",
    "lone": "layers: {'blocks.*': {activations: 8}}\n",
}

MACHINE = """\
kind: accelerator
name: mine
clock_hz: 1e9
array: {rows: 16, cols: 16}
buffers: {input_bytes: 65536, weight_bytes: 65536, output_bytes: 65536, accumulator_bytes: 65536}
dram: {kind: ddr4, bytes_per_s: 19.2e9, latency_s: 1e-7, setup_cycles: 10}
vector: {lanes: 16}
host: {round_trip_s: 0}
energy: horowitz-45nm
"""


@pytest.fixture
def wrong_files(tilewise: Run) -> None:
    for name, rules in BITS.items():
        Path(f"{name}.yaml").write_text(rules)
    for name, rows in TOKENS.items():
        Path(f"{name}.csv").write_text(rows)
    whole = relu(["n", 4])
    Path("mine.onnx").write_bytes(whole)
    Path("garbage.onnx").write_bytes(b"garbage")
    Path("empty.onnx").touch()
    Path("truncated.onnx").write_bytes(whole[: len(whole) // 2])
    Path("truncated.onnx.gz").write_bytes(gzip.compress(whole)[:40])
    Path("fixed.onnx").write_bytes(relu([2, 4]))
    Path("plain").write_bytes(relu([2, 4]))
    Path("link.onnx").symlink_to("fixed.onnx")
    Path("folder").mkdir()
    Path("good.yaml").write_text(MACHINE)
    Path("zero.yaml").write_text(MACHINE.replace("rows: 16", "rows: 0"))
    Path("odd.yaml").write_text(MACHINE.replace("rows: 16", "rowz: 16"))
    Path("lacking.yaml").write_text(MACHINE.replace("rows: 16, ", ""))
    Path("tiny.yaml").write_text(MACHINE.replace("_bytes: 65536", "_bytes: 2"))


def contents() -> dict[Path, bytes]:
    """Every file here, and what is in it."""
    return {path: path.read_bytes() if path.is_file() else b"" for path in Path().iterdir()}


@pytest.mark.usefixtures("wrong_files")
@pytest.mark.parametrize(
    ("arguments", "expected"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG]
)
def test_a_mistake_is_one_line_and_code_2(
    tilewise: Run, arguments: tuple[str, ...], expected: str
) -> None:
    output = Path("kept.json")
    output.write_text("whole")
    if arguments[0] in ("run", "compare", "gemm") and "--json" not in arguments:
        arguments = (*arguments, "--json", str(output))
    before = contents()
    code, out, err = tilewise(*arguments)
    assert code == 2
    assert out == ""
    assert re.fullmatch(r"tilewise: [^\n]+\n", err), err
    assert "Traceback" not in err
    assert re.search(expected, err), err
    assert output.read_text() == "whole"
    assert contents() == before, "nothing is touched, and nothing half-written is left"


def test_an_output_is_refused_before_the_work_begins(
    tilewise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilewise.sim.simulate.simulate", pytest.fail)
    assert tilewise(*RUN, "--html", "missing/a.html").code == 2


def test_a_mistake_of_ours_shows_itself(tilewise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("tilewise.sim.simulate.simulate", broken)
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(RUN)


def test_an_interrupt_ends_quietly(tilewise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tilewise.sim.simulate.simulate", interrupted)
    assert tilewise(*RUN, "--json", "out.json") == (130, "", "")
    assert not list(Path().iterdir())


# --- as a process --------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tilewise", *arguments]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, tilewise.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"numpy", "pandas", "onnx", "matplotlib", "simpy", "pydantic", "jinja2", "scipy"}
    assert not heavy & set(loaded)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    running = subprocess.Popen(
        command("show", "edge-32x32"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout
    assert running.stderr
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    running.wait()
    assert (running.returncode, errors) == (1, b"")
