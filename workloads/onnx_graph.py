"""The nodes of an ONNX graph, one after another, become operators or are free for a reason.

Shapes are inferred here, with symbols and with the shape arithmetic inside the graph; what the file
states about intermediate shapes is a fallback, since exporters leave it out or leave strays in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from .extent import product, symbol
from .graph import FreeNode, Symbol, Workload
from .onnx_defaults import stated_defaults
from .onnx_formats import format_of, stated
from .onnx_ledger import Ledger, OnnxError
from .onnx_names import named
from .onnx_node import Node, Result, Shape, Tensor
from .onnx_parameters import attributes, captured, constant, trained_numbers
from .onnx_rules import RULES, unknown
from .onnx_settled import settled
from .onnx_shapes import dims, inferred_shapes, stated_shapes
from .onnx_tokens import Cut, adapted
from .onnx_types import FLOATING
from .operator import Movement, Operator

__all__ = ["GraphReading", "Made"]

_HANDED_ON = frozenset({"Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """Where an operator lies in the file.

    Attributes:
        node: The node that it was read from.
        inputs: What that node reads.
        tensor: The result, behind a bias that a later node adds.
        floating: Whether that is of a floating-point type.
    """

    node: onnx.NodeProto
    inputs: tuple[Tensor | None, ...]
    tensor: str
    floating: bool


@dataclass(slots=True, eq=False)
class GraphReading:
    """The state of reading one model; used once.

    Attributes:
        cuts: Operator -> the cut behind it.
        names: Those that are taken.
        makers: Tensor -> the operator that made it and whose only reader will read it.
        aliases: Tensor -> the tensor that it hands on.
        labels: Operator -> the tensors it reads, parameters left out.
        crooked: Matrix products that read their first operand across its rows.
        made: Operator -> where it lies in the file.
        inferred: Whether onnx was asked for the shapes of operations that are not known here.
    """

    model: onnx.ModelProto
    folder: Path | None
    cuts: Mapping[str, Cut]
    ledger: Ledger = field(default_factory=Ledger)
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    operators: dict[str, Operator] = field(default_factory=dict[str, Operator])
    free: list[FreeNode] = field(default_factory=list[FreeNode])
    notes: list[str] = field(default_factory=list[str])
    uses: Counter[str] = field(default_factory=Counter[str])
    hints: dict[str, Shape] = field(default_factory=dict[str, Shape])
    versions: dict[str, int] = field(default_factory=dict[str, int])
    names: set[str] = field(default_factory=set[str])
    makers: dict[str, str] = field(default_factory=dict[str, str])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    crooked: set[str] = field(default_factory=set[str])
    made: dict[str, Made] = field(default_factory=dict[str, Made])
    inferred: bool = False

    def workload(self, name: str) -> Workload:
        """What the graph computes, an operator for each node that is any work; call it once."""
        graph = self.model.graph
        trained = trained_numbers(graph)
        for proto in graph.initializer:
            self.tensors[proto.name] = constant(proto, self.folder, trained.get(proto.name, 0))
        inputs = tuple(
            self._input(proto) for proto in graph.input if proto.name not in self.tensors
        )
        for proto in graph.node:
            self.uses.update((*proto.input, *captured(proto)))
        self.uses.update(output.name for output in graph.output)
        self.hints.update(stated_shapes(graph))
        for entry in self.model.opset_import:
            self.versions["" if entry.domain == "ai.onnx" else entry.domain] = entry.version
        self.names.update(input_name for input_name, _ in inputs)
        self.names.update(cut.symbol for cut in self.cuts.values())
        self._read_all(graph.node)
        outputs = [self._source(output.name, "the graph's output") for output in graph.output]
        shape = inputs[0][1] if inputs else ()
        defaults, symbols = stated_defaults(self.model), self.ledger.symbols.values()
        return Workload(
            name=name,
            operators=tuple(self.operators.values()),
            inputs=inputs,
            outputs=tuple(dict.fromkeys(s for output in outputs for s in output.sources)),
            symbols=tuple(replace(s, default=defaults.get(s.name)) for s in symbols),
            constraints=tuple(self.ledger.constraints.values()),
            free=tuple(self.free),
            parameters=sum(trained.values()),
            images=shape[0] if len(shape) > 1 else 1,
            notes=tuple(self.notes),
        )

    def _input(self, proto: onnx.ValueInfoProto) -> tuple[str, Shape]:
        kind = proto.type.tensor_type
        if not proto.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise OnnxError(f"input {proto.name} has no shape; it must be a tensor of known rank")
        shape = dims(kind.shape, proto.name)
        for size in shape:
            self.ledger.declare(size, lower=1)
        format = format_of(kind.elem_type, proto.metadata_props, f"input {proto.name}")
        self.tensors[proto.name] = Tensor(
            shape=shape,
            sources=(proto.name,),
            floating=kind.elem_type in FLOATING,
            formats=((format, product(shape)),) if format else (),
        )
        return proto.name, shape

    def _source(self, name: str, reader: str) -> Tensor:
        if name not in self.tensors:
            raise OnnxError(f"{reader} reads {name}, which nothing before it makes")
        return self.tensors[name]

    def _read_all(self, protos: Sequence[onnx.NodeProto]) -> None:
        names = named(protos, self.names)
        self.names.update(names)
        for proto, name in zip(protos, names, strict=True):
            self._read(proto, name)

    def _read(self, proto: onnx.NodeProto, name: str) -> None:
        node = self._node(proto, name)
        if node.op_type == "If" and not node.domain and (chosen := node.known(0)):
            self._read_branch(proto, name, bool(chosen[0]))
            return
        if self.cuts:
            node = self._adapted(node)
        result = _noted(settled(node, self._result(node, proto)), proto, name)
        for i, output in enumerate(proto.output):
            self.tensors[output] = result.outputs[i if i < len(result.outputs) else 0]
        first = proto.output[0] if proto.output else ""
        if result.before is not None:
            self.operators[result.before.name] = result.before
        if result.operator is not None:
            self.operators[name] = result.operator
            self.makers[first] = name
            self.made[name] = Made(
                node=proto,
                inputs=node.inputs,
                tensor=first,
                floating=result.outputs[0].floating,
            )
            self.labels[name] = tuple(
                self.aliases.get(source, source)
                for source, tensor in zip(proto.input, node.inputs, strict=True)
                if tensor is not None and tensor.sources
            )
        else:
            self.free.append(FreeNode(name=name, function=node.op_type, reason=result.reason))
        if result.amended is not None:
            earlier = result.amended.name
            self.operators[earlier] = result.amended
            self.makers[first] = earlier
            self.made[earlier] = replace(self.made[earlier], tensor=first)
        if node.op_type in _HANDED_ON:
            source = proto.input[0]
            self.aliases[first] = self.aliases.get(source, source)
            if source in self.makers and self.uses[source] == 1:
                self.makers[first] = self.makers[source]
        if result.crooked:
            self.crooked.add(name)
        if result.note:
            self.notes.append(result.note)
        if name in self.cuts:
            self._cut(self.cuts[name], first)

    def _cut(self, cut: Cut, tensor: str) -> None:
        """Gives everything that reads `tensor` another number of tokens."""
        whole = self.tensors[tensor]
        self.ledger.symbols[cut.symbol] = Symbol(name=cut.symbol, lower=cut.least, upper=cut.fixed)
        shape = tuple(
            symbol(cut.symbol) if axis == cut.axis else size
            for axis, size in enumerate(whole.shape)
        )
        self.operators[cut.symbol] = Movement(
            name=cut.symbol, operands=(whole.operand,), shape=shape, function="cut"
        )
        self.tensors[tensor] = replace(whole, shape=shape, sources=(cut.symbol,))
        self.makers.pop(tensor, None)

    def _adapted(self, node: Node) -> Node:
        fixed = {cut.symbol: cut.fixed for cut in self.cuts.values()}
        least = min(cut.least for cut in self.cuts.values())
        return adapted(node, fixed, least, node.op_type in RULES.get(node.domain, {}))

    def _read_branch(self, proto: onnx.NodeProto, name: str, chosen: bool) -> None:
        """Reads the branch of an `If` that is known to be taken in place of the `If`."""
        wanted = "then_branch" if chosen else "else_branch"
        branches = {attribute.name: attribute.g for attribute in proto.attribute}
        if wanted not in branches:
            raise OnnxError(f"node {name} (If): it has no {wanted}")
        branch = branches[wanted]
        self.free.append(FreeNode(name=name, function="If", reason=f"it is always the {wanted}"))
        for tensor in branch.initializer:
            self.tensors[tensor.name] = constant(tensor, self.folder)
        for inner in branch.node:
            self.uses.update(inner.input)
        self.uses.update(output.name for output in branch.output)
        self._read_all(branch.node)
        for output, result in zip(proto.output, branch.output, strict=True):
            self.tensors[output] = self._source(result.name, f"node {name} (If)")

    def _node(self, proto: onnx.NodeProto, name: str) -> Node:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        return Node(
            name=name,
            op_type=proto.op_type,
            domain=domain,
            version=self.versions.get(domain, 1),
            attributes=attributes(proto),
            inputs=tuple(
                self._source(source, f"node {name} ({proto.op_type})") if source else None
                for source in proto.input
            ),
            outputs=len(proto.output),
            hints=tuple(self.hints.get(output) for output in proto.output),
            makers=tuple(
                self.operators.get(self.makers.get(source, "")) if self.uses[source] == 1 else None
                for source in proto.input
            ),
            ledger=self.ledger,
        )

    def _result(self, node: Node, proto: onnx.NodeProto) -> Result:
        rule = RULES.get(node.domain, {}).get(node.op_type)
        if rule is None:
            return self._unknown(node, proto)
        try:
            return rule(node)
        except OnnxError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            shapes = ", ".join(_shown(tensor) for tensor in node.inputs)
            raise node.error(f"cannot be applied to inputs of shape {shapes}") from error

    def _unknown(self, node: Node, proto: onnx.NodeProto) -> Result:
        if not node.domain and None in node.hints and not self.inferred:
            self.inferred = True
            self.hints = {**inferred_shapes(self.model), **self.hints}
            node = self._node(proto, node.name)
        given = node.shape() if node.present else ()
        stated = [node.hint(i) for i in range(max(node.outputs, 1))]
        shapes = [given if shape is None else shape for shape in stated]
        return unknown(
            node, shapes, [self.tensors[n] for n in captured(proto) if n in self.tensors]
        )


def _noted(result: Result, proto: onnx.NodeProto, name: str) -> Result:
    """The result in the format that a note on the node states, if one does."""
    format = stated(proto.metadata_props, f"node {name} ({proto.op_type})")
    if format is None:
        return result
    return replace(
        result,
        outputs=tuple(replace(t, formats=((format, t.elements),)) for t in result.outputs),
        operator=result.operator and replace(result.operator, format=format),
        amended=result.amended and replace(result.amended, format=format),
    )


def _shown(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"({', '.join(str(size) for size in tensor.shape)})"
