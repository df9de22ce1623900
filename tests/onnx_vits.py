"""Small vision transformers written node by node, in the spellings that exporters use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How a model is written out.

    Attributes:
        fused: One product for Q, K and V, cut apart by a reshape to five dimensions.
        flat: Linear layers as Gemm, over `(images * tokens, width)`.
        whole: The attention operator of opset 23, not its parts.
        inferred: Which dimension of a reshape is left to be inferred, if it is.
        table: A trained bias for each pair of tokens.
        pooled: The mean of the patches is classified, not CLS.
        ends: A slice ends at a number, not at the largest there is.
        first: Tokens come before images, as in torch's MultiheadAttention.
    """

    fused: bool = True
    flat: bool = False
    whole: bool = False
    inferred: int | None = None
    table: bool = False
    pooled: bool = False
    ends: bool = True
    first: bool = False


@dataclass
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: list[TensorProto] = field(default_factory=list[TensorProto])

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(op, list(inputs), [f"{name}:0"], name=name, **attributes)
        )
        return f"{name}:0"

    def weight(self, name: str, *shape: int) -> str:
        self.constants.append(numpy_helper.from_array(np.ones(shape, dtype=np.float32), name))
        return name

    def numbers(self, name: str, values: Sequence[int]) -> str:
        array = np.array(values, dtype=np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def reshape(self, name: str, x: str, shape: Sequence[int], inferred: int | None = None) -> str:
        """A reshape to fixed numbers, one of them left to be inferred."""
        shape = list(shape)
        if inferred is not None:
            shape[inferred % len(shape)] = -1
        return self.node("Reshape", name, x, self.numbers(f"{name}.shape", shape))


def vit(
    *,
    side: int,
    width: int,
    heads: int,
    depth: int,
    images: int = 1,
    spelling: Spelling = Spelling(),
) -> bytes:
    """A ViT for images of `side` x `side` patches of 2 x 2 pixels, its sizes all fixed."""
    graph, tokens, opset = _Graph(), side * side + 1, 23 if spelling.whole else 17
    kernel = graph.weight("patch.weight", width, 3, 2, 2)
    x = graph.node("Conv", "patch/Conv", "image", kernel, kernel_shape=[2, 2], strides=[2, 2])
    x = graph.reshape("patch/Reshape", x, (images, width, side * side))
    x = graph.node("Transpose", "patch/Transpose", x, perm=[0, 2, 1])
    cls = graph.weight("cls", images, 1, width)
    x = graph.node("Concat", "Concat", cls, x, axis=1)
    x = graph.node("Add", "Add", x, graph.weight("positions", 1, tokens, width))
    shape = (tokens, images, width) if spelling.first else (images, tokens, width)
    if spelling.first:
        x = graph.node("Transpose", "Transpose", x, perm=[1, 0, 2])
    for block in range(depth):
        x = _block(graph, f"blocks.{block}", x, shape, heads, spelling)
    if spelling.first:
        x = graph.node("Transpose", "Transpose_2", x, perm=[1, 0, 2])
    scale = graph.weight("norm.weight", width)
    x = graph.node("LayerNormalization", "norm/LayerNormalization", x, scale)
    if spelling.pooled:
        end = tokens if spelling.ends else 2**63 - 1
        bounds = [graph.numbers(f"slice.{i}", [n]) for i, n in enumerate((1, end, 1))]
        x = graph.node("Slice", "Slice", x, *bounds)
        x = (
            graph.node("ReduceMean", "ReduceMean", x, axes=[1], keepdims=0)
            if opset < 18
            else (graph.node("ReduceMean", "ReduceMean", x, graph.numbers("axes", [1]), keepdims=0))
        )
    else:
        zero = numpy_helper.from_array(np.array(0, dtype=np.int64), "zero")
        graph.constants.append(zero)
        x = graph.node("Gather", "Gather", x, "zero", axis=1)
    x = graph.node("MatMul", "head/MatMul", x, graph.weight("head.weight", width, 5))
    value = helper.make_tensor_value_info
    image = [images, 3, 2 * side, 2 * side]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "vit",
            [value("image", TensorProto.FLOAT, image)],
            [value(x, TensorProto.FLOAT, [images, 5])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


def _linear(graph: _Graph, name: str, x: str, shape: Sequence[int], n: int, flat: bool) -> str:
    *rows, k = shape
    weight = graph.weight(f"{name}.weight", k, n)
    if not flat:
        return graph.node("MatMul", f"{name}/MatMul", x, weight)
    x = graph.reshape(f"{name}/Reshape", x, (prod(rows), k))
    x = graph.node("Gemm", f"{name}/Gemm", x, weight)
    return graph.reshape(f"{name}/Reshape_2", x, (*rows, n))


def _block(
    graph: _Graph, path: str, x: str, shape: tuple[int, int, int], heads: int, spelling: Spelling
) -> str:
    width = shape[2]
    scale = graph.weight(f"{path}.norm1.weight", width)
    normed = graph.node("LayerNormalization", f"{path}.norm1/LayerNormalization", x, scale)
    attend = _attention_of_torch if spelling.first else _attention
    mixed = attend(graph, f"{path}.attn", normed, shape, heads, spelling)
    mixed = graph.reshape(f"{path}.attn/Reshape_9", mixed, shape, spelling.inferred)
    mixed = _linear(graph, f"{path}.attn.proj", mixed, shape, width, spelling.flat)
    x = graph.node("Add", f"{path}/Add", x, mixed)
    scale = graph.weight(f"{path}.norm2.weight", width)
    normed = graph.node("LayerNormalization", f"{path}.norm2/LayerNormalization", x, scale)
    wide = _linear(graph, f"{path}.fc1", normed, shape, 2 * width, spelling.flat)
    wide = graph.node("Relu", f"{path}.act/Relu", wide)
    narrow = _linear(graph, f"{path}.fc2", wide, (*shape[:2], 2 * width), width, spelling.flat)
    return graph.node("Add", f"{path}/Add_2", x, narrow)


def _attention(
    graph: _Graph, path: str, x: str, shape: tuple[int, int, int], heads: int, spelling: Spelling
) -> str:
    images, tokens, width = shape
    if spelling.fused:
        qkv = _linear(graph, f"{path}.qkv", x, shape, 3 * width, spelling.flat)
        split = (images, tokens, 3, heads, width // heads)
        qkv = graph.reshape(f"{path}/Reshape", qkv, split, spelling.inferred)
        qkv = graph.node("Transpose", f"{path}/Transpose", qkv, perm=[2, 0, 3, 1, 4])
        parts: list[str] = []
        for i in range(3):
            index = numpy_helper.from_array(np.array(i, dtype=np.int64), f"{path}.{i}")
            graph.constants.append(index)
            parts.append(graph.node("Gather", f"{path}/Gather_{i}", qkv, f"{path}.{i}", axis=0))
    else:
        parts = []
        for part in "qkv":
            one = _linear(graph, f"{path}.{part}", x, shape, width, spelling.flat)
            one = graph.reshape(
                f"{path}.{part}/Reshape_3",
                one,
                (images, tokens, heads, width // heads),
                spelling.inferred,
            )
            name = f"{path}.{part}/Transpose"
            parts.append(graph.node("Transpose", name, one, perm=[0, 2, 1, 3]))
    q, k, v = parts
    bias = [graph.weight(f"{path}.bias", 1, heads, tokens, tokens)] if spelling.table else []
    if spelling.whole:
        mixed = graph.node("Attention", f"{path}/Attention", q, k, v, *bias)
    else:
        k = graph.node("Transpose", f"{path}/Transpose_4", k, perm=[0, 1, 3, 2])
        scores = graph.node("MatMul", f"{path}/MatMul", q, k)
        if bias:
            scores = graph.node("Add", f"{path}/Add", scores, *bias)
        scores = graph.node("Softmax", f"{path}/Softmax", scores, axis=-1)
        mixed = graph.node("MatMul", f"{path}/MatMul_2", scores, v)
    return graph.node("Transpose", f"{path}/Transpose_5", mixed, perm=[0, 2, 1, 3])


def _attention_of_torch(
    graph: _Graph, path: str, x: str, shape: tuple[int, int, int], heads: int, spelling: Spelling
) -> str:
    """Heads of all images side by side: `(images * heads, tokens, width / heads)`."""
    tokens, images, width = shape
    parts: list[str] = []
    for part in "qkv":
        one = _linear(graph, f"{path}.{part}", x, shape, width, spelling.flat)
        split = (tokens, images * heads, width // heads)
        one = graph.reshape(f"{path}.{part}/Reshape_3", one, split, spelling.inferred)
        perm = [1, 2, 0] if part == "k" else [1, 0, 2]
        parts.append(graph.node("Transpose", f"{path}.{part}/Transpose", one, perm=perm))
    scores = graph.node("MatMul", f"{path}/MatMul", *parts[:2])
    scores = graph.node("Softmax", f"{path}/Softmax", scores, axis=-1)
    mixed = graph.node("MatMul", f"{path}/MatMul_2", scores, parts[2])
    return graph.node("Transpose", f"{path}/Transpose_5", mixed, perm=[1, 0, 2])
