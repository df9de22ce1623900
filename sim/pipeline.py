"""A pipeline on a machine: each different call runs once, and counts as often as it is made.

Calls run one after another and share nothing: each brings its weights from DRAM again, and leaves
its results there.  What varies between calls of one network, such as the tokens of a step, is run
as a policy says: `exact`, each at its own size; `pad-max`, all at the largest; `bucket`, each at
the next of a few sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import numpy as np

from ..arch import Accelerator, Gpu
from ..workloads.graph import BindingError
from ..workloads.pipeline import Call, Pipeline
from .buckets import bucket_edges
from .losses import CAUSES, Losses
from .policies import PolicyError
from .result import KernelResult, Result, by_confidence
from .simulate import simulate
from .spans import Spans

__all__ = ["POLICIES", "CallResult", "PipelineResult", "run_pipeline"]

POLICIES: Final = ("exact", "pad-max", "bucket")
"""Those of varying tokens that say what a pipeline, whose tokens are known ahead, should do."""

Runs = MutableMapping[str, Result]


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """One call of a pipeline, and how often it is made.

    Attributes:
        label, network, count, inputs: As the pipeline has them.
        result: Of one call, for the whole batch.
        needed: What of its MACs is not padding, from 0 to 1.
    """

    label: str
    network: str
    count: int
    inputs: int
    result: Result
    needed: Fraction = Fraction(1)

    @property
    def cycles(self) -> int:
        """Of all of them."""
        return self.count * self.result.cycles

    @property
    def latency_s(self) -> float:
        """Seconds of all of them."""
        return self.count * self.result.latency_s

    @property
    def energy_j(self) -> float:
        """Joules of all of them."""
        return self.count * self.result.energy_j

    @property
    def macs(self) -> int:
        """Of all of them, padding included."""
        return self.count * self.result.macs

    @property
    def dram_bytes(self) -> int:
        """Loaded and stored by all of them."""
        return self.count * self.result.dram_bytes

    @cached_property
    def losses(self) -> Losses:
        """PE-cycles of all of them; MACs that only fill a shape are padding."""
        one = self.result.losses
        parts = {cause: self.count * getattr(one, cause) for cause in CAUSES}
        padding = (1 - self.needed) * parts["useful"]
        parts["useful"] -= padding
        parts["padding"] += padding
        return Losses(**parts)

    @property
    def utilization(self) -> float:
        """MACs that are needed over MACs possible."""
        shares = self.losses.shares()
        return shares["useful"] + shares["selector"]


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """A pipeline on a machine.

    Attributes:
        pipeline: What ran.
        policy: How calls of different sizes ran.
        calls: In the pipeline's order.
        total: All of them together, a kernel for each; it has no spans.
    """

    pipeline: Pipeline
    policy: str
    calls: tuple[CallResult, ...]
    total: Result

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the keys carry their units."""
        whole = self.total.as_dict()
        del whole["operators"]
        return {
            **whole,
            "pipeline": self.pipeline.name,
            "description": self.pipeline.description,
            "missing": self.pipeline.missing,
            "policy": self.policy,
            "calls": [
                {
                    "label": call.label,
                    "network": call.network,
                    "count": call.count,
                    "inputs": call.inputs,
                    "bindings": dict(call.result.bindings),
                    "latency_s": call.latency_s,
                    "latency_of_one_s": call.result.latency_s,
                    "utilization": call.utilization,
                    "energy_j": call.energy_j,
                    "macs": call.macs,
                    "macs_without_attention": call.count * call.result.macs_without_attention,
                    "padded_share": float(1 - call.needed),
                    "dram_bytes": call.dram_bytes,
                    "losses": call.losses.shares(),
                    "config_hash": call.result.config_hash,
                }
                for call in self.calls
            ],
        }


def run_pipeline(
    pipeline: Pipeline,
    machine: Accelerator | Gpu,
    *,
    bind: Mapping[str, int] | None = None,
    batch: int = 1,
    format: str | None = None,
    policy: str = "exact",
    buckets: int = 4,
    runs: Runs | None = None,
    progress: Callable[[Call], object] = lambda call: None,
    engine: str | None = None,
    model: str | None = None,
) -> PipelineResult:
    """Run every call of `pipeline` on `machine`.

    Args:
        pipeline: Of the zoo, or one's own.
        machine: An accelerator or a GPU.
        bind: Values for symbols, in every network that has them.
        batch: Images that are made together; a guided step takes twice as many inputs.
        format: Number format of the operands; the machine's own if None.
        policy: One of `POLICIES`.
        buckets: Sizes that `bucket` has ready for one network.
        runs: Where results are kept and looked up, to share them between pipelines.
        progress: Told of each call before it runs.
        engine: What runs it on a GPU, as of `simulate`.
        model: How a GPU is modelled, as of `simulate`.

    Raises:
        BindingError: A symbol is bound that no network has, or to what it cannot be.
        PolicyError: The policy is none of them.
        MappingError: As of `simulate`.
        UnknownModelError: The zoo lacks a network.
        CutError: A network is to be cut where it cannot be.
    """
    if policy not in POLICIES:
        raise PolicyError(
            f"wanted one of {', '.join(POLICIES)} for a pipeline's calls, got {policy}"
        )
    given = dict(bind or {})
    _check(pipeline, given, batch)
    runs = {} if runs is None else runs
    bindings = [call.binding(batch, given) for call in pipeline.calls]
    executed = _executed(pipeline, bindings, policy, buckets)
    calls: list[CallResult] = []
    for call, own, taken in zip(pipeline.calls, bindings, executed, strict=True):
        progress(call)
        result = _run(call, taken, machine, batch, format, runs, engine, model)
        needed = Fraction(1) if own == taken else Fraction(_macs(call, own), _macs(call, taken))
        calls.append(
            CallResult(
                label=call.label,
                network=call.network,
                count=call.count,
                inputs=call.inputs,
                result=result,
                needed=needed,
            )
        )
    total = _total(pipeline, machine, tuple(calls), batch, policy)
    return PipelineResult(pipeline=pipeline, policy=policy, calls=tuple(calls), total=total)


