"""What torch's exporter writes is made readable: module names, named sizes, no constant arithmetic.

Every function here changes the `onnx_ir.Model` it is given, as that library's own passes do.
"""

import ast
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from .extras import require

WEIGHTS_FILE = "weights-not-included"
"""Where a model without weights says its weights are."""

_SCOPES = "pkg.torch.onnx.name_scopes"
_NO_MODULE = "_empty_nn_module_stack"  # what torch writes where it measures an input


def tidy(
    model: Any,
    dynamic_axes: Mapping[str, Mapping[int, str]],
    multiples: Mapping[str, int],
    *,
    weights: bool,
) -> onnx.ModelProto:
    """Makes an exported model readable and, unless `weights`, free of trained numbers.

    Args:
        model: What `torch.onnx.export(optimize=False)` made, as an `onnx_ir.Model`; is changed.
        dynamic_axes: The inputs' varying sizes, by input and axis.
        multiples: Symbols that are always a multiple of a number.
        weights: Whether the trained numbers stay.
    """
    ir = require("onnx_ir", "export")
    passes = require("onnx_ir.passes.common", "export")
    optimizer = require("onnxscript.optimizer", "export")
    graph = model.graph
    trained = {value: value.const_value for value in graph.initializers.values()}
    for value in trained:
        value.const_value = None  # the graph must not depend on whether there are weights to fold
    optimizer.fold_constants(model, onnx_shape_inference=False)
    if weights:
        for value, data in trained.items():
            value.const_value = data
    _fold_weight_transposes(ir, graph)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _drop_divisions_by_one(ir, graph)
    passes.RemoveUnusedNodesPass()(model)
    _name_sizes(ir, graph, dynamic_axes, multiples)
    _name_nodes(graph)
    passes.ClearMetadataAndDocStringPass()(model)
    if not weights:
        for value in trained:
            value.const_value = ir.ExternalTensor(
                WEIGHTS_FILE, None, None, value.dtype, shape=value.shape, name=value.name
            )
    proto: onnx.ModelProto = ir.to_proto(model)
    return proto


def _fold_weight_transposes(ir: Any, graph: Any) -> None:
    """Stores each weight as it is used, where all its uses transpose it alike."""
    for weight in list(graph.initializers.values()):
        users = [use.node for use in weight.uses()]
        orders = {
            tuple(user.attributes["perm"].as_ints()) if user.op_type == "Transpose" else ()
            for user in users
        }
        order = orders.pop() if len(orders) == 1 else ()
        if not order:
            continue
        weight.shape = ir.Shape([weight.shape[axis] for axis in order])
        if weight.const_value is not None:
            turned = np.ascontiguousarray(weight.const_value.numpy().transpose(order))
            weight.const_value = ir.tensor(turned, name=weight.name)
        for user in users:
            ir.convenience.replace_all_uses_with(user.outputs[0], weight)
            graph.remove(user, safe=True)


def _drop_divisions_by_one(ir: Any, graph: Any) -> None:
    """Removes what diffusers' unused output scales leave: whole feature maps divided by 1."""
    for node in graph:
        if node.op_type != "Div" or node.outputs[0].is_graph_output():
            continue
        divisor = node.inputs[1].const_value
        if divisor is not None and not divisor.shape and divisor.numpy() == 1:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            graph.remove(node, safe=True)


def _name_nodes(graph: Any) -> None:
    """Calls each node after its module and operator: `blocks.0/Add`, `blocks.0/Add_2`."""
    modules: dict[Any, str] = {}
    for node in reversed(graph):  # what folding made has no scope: it takes its consumer's
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        consumers = [use.node for output in node.outputs for use in output.uses()]
        if len(scopes) >= 2:
            modules[node] = "" if scopes[-2].startswith(_NO_MODULE) else scopes[-2]
        else:
            modules[node] = modules[consumers[0]] if consumers else ""
    seen: Counter[str] = Counter()
    for node in graph:
        name = f"{modules[node]}/{node.op_type}".removeprefix("/")
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}_{seen[name]}"


def _name_sizes(
    ir: Any,
    graph: Any,
    dynamic_axes: Mapping[str, Mapping[int, str]],
    multiples: Mapping[str, int],
) -> None:
    """Expresses all sizes in the caller's symbols and `kept_1`, `kept_2`...

    A value some size of which cannot be so expressed loses its shape: torch renames symbols on the
    way, and a shape can be inferred again where a wrong name cannot be corrected.
    """
    sympy = require("sympy", "export")
    named: dict[str, Any] = {}  # torch's symbol -> what it is in ours
    shown: dict[Any, Any] = {}  # auxiliary symbol of a multiple -> the multiple's symbol
    for value in graph.inputs:
        for axis, name in dynamic_axes.get(value.name, {}).items():
            named[value.shape[axis].value] = sympy.Symbol(name, integer=True, positive=True)
            if factor := multiples.get(name):
                times = sympy.Symbol(f"{name}/{factor}", integer=True, positive=True)
                shown[times] = named[value.shape[axis].value] / factor
                named[value.shape[axis].value] = factor * times
    found = 0
    for node in graph:
        if node.op_type == "NonZero":
            found += 1
            # torch knows the size after the Transpose that turns NonZero's result
            size = next(use.node for use in node.outputs[0].uses()).outputs[0].shape[0]
            named[size.value] = sympy.Symbol(f"kept_{found}", integer=True, nonnegative=True)

    def renamed(size: Any) -> int | str | None:
        if isinstance(size, int):
            return size
        if not set(re.findall(r"[a-z]\w*", size.value or "?")) <= named.keys():
            return None
        expression = sympy.parse_expr(size.value, local_dict=named, evaluate=True).subs(shown)
        return int(expression) if expression.is_Integer else str(expression)

    for value in [*graph.inputs, *(output for node in graph for output in node.outputs)]:
        if value.shape is not None:
            sizes = [renamed(size) for size in value.shape]
            value.shape = None if None in sizes else ir.Shape(sizes)
