"""What needs no input to be known is no work: it is computed once, before the model runs."""

from __future__ import annotations

from dataclasses import replace

from .onnx_node import Node, Result, free
from .onnx_values import contents

__all__ = ["settled"]

_ALWAYS_WORK = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"})


def settled(node: Node, result: Result) -> Result:
    """The result with its contents, and free if it depends on parameters or sizes only."""
    outputs = result.outputs
    values = contents(node)
    if values is not None and outputs and values.size == outputs[0].elements:
        shape = tuple(node.static(size) for size in outputs[0].shape)
        outputs = (replace(outputs[0], values=values.reshape(shape)), *outputs[1:])
    read = result.operator.operands if result.operator else ()
    active = any(t.sources for t in node.present) or any(operand.sources for operand in read)
    if active or node.op_type in _ALWAYS_WORK:
        return replace(result, outputs=outputs)
    trained = node.trained()
    sized = any(tensor.sized for tensor in node.present)
    folded = tuple(
        replace(
            tensor,
            sources=(),
            distinct=None,
            sized=sized,
            trained=min(trained, tensor.elements) if isinstance(tensor.elements, int) else trained,
        )
        for tensor in outputs
    )
    reason = "shape arithmetic" if sized else "computed once, ahead of time"
    return free(result.reason if node.op_type == "Constant" else reason, *folded)
