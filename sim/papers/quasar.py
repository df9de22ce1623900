"""Quasar-ViT on a ZCU102: rows of weights in 4 and in 8 bits, activations in 6.

Li et al., "Quasar-ViT: Hardware-Oriented Quantization-Aware Architecture Search for Vision
Transformers", ICS 2024, arXiv:2407.18175.  Only its abstract was read: the sizes are those assumed
in `workloads.zoo.quasar`, the engine is `zcu102-quasar`.  One parameter is chosen here, by one row:
what a DSP slice packs, by the 101.5 images a second of the largest model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, Final, cast

from ...arch import Accelerator, UnrolledArray, load_machine
from ...arch.formats import PerProduct
from ...workloads.zoo.quasar import (
    LAYERS,
    QUASAR_LARGE,
    QUASAR_MEDIUM,
    QUASAR_SMALL,
    Quasar,
    quasar_vit,
)
from ..simulate import simulate
from .rows import Claim, Reproduction, Sensitivity, published, rows_of

__all__ = ["reproduction", "sensitivities"]

MACHINE: Final = "zcu102-quasar"
POINTS: Final = MappingProxyType(
    {"large": QUASAR_LARGE, "medium": QUASAR_MEDIUM, "small": QUASAR_SMALL}
)
ACTIVATIONS: Final = 6  # bits
LANES: Final = 4
"""How much faster a vector unit is tried, for the sensitivity."""


def reproduction() -> Reproduction:
    """Every number of Quasar-ViT, its relatives that cannot be compared with their reasons."""
    return Reproduction(
        paper="quasar-vit",
        title="Quasar-ViT (Li et al., ICS 2024, arXiv:2407.18175) on a ZCU102",
        assumptions=(
            f"machine: {MACHINE}, which is zcu102-heatvit with two rows of weights in each DSP "
            "slice; fixed on the largest model, 101.5 images/s",
            "models: the abstract prints none; sizes as in workloads/zoo/quasar.py, where MACs "
            "were put in proportion to the printed rates, and a quarter of the rows has 8 bits",
            "activations: 6 bits everywhere, first and last layer included",
        ),
        rows=rows_of("quasar-vit", dict(_claims())),
    )


def sensitivities() -> tuple[Sensitivity, ...]:
    """Other packings, bits and engines; then other sizes of the models."""
    return _of_engine(), _of_size()


@cache
def _rate(point: Quasar, machine: Accelerator, activations: int = ACTIVATIONS) -> float:
    model = quasar_vit(point, activations=activations)
    return 1 / simulate(model, machine).latency_s


def _machine(name: str = MACHINE) -> Accelerator:
    return cast(Accelerator, load_machine(name))


def _claims() -> Iterator[tuple[str, Claim]]:
    machine = _machine()
    unpacked = _rate(QUASAR_LARGE, _machine("zcu102-heatvit"))
    tokens = _rate(QUASAR_LARGE, _two_tokens())
    yield (
        "large-rate",
        Claim(
            _rate(QUASAR_LARGE, machine),
            "Fixes what a slice packs: two rows of weights. Unpacked it would be "
            f"{unpacked:.1f}, and two tokens in a slice {tokens:.1f}, as inputs then come too "
            "slowly.",
            "fixed",
        ),
    )
    why = _why()
    for name in ("medium", "small"):
        yield f"{name}-rate", Claim(_rate(POINTS[name], machine), why)


def _why() -> str:
    machine = _machine()
    heads = {name: replace(point, heads=3) for name, point in POINTS.items()}
    eight = {name: _narrow(point, point.heads) for name, point in POINTS.items()}
    all_three = {name: _narrow(point, 3) for name, point in POINTS.items()}
    return (
        "Sizes are assumed: MACs in proportion to the printed rates, and six heads. Time does not "
        "fall like MACs on this engine: attention goes by heads and tokens, which stay, short sums "
        "fill tiles badly, rows of 8 and of 4 bits run one after another, and the vector unit has "
        "its share. In images/s of large, medium and small: with three heads "
        f"{_listed(_rates(heads, machine))}; all rows in 8 bits {_listed(_rates(eight, machine))}; "
        f"{LANES} times the vector lanes {_listed(_rates(POINTS, _lanes(machine)))}; all three "
        f"{_listed(_rates(all_three, _lanes(machine)))}. So what is wrong may be as much the "
        "models as the engine: the rates alone do not tell."
    )


def _listed(rates: tuple[float, ...]) -> str:
    return ", ".join(f"{rate:.1f}" for rate in rates)


def _narrow(point: Quasar, heads: int) -> Quasar:
    """With so many heads, and every row in 8 bits."""
    return replace(point, heads=heads, wide=(Fraction(1),) * len(point.wide))


def _lanes(machine: Accelerator) -> Accelerator:
    vector = machine.vector.replace(lanes=LANES * machine.vector.lanes)
    return machine.replace(vector=vector)


def _engine(**changed: Any) -> Accelerator:
    machine = _machine()
    assert isinstance(machine.array, UnrolledArray)
    return machine.replace(array=machine.array.replace(**changed))


def _two_tokens() -> Accelerator:
    rates = PerProduct(int8=Fraction(2), w4a6=Fraction(4))
    return _engine(tm=72, macs_per_pe_cycle=rates)


def _of_engine() -> Sensitivity:
    machine = _machine()
    engines = {
        "as it is": machine,
        "nothing packed (zcu102-heatvit)": _machine("zcu102-heatvit"),
        "two tokens in a slice": _two_tokens(),
        "4-bit rows no faster": _engine(macs_per_pe_cycle=PerProduct(int8=Fraction(1))),
        "Tn 21, all of a word; Tm 108": _engine(tm=108, tn=21),
        "ports 3, 2, 1": _engine(input_ports=3, output_ports=1),
        "ports 2, 3, 1": _engine(weight_ports=3, output_ports=1),
        f"{LANES} times the vector lanes": _lanes(machine),
        "300 MHz": machine.replace(clock_hz=300e6),
    }
    variants = [(name, _rates(POINTS, engine)) for name, engine in engines.items()]
    variants.insert(1, ("activations in 8 bits", _rates(POINTS, machine, 8)))
    title = "the engine (Tm 144 in two rows a slice, Tn 16, Th 2; ports 2, 2, 2)"
    return _sensitivity(title, variants)


def _of_size() -> Sensitivity:
    machine = _machine()
    three = {name: replace(point, heads=3) for name, point in POINTS.items()}
    eight = {name: _narrow(point, point.heads) for name, point in POINTS.items()}
    ratio = {name: replace(point, mlp_ratio=3.0) for name, point in POINTS.items()}
    tiny = replace(QUASAR_SMALL, embed=192, heads=3, wide=QUASAR_SMALL.wide[: 12 * len(LAYERS)])
    least = three | {"small": replace(tiny, mlp_ratio=3.0)}
    models = {
        "as assumed": POINTS,
        "three heads": three,
        "every row in 8 bits": eight,
        "MLP ratio 3": ratio,
        "three heads, and the smallest of the space (192 wide, MLP 3)": least,
    }
    variants = [(name, _rates(points, machine)) for name, points in models.items()]
    return _sensitivity("the models", variants)


def _sensitivity(title: str, variants: list[tuple[str, tuple[float, ...]]]) -> Sensitivity:
    printed = {line.key: line.published for line in published("quasar-vit")}
    return Sensitivity(
        title=f"{title}, images/s",
        readings=tuple(POINTS),
        published=tuple(printed[f"{name}-rate"] for name in POINTS),
        variants=tuple(variants),
    )


def _rates(
    points: Mapping[str, Quasar], machine: Accelerator, activations: int = ACTIVATIONS
) -> tuple[float, ...]:
    return tuple(_rate(point, machine, activations) for point in points.values())
