"""What a simulation says: cycles, utilization, losses and energy, in total and by kernel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from .losses import Losses
from .spans import Spans

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONFIDENCES", "KernelResult", "Result", "by_confidence", "sure_cycles"]

CONFIDENCES: Final = ("interpolated", "extrapolated", "uncalibrated")
"""How far a GPU's kernel can be from what was measured, from the surest to the least sure."""


def by_confidence(amounts: Mapping[str, float]) -> dict[str, float]:
    """Shares of amounts of time, in the order of `CONFIDENCES`; none of nothing.

    >>> by_confidence({"uncalibrated": 1, "interpolated": 3})
    {'interpolated': 0.75, 'uncalibrated': 0.25}
    """
    whole = sum(amounts.values())
    return {label: amounts[label] / whole for label in CONFIDENCES if amounts.get(label)}


def sure_cycles(operators: Iterable[KernelResult]) -> dict[str, int]:
    """Cycles of a GPU's kernels by how far each is from what was measured."""
    cycles: dict[str, int] = {}
    for operator in operators:
        if operator.confidence:
            cycles[operator.confidence] = cycles.get(operator.confidence, 0) + operator.cycles
    return cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelResult:
    """One kernel of a run: a lead operator and what was fused behind it.

    Attributes:
        name, kind: Of the lead.
        fused: Names of the operators fused behind it.
        selector: True if it belongs to a token selector.
        macs: Multiply-accumulates.
        start_cycle, end_cycle: From the first work on its inputs to its last result.
        dram_bytes: Loaded and stored.
        utilization: Useful part of the PE-cycles from start to end; 0 for a kernel without MACs.
        losses: PE-cycles by cause.
        energy_j: Joules by component.
        mapping: How it was tiled.
        confidence: Of a GPU's kernel, how far it is from what was measured; empty otherwise.
    """

    name: str
    kind: str
    fused: tuple[str, ...]
    selector: bool
    macs: int
    start_cycle: int
    end_cycle: int
    dram_bytes: int
    utilization: float
    losses: Losses
    energy_j: Mapping[str, float]
    mapping: str
    confidence: str = ""

    @property
    def cycles(self) -> int:
        """From start to end; neighbours may overlap."""
        return self.end_cycle - self.start_cycle

    @property
    def total_j(self) -> float:
        """Joules of all components."""
        return math.fsum(self.energy_j.values())


