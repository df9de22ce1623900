"""Operators are named by where they stand in the model: module path and operation.

Three spellings come to one form, `blocks.0.attn.qkv/MatMul`: names that already have it, the
scopes that torch's exporter keeps as metadata, and the older exporter's `/blocks.0/attn/MatMul`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx

__all__ = ["named"]

_SCOPES = "pkg.torch.onnx.name_scopes"


def named(nodes: Iterable[onnx.NodeProto], reserved: Iterable[str] = ()) -> list[str]:
    """A name for each node, different from all others and from the `reserved` ones."""
    taken: set[str] = set(reserved)
    names: list[str] = []
    for node in nodes:
        name = base = _path(node)
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names.append(name)
    return names


def _path(node: onnx.NodeProto) -> str:
    if "/" in node.name:
        return node.name.lstrip("/") or node.op_type
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            return _from_scopes(entry.value, node)
    return node.name or node.op_type


def _from_scopes(text: str, node: onnx.NodeProto) -> str:
    try:
        scopes = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return node.name or node.op_type
    # From the root module to the operation itself: `["", "blocks.0", "blocks.0.attn", "linear"]`.
    module = scopes[-2] if len(scopes) > 1 else ""
    return f"{module}/{node.op_type}" if module else node.op_type
