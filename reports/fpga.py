"""What a design takes of an FPGA, part by part, as a table and as values."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ..arch.component import RESOURCES, Component
from ..arch.fpga import Fit
from ..arch.fpga_array import tool
from .table import add_row, aligned
from .units import percent

__all__ = ["fit_values", "fit_view", "overhead_line"]

_HEADS = {"dsp": "DSP", "lut": "LUT", "ff": "FF", "bram36": "BRAM36", "uram": "URAM"}
_WIDE = 130  # columns from which on there is room for notes
_PUBLISHED = "HeatViT reports +8 to +11 % DSP and +5 to +8 % LUT (Dong et al., HPCA 2023, abstract)"


def fit_view(fit: Fit, width: int = 100) -> RenderableType:
    """The breakdown, its total beside the device, and how far the estimate may be off.

    Args:
        fit: Of a design.
        width: Columns of the terminal; notes want many.
    """
    found, device = fit.resources, fit.device
    beside = f", {found.lut_pes:,} PEs by lut" if found.lut_pes else ""
    title = Text.assemble(
        (found.machine, "bold"), " on ", (device.name, "bold"), f" ({device.part}), "
        f"built for {found.format}, MACs by {found.mac}{beside}",
    )  # fmt: skip
    wide = width >= _WIDE
    table = aligned(
        ["", *_HEADS.values(), "known by", *([""] if wide else [])], left=("known by", "")
    )
    for part in found.components:
        notes = [part.note] if wide else []
        add_row(table, [part.name, *_counts(part), part.basis, *notes])
    add_row(table, ["total", *_counts(found.total)], style="bold")
    add_row(table, ["device", *(f"{device.resources.limit(name):,}" for name in RESOURCES)])
    shares = [percent(fit.share(name)) if _limited(fit, name) else "-" for name in RESOURCES]
    add_row(table, ["taken", *shares], style="" if fit.fits else "red")
    return Group(title, "", table, "", *(Padding(line, (0, 0, 0, 2)) for line in _said(fit)), "")


def overhead_line(fit: Fit, without: Fit) -> str:
    """What a token selector adds to a design, beside what HeatViT reports."""
    shares = [
        f"{100 * (fit.resources.total.count(name) / base - 1):+.1f} % {_HEADS[name]}"
        for name in ("dsp", "lut", "ff", "bram36")
        if (base := without.resources.total.count(name))
    ]
    return f"the selector adds {', '.join(shares)}; {_PUBLISHED}"


def fit_values(fit: Fit) -> dict[str, Any]:
    """Everything of `fit_view`, for JSON."""
    found, limits = fit.resources, fit.device.resources
    return {
        "machine": found.machine,
        "device": fit.device.name,
        "part": fit.device.part,
        "format": found.format,
        "mac": found.mac,
        "lut_pes": found.lut_pes,
        "components": [
            {"name": part.name, **_numbers(part), "basis": part.basis, "note": part.note}
            for part in found.components
        ],
        "total": _numbers(found.total),
        "available": {name: limits.limit(name) for name in RESOURCES},
        "fits": fit.fits,
        "excess": {each.resource: each.excess for each in fit.excesses},
        "estimate": {
            "array_errors": [error.model_dump() for error in found.errors],
            "tool": tool(),
            "placed_and_routed": False,
        },
    }


def _said(fit: Fit) -> list[str]:
    off = [
        f"The array's {_HEADS[error.resource]}, by an equation: {percent(error.mean)} off in the "
        f"mean of {error.runs} runs held back from it, {percent(error.largest)} at most."
        for error in fit.resources.errors
    ]
    return [
        f"Estimates by {tool().partition(',')[0]}: mapped, not placed and not routed.",
        *off,
        "What is assumed has no Verilog behind it.",
    ]


def _limited(fit: Fit, resource: str) -> bool:
    return bool(fit.device.resources.limit(resource) or fit.resources.total.count(resource))


def _numbers(part: Component) -> dict[str, int]:
    return {name: part.count(name) for name in ("dsp", "lut", "ff", "bram18", "bram36", "uram")}


def _counts(part: Component) -> list[str]:
    return [f"{part.count(name):,}" if part.count(name) else "-" for name in RESOURCES]
