"""The cost model: a machine, and how much time and energy anything takes on it or on its variants.

It knows what the engine knows (`estimate.py`) and answers for whole frames of design points, in
thousands a second.  What it cannot vary as a column, such as a number format, divides a frame into
groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ...arch import Accelerator, Gpu, SystolicArray
from ...workloads.graph import Workload
from ...workloads.quantization import BitRules, bit_rules, quantized
from ..disk_cache import folder, kept
from ..errors import MappingError
from ..variants import FieldError, check_field, fields_of, variant
from .designs import Designs
from .estimate import Columns, estimated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BIND", "Cost", "CostModel"]

BIND: Final = "bind."
"""What a column of token counts begins with."""

_OPTIONS: Final = ("bits", "format", "batch")
_COLUMNS: Final = (
    "clock_hz", "static_w", "buffers.input_bytes", "buffers.weight_bytes", "buffers.output_bytes",
    "buffers.accumulator_bytes", "buffers.im2col_bytes_per_cycle", "dram.bytes_per_s",
    "dram.latency_s", "dram.setup_cycles", "vector.lanes", "host.round_trip_s", "host.active_w",
)  # fmt: skip
_OF_SYSTOLIC: Final = ("array.rows", "array.cols", "array.count")
_MAY_BE_ZERO: Final = (
    "static_w", "dram.latency_s", "dram.setup_cycles", "host.round_trip_s", "host.active_w"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run is predicted to take.

    Attributes:
        latency_s: Seconds.
        energy_j: Joules.
        edp_js: Their product.
        cycles: Of the machine's clock.
        dram_bytes: To and from DRAM.
        macs: Multiply-accumulates.
        utilization: Share of the array's PE-cycles that they use.
    """

    latency_s: float
    energy_j: float
    edp_js: float
    cycles: float
    dram_bytes: float
    macs: float
    utilization: float


_METRICS: Final = tuple(field.name for field in fields(Cost))


