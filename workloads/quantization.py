"""Bits by rule: which layer of a workload has how many, and what its tensors are stored in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from .bit_files import read_bits
from .bit_widths import Precision, QuantizationError, precision
from .extent import known
from .graph import Workload
from .operator import Attention, Convolution, MatMul, Operand, Operator

__all__ = ["BitRules", "bit_rules", "formats_used", "in_format", "quantized"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BitRules:
    """Which layer has how many bits.

    A layer is an operator that multiplies: a product, a convolution, an attention.  It is named by
    its path, with or without the operation behind the last `/`; in a pattern `*` stands for
    anything, as in file names.

    Attributes:
        default: Of layers that no pattern matches, and of what no layer multiplies; None leaves
            them to the format of the run.
        layers: Pattern -> bits.
        where: What to call the rules in an error.
    """

    default: Precision | None = None
    layers: Mapping[str, Precision] = field(default_factory=dict[str, Precision])
    where: str = "bits"


def bit_rules(given: str | Path) -> BitRules:
    """Rules as a user gives them: `W4A8` for every layer, `W4` for its weights, or a YAML file.

    A file has a `default`, `layers` (patterns and their bits), or both:

        default: W8A8
        layers:
          "blocks.*.mlp.*": W4A8
          "blocks.*.attn.qkv": {weights: {8: 0.25, 4: 0.75}, activations: 6}

    Raises:
        QuantizationError: The text is no bits, or the file cannot be read or says something else.
    """
    text = str(given)
    if not isinstance(given, Path) and not text.endswith((".yaml", ".yml")):
        return BitRules(default=precision(text), where=text)
    default, layers = read_bits(Path(given))
    return BitRules(default=default, layers=layers, where=text)


def quantized(workload: Workload, rules: BitRules) -> Workload:
    """The workload with formats for weights and activations.

    A tensor is stored with the bits that the layers which multiply it want, the most if they want
    different ones, and in the format of the run if none of them says; vector units take what is
    there.

    Raises:
        QuantizationError: A pattern matches no layer, two match the same, or the workload has
            formats already.
    """
    _refuse_quantized(workload)
    layers = {o.name: o for o in workload.operators if _is_layer(o)}
    chosen = _chosen(layers, rules)
    wanted: dict[str, int] = {}
    for name, bits in chosen.items():
        for operand in layers[name].operands:
            for source in operand.sources:
                wanted[source] = max(wanted.get(source, 0), bits.activations or 0)
    default = (rules.default and rules.default.activations) or 0

    def stored(*sources: str) -> str | None:
        widest = max((wanted.get(source, default) for source in sources), default=0)
        return f"int{widest}" if widest else None

    def kept(operand: Operand) -> Operand:
        return replace(operand, format=stored(*operand.sources) or operand.format)

    operators = tuple(
        replace(
            operator,
            operands=tuple(kept(operand) for operand in operator.operands),
            format=stored(operator.name) or operator.format,
            weight_formats=_weights(operator, chosen.get(operator.name, rules.default))
            or operator.weight_formats,
        )
        for operator in workload.operators
    )
    return replace(workload, operators=operators)


def in_format(workload: Workload, format: str) -> Workload:
    """The workload with a format for all that has none: that of the run."""
    return replace(workload, operators=tuple(_formatted(o, format) for o in workload.operators))


def formats_used(workload: Workload, format: str) -> str:
    """The formats of a bound workload, by share of its weights and of its MACs, for people.

    >>> from tilewise.workloads import zoo
    >>> deit = quantized(zoo.load("deit-small"), bit_rules("W4A8")).bind()
    >>> formats_used(deit, "int8")
    'weights int4; activations int8'

    Empty if it has none of its own, so that all is in `format`, that of the run.
    """
    if not any(o.weight_formats or o.format for o in workload.operators):
        return ""
    weights: Counter[str] = Counter()
    activations: Counter[str] = Counter()
    for operator in workload.operators:
        if not _is_layer(operator):
            continue
        activations[operator.operands[0].format or format] += known(operator.macs)
        if operator.parameters:
            rows_of = operator.weight_formats or ((format, _rows(operator)),)
            whole = sum(rows for _, rows in rows_of) or 1
            for name, rows in rows_of:
                weights[name] += operator.parameters * rows // whole
    parts = [("weights", weights), ("activations", activations)]
    return "; ".join(f"{what} {_shares(found)}" for what, found in parts if found)


def _shares(found: Counter[str]) -> str:
    if len(found) == 1:
        return next(iter(found))
    whole = sum(found.values())
    return ", ".join(f"{format} {_percent(count, whole)}" for format, count in found.most_common())


def _percent(count: int, whole: int) -> str:
    return f"{count / whole:.0%}" if 0.005 <= count / whole <= 0.995 else f"{count / whole:.1%}"


def _formatted(operator: Operator, format: str) -> Operator:
    operands = tuple(replace(o, format=o.format or format) for o in operator.operands)
    # Scales, shifts and tables are as wide as what they are applied to.
    own = format if _is_layer(operator) else operator.format or format
    formats = operator.weight_formats or ((own, _rows(operator)),)
    return replace(
        operator,
        operands=operands,
        format=operator.format or format,
        weight_formats=formats if operator.parameters else (),
    )


def _refuse_quantized(workload: Workload) -> None:
    # Conversions that cost a pass are operators by now: other bits would want other passes.
    for operator in workload.operators:
        if operator.format or operator.weight_formats:
            raise QuantizationError(
                f"{workload.name} is quantized already, at {operator.name}; give the model that it "
                "was made from, or no bits"
            )


def _is_layer(operator: Operator) -> bool:
    return isinstance(operator, MatMul | Convolution | Attention)


def _chosen(layers: Mapping[str, Operator], rules: BitRules) -> dict[str, Precision]:
    """The bits of each layer that has some."""
    matched: dict[str, str] = {}
    for pattern in rules.layers:
        matches = [name for name in layers if _matches(name, pattern)]
        if not matches:
            raise QuantizationError(
                f"{rules.where}: no layer is called {pattern}{_hint(pattern, layers)}"
            )
        for name in matches:
            if name in matched:
                raise QuantizationError(
                    f"{rules.where}: {matched[name]} and {pattern} both match {name}; "
                    "wanted one pattern for a layer"
                )
            matched[name] = pattern
    chosen = {name: rules.layers[pattern] for name, pattern in matched.items()}
    if rules.default:
        chosen = dict.fromkeys(layers, rules.default) | chosen
    return chosen


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(_path(name), pattern)


def _hint(pattern: str, layers: Mapping[str, Operator]) -> str:
    near = get_close_matches(pattern, _patterns(layers), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; the first is {_path(next(iter(layers)))}" if layers else "; there is none"


def _patterns(layers: Iterable[str]) -> list[str]:
    """What a user may have meant: paths, those of all blocks, and all that is in a module."""
    paths = dict.fromkeys(_path(name) for name in layers)
    all_blocks = dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", path) for path in paths)
    known = [*paths, *all_blocks]
    modules = (
        parts[:end] for path in known for parts in [path.split(".")] for end in range(1, len(parts))
    )
    return list(dict.fromkeys([*known, *(".".join([*module, "*"]) for module in modules)]))


def _path(name: str) -> str:
    return name.rpartition("/")[0] or name


def _weights(operator: Operator, bits: Precision | None) -> tuple[tuple[str, int], ...]:
    # Scales, shifts and tables are as wide as what they are applied to.
    if bits is None or not operator.parameters or not _is_layer(operator):
        return ()
    rows = bits.rows(_rows(operator))
    if len(rows) > 1 and isinstance(operator, Convolution) and operator.groups > 1:
        raise QuantizationError(
            f"{operator.name}: wanted one width for a convolution in groups, got {bits}"
        )
    return tuple((f"int{width}", count) for width, count in rows)


def _rows(operator: Operator) -> int:
    """Rows of trained numbers that may differ in width; 0 where they are not told apart."""
    match operator:
        case MatMul(n=int(rows)) | Convolution(out_channels=rows):
            return rows
        case _:
            return 0
