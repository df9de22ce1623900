"""What a simulation says: cycles, utilization, losses and energy, in total and by kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .losses import Losses
from .spans import Spans

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KernelResult", "Result"]


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

    @property
    def cycles(self) -> int:
        """From start to end; neighbours may overlap."""
        return self.end_cycle - self.start_cycle


@dataclass(frozen=True, kw_only=True)
class Result:
    """One workload on one machine.

    Attributes:
        version: Of Tilewise.
        workload, machine: Their names.
        format: Number format of the operands.
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
    """

    version: str
    workload: str
    machine: str
    format: str
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
        return sum((operator.losses for operator in self.operators), Losses())

    @property
    def utilization(self) -> float:
        """MACs done over MACs possible in the makespan; a selector's count as done."""
        shares = self.losses.shares()
        return shares["useful"] + shares["selector"]

    @cached_property
    def energy_by_component_j(self) -> dict[str, float]:
        """Joules by component, of the whole run."""
        parts: dict[str, float] = {}
        for operator in self.operators:
            for component, joules in operator.energy_j.items():
                parts[component] = parts.get(component, 0.0) + joules
        return parts

    @property
    def energy_j(self) -> float:
        """Joules of the whole batch."""
        return sum(self.energy_by_component_j.values())

    @property
    def dram_bytes(self) -> int:
        """Bytes loaded and stored."""
        return sum(operator.dram_bytes for operator in self.operators)

    def frame(self) -> pd.DataFrame:
        """One row for each kernel; losses as shares of the kernel's PE-cycles, energy in joules."""
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
                "energy_j": sum(operator.energy_j.values()),
                **operator.losses.shares(),
                "mapping": operator.mapping,
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
                    "energy_j": sum(operator.energy_j.values()),
                    "losses": operator.losses.shares(),
                    "mapping": operator.mapping,
                }
                for operator in self.operators
            ],
        }
