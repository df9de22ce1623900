"""Rules of bits are read from a YAML file: a default, and layers by pattern.

default: W8A8
layers:
  "blocks.*.mlp.*": W4A8
  "blocks.*.attn.qkv": {weights: {8: 0.25, 4: 0.75}, activations: 6}
  "head": W4
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode

from .bit_widths import Precision, QuantizationError, precision

__all__ = ["read_bits"]


def read_bits(path: Path) -> tuple[Precision | None, Mapping[str, Precision]]:
    """The bits of what no pattern matches, None if it is left open, and those of each pattern.

    Raises:
        QuantizationError: It cannot be read, says something else, or says a key twice; one line
            that names the file, and the layer or the line.
    """
    said = _mapping(_loaded(path), f"{path}: wanted default, layers or both")
    if not said or set(said) - {"default", "layers"}:
        got = ", ".join(said) or "nothing"
        raise QuantizationError(f"{path}: wanted default, layers or both, got {got}")
    layers = _mapping(said.get("layers") or {}, f"{path}: layers: wanted patterns and their bits")
    default = _precision(said["default"], f"{path}: default") if "default" in said else None
    return default, {
        pattern: _precision(bits, f"{path}: {pattern}") for pattern, bits in layers.items()
    }


def _precision(given: object, where: str) -> Precision:
    try:
        return precision(given)
    except QuantizationError as error:
        raise QuantizationError(f"{where}: {error}") from None


def _loaded(path: Path) -> object:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceEach)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise QuantizationError(f"{path}: wanted a YAML file of bits, got {reason}") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise QuantizationError(f"{path}{line}: wanted YAML, got {error.problem}") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise QuantizationError(f"{path}: wanted YAML, got {problem}") from None


class _OnceEach(yaml.SafeLoader):
    """A loader that refuses a key which stands in a mapping twice, as YAML does and PyYAML not."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[object, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            # A key that is no scalar is refused by PyYAML itself.
            name = key.value if isinstance(key.value, str) else key
            if name in lines:
                problem = f"the key {name} twice, first on line {lines[name]}; keep one"
                raise ConstructorError(None, None, problem, key.start_mark)
            lines[name] = line
        return super().construct_mapping(node, deep)


def _mapping(found: object, wanted: str) -> Mapping[str, object]:
    if not isinstance(found, dict):
        raise QuantizationError(f"{wanted}, got {found!r}")
    items: dict[Any, object] = found  # pyright: ignore[reportUnknownVariableType]
    return {str(key): value for key, value in items.items()}
