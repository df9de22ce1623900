"""The zoo's models have the sizes that others count, and its graphs are those that are listed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Run
from optional import needed

from tilewise.reports.zoo import disagreeing, stages
from tilewise.workloads import zoo
from tilewise.workloads.zoo.generate import GRAPHS, graph_of, listed
from tilewise.workloads.zoo.published import TOLERANCES, counted, published

NAMES = zoo.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_sizes_that_others_count(name: str) -> None:
    lines = tuple(line for line in published() if line.model == name)
    assert disagreeing([(counted(name), lines)]) == []
    assert len(zoo.describe(name).splitlines()) == 1


def test_a_published_line_says_of_which_model_it_is_and_how_far_to_trust_it() -> None:
    for line in published():
        assert line.model in NAMES
        assert line.provenance in ("computed", "seen", "recalled")
        assert line.values
        assert line.source


def test_a_model_that_is_off_by_more_than_the_tolerance_is_named() -> None:
    line = next(line for line in published() if line.model == "sd15-unet" and line.gated)
    right = counted("sd15-unet")
    for quantity, tolerance in TOLERANCES.items():
        published_as = line.values[quantity]
        one = replace(line, values={quantity: published_as})
        near = replace(one, values={quantity: published_as * (1 + 0.9 * tolerance)})
        off = replace(one, values={quantity: published_as * (1 - 1.1 * tolerance)})
        assert disagreeing([(right, (near,))]) == []
        assert disagreeing([(right, (off,))])[0].startswith("sd15-unet: ")
        assert disagreeing([(right, (replace(off, reason="rounded"),))]) == []
        assert disagreeing([(right, (replace(off, provenance="recalled"),))]) == []


def test_every_graph_that_is_shipped_is_listed_as_it_is() -> None:
    assert [graph.name for graph in listed()] == list(zoo.exports())
    for graph in listed():
        assert graph == graph_of(graph.name, GRAPHS / f"{graph.name}.onnx.gz")
    assert {path.name for path in GRAPHS.iterdir()} == {f"{g.name}.onnx.gz" for g in listed()}
    assert sum(graph.size for graph in listed()) < 10e6, "the package is to stay small"


def test_models_of_one_graph_differ_in_their_defaults_only() -> None:
    turbo, base = zoo.load("sdxl-turbo-unet"), zoo.load("sdxl-unet")
    assert zoo.graph("sdxl-turbo-unet") == "sdxl-unet"
    assert turbo.operators == base.operators
    assert turbo.bind({"height": 128, "width": 128}).macs == base.bind().macs != turbo.bind().macs


@pytest.mark.parametrize(
    ("tokens", "said"),
    [((), "none"), ((197, 139, 71), "197 139 71"), ((14, 9216) * 3, "14 and 9216 in turn")],
)
def test_tokens_are_told_stage_by_stage(tokens: tuple[int, ...], said: str) -> None:
    assert stages(tokens) == said


def test_the_table_lists_every_model_and_what_is_published_of_it(tilewise: Run) -> None:
    code, out, err = tilewise("zoo", "--check", "--json", "zoo.json")
    assert (code, err) == (0, "")
    assert all(name in out for name in NAMES)
    assert "[1]" in out
    values = json.loads(Path("zoo.json").read_text())["models"]
    assert [model["model"] for model in values] == list(NAMES)
    assert "published" in values[0]


def test_the_graphs_are_listed_with_their_hashes(tilewise: Run) -> None:
    code, out, err = tilewise("zoo", "--graphs")
    assert (code, err) == (0, "")
    for graph in listed():
        assert graph.sha256[:16] in out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("deit-smal", "-o", "x.onnx"), "did you mean deit-small?"),
        (("deit-small", "-o", "x.txt"), "wanted a file that ends with .onnx or .onnx.gz"),
        (("sdxl-turbo-unet", "-o", "x.onnx"), "its graph is that of sdxl-unet; export that"),
        (("deit-small", "-o", "no/such/x.onnx"), "no/such/x.onnx"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    arguments: tuple[str, ...], wanted: str, tilewise: Run
) -> None:
    code, out, err = tilewise("export", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert wanted in err


@pytest.mark.export
def test_an_exported_file_is_the_shipped_graph(tilewise: Run) -> None:
    needed("torch")
    needed("onnxscript")
    code, out, _ = tilewise("export", "deit-small", "-o", "deit.onnx")
    assert code == 0
    assert "opset 23" in out
    assert (
        graph_of("deit-small", Path("deit.onnx"))[2:5]
        == graph_of("deit-small", GRAPHS / "deit-small.onnx.gz")[2:5]
    )
