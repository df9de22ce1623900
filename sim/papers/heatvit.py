"""HeatViT on a ZCU102: DeiT's three sizes, dense in 16 bits, dense and pruned in 8.

Dong et al., "HeatViT: Hardware-Efficient Adaptive Token Pruning for Vision Transformers", HPCA
2023, arXiv:2211.08110.  The machine is `zcu102-heatvit` as it stands.  One parameter is chosen
here, by one row: the keep ratios, by the latency of DeiT-S.  At the same ratios bench/fpga_power.py
fits what the board draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from ...arch import Accelerator, UnrolledArray, load_machine
from ...arch.formats import PerProduct
from ...workloads import zoo
from ...workloads.graph import Workload
from ...workloads.tokens import published as published_trace
from ...workloads.zoo.vit import vit
from ..simulate import simulate
from ..sparsity import sparsity
from .rows import Claim, Reproduction, Sensitivity, published, rows_of

__all__ = ["CHOSEN", "MACHINE", "SELECTORS", "WIDTHS", "kept", "reproduction", "sensitivities"]

MACHINE: Final = "zcu102-heatvit"
WIDTHS: Final = MappingProxyType({"t": 192, "s": 384, "b": 768})
"""Of DeiT-T, -S and -B (Touvron et al., ICML 2021, table 1); a head is 64 wide."""
SETTINGS: Final = tuple(f"heatvit-deit-small-{each}" for each in ("mild", "medium", "strong"))
"""Keep ratios that are recalled of the paper: token traces of their own."""
CHOSEN: Final = SETTINGS[2]
MOST: Final = (40, 20, 10)
"""Chosen, as no source prints any: round counts at which DeiT-B saves the share of MACs that the
abstract has for its upper end, and so what pruning alone could gain there."""
SELECTORS: Final = (4, 7, 10)

Kept = tuple[int, ...]


class Reading(NamedTuple):
    """What is read of a run."""

    latency_s: float
    power_w: float
    macs: int


def reproduction() -> Reproduction:
    """Every number of HeatViT, its relatives that cannot be compared with their reasons."""
    claims = {key: claim for group in (_gains, _models, _lv_vit, _blocks) for key, claim in group()}
    return Reproduction(
        paper="heatvit",
        title="HeatViT (Dong et al., HPCA 2023, arXiv:2211.08110) on a ZCU102",
        assumptions=(
            f"machine: {MACHINE}, one engine for all models, 150 MHz (recalled; a later table "
            "prints 300); tiles and ports by the rules in its file, not by any row here",
            "16-bit baseline: the same engine built for 16 bits; a slice holds one such product "
            "(AMD UG579), and a word of a port half as many operands",
            f"keep ratios: {_counts(kept(CHOSEN))} patches, of every model; fixed on DeiT-S at "
            f"{_printed()['s-pruned-latency']:g} ms",
            "power: the energy table zcu102, fitted on DeiT-S and DeiT-B at these keep ratios",
        ),
        rows=rows_of("heatvit", claims),
    )


def sensitivities() -> tuple[Sensitivity, ...]:
    """Other keep ratios, and other engines."""
    return _of_keep(), _of_engine()


def kept(trace: str) -> Kept:
    """Patches left after each selector, of a published trace's one image."""
    return published_trace(trace).counts[0]


@cache
def _printed() -> Mapping[str, float]:
    return {line.key: line.published for line in published("heatvit")}


@cache
def _default() -> Kept:
    """Patches that the shipped model keeps unless told otherwise."""
    binding = zoo.load("heatvit-deit-small").binding()
    return tuple(int(binding[f"kept_{number}"]) for number in range(1, 1 + len(SELECTORS)))


@cache  # as the two below: what is the same object is found sooner in a cache than its equal
def _machine() -> Accelerator:
    return cast(Accelerator, load_machine(MACHINE))


