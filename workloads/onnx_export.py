"""A torch module becomes an ONNX model without weights, its varying sizes named symbols.

What a simulator needs of a model is its operators and their sizes, a few hundred kilobytes where
the weights would be gigabytes. So the module is built and traced with tensors that have a shape
and no data, and every trained tensor becomes an initializer whose data lies in a file that does
not exist.
"""

import gzip
import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx

from .extras import require
from .onnx_tidy import tidy

OPSETS = range(18, 26)
"""What can be exported. torch writes 26 and later without complaint, but wrongly."""

_LAST = 2**63 - 1  # where a slice ends that goes to the end


def export(
    module_factory: Callable[[], Any],
    example_inputs: Callable[[], tuple[Any, ...]],
    *,
    dynamic_axes: Mapping[str, Mapping[int, str]],
    input_names: Sequence[str],
    output_names: Sequence[str],
    options: Mapping[str, object] | None = None,
    multiples: Mapping[str, int] | None = None,
    opset: int = 23,
    weights: bool = False,
) -> onnx.ModelProto:
    """Exports the inference graph of a torch module.

    From opset 23 on `scaled_dot_product_attention` stays one `Attention` operator; below, it is
    written out as MatMul, Softmax, MatMul. Nodes are named after the module they come from, as
    `blocks.0.attn.qkv/MatMul`, and weights after their parameter. A weight that a linear layer
    multiplies by is stored as it is multiplied, `(inputs, outputs)`. What `nonzero` finds, in the
    order of execution, is called `kept_1`, `kept_2`...

    Args:
        module_factory: Makes the module, in inference mode.
        example_inputs: Makes the positional arguments of its forward; without weights they have no
            data. A varying size must be 2 or more in them: torch takes 0 and 1 for constants.
        dynamic_axes: Symbols for the inputs' varying sizes, by input and axis, such as
            `{"image": {0: "batch"}}`.
        input_names: The inputs' names, in the order of `example_inputs`, and as in the forward.
        output_names: The outputs' names, in the order in which the forward returns them.
        options: Keyword arguments of the forward that are no tensors.
        multiples: Symbols that are always a multiple of a number, as `{"height": 8}`: sizes that
            derive from them are simplified accordingly.
        opset: The version of the ONNX operator set.
        weights: Whether the model contains its weights, so that it can be run.

    Raises:
        ValueError: If the opset cannot be exported.
        MissingExtraError: If torch or onnxscript is not installed.
    """
    if opset not in OPSETS:
        raise ValueError(
            f"opset: wanted {OPSETS[0]} to {OPSETS[-1]}, got {opset}; 23 is a good choice, "
            f"below it attention is written out"
        )
    torch = require("torch", "export")
    require("onnxscript", "export")
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {name: dict.fromkeys(dynamic_axes.get(name, {}), dynamic) for name in input_names}
    options = dict(options or {})
    with ExitStack() as stack:
        # Neither torch's use of its own deprecated names nor its hints are the caller's business.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        with ExitStack() as building:
            if not weights:
                building.enter_context(_shapes_only())
            module, arguments = module_factory(), example_inputs()
        program = torch.export.export(
            module,
            arguments,
            options,
            dynamic_shapes=shapes | dict.fromkeys(options),
            strict=False,
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            optimize=False,  # its rewriting takes time quadratic in the number of nodes
            opset_version=opset,
            input_names=list(input_names),
            output_names=list(output_names),
            custom_translation_table={
                torch.ops.aten.repeat_interleave.self_int: _repeat_interleave,
                torch.ops.aten.slice_scatter.default: _slice_scatter,
            },
            verbose=False,
        )
        return tidy(exported.model, dynamic_axes, multiples or {}, weights=weights)


def save(model: onnx.ModelProto, path: Path | str) -> None:
    """Writes a model, whole or not at all; the same model is always the same bytes.

    Args:
        model: The model.
        path: Where to; compressed if it ends with `.gz`.

    Raises:
        OSError: If it cannot be written. What was there before is then still there.
    """
    path = Path(path)
    content = model.SerializeToString(deterministic=True)
    if path.suffix == ".gz":
        content = _compressed(content)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _repeat_interleave(x: Any, repeats: Any, dim: int, output_size: Any = None) -> Any:
    """Each slice `repeats` times, one after another.

    onnxscript 0.7 has this too, but repeats along the wrong axis where `repeats` is a symbol.
    """
    op = require("onnxscript", "export").opset18
    before = dim % len(x.shape)
    behind = len(x.shape) - before - 1

    def ones(count: int) -> list[Any]:
        return [op.Constant(value_ints=[1] * count)] if count else []

    times = op.Reshape(repeats, op.Constant(value_ints=[1]))
    wide = op.Unsqueeze(x, op.Constant(value_ints=[before + 1]))
    spread = op.Expand(wide, op.Concat(*ones(before + 1), times, *ones(behind), axis=0))
    rest = [op.Shape(x, start=before + 1)] if behind else []
    merged = op.Concat(op.Constant(value_ints=[0] * before + [-1]), *rest, axis=0)
    return op.Reshape(spread, merged)


def _slice_scatter(
    x: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    """`x` with `src` in the place of a slice.

    Where the slice is known, what lies before and behind is put beside `src`, and nothing moves;
    onnxscript scatters, which for a slice of everything too moves all of it.
    """
    core = require("onnxscript.function_libs.torch_lib.ops.core", "export")
    first, last = 0 if start is None else start, _LAST if end is None else end
    size = x.shape[dim] if isinstance(x.shape[dim], int) else _LAST
    if step != 1 or not isinstance(first, int) or not isinstance(last, int):
        return core.aten_slice_scatter(x, src, dim, start, end, step)
    op = require("onnxscript", "export").opset18

    def part(begin: int, until: int) -> Any:
        edges = ([begin], [until], [dim])
        return op.Slice(x, *(op.Constant(value_ints=edge) for edge in edges))

    before = [part(0, first)] if first else []
    behind = [part(last, _LAST)] if last < size else []
    whole = [*before, src, *behind]
    return op.Concat(*whole, axis=dim) if len(whole) > 1 else op.Identity(src)


def _shapes_only() -> Any:
    """A context in which torch makes tensors that have shapes and no data."""
    fake_tensor = require("torch._subclasses.fake_tensor", "export")
    symbolic_shapes = require("torch.fx.experimental.symbolic_shapes", "export")
    return fake_tensor.FakeTensorMode(shape_env=symbolic_shapes.ShapeEnv())


def _compressed(content: bytes) -> bytes:
    """Gzip without the date and the file name that would make each run's file a new one."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