class CostModel:
    """Predicts latency and energy on a machine and its variants.

    >>> import tilewise as tw
    >>> model = CostModel(tw.machine("edge-32x32"))
    >>> cost = model.predict(tw.workload("deit-small"))
    >>> run = tw.simulate(tw.workload("deit-small"), model.machine)
    >>> abs(cost.cycles / run.cycles - 1) < 0.01, cost.macs == run.macs
    (True, True)

    Args:
        machine: An accelerator; where points vary it, what they have in common.
        cache: A folder in which predictions are kept for other processes, by the hash of all that
            they depend on; True is `tilewise/costs` in `$XDG_CACHE_HOME` or `~/.cache`, False none.

    Raises:
        TypeError: It is no accelerator.
    """

    def __init__(self, machine: Accelerator | Gpu, *, cache: bool | str | Path = False) -> None:
        if not isinstance(machine, Accelerator):
            raise TypeError(
                f"CostModel wants an accelerator, got {machine!r}; GPUs are priced in closed form "
                "by simulate"
            )
        self.machine = machine
        self._folder = None if cache is False else folder("costs") if cache is True else Path(cache)
        self._known: dict[object, Cost] = {}

    def predict(
        self,
        workload: Workload,
        bindings: Mapping[str, int] | None = None,
        *,
        format: str | None = None,
        batch: int = 1,
        bits: str | BitRules | None = None,
    ) -> Cost:
        """One run; a second call is answered from memory, or with a `cache` from disk.

        Args:
            workload: A model.
            bindings: Values for its symbols, where its defaults are not meant.
            format: Number format of what has none; the machine's own if None.
            batch: Images.
            bits: Which layer has how many, as `--bits` takes it.

        Raises:
            BindingError: A symbol is unbound, unknown or out of range.
            MappingError: The machine does not compute in a format, or cannot hold one tile.
        """
        bound = tuple(sorted((bindings or {}).items()))
        key = workload.content_hash, workload.symbols, bound, format, batch, bits
        if key not in self._known:
            said = format or self.machine.default_format

            def priced() -> Cost:
                return self._priced(_with_bits(workload, bits), dict(bound), said, batch)

            self._known[key] = (
                kept(
                    self._folder,
                    f"{workload.name}-{self.machine.name}",
                    repr((
                        self.machine, workload.content_hash, workload.symbols, workload.constraints,
                        bound, said, batch, bit_rules(bits) if isinstance(bits, str) else bits,
                    )),
                    priced,
                    read=_read,
                    text=lambda cost: json.dumps(asdict(cost)),
                )
                if self._folder
                else priced()
            )  # fmt: skip
        return self._known[key]

    def _priced(self, workload: Workload, bind: dict[str, Any], format: str, batch: int) -> Cost:
        found = _estimated(Designs(self.machine, {}), workload, 1, bind, format, batch)
        if found.infeasible[0]:
            raise MappingError(
                f"{self.machine.name} is too small for one tile: {found.infeasible[0]}"
            )
        row = _metrics(found, self.machine.clock_hz)
        return Cost(**{name: float(row[name][0]) for name in _METRICS})

    def batch(
        self,
        points: pd.DataFrame | Mapping[str, Any],
        workload: Workload,
        *,
        rules: Mapping[str, BitRules] | None = None,
    ) -> pd.DataFrame:
        """Many design points at once.

        Args:
            points: A column for each field of the machine that varies, by its dotted name
                (`array.rows`), for each token count (`bind.kept_1`), and for `bits`, `format` and
                `batch`, where they vary.
            workload: A model.
            rules: What the words in the column `bits` stand for, where it is not what `--bits`
                takes.

        Returns:
            A row for each point, in their order and with their index: the metrics of `Cost`, and
            `infeasible`, the field of the machine that forbids the point or an empty text.  The
            metrics of such a point are NaN.

        Raises:
            FieldError: A column is no field of the machine; the message names the nearest.
            BindingError: A token count is unknown or out of range.
            MappingError: The machine does not compute in a format.
        """
        import pandas as pd

        frame = pd.DataFrame(points)
        self._check(frame)
        found = {name: np.full(len(frame), np.nan) for name in _METRICS}
        infeasible = np.full(len(frame), "", dtype=object)
        for rows, designs, options in self._groups(frame, infeasible):
            bits = options.get("bits")
            model = _with_bits(workload, (rules or {}).get(bits, bits) if bits else None)
            bind = {
                name.removeprefix(BIND): frame[name].to_numpy()[rows]
                for name in frame.columns
                if name.startswith(BIND)
            }
            format = options.get("format") or designs.machine.default_format
            batch = int(options.get("batch", 1))
            ran = _estimated(designs, model, len(rows), bind, format, batch)
            for name, column in _metrics(ran, designs.clock_hz).items():
                found[name][rows] = column
            infeasible[rows] = ran.infeasible
        return pd.DataFrame({**found, "infeasible": infeasible}, index=frame.index)

    def _check(self, frame: pd.DataFrame) -> None:
        known = fields_of(self.machine)
        for name in map(str, frame.columns):
            if name in known or name in _OPTIONS or name.startswith(BIND):
                continue
            from difflib import get_close_matches

            near = get_close_matches(name, [*known, *_OPTIONS], n=1, cutoff=0)
            raise FieldError(
                f"{name}: wanted a field of {self.machine.name}, {BIND}SYMBOL or "
                f"{', '.join(_OPTIONS)}; did you mean {near[0]}?"
            )

    def _groups(
        self, frame: pd.DataFrame, infeasible: NDArray[np.object_]
    ) -> Iterator[tuple[NDArray[np.int64], Designs, dict[str, Any]]]:
        """Points that differ in columns only: which, their designs and the options."""
        systolic = isinstance(self.machine.array, SystolicArray)
        possible = (*_COLUMNS, *_OF_SYSTOLIC) if systolic else _COLUMNS
        names = [str(name) for name in frame.columns]
        columns = [name for name in names if name in possible]
        words = [n for n in names if n not in columns and not n.startswith(BIND)]
        for name in columns:
            self._check_column(name, frame[name].to_numpy(), infeasible)
        places = np.flatnonzero(infeasible == "")
        groups: dict[tuple[Any, ...], NDArray[np.int64]] = {(): places}
        if words:
            by_words = frame[words].iloc[places].groupby(words, sort=False, dropna=False)
            groups = {_tuple(key): places[own] for key, own in by_words.indices.items()}
        alike: dict[tuple[Any, ...], list[tuple[NDArray[np.int64], Accelerator]]] = {}
        for key, rows in groups.items():
            given = {n: _plain(v) for n, v in zip(words, key, strict=True)}
            options: dict[str, Any] = {n: given.pop(n) for n in _OPTIONS if n in given}
            try:
                machine = variant(self.machine, given)
            except FieldError as error:
                infeasible[rows] = str(error).partition(":")[0]
                continue
            assert isinstance(machine, Accelerator)
            options_of = tuple(options.items())
            alike.setdefault((self._but_for_flow(machine), options_of), []).append((rows, machine))
        for (_, options_of), parts in alike.items():
            rows = np.concatenate([own for own, _ in parts])
            kind = np.repeat(np.arange(len(parts)), [len(own) for own, _ in parts])
            varied = {name: frame[name].to_numpy()[rows] for name in columns}
            if len(parts) > 1:
                varied["array.kind"] = kind
            arrays = [one.array for _, one in parts]
            first = parts[0][1]
            yield rows, Designs(first, varied, arrays), dict(options_of)

    def _but_for_flow(self, machine: Accelerator) -> Accelerator:
        """The same for machines that can be rows of one `Designs`."""
        array, own = machine.array, self.machine.array
        if not isinstance(array, SystolicArray) or not isinstance(own, SystolicArray):
            return machine
        return machine.replace(array=array.replace(dataflow=own.dataflow, overlap=own.overlap))

    def _check_column(
        self, name: str, values: NDArray[Any], infeasible: NDArray[np.object_]
    ) -> None:
        """Note where a field has a value that it never allows."""
        if len(values):
            check_field(self.machine, name, _plain(values[0]))  # its type, which all have
        numbers = values.astype(float)
        allowed = numbers >= 0 if name in _MAY_BE_ZERO else numbers > 0
        infeasible[~(allowed & np.isfinite(numbers))] = name


