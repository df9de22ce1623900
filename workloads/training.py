"""A training step of a model: forward, backward, and the update of its weights.

`backward` says what is computed.  Attention is written out, so that its scores pass through memory
and the backward finds them; nothing is computed again, as FlashAttention would.  So
`macs_without_attention` of a step leaves nothing out.  What the forward made stays where it was
put, which is DRAM if the buffers are small, and is read again from there.

The update is AdamW (Loshchilov and Hutter, ICLR 2019) with master weights and two moments in FP32
(Micikevicius et al., "Mixed Precision Training", ICLR 2018), for all trained numbers.  Each moves
12 bytes in and out for these three, 4 more to be rounded, its gradient in and its weight out in the
run's format: 32 bytes in FP16.  That loss scaling and averages of weights take nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from .backward import Backward
from .extent import Number, evaluate
from .graph import Workload
from .operator import Attention, Elementwise, Operand, Operator
from .unfused import unfused_attention

__all__ = ["TrainingError", "training_step"]

_STATE = "optimizer.state"


class TrainingError(ValueError):
    """A workload cannot be trained; the message is one line and says why."""


def training_step(workload: Workload) -> Workload:
    """One step of training, for the images that a run of `workload` takes.

    Args:
        workload: A model whose first output is its logits, `(..., classes)`; dense or pruned.

    Returns:
        The same inputs and symbols; operators of the backward are named after the forward's, as
        `head/Gemm.dX`, `head/Gemm.dW` and `head/Gemm.db`.

    Raises:
        TrainingError: Its first output is none of its operators', or it computes with several
            number formats already.

    >>> from tilewise.workloads import zoo
    >>> step = training_step(zoo.load("deit-small")).bind()
    >>> forward = zoo.load("deit-small").bind()
    >>> step.macs == 3 * forward.macs - forward.operators[0].macs
    True
    """
    for operator in workload.operators:
        if operator.format or operator.weight_formats:
            raise TrainingError(
                f"{workload.name} is quantized, at {operator.name}: train it before"
            )
    forward = tuple(_written_out(workload.operators))
    logits = next((o for o in forward if o.name in workload.outputs[:1]), None)
    if logits is None:
        raise TrainingError(f"{workload.name} has no operator that makes its first output")
    backward = Backward(forward, _example(workload))
    backward.run(logits)
    update = _update(backward.gradients, workload.parameters)
    return replace(
        workload,
        name=f"train-{workload.name}",
        operators=(*forward, *backward.made, *update),
        inputs=(*workload.inputs, (_STATE, (3 * workload.parameters,))),
        outputs=(*workload.outputs, *(operator.name for operator in update)),
    )


def _written_out(operators: Sequence[Operator]) -> Iterator[Operator]:
    for operator in operators:
        if isinstance(operator, Attention):
            yield from unfused_attention(operator)
        else:
            yield operator


def _example(workload: Workload) -> dict[str, Number]:
    """A binding, to tell which of two sizes is larger."""
    values: dict[str, Number] = {}
    for symbol in workload.symbols:
        size = next(
            (s for s in (symbol.default, symbol.upper, symbol.lower) if s is not None), symbol.lower
        )
        values[symbol.name] = evaluate(size, values)
    return values


def _update(gradients: Sequence[str], parameters: int) -> tuple[Operator, Operator]:
    gradient = Operand(sources=tuple(gradients), elements=parameters)
    state = Operand(sources=(_STATE,), elements=3 * parameters, format="fp32")
    step = Elementwise(
        name="optimizer/AdamW",
        operands=(gradient, state),
        shape=(3 * parameters,),
        function="adamw",
        format="fp32",
    )
    master = Operand(sources=(step.name,), elements=parameters, format="fp32")
    rounded = Elementwise(
        name="optimizer/Cast", operands=(master,), shape=(parameters,), function="cast"
    )
    return step, rounded
