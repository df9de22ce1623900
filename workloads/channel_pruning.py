"""Structural channel pruning: the same graph with fewer channels, each layer narrower.

Fang, Ma and Wang, "Structural Pruning for Diffusion Models", NeurIPS 2023 (Diff-Pruning), and its
code, github.com/VainF/Diff-Pruning, which prunes with Torch-Pruning: channels that are added to or
normalised with others go together, every such group loses the same share of its channels, and each
group of a group norm and each head of an attention equally many.  Which channels go depends on
trained weights; how many does not, and that is what a simulator needs.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, numpy_helper

from . import zoo
from .channel_coupling import Coupling
from .channel_rules import RULES
from .graph import Workload
from .onnx_file import load
from .onnx_parameters import attributes, captured
from .onnx_reader import read
from .onnx_tidy import WEIGHTS_FILE
from .pruning_blocks import PruningError

__all__ = ["channel_pruned", "channel_pruned_model"]

_DATA: Final = (
    *("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data"),
    "external_data",
)


def channel_pruned(source: str | Path, keep: float) -> Workload:
    """A model with a share of its channels.

    The first and the last layer keep the channels of the image.

    >>> channel_pruned("ddpm-cifar10-unet", 0.7).parameters
    19851157

    Args:
        source: A name of `zoo.names()`, or the path of an `.onnx` or `.onnx.gz` file.
        keep: The share of channels that stays in each group of channels that go together, above 0
            and at most 1.

    Raises:
        PruningError: `keep` is out of range, or the model has no channels that could go.
        OnnxError: The file cannot be read.
        UnknownModelError: `source` is neither a name nor a path.
    """
    shipped = str(source) in zoo.names()
    model = load(zoo.content(str(source)) if shipped else source)[0]
    name = str(source) if shipped else Path(source).name.partition(".")[0]
    pruned = read(channel_pruned_model(model, keep).SerializeToString(), f"channel-pruned-{name}")
    return pruned.with_defaults(zoo.defaults(str(source))) if shipped else pruned


def channel_pruned_model(model: onnx.ModelProto, keep: float) -> onnx.ModelProto:
    """The graph of a model with a share of its channels, and without its weights.

    Args:
        model: With or without weights.
        keep: The share of channels that stays, above 0 and at most 1.

    Raises:
        PruningError: `keep` is out of range, or the model has no channels that could go.
    """
    if not 0 < keep <= 1:
        raise PruningError(f"the share of channels to keep is above 0 and at most 1, not {keep:g}")
    pruned = onnx.shape_inference.infer_shapes(model, data_prop=True)
    coupling = _coupled(pruned.graph)
    trained = (axis for name in coupling.trained for axis in coupling.axes.get(name, ()))
    if not any(coupling.groups.prunable(axis) for axis in trained):
        raise PruningError("the model has no channels that could go")
    share = Fraction(str(keep))
    _shrink_tensors(coupling, share)
    _shrink_targets(coupling, share)
    stated = {value.name for value in model.graph.value_info}
    for value in [value for value in pruned.graph.value_info if value.name not in stated]:
        pruned.graph.value_info.remove(value)  # what is inferred has no names for its sizes
    return pruned


def _coupled(graph: onnx.GraphProto) -> Coupling:
    """Which channels of a graph go together.

    What no rule can follow keeps all the channels that it reads and makes, so that what is pruned
    is a valid graph whatever is in it.
    """
    coupling = Coupling(graph)
    for node in graph.node:
        known = all(name in coupling.shapes for name in (*node.input, *node.output) if name)
        rule = RULES.get(node.op_type) if known and node.domain in ("", "ai.onnx") else None
        made = rule(coupling, node, attributes(node)) if rule else None
        if made is None:
            for name in (*node.input, *captured(node)):
                coupling.fix(name)
            continue
        for name in node.input:
            coupling.close(name)
        coupling.axes.update(zip(node.output, made, strict=False))
    for value in graph.output:
        coupling.fix(value.name)
    return coupling


def _shrink_tensors(coupling: Coupling, keep: Fraction) -> None:
    graph = coupling.graph
    for tensor in graph.initializer:
        if tensor.name not in coupling.trained:
            continue
        for index, axis in enumerate(coupling.axes.get(tensor.name, ())):
            if axis is not None:
                tensor.dims[index] = coupling.groups.kept(axis, keep)
        for field in _DATA:
            tensor.ClearField(field)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=WEIGHTS_FILE)
    for value in graph.value_info:  # what the graph gives keeps its channels
        sizes = value.type.tensor_type.shape.dim
        for size, axis in zip(sizes, coupling.axes.get(value.name, ()), strict=False):
            if axis is not None:
                size.dim_value = coupling.groups.kept(axis, keep)


def _shrink_targets(coupling: Coupling, keep: Fraction) -> None:
    """Lets every reshape aim at the sizes there are now."""
    graph = coupling.graph
    names = {tensor.name for tensor in graph.initializer}
    for node, place, element, axis in coupling.targets:
        sizes = list(coupling.constants.get(node.input[place], ()))
        if not sizes:  # it was written already, for another dimension
            made = next(t for t in graph.initializer if t.name == node.input[place])
            sizes = numpy_helper.to_array(made).ravel().tolist()
        if sizes[element] <= 0:
            continue  # it is inferred, or copied from the input
        sizes[element] = coupling.groups.kept(axis or (), keep)
        name = f"sizes_{'_'.join(map(str, sizes))}"
        if name not in names:
            graph.initializer.append(
                onnx.helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes)
            )
            names.add(name)
        node.input[place] = name
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
