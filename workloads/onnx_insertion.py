"""Conversions are put into an ONNX graph: a tensor goes to integers and back where it is made.

Scales are 1 and zero points 0 throughout: the file says how many bits a number has, not which
number it is.  Whoever wants to run it calibrates it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import onnx
from onnx import TensorProto, helper

from .bit_widths import QuantizationError
from .onnx_formats import FORMATS, KEY
from .onnx_parameters import captured

__all__ = ["Insertion"]

_SINCE = {"INT2": 25, "INT4": 21, "INT8": 10, "INT16": 21}
"""The first opset whose QuantizeLinear makes a type, narrowest first."""

_QUANTIZABLE: Mapping[int, int] = {
    TensorProto.FLOAT: 10,
    TensorProto.FLOAT16: 19,
    TensorProto.BFLOAT16: 19,
}
"""Element types that can be quantized, and since when."""

_OLDEST_IR = 10  # metadata_props of nodes


@dataclass(slots=True, eq=False)
class Insertion:
    """A model that is being changed; `finish` when all is put in.

    Attributes:
        types: Element type of each tensor.
        names: Those that are taken.
        read: Tensors that some node reads, or the graph gives.
        before, after: New nodes, by the place of the node that they stand beside.
        producers: Tensor -> place of the node that makes it.
        scales, zeros: The one scale, and the one zero point, of each type.
    """

    model: onnx.ModelProto
    types: dict[str, int] = field(default_factory=dict[str, int])
    names: set[str] = field(default_factory=set[str])
    read: set[str] = field(default_factory=set[str])
    before: dict[int, list[onnx.NodeProto]] = field(
        default_factory=dict[int, "list[onnx.NodeProto]"]
    )
    after: dict[int, list[onnx.NodeProto]] = field(
        default_factory=dict[int, "list[onnx.NodeProto]"]
    )
    producers: dict[str, int] = field(default_factory=dict[str, int])
    scales: dict[int, str] = field(default_factory=dict[int, str])
    zeros: dict[int, str] = field(default_factory=dict[int, str])

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.types = _types(self.model)
        self.producers = {name: i for i, node in enumerate(graph.node) for name in node.output}
        self.read = {name for node in graph.node for name in (*node.input, *captured(node))}
        self.read |= {value.name for value in graph.output}
        self.names = {
            *(tensor.name for tensor in graph.initializer),
            *(value.name for value in graph.input),
            *(name for node in graph.node for name in (node.name, *node.input, *node.output)),
        }

    @property
    def opset(self) -> int:
        """The version of ONNX's own operations."""
        return next(int(e.version) for e in self.model.opset_import if e.domain in ("", "ai.onnx"))

    def makes_floats(self, tensor: str, node: onnx.NodeProto) -> bool:
        """True if the tensor alone is read of what `node` makes, and can be quantized."""
        return self.read & {*node.output} == {tensor} and self.quantizable(tensor)

    def quantizable(self, tensor: str) -> bool:
        """True if ONNX can quantize a tensor of this type."""
        return self.opset >= _QUANTIZABLE.get(self.types.get(tensor, 0), 99)

    def result(self, tensor: str, format: str, path: str) -> None:
        """Stores what a node makes in a format; its readers read what that stands for."""
        place = self.producers[tensor]
        node = self.model.graph.node[place]
        made = self._unused(f"{tensor}.made")
        node.output[list(node.output).index(tensor)] = made
        self.types[made] = self.types[tensor]
        self.after.setdefault(place, []).extend(self._pair(made, tensor, format, path))

    def weight(
        self,
        node: onnx.NodeProto,
        index: int,
        rows: Sequence[tuple[str, int]],
        axis: int,
        path: str,
    ) -> None:
        """Stores a weight in several formats, each with so many rows along `axis`."""
        place = self.producers[node.output[0]]
        weight, here = node.input[index], self.before.setdefault(place, [])
        type_ = self.types.setdefault(weight, TensorProto.FLOAT)
        if not self.quantizable(weight):
            raise QuantizationError(
                f"{path}{weight}: opset {self.opset} cannot quantize weights of type "
                f"{TensorProto.DataType.Name(type_)}; convert the model"
            )
        whole = self._unused(f"{weight}.read")
        parts = [weight]
        if len(rows) > 1:
            parts = [self._unused(f"{weight}.{i}") for i in range(len(rows))]
            here.append(self._split(weight, parts, [count for _, count in rows], axis, path))
        read = [self._unused(f"{part}.read") for part in parts] if len(rows) > 1 else [whole]
        for part, back, (format, _) in zip(parts, read, rows, strict=True):
            self.types[part] = type_
            here.extend(self._pair(part, back, format, path))
        if len(rows) > 1:
            here.append(self._node("Concat", read, [whole], path, axis=axis))
        node.input[index] = whole

    def given(self, value: onnx.ValueInfoProto, format: str) -> None:
        """Takes an input of the graph in a format."""
        if not self.quantizable(value.name):
            note(value, format)
            return
        type_, exact = self._container(format, value.name)
        real, read = self.types[value.name], self._unused(f"{value.name}.read")
        for node in self.model.graph.node:
            _rename(node, value.name, read)
        value.type.tensor_type.elem_type = type_
        if not exact:
            note(value, format)
        inputs = [value.name, self._scale(real), self._zero(type_)]
        back = self._node("DequantizeLinear", inputs, [read], "")
        self.before.setdefault(0, []).insert(0, back)

    def finish(self) -> None:
        """Puts the new nodes where they belong."""
        nodes = list(self.model.graph.node)
        placed = chain.from_iterable(
            (*self.before.get(i, ()), node, *self.after.get(i, ())) for i, node in enumerate(nodes)
        )
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in placed]
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)
        newest = helper.find_min_ir_version_for(self.model.opset_import, ignore_unknown=True)
        self.model.ir_version = max(self.model.ir_version, newest, _OLDEST_IR)

    def _pair(self, tensor: str, back: str, format: str, path: str) -> Iterator[onnx.NodeProto]:
        """A tensor converted to a format, and back."""
        type_, exact = self._container(format, path + tensor)
        stored = self._unused(f"{tensor}.stored")
        scale, zero = self._scale(self.types[tensor]), self._zero(type_)
        to = self._node("QuantizeLinear", [tensor, scale, zero], [stored], path)
        if not exact:
            note(to, format)
        yield to
        yield self._node("DequantizeLinear", [stored, scale, zero], [back], path)

    def _container(self, format: str, where: str) -> tuple[int, bool]:
        """The narrowest type that holds a format, and whether it is just that."""
        bits = int(format.removeprefix("int"))
        known = {name: code for name, code in TensorProto.DataType.items() if code in FORMATS}
        for name, since in _SINCE.items():
            if int(name.removeprefix("INT")) >= bits and self.opset >= since and name in known:
                return known[name], FORMATS[known[name]] == format
        raise QuantizationError(
            f"{where}: {format} needs opset {_SINCE['INT16']}, and the model is of opset "
            f"{self.opset}; convert it with onnx.version_converter"
        )

    def _split(
        self, tensor: str, parts: list[str], sizes: list[int], axis: int, path: str
    ) -> onnx.NodeProto:
        if self.opset < 13:
            return self._node("Split", [tensor], parts, path, axis=axis, split=sizes)
        name = self._unused(f"{tensor}.rows")
        self.model.graph.initializer.append(
            helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes)
        )
        return self._node("Split", [tensor, name], parts, path, axis=axis)

    def _scale(self, type_: int) -> str:
        if type_ not in self.scales:
            self.scales[type_] = self._constant("scale", type_, 1.0)
        return self.scales[type_]

    def _zero(self, type_: int) -> str:
        if type_ not in self.zeros:
            self.zeros[type_] = self._constant("zero", type_, 0)
        return self.zeros[type_]

    def _constant(self, what: str, type_: int, value: float) -> str:
        name = self._unused(f"{what}.{TensorProto.DataType.Name(type_).lower()}")
        self.model.graph.initializer.append(helper.make_tensor(name, type_, [], [value]))
        return name

    def _node(
        self, op_type: str, inputs: list[str], outputs: list[str], path: str, **attributes: Any
    ) -> onnx.NodeProto:
        name = self._unused(path + op_type)
        return helper.make_node(op_type, inputs, outputs, name=name, **attributes)

    def _unused(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.names:
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name


def note(holder: onnx.NodeProto | onnx.ValueInfoProto, format: str) -> None:
    """Says on what makes or holds numbers that they have a format."""
    holder.metadata_props.add(key=KEY, value=format)


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    """Lets a node, and what it holds, read another tensor."""
    for i, name in enumerate(node.input):
        if name == old:
            node.input[i] = new
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _rename(inner, old, new)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types by tensor, as the file states them or as onnx infers them."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (ValueError, RuntimeError, onnx.shape_inference.InferenceError):
        graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}