def _check(pipeline: Pipeline, given: Mapping[str, int], batch: int) -> None:
    if batch < 1:
        raise BindingError(f"batch={batch} is out of range: it must be at least 1")
    if "batch" in given:
        raise BindingError(
            f"batch={given['batch']} is bound, but the calls of {pipeline.name} differ in their "
            "inputs; say how many images are made together instead, with --batch"
        )
    known = {s.name: None for call in pipeline.calls for s in call.load().symbols}
    known.pop("batch", None)
    for name in given:
        if name not in known:
            raise BindingError(
                f"no network of {pipeline.name} has a symbol {name}; they have {', '.join(known)}"
            )


def _run(
    call: Call,
    binding: Mapping[str, int],
    machine: Accelerator | Gpu,
    batch: int,
    format: str | None,
    runs: Runs,
    engine: str | None,
    model: str | None,
) -> Result:
    workload, inputs = call.load(), batch * call.inputs
    sizes = sorted(binding.items())
    known = repr((workload.content_hash, sizes, inputs, machine, format, engine, model))
    if known not in runs:
        bind = {name: value for name, value in binding.items() if name != "batch"}
        runs[known] = simulate(
            workload,
            machine,
            bind=bind,
            batch=inputs,
            format=format,
            engine=engine,
            model=model,
        )
    return replace(runs[known], workload=workload.name)


def _executed(
    pipeline: Pipeline, bindings: list[dict[str, int]], policy: str, buckets: int
) -> list[dict[str, int]]:
    """The sizes that each call runs at."""
    if policy == "exact":
        return bindings
    executed = list(bindings)
    networks = [(call.network, call.load().content_hash) for call in pipeline.calls]
    for network in dict.fromkeys(networks):
        at = [index for index, one in enumerate(networks) if one == network]
        macs = {index: _macs(pipeline.calls[index], bindings[index]) for index in at}
        often = [macs[index] for index in at for _ in range(pipeline.calls[index].count)]
        edges = bucket_edges(np.array(often), 1 if policy == "pad-max" else buckets)
        for low, high in zip((-1, *edges), edges, strict=False):
            inside = [index for index in at if low < macs[index] <= high]
            names = bindings[at[0]]
            largest = {name: max(bindings[index][name] for index in inside) for name in names}
            for index in inside:
                executed[index] = largest
    return executed


def _macs(call: Call, binding: Mapping[str, int]) -> int:
    macs = call.load().bind(dict(binding)).macs
    assert isinstance(macs, int)
    return macs


def _total(
    pipeline: Pipeline,
    machine: Accelerator | Gpu,
    calls: tuple[CallResult, ...],
    batch: int,
    policy: str,
) -> Result:
    first = calls[0].result
    kernels: list[KernelResult] = []
    for call in calls:
        start = kernels[-1].end_cycle if kernels else 0
        energy = call.result.energy_by_component_j
        kernels.append(
            KernelResult(
                name=call.label,
                kind="call",
                fused=(),
                selector=False,
                macs=call.macs,
                start_cycle=start,
                end_cycle=start + call.cycles,
                dram_bytes=call.dram_bytes,
                utilization=call.utilization,
                losses=call.losses,
                energy_j={name: call.count * joules for name, joules in energy.items()},
                mapping=f"{call.count} x {call.network}",
            )
        )
    identity = [(call.count, float(call.needed), call.result.config_hash) for call in calls]
    return Result(
        version=first.version,
        workload=pipeline.name,
        machine=machine.name,
        format=first.format,
        bits=_bits(calls),
        batch=batch,
        bindings={},
        config_hash=hashlib.sha256(repr((identity, policy)).encode()).hexdigest(),
        clock_hz=first.clock_hz,
        cycles=sum(call.cycles for call in calls),
        macs=sum(call.macs for call in calls),
        macs_without_attention=sum(c.count * c.result.macs_without_attention for c in calls),
        parameters=pipeline.parameters(),
        operators=tuple(kernels),
        spans=Spans.of([]),
        notes=tuple(dict.fromkeys(note for call in calls for note in call.result.notes)),
        gpu=first.gpu,
        model=first.model,
        engine=first.engine,
        confidence=_confidence(calls),
    )


def _confidence(calls: tuple[CallResult, ...]) -> dict[str, float]:
    """Shares of the whole time by how sure each kernel is."""
    cycles: dict[str, float] = {}
    for call in calls:
        for label, share in call.result.confidence.items():
            cycles[label] = cycles.get(label, 0.0) + share * call.cycles
    return by_confidence(cycles)


def _bits(calls: tuple[CallResult, ...]) -> str:
    """The formats of the networks' own, if they have the same or only one has any."""
    return " and ".join(dict.fromkeys(call.result.bits for call in calls if call.result.bits))
