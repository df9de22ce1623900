"""An assignment of bits is written into an ONNX file, which then reads as what was assigned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto

from . import zoo
from .bit_widths import QuantizationError
from .graph import Workload
from .onnx_defaults import state_defaults
from .onnx_export import save
from .onnx_graph import Made
from .onnx_insertion import Insertion, note
from .onnx_reader import Located, located
from .onnx_tidy import WEIGHTS_FILE
from .operator import Operator
from .quantization import BitRules, quantized
from .rewrite import path_of

__all__ = ["quantized_model", "write_quantized"]


def write_quantized(source: str | Path | bytes, rules: BitRules, target: str | Path) -> Workload:
    """Writes a model whose tensors have the bits that rules give them.

    `read(target)` has the formats of `quantized(read(source), rules)`, operator by operator.  The
    weights stay as they are, inside the file, beside it or left out: a `QuantizeLinear` and a
    `DequantizeLinear` behind them say how they are stored.  Rows of several widths are cut apart,
    converted, and put together again.  What its symbols are by default, the file says too.

    Args:
        source: As `read` takes it, or a name of `zoo.names()`.
        rules: Which layer has how many bits.
        target: Where to; compressed if it ends with `.gz`.

    Returns:
        The workload with its formats.

    Raises:
        OnnxError: The source cannot be read as a workload.
        QuantizationError: The rules do not fit it, it has formats already, or ONNX cannot say what
            is wanted; the message is one line.
        OSError: The target cannot be written.
    """
    model, workload = quantized_model(source, rules)
    _check_folder(model, source, Path(target))
    save(model, target)
    return workload


def quantized_model(
    source: str | Path | bytes, rules: BitRules
) -> tuple[onnx.ModelProto, Workload]:
    """The model that `write_quantized` writes, and its workload.

    Raises:
        OnnxError: The source cannot be read as a workload.
        QuantizationError: As `write_quantized` says.
    """
    found = _located(source)
    workload = quantized(found.workload, rules)
    insertion = Insertion(found.model)
    for operator in workload.operators:
        _store(insertion, found, operator)
    for value in found.model.graph.input:
        if format := _read_as(workload, value.name):
            insertion.given(value, format)
    insertion.finish()
    state_defaults(found.model, workload.symbols)
    return found.model, workload


def _located(source: str | Path | bytes) -> Located:
    if not isinstance(source, str) or source not in zoo.names():
        return located(source)
    found = located(zoo.content(source), source)
    return replace(found, workload=found.workload.with_defaults(zoo.defaults(source)))


def _store(insertion: Insertion, found: Located, operator: Operator) -> None:
    """Puts in what an operator's formats ask for."""
    if not operator.format and not operator.weight_formats:
        return
    made, path = found.made[operator.name], path_of(operator.name)
    place = insertion.producers.get(made.tensor)
    if place is None:
        raise QuantizationError(
            f"{operator.name} lies in a branch of an If, where no bits can be written; "
            "simplify the model first"
        )
    last = found.model.graph.node[place]
    if operator.weight_formats:
        index, axis = _rows(made, operator)
        insertion.weight(made.node, index, operator.weight_formats, axis, path)
    if operator.format and made.floating and insertion.makes_floats(made.tensor, last):
        insertion.result(made.tensor, operator.format, path)
    elif operator.format:
        note(last, operator.format)


def _rows(made: Made, operator: Operator) -> tuple[int, int]:
    """Which input of a layer is its weight, and along which of its dimensions the rows lie."""
    node, rows = made.node, sum(count for _, count in operator.weight_formats)
    constant = [tensor is not None and tensor.constant for tensor in made.inputs]
    index = 1 if constant[1] or node.op_type.startswith("Conv") else 0
    tensor = made.inputs[index]
    shape = tensor.shape if tensor is not None else ()
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    match node.op_type:
        case "Conv":
            axis = 0
        case "ConvTranspose":
            axis = 1
        case "Gemm":
            turned = attributes.get("transB" if index else "transA", 0)
            axis = index if not turned else 1 - index
        case _:
            axis = len(shape) - 1 if index else len(shape) - 2
    if len(operator.weight_formats) > 1 and (
        node.op_type == "Einsum" or not 0 <= axis < len(shape) or shape[axis] != rows
    ):
        raise QuantizationError(
            f"{operator.name}: rows of several widths cannot be written for a weight of shape "
            f"({', '.join(map(str, shape))}), where they do not lie along one dimension; "
            "give all of them the same"
        )
    return index, axis


def _read_as(workload: Workload, name: str) -> str | None:
    """The format in which an input of the graph is read."""
    read = [o for operator in workload.operators for o in operator.operands if name in o.sources]
    read.sort(key=lambda operand: len(operand.sources))  # alone, it has a format of its own
    return read[0].format if read else None


def _check_folder(model: onnx.ModelProto, source: str | Path | bytes, target: Path) -> None:
    """External weights are found by their path from the model's folder."""
    files = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location" and entry.value != WEIGHTS_FILE
    }
    if not files or isinstance(source, bytes):
        return
    folder = Path(source).resolve().parent
    if target.resolve().parent != folder:
        raise QuantizationError(
            f"{target}: the weights of {source} lie in {min(files)} beside it; "
            f"write into {folder} too"
        )
