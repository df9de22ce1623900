"""What is computed: operators, graphs, tokens and the model zoo; never hardware or time."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .any_size import flexible
    from .bit_widths import Precision, QuantizationError, precision
    from .channel_pruning import channel_pruned
    from .extent import Extent, Size, UnboundSymbolError, evaluate
    from .find import workload
    from .graph import BindingError, Constraint, FreeNode, Symbol, Workload
    from .onnx_ledger import OnnxError
    from .onnx_quantized import write_quantized
    from .onnx_reader import read
    from .operator import (
        Attention,
        Convolution,
        Elementwise,
        MatMul,
        Movement,
        Normalization,
        Operand,
        Operator,
        Reduction,
        Softmax,
        TokenSelection,
    )
    from .pipeline import Call, Pipeline
    from .pruning import PruningError, pruned
    from .quantization import BitRules, bit_rules, quantized
    from .recording import record
    from .tokens import TokenTrace, TraceError, naflex, read_trace, sampled, trace, trace_names
    from .unet_merging import merged
    from .zoo import UnknownModelError, load, names
    from .zoo.vit import vit

__all__ = [
    "Attention",
    "BindingError",
    "BitRules",
    "Call",
    "Constraint",
    "Convolution",
    "Elementwise",
    "Extent",
    "FreeNode",
    "MatMul",
    "Movement",
    "Normalization",
    "OnnxError",
    "Operand",
    "Operator",
    "Pipeline",
    "Precision",
    "PruningError",
    "QuantizationError",
    "Reduction",
    "Size",
    "Softmax",
    "Symbol",
    "TokenSelection",
    "TokenTrace",
    "TraceError",
    "UnboundSymbolError",
    "UnknownModelError",
    "Workload",
    "bit_rules",
    "channel_pruned",
    "evaluate",
    "flexible",
    "load",
    "merged",
    "naflex",
    "names",
    "precision",
    "pruned",
    "quantized",
    "read",
    "read_trace",
    "record",
    "sampled",
    "trace",
    "trace_names",
    "vit",
    "workload",
    "write_quantized",
]

_HOMES = {
    "channel_pruning": ("channel_pruned",),
    "extent": ("Extent", "Size", "UnboundSymbolError", "evaluate"),
    "find": ("workload",),
    "any_size": ("flexible",),
    "graph": ("BindingError", "Constraint", "FreeNode", "Symbol", "Workload"),
    "onnx_ledger": ("OnnxError",),
    "onnx_quantized": ("write_quantized",),
    "onnx_reader": ("read",),
    "operator": (
        "Attention",
        "Convolution",
        "Elementwise",
        "MatMul",
        "Movement",
        "Normalization",
        "Operand",
        "Operator",
        "Reduction",
        "Softmax",
        "TokenSelection",
    ),
    "bit_widths": ("Precision", "QuantizationError", "precision"),
    "pipeline": ("Call", "Pipeline"),
    "pruning": ("PruningError", "pruned"),
    "quantization": ("BitRules", "bit_rules", "quantized"),
    "recording": ("record",),
    "tokens": (
        "TokenTrace",
        "TraceError",
        "naflex",
        "read_trace",
        "sampled",
        "trace",
        "trace_names",
    ),
    "unet_merging": ("merged",),
    "zoo": ("UnknownModelError", "load", "names"),
    "zoo.vit": ("vit",),
}
"""Module -> what it gives; imported when first asked for, as onnx takes long to import."""


def __getattr__(name: str) -> Any:  # Any: the type checkers read the imports above instead
    for module, given in _HOMES.items():
        if name in given:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
