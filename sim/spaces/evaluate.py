"""What points come to: a frame of points in, one of metrics out, at the fidelity of the space."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import numpy as np

from ...arch import FormatError
from ...arch.component import RESOURCES
from ...workloads import BitRules, Workload, quantized
from ...workloads.unpruned import patches_of
from ..cost import CostModel
from ..errors import MappingError
from ..policies import policy
from ..ragged import run_policies
from ..simulate import simulate
from ..variants import FieldError, variant
from .device import Builder
from .names import BIND
from .rows import Row, records
from .study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "METRICS",
    "POLICY_METRICS",
    "columns_of_rows",
    "evaluate",
    "framed",
    "metrics_of",
]

METRICS: dict[str, type] = {
    "latency_s": float,
    "energy_j": float,
    "edp_js": float,
    "cycles": int,
    "dram_bytes": int,
    "macs": int,
    "utilization": float,
}
"""Of the whole batch; with a policy `latency_s` and `cycles` are of the median image, `energy_j`
and `macs` the mean of a batch, and `dram_bytes` is empty."""

POLICY_METRICS: dict[str, type] = {
    "latency_p95_s": float,
    "latency_p99_s": float,
    "images_per_s": float,
}

_FIELD = re.compile(r"\b(?:array|buffers|dram|vector|host|energy)\.\w+(?:\.\w+)*")

# A study is evaluated chunk by chunk; what was made for one chunk serves the next.
_QUANTIZED: WeakKeyDictionary[Study, dict[tuple[str, str], Workload]] = WeakKeyDictionary()
_BUILDERS: WeakKeyDictionary[Study, Builder] = WeakKeyDictionary()


def metrics_of(study: Study) -> dict[str, type]:
    """The metrics of a study's rows, and what they are."""
    resources: dict[str, type] = dict.fromkeys(RESOURCES, int) if study.device else {}
    return METRICS | (POLICY_METRICS if study.traces else {}) | resources


def columns_of_rows(study: Study) -> dict[str, type]:
    """What `evaluate` returns: the metrics, `infeasible` and `error`, and what they are."""
    return metrics_of(study) | _NOTES


def evaluate(study: Study, points: pd.DataFrame) -> pd.DataFrame:
    """Evaluate points.

    Args:
        study: What they are points of.
        points: As `Study.points` gives them.

    Returns:
        A row for each point, in the same order: the metrics, `infeasible` (the field of the machine
        that forbids the point, or what the device lacks, or empty) and `error` (what went wrong, in
        one line, or empty).  A row that has either has no metrics.
    """
    evaluated = {"cost": _by_cost, "engine": _by_engine}[study.space.fidelity]
    rows = evaluated(study, points) if study.device is None else _built(study, points, evaluated)
    return framed(study, rows).set_axis(points.index)


