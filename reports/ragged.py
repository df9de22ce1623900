"""Policies for varying token counts beside each other, for a terminal and as values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..sim.batches import ORDERS
from ..sim.policy_runs import READY, SWITCH_S
from ..sim.ragged_result import PolicyRun, RaggedRun
from ..sim.waterfall import STEPS
from .gpu import gpu_line, gpu_values
from .table import add_row, aligned, as_text
from .units import percent, plain, quantity, ratio
from .waterfall import READ_ITS_ENDS

if TYPE_CHECKING:
    from ..workloads import TokenTrace

__all__ = ["ragged_values", "ragged_view", "run_values"]

_FIRST_TO_GO = ("p95", "MACs", "padded", "p99", "util.", "energy", "images/s", "p50")
"""Columns of the policies' table that give way to the policies' names, in this order."""


def ragged_view(run: RaggedRun, trace: TokenTrace, width: int = 80) -> RenderableType:
    """What was run, the policies' table, and where the best of them lost its speed-up."""
    title = Text.assemble((run.workload, "bold"), " on ", (run.machine, "bold"))
    lines = [Text(f"  {line}") for line in _about(run, trace)]
    return Group(
        title, *lines, "", _policies(run, width), "", _waterfalls(run, width), *_notes(run), ""
    )


def ragged_values(run: RaggedRun, trace: TokenTrace) -> dict[str, Any]:
    """Everything as numbers; the keys carry their units."""
    return run_values(run) | {
        "tokens": {
            "name": trace.name,
            "source": trace.source,
            "images": len(run.counts),
            "symbols": list(trace.symbols()),
            "patches": run.patches,
            "note": trace.note,
            "mean_kept": run.counts.mean(axis=0).tolist(),
        },
        "policies": [_values(run, one) for one in run.policies],
        "left_out": dict(run.left_out),
    }


def run_values(run: RaggedRun) -> dict[str, Any]:
    """What ran, on what and how."""
    return {
        "workload": run.workload,
        "machine": run.machine,
        "format": run.format,
        **gpu_values(run),
        "batch": run.batch,
        "order": run.order,
        "tile": run.tile,
    }


def _values(run: RaggedRun, one: PolicyRun) -> dict[str, Any]:
    policy = one.policy
    return {
        "policy": policy.name,
        "shape": policy.shape,
        "grouping": policy.grouping,
        "known_ahead": policy.known,
        "mapping": policy.mapping,
        "practice": policy.practice,
        **({"confidence": dict(one.confidence)} if run.gpu else {}),
        **{f"latency_p{p}_s": one.percentile_s(p) for p in (50, 95, 99)},
        "latency_mean_s": float(one.latency_s.mean()),
        "images_per_s": one.images_per_s,
        "energy_per_image_j": one.energy_per_image_j,
        "utilization": one.utilization,
        "mac_ratio": _promise(run, one),
        "speed_up": run.speedup(one),
        "macs": one.macs,
        "padded_macs": one.macs - one.useful_macs,
        "switches": one.switches,
        "distinct_batches": one.shapes,
        "mean_executed": one.executed.mean(axis=0).tolist(),
        "losses": {cause: float(share) for cause, share in _shares(one).items()},
        "waterfall": {step.cause: step.speedup for step in run.waterfall(one)},
    }


def _about(run: RaggedRun, trace: TokenTrace) -> list[str]:
    kept = ", ".join(f"{mean:.1f}" for mean in run.counts.mean(axis=0))
    spread = ", ".join(
        f"{low}-{high}"
        for low, high in zip(run.counts.min(axis=0), run.counts.max(axis=0), strict=True)
    )
    lines = [
        f"{_counted(len(run.counts))} of {trace.name}, in batches of {run.batch}, "
        f"{ORDERS[run.order]}, {run.format}",
        f"{', '.join(trace.over)}: {kept} on average ({spread}), at most {run.patches}"
        if trace.over
        else f"of {run.patches} patches stay {kept} on average ({spread})",
    ]
    if run.gpu:
        lines.append(f"GPU model {gpu_line(run, run.confidence)}")
    if trace.note:
        lines.append(f"note: {trace.note}")
    return lines


def _counted(images: int) -> str:
    return f"{images:,} image{'s' * (images != 1)}"


