"""The channels of an ONNX graph as they are found, and what the graph says of its tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from math import prod

import onnx
from onnx import numpy_helper

from .channel_groups import Axis, Groups
from .onnx_parameters import trained_numbers

__all__ = ["Coupling"]


@dataclass(eq=False)
class Coupling:
    """A graph as its nodes are taken up one by one.

    Attributes:
        graph: Of the model, with the shapes that are known.
        groups: The channels that go together.
        axes: Tensor -> its dimensions.
        targets: Constants that say how many channels a reshaped tensor has: the node that reads
            one, which of its inputs it is, which element, and the dimension.
    """

    graph: onnx.GraphProto
    groups: Groups = field(default_factory=Groups)
    axes: dict[str, list[Axis]] = field(default_factory=dict[str, "list[Axis]"])
    targets: list[tuple[onnx.NodeProto, int, int, Axis]] = field(
        default_factory=list["tuple[onnx.NodeProto, int, int, Axis]"]
    )
    _closed: set[tuple[str, int]] = field(default_factory=set["tuple[str, int]"])

    @cached_property
    def trained(self) -> frozenset[str]:
        """Initializers that hold trained numbers."""
        return frozenset(name for name, count in trained_numbers(self.graph).items() if count)

    @cached_property
    def constants(self) -> Mapping[str, list[int]]:
        """Initializers of a few whole numbers: sizes, axes, indices."""
        return {
            tensor.name: numpy_helper.to_array(tensor).ravel().tolist()
            for tensor in self.graph.initializer
            if tensor.data_type == onnx.TensorProto.INT64
            and tensor.data_location != onnx.TensorProto.EXTERNAL
            and prod(tensor.dims) <= 16
        }

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        """Tensor -> its sizes; a size that is not known is empty text."""
        graph = self.graph
        found: dict[str, tuple[int | str, ...]] = {}
        for value in chain(graph.value_info, graph.input, graph.output):
            if value.type.tensor_type.HasField("shape"):
                found[value.name] = tuple(
                    size.dim_value if size.HasField("dim_value") else size.dim_param
                    for size in value.type.tensor_type.shape.dim
                )
        return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}

    @cached_property
    def _makers(self) -> Mapping[str, onnx.NodeProto]:
        return {name: node for node in self.graph.node for name in node.output}

    @cached_property
    def _readers(self) -> Counter[str]:
        return Counter(name for node in self.graph.node for name in node.input)

    def of(self, name: str) -> list[Axis]:
        """The dimensions of a tensor, to be read only."""
        return self.axes.setdefault(name, [None] * len(self.shapes.get(name, ())))

    def opened(self, name: str, index: int) -> Axis:
        """A dimension of a tensor; of a trained one it is of channels from now on."""
        axes, size = self.of(name), self.shapes[name][index]
        if axes[index] is None and name in self.trained and isinstance(size, int) and size > 1:
            axes[index] = self.groups.new(size)
            if (name, index) in self._closed:
                self.groups.fix(axes[index])
        return axes[index]

    def close(self, name: str) -> None:
        """Lets what was read of a tensor as no channels never become some that could go."""
        self._closed |= {(name, i) for i, axis in enumerate(self.of(name)) if axis is None}

    def fix(self, name: str) -> None:
        """Lets all channels of a tensor stay."""
        self.close(name)
        for axis in self.of(name):
            self.groups.fix(axis)

    def all_aimed(self, node: onnx.NodeProto, made: Sequence[Axis]) -> bool:
        """Whether constants are found that say a reshaped output's channels; they are noted."""
        return all(axis is None or self._aimed(node, i, axis) for i, axis in enumerate(made))

    def _aimed(self, node: onnx.NodeProto, index: int, axis: Axis) -> bool:
        """Whether the constant is found that says this size of a node's output."""
        target = node.input[1]
        if target in self.constants:
            self.targets.append((node, 1, index, axis))
            return True
        maker = self._makers.get(target)
        if maker is None or maker.op_type != "Concat" or self._readers[target] > 1:
            return False
        rank = len(self.shapes[node.output[0]])
        if len(maker.input) != rank or maker.input[index] not in self.constants:
            return False
        self.targets.append((maker, index, 0, axis))
        return True
