"""The time of one launched kernel on a GPU, by what takes it.

Which model times which kernel: products `gemm`, convolutions in fp32 `convolution` and all others
the product that they are, attention `attention`, and whatever only passes over its operands
`stream`.  What an engine put behind a product, such as a residual sum, adds bytes to read; they
come while it computes.
"""

from __future__ import annotations

from functools import reduce

from ...arch import Gpu, bits
from ...arch.gpu_attention import attention_calibration
from ...arch.gpu_convolution import convolution_calibration
from ...arch.gpu_streams import stream_calibration
from ...workloads.extent import known
from ...workloads.operator import Attention, Convolution, MatMul, Normalization, Softmax
from ...workloads.unfused import unfused_attention
from ..formats import format_of, parameter_size_bits, size_bits
from ..result import CONFIDENCES
from ..roofline import vector_flop
from .attention import attention
from .convolution import convolution, convolution_as_gemm
from .gemm import gemm_time
from .launches import Launch
from .parts import Confidence, Parts
from .streams import StreamKind, stream

__all__ = ["parts_of"]

_FLASH_BITS = 16  # FlashAttention is for fp16 and bf16, and fewer


def parts_of(
    launch: Launch, gpu: Gpu, format: str, between_bytes: int = 0, *, generated: bool = False
) -> Parts:
    """Seconds of a kernel that multiplies in `format`, if it multiplies.

    Args:
        launch: The kernel.
        gpu: What it runs on.
        format: In which it multiplies.
        between_bytes: What passes through L2 before the same weights are used again.
        generated: Whether norms and softmax are a compiler's kernels, which give a block of threads
            as many rows as fill it (Inductor, on persistent reductions), and not a library's, which
            give it one.

    Raises:
        FormatError: The GPU does not compute in `format`.
    """
    match launch.lead:
        case MatMul() | Convolution() if not launch.macs:
            return _stream(launch, gpu, generated=generated)  # nothing to add up: zeros are written
        case MatMul():
            parts = _product(launch.lead, gpu, format, between_bytes)
        case Convolution():
            parts = _convolution(launch.lead, gpu, format, between_bytes)
        case Attention():
            heads = [o for o in launch.operators if isinstance(o, Attention)]
            each = [_attention(one, gpu, format, between_bytes) for one in heads]
            parts = reduce(_sum, each)._replace(launch_s=each[0].launch_s)
        case _:
            return _stream(launch, gpu, generated=generated)
    return _no_less_than_its_bytes(parts, launch, gpu)


def _product(lead: MatMul, gpu: Gpu, format: str, between_bytes: int) -> Parts:
    weights = parameter_size_bits(lead) if lead.weights else size_bits(lead.operands[1])
    sizes = {"m": known(lead.m), "n": known(lead.n), "k": known(lead.k)}
    copies = known(lead.copies)
    if lead.weights == 1:  # copies that share their weights are rows of one product
        sizes["m"], copies = copies * sizes["m"], 1
    return gemm_time(
        gpu,
        **sizes,
        copies=copies,
        format=format,
        input_bytes=size_bits(lead.operands[0]) / 8,
        weight_bytes=weights / 8,
        between_bytes=between_bytes,
    )


def _convolution(lead: Convolution, gpu: Gpu, format: str, between_bytes: int) -> Parts:
    square = len(lead.kernel) == 2 and lead.kernel[0] == lead.kernel[1] and not lead.transposed
    if format == "fp32" and square and lead.stride[0] == lead.stride[1]:
        height, width = lead.out_size
        return convolution(
            gpu,
            gpu.calibrations.convolution or convolution_calibration(gpu.name, gpu.family),
            batch=known(lead.batch),
            in_channels=lead.in_channels,
            out_channels=lead.out_channels,
            out_height=known(height),
            out_width=known(width),
            kernel=lead.kernel[0],
            stride=lead.stride[0],
            groups=lead.groups,
        )
    product = convolution_as_gemm(lead)
    parts = gemm_time(
        gpu,
        m=product.m,
        n=product.n,
        k=product.k,
        copies=product.copies,
        format=format,
        input_bytes=size_bits(lead.operands[0]) / 8,
        weight_bytes=parameter_size_bits(lead) / 8,
        between_bytes=between_bytes,
    )
    # Products were measured, convolutions on tensor cores were not.
    return parts._replace(confidence="uncalibrated")