@dataclass(frozen=True, kw_only=True)
class Result:
    """One workload on one machine.

    Attributes:
        version: Of Tilewise.
        workload, machine: Their names.
        format: Number format of what has none of its own.
        bits: Formats of the workload's own, by share of weights and of MACs; empty if it has none.
        batch: Images of the run.
        bindings: Value of every symbol.
        config_hash: SHA-256 of everything that the numbers depend on.
        seed: Of the random numbers used; None if there were none.
        clock_hz: Of the machine.
        cycles: From the first load to the last result.
        macs, macs_without_attention, parameters: Of the whole batch, and of the model.
        operators: The kernels, in the order in which they ran.
        spans: What each unit did when.
        notes: What the reader of the workload wants to be known.
        gpu: Whether the machine is one, where to wait is to launch kernels and to read back.
        model: How a GPU was modelled: `kernels` or `roofline`; empty for an accelerator.
        engine: What ran the workload on a GPU; empty where the model knows of none.
        confidence: Shares of the time by how far its kernels are from what was measured, in the
            order of `CONFIDENCES`; empty where the model does not say.
    """

    version: str
    workload: str
    machine: str
    format: str
    bits: str = ""
    batch: int
    bindings: Mapping[str, int]
    config_hash: str
    seed: int | None = None
    clock_hz: float
    cycles: int
    macs: int
    macs_without_attention: int
    parameters: int
    operators: tuple[KernelResult, ...]
    spans: Spans = field(repr=False)
    notes: tuple[str, ...] = ()
    gpu: bool = False
    model: str = ""
    engine: str = ""
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def latency_s(self) -> float:
        """Seconds of the whole batch."""
        return self.cycles / self.clock_hz

    @property
    def latency_per_image_s(self) -> float:
        """Seconds of the batch over its images."""
        return self.latency_s / self.batch

    @property
    def images_per_s(self) -> float:
        """Throughput of batch after batch; 0 for an empty run."""
        return self.batch / self.latency_s if self.cycles else 0.0

    @cached_property
    def losses(self) -> Losses:
        """PE-cycles by cause, of the whole run."""
        return Losses.sum(operator.losses for operator in self.operators)

    @property
    def utilization(self) -> float:
        """MACs done over MACs possible in the makespan; a selector's count as done."""
        shares = self.losses.shares()
        return shares["useful"] + shares["selector"]

    @cached_property
    def energy_by_component_j(self) -> dict[str, float]:
        """Joules by component, of the whole run."""
        parts: dict[str, list[float]] = {}
        for operator in self.operators:
            for component, joules in operator.energy_j.items():
                parts.setdefault(component, []).append(joules)
        return {component: math.fsum(joules) for component, joules in parts.items()}

    @cached_property
    def energy_j(self) -> float:
        """Joules of the whole batch: every kernel's every component, added without rounding."""
        return math.fsum(
            joules for operator in self.operators for joules in operator.energy_j.values()
        )

    @property
    def energy_per_image_j(self) -> float:
        """Joules of the batch over its images."""
        return self.energy_j / self.batch

    @property
    def power_w(self) -> float:
        """Average power of the run; 0 for an empty one."""
        return self.energy_j / self.latency_s if self.cycles else 0.0

    @property
    def edp_js(self) -> float:
        """Energy-delay product of the whole batch, in joule-seconds."""
        return self.energy_j * self.latency_s

    @property
    def edp_per_image_js(self) -> float:
        """Joules of an image times seconds of an image, in joule-seconds; batches run in turn."""
        return self.energy_per_image_j * self.latency_per_image_s

    @property
    def dram_bytes(self) -> int:
        """Bytes loaded and stored."""
        return sum(operator.dram_bytes for operator in self.operators)

    @property
    def _modelled(self) -> dict[str, Any]:
        """What is to be said of a GPU, and of nothing else."""
        if not self.gpu:
            return {}
        return {
            "model": self.model,
            "engine": self.engine,
            "confidence": dict(self.confidence),
        }

    def frame(self) -> pd.DataFrame:
        """One row for each kernel.

        Losses are shares of the kernel's PE-cycles; energy is in joules, `energy_j` being the sum
        of `mac_j`, `dram_j` and the machine's other components.
        """
        import pandas as pd

        rows = [
            {
                "name": operator.name,
                "kind": operator.kind,
                "selector": operator.selector,
                "macs": operator.macs,
                "start_cycle": operator.start_cycle,
                "end_cycle": operator.end_cycle,
                "dram_bytes": operator.dram_bytes,
                "utilization": operator.utilization,
                "energy_j": operator.total_j,
                **{f"{component}_j": joules for component, joules in operator.energy_j.items()},
                **operator.losses.shares(),
                "mapping": operator.mapping,
                **({"confidence": operator.confidence} if self.gpu else {}),
            }
            for operator in self.operators
        ]
        return pd.DataFrame(rows)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the spans, ready for JSON; the keys carry their units."""
        return {
            "version": self.version,
            "workload": self.workload,
            "machine": self.machine,
            "format": self.format,
            **self._modelled,
            "bits": self.bits,
            "batch": self.batch,
            "bindings": dict(self.bindings),
            "config_hash": self.config_hash,
            "seed": self.seed,
            "clock_hz": self.clock_hz,
            "cycles": self.cycles,
            "latency_s": self.latency_s,
            "latency_per_image_s": self.latency_per_image_s,
            "images_per_s": self.images_per_s,
            "energy_j": self.energy_j,
            "energy_by_component_j": self.energy_by_component_j,
            "energy_per_image_j": self.energy_per_image_j,
            "power_w": self.power_w,
            "edp_js": self.edp_js,
            "edp_per_image_js": self.edp_per_image_js,
            "utilization": self.utilization,
            "macs": self.macs,
            "macs_without_attention": self.macs_without_attention,
            "parameters": self.parameters,
            "dram_bytes": self.dram_bytes,
            "losses": self.losses.shares(),
            "notes": list(self.notes),
            "operators": [
                {
                    "name": operator.name,
                    "kind": operator.kind,
                    "fused": list(operator.fused),
                    "selector": operator.selector,
                    "macs": operator.macs,
                    "start_cycle": operator.start_cycle,
                    "end_cycle": operator.end_cycle,
                    "dram_bytes": operator.dram_bytes,
                    "utilization": operator.utilization,
                    "energy_j": operator.total_j,
                    "energy_by_component_j": dict(operator.energy_j),
                    "losses": operator.losses.shares(),
                    "mapping": operator.mapping,
                    **({"confidence": operator.confidence} if self.gpu else {}),
                }
                for operator in self.operators
            ],
        }
