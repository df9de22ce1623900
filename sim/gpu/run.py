"""A workload on a GPU, kernel after kernel, with the host that issues them.

The host issues operators one after another, `dispatch_s` each; a kernel starts when its predecessor
is done and it has been issued, whichever is later.  Launches that are recorded as a graph cost the
host one dispatch together.  Behind a decision that depends on data the host waits for the result
before it issues what follows, and a recorded graph ends there.

A kernel of a GPU that was not measured may be over its power limit, and then takes as long as the
limit makes it (`Gpu.seconds_at_tdp`).  What was fitted to measurements has that in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from ...arch import Gpu, bits
from ...workloads.graph import Workload
from ...workloads.operator import Attention, Convolution, MatMul, Operator
from ..errors import MappingError
from ..losses import Losses
from ..result import KernelResult
from ..roofline import computed_in, operators_on, refuse_format
from ..spans import UNITS, Row, Spans
from .autocast import autocast
from .changed import has_other_power, is_changed
from .copies import with_copies
from .engines import Engine
from .kernels import parts_of
from .launches import Launch, launches, numbered
from .parts import Parts
from .quantizing import LEAST_BITS, quantizing

__all__ = ["launches_of", "run_launches"]

_AUTOCAST_TO = ("fp16", "bf16")

_HOST, _ARRAY, _VECTOR = (UNITS.index(name) for name in ("host", "array", "vector"))


def launches_of(workload: Workload, gpu: Gpu, format: str, engine: Engine) -> tuple[Launch, ...]:
    """The kernels that an engine launches for a bound workload.

    Raises:
        MappingError: The GPU has no peak for `format`; the text names those it has.
    """
    refuse_format(gpu, format)
    fused = gpu.fused_attention and bits(format) <= engine.widest_attention
    operators = operators_on(workload, gpu, format, fused_attention=fused)
    if engine.autocast:
        _refuse_autocast(operators, format, engine)
    if engine.quantizes:
        wide = next(f for f in (format, gpu.default_format, "fp16") if bits(f) >= LEAST_BITS)
        operators = quantizing(operators, wide, shared=engine.chains)
    if engine.autocast:
        operators = autocast(operators, format)
    made = launches(operators, workload.outputs, engine)
    return tuple(numbered(with_copies(made, operators, engine)))


def _refuse_autocast(operators: Sequence[Operator], format: str, engine: Engine) -> None:
    if format not in _AUTOCAST_TO:
        raise MappingError(
            f"engine={engine.name}: wanted format {' or '.join(_AUTOCAST_TO)}, got {format!r}"
        )
    for operator in operators:
        if any(bits(operand.format or format) < LEAST_BITS for operand in operator.operands):
            raise MappingError(
                f"engine={engine.name}: wanted a model without bits of its own, got "
                f"{operator.name} with {min(o.format or format for o in operator.operands)}"
            )


def run_launches(
    made: Sequence[Launch], gpu: Gpu, engine: Engine
) -> tuple[Spans, tuple[KernelResult, ...]]:
    """Run kernels in turn, in cycles of the GPU's clock.

    The accounting has the arrays' causes: `useful` is time at the tensor cores' peak, `edge` what
    tiles fall short of it, `imbalance` SMs idle in the last wave, `memory` and `vector` what bytes
    and the general cores add, `wait` launches, the host and read-backs.  They add up to the cycles
    of the kernel exactly, each being a whole number.

    Raises:
        MappingError: The GPU does not multiply in a format that an operator is in.
    """
    rows: list[Row] = []
    found: list[KernelResult] = []
    dispatch, sync = _cycles(gpu.dispatch_s, gpu), _cycles(gpu.sync_s, gpu)
    now = issued = 0
    recorded = False
    passing = sum(one.dram_bytes for one in made)  # until the same weights are used again
    times: dict[int, _Timed] = {}
    results: dict[tuple[int, int], KernelResult] = {}
    for index, one in enumerate(made):
        if one.issued and not recorded:
            issued += dispatch
            recorded = engine.graphs
        if one.alike not in times:
            times[one.alike] = _timed(one, gpu, passing, engine)
        timed = times[one.alike]
        start = now
        launched = max(now, issued) + timed.launch
        now = worked = launched + timed.cycles
        rows.append(Row(_HOST, index, start, launched))
        rows.append(Row(_ARRAY if _multiplies(one.lead) else _VECTOR, index, launched, worked))
        if one.waits:
            now = issued = worked + sync
            recorded = False
            rows.append(Row(_HOST, index, worked, now))
        key = one.alike, now - start
        if key not in results:
            results[key] = _result(one, timed, gpu, start, launched, now)
        found.append(_at(results[key], one, start, now))
    return Spans.of(rows), tuple(found)


class _Timed(NamedTuple):
    """A kernel in whole cycles.

    Attributes:
        launch: Before it works.
        working: Useful, edge, wave, memory and vector, at least one in all.
        parts: As they were modelled.
        format: What it multiplies in.
    """

    launch: int
    working: tuple[int, int, int, int, int]
    parts: Parts
    format: str

    @property
    def cycles(self) -> int:
        """Without what it waits for."""
        return sum(self.working)


def _timed(one: Launch, gpu: Gpu, passing: int, engine: Engine) -> _Timed:
    format = computed_in(one.lead, one.operators[-1], gpu)
    parts = parts_of(one, gpu, format, passing, generated=engine.chains)
    if isinstance(one.lead, Attention) and engine.attention_times > 1 and _has_flash(gpu, format):
        more_s = (engine.attention_times - 1) * (parts.total_s - parts.launch_s)
        parts = parts._replace(edge_s=parts.edge_s + more_s, confidence="uncalibrated")
    if parts.confidence == "uncalibrated" or has_other_power(gpu):
        parts = _within_power(one, parts, gpu, format)
    if parts.confidence == "interpolated" and is_changed(gpu):
        parts = parts._replace(confidence="extrapolated")
    clock_hz = gpu.clock_hz
    working = [math.ceil(seconds * clock_hz) for seconds in parts[:5]]
    if not any(working):
        working[3] = 1
    useful, edge, wave, memory, vector = working
    return _Timed(
        launch=_cycles(parts.launch_s, gpu),
        working=(useful, edge, wave, memory, vector),
        parts=parts,
        format=format,
    )


def _has_flash(gpu: Gpu, format: str) -> bool:
    """FlashAttention is for 16 bits and fewer, from Ampere on (its README)."""
    return bits(format) <= LEAST_BITS and gpu.family not in ("volta", "turing")


def _within_power(one: Launch, parts: Parts, gpu: Gpu, format: str) -> Parts:
    """A kernel on a board that lowers its clock: products fall short of their peak."""
    full_s = parts.total_s - parts.launch_s
    taken_s = gpu.seconds_at_tdp(
        seconds=full_s, flops=2 * one.macs, dram_bytes=one.dram_bytes, format=format
    )
    if taken_s <= full_s:
        return parts
    if one.macs:
        return parts._replace(edge_s=parts.edge_s + taken_s - full_s)
    return parts._replace(memory_s=parts.memory_s + taken_s - full_s)


def _result(
    one: Launch, timed: _Timed, gpu: Gpu, start: int, launched: int, end: int
) -> KernelResult:
    useful, edge, wave, memory, vector = timed.working
    selector = one.lead.selector
    joules = gpu.energy(
        seconds=(end - start) / gpu.clock_hz,
        flops=2 * one.macs,
        dram_bytes=one.dram_bytes,
        format=timed.format,
    )
    return KernelResult(
        name=one.name,
        kind=one.lead.kind,
        fused=(),
        selector=selector,
        macs=one.macs,
        start_cycle=start,
        end_cycle=end,
        dram_bytes=one.dram_bytes,
        utilization=useful / (end - start),
        losses=Losses(
            useful=Fraction(0 if selector else useful),
            selector=Fraction(useful if selector else 0),
            edge=Fraction(edge),
            imbalance=Fraction(wave),
            memory=Fraction(memory),
            vector=Fraction(vector),
            wait=Fraction(end - start - timed.cycles),
        ),
        energy_j={"running": joules.running_j, "compute": joules.compute_j, "dram": joules.dram_j},
        mapping=_bound_by(timed, launched - start),
        confidence=timed.parts.confidence,
    )


def _at(like: KernelResult, one: Launch, start: int, end: int) -> KernelResult:
    """A kernel that does the same as another, and takes as long."""
    fused = tuple(o.name for o in one.operators if o is not one.lead)
    return replace(like, name=one.name, fused=fused, start_cycle=start, end_cycle=end)


def _bound_by(timed: _Timed, waited: int) -> str:
    """What a kernel's time is set by: memory and vector are what they add to the arithmetic."""
    *_, memory, vector = timed.working
    if waited > timed.cycles:
        return "launch-bound"
    if not memory and not vector:
        return "math-bound"
    return "memory-bound" if memory >= vector else "vector-bound"


def _multiplies(lead: Operator) -> bool:
    return isinstance(lead, MatMul | Convolution | Attention)


def _cycles(seconds: float, gpu: Gpu) -> int:
    return math.ceil(seconds * gpu.clock_hz)