def _policies(run: RaggedRun, width: int) -> RenderableType:
    columns: dict[str, Callable[[PolicyRun], str]] = {
        "policy": lambda one: one.policy.name,
        "p50": lambda one: quantity(one.percentile_s(50), "s"),
        "p95": lambda one: quantity(one.percentile_s(95), "s"),
        "p99": lambda one: quantity(one.percentile_s(99), "s"),
        "images/s": lambda one: plain(one.images_per_s),
        "energy": lambda one: quantity(one.energy_per_image_j, "J"),
        "util.": lambda one: percent(one.utilization),
        "padded": lambda one: percent(one.padding) if one.padding else "-",
        "MACs": lambda one: f"{ratio(_promise(run, one))} fewer",
        "speed-up": lambda one: ratio(run.speedup(one)),
    }

    def made(kept: Collection[str]) -> Table:
        table = aligned(list(kept))
        for one in run.policies:
            add_row(table, [columns[name](one) for name in kept])
        return table

    kept = dict.fromkeys(columns)
    for name in _FIRST_TO_GO:
        if _columns(made(kept)) > width:
            del kept[name]
    return Group(
        made(kept),
        *(
            Text("; ".join(line[name] for name in line if name in kept), "dim")
            for line in _LEGEND
            if line.keys() & kept.keys()
        ),
    )


_LEGEND: tuple[dict[str, str], ...] = (
    {
        "p50": "p50...: latency of an image, until its batch is done",
        "energy": "energy: of an image",
    },
    {
        "padded": "padded: MACs on tokens that nobody keeps",
        "speed-up": "speed-up: throughput over dense",
    },
    {"util.": "util.: of the model's own MACs; tilewise run counts selectors' too"},
)
"""What columns mean; lines below the policies' table."""


def _waterfalls(run: RaggedRun, width: int) -> RenderableType:
    """What MACs promise and what is left of it, cause by cause; in parts if there is no room."""
    others = [one for one in run.policies if one is not run.base]
    causes = [
        cause for cause in STEPS if any(one.steps[cause] or run.base.steps[cause] for one in others)
    ]
    short = {**_SHORT, "wait": "launch"} if run.gpu else _SHORT

    def made(causes: Sequence[str]) -> list[RenderableType]:
        table = aligned(["speed-up with", *(short[cause] for cause in causes)])
        for one in others:
            steps = {step.cause: step.speedup for step in run.waterfall(one)}
            add_row(table, [one.policy.name, *(f"{steps[cause]:.2f}" for cause in causes)])
        if _columns(table) <= width or len(causes) == 1:
            return [table]
        half = (len(causes) + 1) // 2
        return [*made(causes[:half]), "", *made(causes[half:])]

    told = "over dense, with each cause added to those before it; the last is the real one"
    return Group(*made(causes), Text(told, "dim"))


def _columns(table: Table) -> int:
    """How wide a table is where there is room for all of it."""
    return max(map(len, as_text(table, _ROOM).splitlines()))


_ROOM = 1000

_SHORT = {
    "useful": "MACs",
    "selector": "select",
    "gather": "gather",
    "padding": "pad",
    "edge": "edge",
    "fill_drain": "fill",
    "memory": "DRAM",
    "vector": "vector",
    "wait": "wait",
    "imbalance": "idle",
}


def _notes(run: RaggedRun) -> list[Text]:
    tiled = [one.policy.name for one in run.policies if one.policy.shape in ("fit", "tiles")]
    lines = [
        f"{one.policy.name}: {one.switches:,} programs loaded, {quantity(SWITCH_S, 's')} each "
        f"(assumed); {READY} are ready"
        for one in run.policies
        if one.switches
    ]
    if tiled:
        tokens = f"{run.tile} token{'s' * (run.tile > 1)}"
        lines.append(f"{', '.join(tiled)}: in tiles of {tokens}")
    lines += [f"{name} is left out: {why}" for name, why in run.left_out.items()]
    if run.gpu:
        lines.append(f"launch: launches and decisions; {READ_ITS_ENDS}")
    return [Text(line, style="dim") for line in lines]


def _promise(run: RaggedRun, one: PolicyRun) -> float:
    return run.base.macs / one.useful_macs


def _shares(one: PolicyRun) -> dict[str, float]:
    whole = sum(one.steps.values())
    return {cause: float(pe_cycles / whole) for cause, pe_cycles in one.steps.items()}