def _estimated(
    designs: Designs,
    workload: Workload,
    count: int,
    bind: Mapping[str, Any],
    format: str,
    batch: int,
) -> Columns:
    bind = dict(bind)
    if any(symbol.name == "batch" for symbol in workload.symbols):
        bind.setdefault("batch", batch)
        batch = 1
    binding = workload.binding(bind)
    return estimated(workload, designs, count, binding=binding, format=format, batch=batch)


def _read(path: Path) -> Cost:
    """A prediction that was kept.

    Raises:
        ValueError: The file says something else.
    """
    said: Any = json.loads(path.read_text(encoding="utf-8"))
    try:
        return Cost(**{name: float(said[name]) for name in _METRICS})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: wanted {', '.join(_METRICS)}") from error


def _metrics(ran: Columns, clock_hz: Any) -> dict[str, Any]:
    latency_s = ran.cycles / clock_hz
    return {
        "latency_s": latency_s,
        "energy_j": ran.energy_j,
        "edp_js": latency_s * ran.energy_j,
        "cycles": ran.cycles,
        "dram_bytes": ran.dram_bytes,
        "macs": ran.macs,
        "utilization": ran.utilization,
    }


def _with_bits(workload: Workload, bits: str | BitRules | None) -> Workload:
    if bits is None:
        return workload
    return quantized(workload, bit_rules(bits) if isinstance(bits, str) else bits)


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)  # pyright: ignore[reportUnknownVariableType]


def _plain(value: Any) -> Any:
    """A number or word of Python; None for what is missing."""
    plain: Any = getattr(value, "item", lambda: value)()
    return None if plain != plain else plain
