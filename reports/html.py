"""Results as one self-contained HTML file: nothing in it is fetched from anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ..sim.result import KernelResult, Result
from .charts import StackedBars, stacked_bars
from .compare import Comparison, factor
from .gpu import gpu_line
from .groups import by_kernel
from .style import CAUSE_COLORS, ENERGY_COLORS, ENERGY_LABELS, cause_labels
from .table import bindings_line, noted, run_line
from .timeline import timeline
from .units import percent, plain, quantity

__all__ = ["html_text"]

_TEMPLATE = Path(__file__).with_name("report.html")


def html_text(comparisons: Sequence[Comparison], title: str = "") -> str:
    """The report as the text of an HTML file.

    Args:
        comparisons: What is shown side by side; a lone result is a comparison of one.
        title: Of the page; made from the results if empty.
    """
    results = [result for comparison in comparisons for result in comparison.results]
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    losses = _losses_chart(comparisons)
    return template.render(
        title=title or _title(results),
        version=results[0].version if results else "",
        rows=_comparison_rows(comparisons) if len(results) > 1 else [],
        batched=any(result.batch > 1 for result in results),
        sentences=[sentence for each in comparisons for sentence in each.sentences],
        notes=noted(note for each in comparisons for note in each.notes),
        losses=losses,
        energy=_energy_chart(comparisons),
        results=[_section(result) for result in results],
        legend=losses.legend,
    )


def _title(results: Sequence[Result]) -> str:
    names = list(dict.fromkeys(result.workload for result in results))
    machines = list(dict.fromkeys(result.machine for result in results))
    return f"{_several(names, 'workloads')} on {_several(machines, 'machines')}"


def _several(names: Sequence[str], what: str) -> str:
    return " and ".join(names) if len(names) <= 2 else f"{len(names)} {what}"


def _comparison_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    gains = [gain for comparison in comparisons for gain in comparison.gains]
    most = max((g for gain in gains for g in (gain.mac_ratio, gain.speed_up) if g > 0), default=1)
    rows: list[dict[str, Any]] = []
    machine = ""
    for comparison in comparisons:
        for index, (result, gain) in enumerate(
            zip(comparison.results, comparison.gains, strict=True)
        ):
            rows.append(
                {
                    "machine": result.machine if result.machine != machine else "",
                    "workload": result.workload,
                    "latency": quantity(result.latency_per_image_s, "s"),
                    "utilization": percent(result.utilization),
                    "energy": quantity(result.energy_per_image_j, "J"),
                    "macs": quantity(result.macs / result.batch),
                    "base": index == 0,
                    "mac_ratio": factor(gain.mac_ratio, "fewer"),
                    "speed_up": factor(gain.speed_up, "less"),
                    "energy_ratio": factor(gain.energy_ratio, "less"),
                    "mac_bar": 100 * gain.mac_ratio / most,
                    "speed_bar": 100 * gain.speed_up / most,
                    "slower": gain.speed_up < 1,
                    "one": 100 / most,
                }
            )
            machine = result.machine
    return rows


def _losses_chart(comparisons: Sequence[Comparison]) -> StackedBars:
    def parts(result: Result) -> Mapping[str, float]:
        shares = result.losses.shares()
        return {cause: share * result.latency_per_image_s for cause, share in shares.items()}

    labels = cause_labels(*(result.gpu for one in comparisons for result in one.results))
    return stacked_bars(comparisons, parts, "s", CAUSE_COLORS, labels)


def _energy_chart(comparisons: Sequence[Comparison]) -> StackedBars:
    def parts(result: Result) -> Mapping[str, float]:
        components = result.energy_by_component_j.items()
        return {name: joules / result.batch for name, joules in components}

    return stacked_bars(comparisons, parts, "J", ENERGY_COLORS, ENERGY_LABELS)


def _section(result: Result) -> dict[str, Any]:
    return {
        "title": f"{result.workload} on {result.machine}",
        "facts": _facts(result),
        "run": run_line(result),
        "gpu": gpu_line(result, result.confidence) if result.gpu else "",
        "bindings": bindings_line(result, result.bindings),
        "timeline": timeline(result),
        "kernels": _kernels(result),
        "notes": noted(result.notes),
    }


def _facts(result: Result) -> list[tuple[str, str]]:
    of = f" of {result.batch} images" if result.batch > 1 else ""
    return [
        (f"Latency{of}", quantity(result.latency_s, "s")),
        ("Throughput", f"{plain(result.images_per_s)} images/s"),
        ("Utilization", percent(result.utilization)),
        (f"Energy{of}", quantity(result.energy_j, "J")),
        ("Average power", quantity(result.power_w, "W")),
        ("Energy-delay product of an image", quantity(result.edp_per_image_js, "J s")),
        (f"DRAM traffic{of}", quantity(result.dram_bytes, "B")),
        (f"MACs{of}", quantity(result.macs)),
        ("MACs without attention", quantity(result.macs_without_attention)),
        ("Parameters", quantity(result.parameters)),
        ("Cycles", f"{result.cycles:,}"),
        ("Clock", quantity(result.clock_hz, "Hz")),
    ]


def _kernels(result: Result) -> list[dict[str, Any]]:
    rows = zip(by_kernel(result), result.operators, strict=True)
    return [
        {
            "name": re.split(r"(?<=[./])", operator.name),  # where a line may break
            "fused": _fused(operator),
            "kind": operator.kind,
            "time": (row.time_s, quantity(row.time_s, "s")),
            "share": (row.share, percent(row.share)),
            "macs": (row.macs, quantity(row.macs) if row.macs else "-"),
            "utilization": (
                operator.utilization,
                percent(operator.utilization) if row.macs else "-",
            ),
            "dram": (row.dram_bytes, quantity(row.dram_bytes, "B")),
            "energy": (row.energy_j, quantity(row.energy_j, "J")),
            "gradient": _gradient(operator),
            "mapping": ", ".join(part for part in (operator.mapping, operator.confidence) if part),
        }
        for row, operator in rows
    ]


def _fused(operator: KernelResult) -> str:
    return f"with {', '.join(operator.fused)}" if operator.fused else ""


def _gradient(operator: KernelResult) -> str:
    """The losses as hard stops of a CSS gradient: one element however many causes there are."""
    stops: list[str] = []
    reached = 0.0
    for cause, share in operator.losses.shares().items():
        if share:
            reached += 100 * share
            stops.append(f"{CAUSE_COLORS[cause]} 0 {reached:.0f}%")
    return ",".join(stops)