@cache
def _model(size: str, pruned: bool) -> Workload:
    width = WIDTHS[size]
    selectors = SELECTORS if pruned else ()
    return vit(depth=12, embed=width, heads=width // 64, selectors=selectors)


@cache
def _run(size: str, machine: Accelerator, counts: Kept = (), format: str = "int8") -> Reading:
    bind = {f"kept_{number}": count for number, count in enumerate(counts, start=1)}
    built = _wide(machine) if format == "int16" else machine
    result = simulate(_model(size, bool(counts)), built, bind=bind, format=format)
    return Reading(result.latency_s, result.power_w, result.macs)


def _speeds(size: str, machine: Accelerator, counts: Kept) -> tuple[float, float, float]:
    """Gain by 8 bits, by pruning in 8 bits, and by both."""
    wide = _run(size, machine, format="int16").latency_s
    dense, few = _run(size, machine).latency_s, _run(size, machine, counts).latency_s
    return wide / dense, dense / few, wide / few


def _gains() -> Iterator[tuple[str, Claim]]:
    machine, counts, printed = _machine(), kept(CHOSEN), _printed()
    found = {size: _speeds(size, machine, counts) for size in WIDTHS}
    _, pruning, both = zip(*found.values(), strict=True)
    saved = _saved("b", MOST)
    bound = _speeds("b", machine, MOST)
    faster = _speeds("b", _engine(weight_ports=4), MOST)
    why = (
        f"With all models at {_counts(counts)} no model gains more than another; the printed upper "
        f"end is one model's (DeiT-B's, as recalled). At {_counts(MOST)} DeiT-B does without "
        f"{100 * (1 - 1 / saved):.1f} % of its MACs (the abstract: {printed['saved-high']:g}) but "
        f"gains {bound[1]:.2f}x here: with few tokens this engine waits for weights. Were they "
        f"loaded twice as fast, it would gain {faster[1]:.2f}x by pruning and {faster[2]:.2f}x by "
        "both. An engine that does so would explain both upper ends; that the paper's is one does "
        "not follow."
    )
    yield "pruning-low", Claim(min(pruning))
    yield "pruning-high", Claim(max(pruning), why)
    others = f"Of DeiT-S; DeiT-T gains {found['t'][0]:.2f}x, DeiT-B {found['b'][0]:.2f}x."
    yield "bits-gain", Claim(found["s"][0], others)
    yield "both-low", Claim(min(both))
    yield "both-high", Claim(max(both), why)


def _models() -> Iterator[tuple[str, Claim]]:
    machine, counts, printed = _machine(), kept(CHOSEN), _printed()
    dense = {size: _run(size, machine) for size in WIDTHS}
    wide = {size: _run(size, machine, format="int16") for size in WIDTHS}
    pruned = {size: _run(size, machine, counts) for size in WIDTHS}
    same = f"The same measurement as the {printed['s-pruned-latency']:g} ms."
    yield (
        "s-pruned-latency",
        Claim(
            pruned["s"].latency_s * 1e3,
            "Fixes the keep ratios: of the paper's three settings, as recalled, "
            f"{_counts(counts)} comes nearest. The counts that the tools default to, "
            f"{_counts(_default())}, can hardly be the paper's: they save "
            f"{_saved('s', _default()):.2f}x MACs, where its gain in time is at least "
            f"{printed['pruning-low']:g}x, as recalled.",
            "fixed",
        ),
    )
    yield "s-pruned-rate", Claim(1 / pruned["s"].latency_s, same, "fixed")
    fitted = "The energy table zcu102 was fitted on it, at these keep ratios."
    yield "s-pruned-power", Claim(pruned["s"].power_w, fitted, "fixed")
    yield "b-pruned-power", Claim(pruned["b"].power_w, fitted, "fixed")
    yield "t-pruned-power", Claim(pruned["t"].power_w)
    for size, each in dense.items():
        yield f"{size}-dense-macs", Claim(each.macs / 1e9, kind="counted")
    peak = float(machine.array.macs_per_cycle("int8") * Fraction(machine.clock_hz)) / 1e9
    gain = printed["pruning-high"]
    needed = printed["b-pruned-rate"] * dense["b"].macs / 1e9 / gain
    beyond = (
        f"With {gain:g}x fewer MACs it would take {needed:.0f} GMAC/s, where "
        f"{machine.array.pes} multipliers at {machine.clock_hz / 1e6:.0f} MHz do {peak:.0f}. "
        "Packed slices, a faster clock or more pruning than that would explain it."
    )
    asked = {size: printed[f"{size}-dense-rate"] * dense[size].macs / 1e9 for size in "sb"}
    sized = (
        "One engine for all models is too fast for the small ones and too slow for DeiT-B; the "
        f"printed rates, {asked['s']:.0f} GMAC/s of DeiT-S and {asked['b']:.0f} of DeiT-B, would "
        "suit one engine a model."
    )
    for size in WIDTHS:
        yield f"{size}-dense-rate", Claim(1 / wide[size].latency_s, sized)
    yield "b-pruned-rate", Claim(1 / pruned["b"].latency_s, beyond)
    for recall in "ab":
        yield (
            f"t-pruned-rate-{recall}",
            Claim(1 / pruned["t"].latency_s, f"A and B exclude each other. {sized}"),
        )


def _lv_vit() -> Iterator[tuple[str, Claim]]:
    counts, model = kept(CHOSEN), zoo.load("heatvit-lv-vit-small")
    bind = {f"kept_{number}": count for number, count in enumerate(counts, start=1)}
    result = simulate(model, _machine(), bind=bind)
    whole = simulate(zoo.load("lv-vit-small"), _machine()).latency_s
    stem = max(o.end_cycle for o in result.operators if o.name.startswith("patch_embed"))
    yield (
        "lvvit-rate",
        Claim(
            1 / result.latency_s,
            f"At DeiT-S's {_counts(counts)}, as its own are not known; {1 / whole:.1f} unpruned. "
            f"Its four convolutions take {100 * stem / result.cycles:.0f} % of the time, and no "
            "pruning makes them less.",
        ),
    )


def _blocks() -> Iterator[tuple[str, Claim]]:
    tenths, printed = tuple(range(10, 4, -1)), _printed()
    half = {size: printed[f"{size}-block-5"] / printed[f"{size}-block-10"] for size in "ts"}
    images = 1e3 / (12 * printed["s-block-10"])
    for size in "ts":
        ratios = [Fraction(tenth, 10) for tenth in tenths]
        table = sparsity(_model(size, pruned=True), _wide(_machine()), ratios, format="int16")
        for tenth, row in zip(tenths, table.rows, strict=True):
            note = (
                f"In 16 bits (assumed: 12 such blocks of DeiT-S come to {images:.1f} images/s, the "
                f"model to {printed['s-dense-rate']:g}). With half of the patches the printed "
                f"times fall to {half['s']:.2f} (DeiT-S) and {half['t']:.2f} (DeiT-T), here to "
                f"{table.rows[-1].latency_s / table.rows[0].latency_s:.2f}: some work there "
                "seems not to go with tokens."
            )
            yield f"{size}-block-{tenth}", Claim(row.latency_s * 1e3, note)


def _of_keep() -> Sensitivity:
    machine = _machine()
    chosen = {CHOSEN: kept(CHOSEN)}
    others = {name: kept(name) for name in (*SETTINGS, "spvit-deit-small") if name != CHOSEN}
    settings = chosen | {"default of the tools": _default()} | others
    return Sensitivity(
        title="keep ratios, DeiT-S in 8 bits",
        readings=("fewer MACs, x", "latency, ms", "by pruning, x", "by both, x"),
        published=(None, _printed()["s-pruned-latency"], None, None),
        variants=tuple(
            (
                f"{name}: {_counts(counts)}",
                (
                    _saved("s", counts),
                    _run("s", machine, counts).latency_s * 1e3,
                    *_speeds("s", machine, counts)[1:],
                ),
            )
            for name, counts in settings.items()
        ),
    )


def _of_engine() -> Sensitivity:
    counts, printed = kept(CHOSEN), _printed()
    return Sensitivity(
        title="the engine (Tm 72, Tn 16, Th 2; ports 2 in, 2 weights, 2 out; 150 MHz), DeiT-S",
        readings=("pruned, ms", "16 bits, images/s", "by 8 bits, x", "by pruning, x"),
        published=(
            *(printed[key] for key in ("s-pruned-latency", "s-dense-rate", "bits-gain")),
            None,
        ),
        variants=tuple(
            (
                name,
                (
                    _run("s", machine, counts).latency_s * 1e3,
                    1 / _run("s", machine, format="int16").latency_s,
                    *_speeds("s", machine, counts)[:2],
                ),
            )
            for name, machine in _engines().items()
        ),
    )


def _engines() -> Mapping[str, Accelerator]:
    machine = _machine()
    two = PerProduct(int8=Fraction(2))
    return {
        "as it is": machine,
        "300 MHz": machine.replace(clock_hz=300e6),
        "half as many multipliers: Tm 36": _engine(tm=36),
        "twice as many: Tm 144": _engine(tm=144),
        "Tn 8, Tm 144": _engine(tn=8, tm=144),
        "Tn 32, Tm 36": _engine(tn=32, tm=36),
        "Th 1, Tm 144": _engine(th=1, tm=144),
        "Th 4, Tm 36": _engine(th=4, tm=36),
        "ports 3, 2, 1": _engine(input_ports=3, output_ports=1),
        "ports 2, 3, 1": _engine(weight_ports=3, output_ports=1),
        "ports 4, 1, 1": _engine(input_ports=4, weight_ports=1, output_ports=1),
        "two 8-bit MACs in a slice": _engine(macs_per_pe_cycle=two),
    }


@cache
def _wide(machine: Accelerator) -> Accelerator:
    """The same engine, built for 16 bits: one product in a DSP slice of 27 by 18."""
    rates = PerProduct(int8=Fraction(1), int16=Fraction(1))
    return machine.replace(array=machine.array.replace(macs_per_pe_cycle=rates))


@cache
def _engine(**changed: Any) -> Accelerator:
    machine = _machine()
    assert isinstance(machine.array, UnrolledArray)
    return machine.replace(array=machine.array.replace(**changed))


def _saved(size: str, counts: Kept) -> float:
    return _run(size, _machine()).macs / _run(size, _machine(), counts).macs


def _counts(counts: Kept) -> str:
    return ", ".join(map(str, counts))
