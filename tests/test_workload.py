"""Workloads as values: bindings, totals, the zoo and the front door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tilewise.workloads as workloads
from tilewise.workloads import zoo
from tilewise.workloads.extent import evaluate, symbol
from tilewise.workloads.find import workload
from tilewise.workloads.graph import BindingError, Constraint, Symbol, Workload
from tilewise.workloads.onnx_ledger import OnnxError
from tilewise.workloads.operator import (
    Attention,
    Elementwise,
    MatMul,
    Operand,
    TokenSelection,
)
from tilewise.workloads.zoo import UnknownModelError
from tilewise.workloads.zoo.vit import vit

N = symbol("n")


def product(name: str, *sources: str, m: Any = N) -> MatMul:
    return MatMul(
        name=name,
        operands=(Operand(sources=sources, elements=m * 8),),
        shape=(m, 4),
        m=m,
        k=8,
        n=4,
        weights=1,
        bias=True,
    )


def tiny(**fields: Any) -> Workload:
    given: dict[str, Any] = {
        "name": "tiny",
        "operators": (product("a", "x"), product("b", "a")),
        "inputs": (("x", (N, 8)),),
        "outputs": ("b",),
        "symbols": (Symbol(name="n", upper=10),),
    }
    return Workload(**given | fields)


def test_totals_are_sizes_and_bind_to_numbers() -> None:
    assert tiny().macs == 64 * N
    assert tiny().operators[0].parameters == 36
    bound = tiny().bind({"n": 3})
    assert bound.macs == 192
    assert bound.inputs == (("x", (3, 8)),)
    assert bound.symbols == ()


def test_an_array_of_images_is_evaluated_at_once() -> None:
    binding = tiny().binding({"n": np.array([1, 2, 10])})
    assert evaluate(tiny().macs, binding).tolist() == [64, 128, 640]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "tiny needs a value for n: bind it, for example n=1"),
        ({"m": 3}, "tiny has no symbol m; it has n"),
        ({"n": 0}, "n=0 is out of range: it must be at least 1"),
        ({"n": 11}, "n=11 is out of range: it must be at most 10"),
        ({"n": 2.5}, "must be a whole number"),
        ({"n": True}, "must be a whole number"),
        ({"n": np.array([1, 11])}, "out of range"),
        ({"n": np.array([[1]])}, "must be a whole number"),
    ],
)
def test_a_wrong_binding_is_refused_with_the_reason(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BindingError, match=message):
        tiny().binding(given)


def test_a_contradicted_constraint_is_refused_with_both_sizes() -> None:
    constraint = Constraint(left=N, right=N // 2 * 2, where="Concat")
    with pytest.raises(BindingError, match=r"Concat needs n = .*n=3 they are 3 and 2"):
        tiny(constraints=(constraint,)).bind({"n": 3})


def test_defaults_stand_in_for_what_is_not_given() -> None:
    assert tiny().with_defaults({"n": 4}).bind().macs == 256
    assert tiny().with_defaults({"n": 4}).bind({"n": 5}).macs == 320


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ((product("a", "x"), product("a", "x")), "two operators are named a"),
        ((product("a", "y"),), "a reads y, which no earlier operator or input makes"),
        ((product("a", "b"), product("b", "x")), "a reads b, which no earlier"),
    ],
)
def test_a_graph_that_is_none_is_refused(operators: tuple[MatMul, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(operators=operators)


def test_the_hash_depends_on_the_work_and_not_on_the_name() -> None:
    assert tiny().content_hash == tiny(name="other").content_hash
    assert tiny().content_hash != tiny(operators=(product("a", "x"),)).content_hash


# The zoo


@pytest.mark.parametrize(
    ("name", "macs", "without_attention", "parameters"),
    [
        # Touvron et al., ICML 2021: 4.6 GMACs and 22.1 M parameters.
        ("deit-small", 4.599e9, 4.241e9, 22.05e6),
        ("heatvit-deit-small", 2.65e9, 2.50e9, 22.06e6),
        # 859.52 M parameters; MACs with and without attention at 64 x 64 latents and 77 tokens.
        ("sd15-unet", 401.6e9, 338.6e9, 859.52e6),
    ],
)
def test_a_model_of_the_zoo_has_the_published_size(
    name: str, macs: float, without_attention: float, parameters: float
) -> None:
    model = zoo.load(name)
    bound = model.bind()
    assert bound.macs == pytest.approx(macs, rel=0.003)
    assert bound.macs_without_attention == pytest.approx(without_attention, rel=0.003)
    assert model.parameters == pytest.approx(parameters, rel=1e-3)
    assert sum(operator.parameters for operator in model.operators) == model.parameters
    assert not model.notes
    assert bound.images == 1


def test_the_zoo_describes_each_of_its_models_in_one_line() -> None:
    assert {"deit-small", "heatvit-deit-small", "quasar-vit-small", "sd15-unet"} <= set(zoo.names())
    assert all(zoo.describe(name) and "\n" not in zoo.describe(name) for name in zoo.names())


def test_a_loaded_model_is_kept() -> None:
    assert zoo.load("deit-small") is zoo.load("deit-small")


@pytest.mark.parametrize(
    ("name", "selectors"), [("deit-small", ()), ("heatvit-deit-small", (4, 7, 10))]
)
def test_the_vit_in_plain_python_equals_the_shipped_graph(
    name: str, selectors: tuple[int, ...]
) -> None:
    shipped = zoo.load(name)
    built = vit(depth=12, embed=384, heads=6, selectors=selectors)
    assert built.operators == shipped.operators
    assert built.content_hash == shipped.content_hash
    assert built.outputs == shipped.outputs
    assert built.parameters == shipped.parameters
    assert built.images == shipped.images
    assert [(s.name, s.lower, s.upper) for s in built.symbols] == [
        (s.name, s.lower, s.upper) for s in shipped.symbols
    ]


def test_pruning_changes_the_tokens_of_the_blocks_after_a_selector() -> None:
    model = zoo.load("heatvit-deit-small")
    attentions = [o for o in model.operators if isinstance(o, Attention)]
    kept = [symbol(f"kept_{k}") for k in (1, 2, 3)]
    tokens = [197, *(size + 2 for size in kept)]
    assert [o.queries for o in attentions] == [size for size in tokens for _ in range(3)]
    assert model.dynamic
    selections = [o for o in model.operators if isinstance(o, TokenSelection)]
    assert [o.candidates for o in selections] == [196, kept[0], kept[1]]


def test_everything_in_a_selector_and_nothing_else_is_marked() -> None:
    for operator in zoo.load("heatvit-deit-small").operators:
        assert operator.selector == operator.name.startswith("selectors.")
    assert not any(o.selector for o in zoo.load("sd15-unet").operators)


def test_a_unets_sizes_must_survive_going_down_and_up() -> None:
    model = zoo.load("sd15-unet")
    macs = [evaluate(model.macs, model.binding({"height": height})) for height in (64, 96)]
    assert macs[0] < macs[1]
    with pytest.raises(BindingError, match="height=65"):
        model.bind({"height": 65})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embed": 100, "heads": 3}, "embed=100 must be a multiple of heads=3"),
        ({"image": 225}, "image=225 must be a multiple of patch=16"),
        ({"selectors": (3, 2)}, "must be blocks 1 to 12, in order"),
        ({"selectors": (13,)}, "must be blocks 1 to 12"),
        ({"selectors": (4,), "batch": 8}, "a run takes one image"),
    ],
)
def test_a_vit_whose_sizes_do_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"depth": 12, "embed": 384, "heads": 6}
    with pytest.raises(ValueError, match=message):
        vit(**(sizes | fields))


def test_a_vit_may_have_a_fixed_batch_or_a_symbol_of_another_name() -> None:
    assert vit(depth=1, embed=8, heads=2, batch=4).images == 4
    assert vit(depth=1, embed=8, heads=2, batch="n").images == symbol("n")


# The front door


def test_a_workload_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    assert workload("deit-small") is zoo.load("deit-small")
    path = tmp_path / "mine.onnx.gz"
    graphs = Path(zoo.__file__).parent / "graphs"
    path.write_bytes((graphs / "deit-small.onnx.gz").read_bytes())
    for given in (path, str(path)):
        assert workload(given).operators == zoo.load("deit-small").operators
        assert workload(given).name == "mine"


def test_a_name_that_is_nearly_right_gets_a_suggestion() -> None:
    with pytest.raises(UnknownModelError, match="no model is called deit-smal; did you mean deit"):
        workload("deit-smal")
    with pytest.raises(
        UnknownModelError,
        match="There are deit-tiny, deit-small, deit-base, vit-large, ",
    ):
        workload("zzz")


def test_a_path_that_does_not_exist_is_a_path_all_the_same() -> None:
    for given in ("missing.onnx", Path("deit-smal")):
        with pytest.raises(OnnxError, match="there is no such file"):
            workload(given)


def test_every_public_name_is_there_and_onnx_is_imported_only_when_it_is_needed() -> None:
    for name in workloads.__all__:
        assert getattr(workloads, name) is not None
    assert dir(workloads) == workloads.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        workloads.__getattr__("nothing")
    program = (
        "import sys, tilewise.workloads as w; w.vit(depth=1, embed=8, heads=2); w.Workload; "
        "sys.exit('onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_elementwise_work_over_a_bound_workload_has_integer_sizes() -> None:
    for operator in zoo.load("sd15-unet").bind().operators:
        assert isinstance(operator.elements, int)
        assert operator.elements > 0
        assert all(isinstance(o.elements, int) and o.elements > 0 for o in operator.operands)
        if isinstance(operator, Elementwise):
            assert operator.macs == 0