def framed(study: Study, rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as `evaluate` returns them; what one does not say is empty."""
    import pandas as pd

    types = {int: "Int64", float: "float64", str: "object"}
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=cast("Any", types[kind]))
        for name, kind in columns_of_rows(study).items()
    }
    return pd.DataFrame(columns)


_NOTES: dict[str, type] = {"infeasible": str, "error": str}


def _built(
    study: Study, points: pd.DataFrame, evaluated: Callable[[Study, pd.DataFrame], list[Row]]
) -> list[Row]:
    """Rows of points on a device; what it cannot hold is not run."""
    builder = _BUILDERS.setdefault(study, Builder.of(study, study.device))
    built = records(builder.built(points))
    fits = np.array([not row["too_small"] for row in built], dtype=np.bool_)
    ran = iter(evaluated(study, points[fits]))
    return [
        _taking(next(ran), row) if fit else {"infeasible": row["too_small"]}
        for fit, row in zip(fits, built, strict=True)
    ]


def _taking(row: Row, built: Row) -> Row:
    """A row that ran, with what it takes of the device."""
    return row if row.keys() & _NOTES.keys() else row | {name: built[name] for name in RESOURCES}


def _by_engine(study: Study, points: pd.DataFrame) -> list[Row]:
    return [_guarded(partial(_simulated, study, one)) for one in records(points)]


def _by_cost(study: Study, points: pd.DataFrame) -> list[Row]:
    model = CostModel(study.machine)
    found: dict[int, Row] = {}
    for name, group in points.groupby("workload", sort=False):
        places = np.flatnonzero(points["workload"] == name)
        model_of = study.workloads[str(name)]
        symbols = [f"{BIND}{symbol.name}" for symbol in model_of.symbols]
        wanted = [
            column
            for column in group.columns
            if column in symbols or column in (*study.fields, "bits", "format", "batch")
        ]
        frame = group[wanted].astype({c: "int64" for c in wanted if c in symbols})
        rows = _in_parts(partial(_modelled, model, model_of, study.rules), frame)
        found |= dict(zip(places.tolist(), rows, strict=True))
    return [found[place] for place in range(len(points))]


def _in_parts(evaluated: Callable[[pd.DataFrame], list[Row]], frame: pd.DataFrame) -> list[Row]:
    """Rows of a frame; if it fails as a whole, of its halves, so that one point fails alone."""
    if len(frame) == 1:
        return [_guarded(lambda: evaluated(frame)[0])]
    try:
        return evaluated(frame)
    except Exception:
        half = len(frame) // 2
        return [*_in_parts(evaluated, frame[:half]), *_in_parts(evaluated, frame[half:])]


def _modelled(
    model: CostModel, workload: Workload, rules: Mapping[str, BitRules], frame: pd.DataFrame
) -> list[Row]:
    found = model.batch(frame.reset_index(drop=True), workload, rules=rules)
    found["cycles"] = found["cycles"].round()
    return [
        {key: value for key, value in row.items() if value != "" and key in METRICS | _NOTES}
        for row in records(found)
    ]


def _simulated(study: Study, point: Mapping[str, Any]) -> Row:
    machine = variant(study.machine, {name: point[name] for name in study.fields})
    model = _with_bits(study, point["workload"], point.get("bits"))
    symbols = {symbol.name for symbol in model.symbols}
    bind = {
        name.removeprefix(BIND): value
        for name, value in point.items()
        if name.startswith(BIND) and name.removeprefix(BIND) in symbols
    }
    batch, format = point.get("batch", 1), point.get("format")
    if study.traces:
        return _ragged(study, point, model, machine, bind)
    result = simulate(model, machine, bind=bind, batch=batch, format=format)
    return {name: getattr(result, name) for name in METRICS}


def _ragged(
    study: Study, point: Mapping[str, Any], model: Workload, machine: Any, bind: Any
) -> Row:
    one, batch = policy(point["policy"]), point.get("batch", 1)
    trace = study.traces[point["tokens"]].fitted(patches_of(model, bind))
    run = run_policies(
        model,
        machine,
        trace.array(),
        masks=trace.masks(),
        policies=[one],
        batch=batch,
        format=point.get("format"),
        bind=bind,
    )
    ran = next(each for each in run.policies if each.policy == one)
    latency_s, batches = ran.percentile_s(50), ran.images / batch
    return {
        "latency_s": latency_s,
        "energy_j": ran.energy_j / batches,
        "edp_js": ran.energy_j / batches * latency_s,
        "cycles": round(latency_s * float(machine.clock_hz)),
        "macs": round(ran.macs / batches),
        "utilization": ran.utilization,
        "latency_p95_s": ran.percentile_s(95),
        "latency_p99_s": ran.percentile_s(99),
        "images_per_s": ran.images_per_s,
    }


def _with_bits(study: Study, name: str, bits: str | None) -> Workload:
    if bits is None:
        return study.workloads[name]
    known = _QUANTIZED.setdefault(study, {})
    if (name, bits) not in known:
        known[name, bits] = quantized(study.workloads[name], study.rules[bits])
    return known[name, bits]


def _guarded(evaluated: Callable[[], Row]) -> Row:
    """A row, whatever happens."""
    try:
        return evaluated()
    except (MappingError, FieldError, FormatError) as error:
        return {"infeasible": _resource(str(error))}
    except Exception as error:  # a point must never end the sweep of all others
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())}


def _resource(text: str) -> str:
    """The fields of the machine that a message names; the message if it names none.

    >>> _resource("edge is too small for one tile: buffers.input_bytes gives 64, two need 128")
    'buffers.input_bytes'
    """
    if found := dict.fromkeys(_FIELD.findall(text)):
        return ", ".join(found)
    return "format" if "format: " in text else " ".join(text.split())
