"""What a reader of a GPU's times should know of the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...arch import Gpu, bits
from ...workloads.operator import Attention, Convolution, MatMul
from ..formats import format_of, parameter_size_bits
from ..roofline import computed_in
from .launches import Launch

__all__ = ["notes_on"]


def notes_on(made: Sequence[Launch], gpu: Gpu) -> tuple[str, ...]:
    """Notes on kernels as they are launched: more than memory holds, formats that it lacks."""
    return (*_memory(made, gpu), *_widened(made, gpu))


def _memory(made: Sequence[Launch], gpu: Gpu) -> Iterator[str]:
    """Weights, and what the largest kernel reads and writes: less than a framework needs."""
    weights = moved = 0
    for one in made:
        own = sum(parameter_size_bits(o) for o in one.operators if o.parameters) // 8
        weights += own
        moved = max(moved, one.dram_bytes - own)
    if weights + moved > gpu.dram.capacity_bytes:
        yield (
            f"{gpu.name} has {gpu.dram.capacity_bytes / 1e9:.3g} GB, and weights and the largest "
            f"kernel's operands take {(weights + moved) / 1e9:.3g} GB: the run does not fit"
        )


def _widened(made: Sequence[Launch], gpu: Gpu) -> Iterator[str]:
    """Whole numbers of more than 8 bits, for which no tensor core multiplies."""
    for one in made:
        if not isinstance(one.lead, MatMul | Convolution | Attention):
            continue
        read = max((format_of(operand) for operand in one.lead.operands), key=bits)
        computed = computed_in(one.lead, one.operators[-1], gpu)
        if read.startswith("int") and not computed.startswith("int"):
            yield (
                f"{gpu.name} does not multiply {read}: it is computed in {computed}; bits of "
                "weights alone (W4 instead of W4A16) leave activations in the run's format"
            )
            return