def _attention(lead: Attention, gpu: Gpu, format: str, between_bytes: int) -> Parts:
    """One kernel; where heads are too wide for it, its two products and the softmax between.

    No tiles are known of kernels in 32 bits: they take no longer than what they replace.
    """
    calibration = gpu.calibrations.attention or attention_calibration(gpu.name, gpu.family)
    widest = max(known(lead.head_dim), known(lead.value_dim))
    ways: list[Parts] = []
    if widest <= calibration.kernel.most_head_dim:
        ways.append(
            attention(
                gpu,
                calibration,
                copies=known(lead.copies),
                queries=known(lead.queries),
                keys=known(lead.keys),
                head_dim=widest,
                format=format,
            )
        )
    if not ways or bits(format) > _FLASH_BITS:
        parts = [
            parts_of(Launch.of(o, [o], o.operands, [o]), gpu, format, between_bytes)
            for o in unfused_attention(lead)
        ]
        ways.append(reduce(_sum, parts)._replace(confidence="uncalibrated"))
    return min(ways, key=lambda way: way.total_s)


def _stream(launch: Launch, gpu: Gpu, *, generated: bool) -> Parts:
    lead, rows, columns = launch.lead, 1, 1
    kind: StreamKind = "elementwise"
    if isinstance(lead, Normalization | Softmax):
        kind = "softmax" if isinstance(lead, Softmax) else "normalization"
        rows, columns = known(lead.rows), known(lead.row_length)
    parts = stream(
        gpu,
        gpu.calibrations.streams or stream_calibration(gpu.name, gpu.family),
        kind=kind,
        read_bytes=launch.read_bytes,
        written_bytes=launch.written_bytes,
        rows=max(rows, 1),
        columns=max(columns, 1),
    )
    if parts.confidence == "interpolated" and format_of(launch.operators[-1]) != "fp32":
        parts = parts._replace(confidence="extrapolated")  # only fp32 was measured
    vector_s = vector_flop(lead, launch.operators) / gpu.vector_flops - parts.memory_s
    by_rows_s = 0.0 if generated else parts.vector_s
    return parts._replace(vector_s=max(by_rows_s, vector_s, 0.0))


def _no_less_than_its_bytes(parts: Parts, launch: Launch, gpu: Gpu) -> Parts:
    """A kernel and what is behind it: the general cores and the bytes work while it computes."""
    behind = [o for o in launch.operators if o is not launch.lead]
    if len(launch.operators) == 1 or isinstance(launch.lead, Attention):
        return parts
    computing_s = parts.useful_s + parts.edge_s + parts.wave_s
    moving_s = launch.dram_bytes / gpu.dram.bytes_per_s
    parts = parts._replace(memory_s=max(parts.memory_s, moving_s - computing_s))
    vector_s = vector_flop(behind[0], behind) / gpu.vector_flops
    return parts._replace(vector_s=max(parts.vector_s, vector_s - computing_s - parts.memory_s))


def _sum(one: Parts, other: Parts) -> Parts:
    labels: list[Confidence] = [one.confidence, other.confidence]
    return Parts(
        useful_s=one.useful_s + other.useful_s,
        edge_s=one.edge_s + other.edge_s,
        wave_s=one.wave_s + other.wave_s,
        memory_s=one.memory_s + other.memory_s,
        vector_s=one.vector_s + other.vector_s,
        launch_s=one.launch_s + other.launch_s,
        confidence=max(labels, key=CONFIDENCES.index),
    )
