"""Fits what a ZCU102 draws to published powers of designs on that board.

    python bench/fpga_power.py

    P = static + times x (what is spent on chip) + DRAM

Two numbers are fitted: `static_w` of the machines `zcu102-*`, and `times` of the energy table
`zcu102`, which multiplies Horowitz's table brought to 16 nm.  DRAM keeps its cited energy.  Two
rows fix them; all others are left out of the fit and only compared.  Rows whose model is not in
Tilewise are compared at their published rate of MACs, with DeiT-S's energy for a MAC.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import tilewise as tw
from tilewise.arch import Accelerator, energy_table
from tilewise.workloads.zoo.vit import vit

MACHINE = "zcu102-heatvit"
KEPT = {"kept_1": 137, "kept_2": 69, "kept_3": 48}
"""Patches left by HeatViT's selectors at keep ratios of 0.7, 0.5 and 0.7 a stage (assumed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A design on the board, as printed.

    Attributes:
        name: Of paper and model.
        power_w: Of the design or the board; tables rarely say which.
        source: Where it is printed; `recalled` where it was not read again.
        width: Of the DeiT model; 0 for another one.
        macs_per_s: Half the printed GOPS, of other models.
        format: Of the operands.
        fitted: Whether it fixes the two numbers.
    """

    name: str
    power_w: float
    source: str
    width: int = 0
    macs_per_s: float = 0.0
    format: str = "int8"
    fitted: bool = False


UBIMOE = "UbiMoE, arXiv:2502.05602, table III"
FILM_QNN = "FILM-QNN, FPGA 2022, as a later table has it"
PUBLISHED = (
    Published(name="HeatViT DeiT-S", power_w=10.697, source=UBIMOE, width=384, fitted=True),
    Published(name="HeatViT DeiT-B", power_w=11.352, source="recalled", width=768, fitted=True),
    Published(name="HeatViT DeiT-T", power_w=9.453, source="recalled", width=192),
    Published(
        name="FILM-QNN ResNet-18", power_w=12.9, source=FILM_QNN, macs_per_s=389.45e9, format="int4"
    ),
    Published(
        name="FILM-QNN ResNet-50", power_w=12.9, source=FILM_QNN, macs_per_s=445.7e9, format="int4"
    ),
    Published(
        name="EfficientViT engine",
        power_w=7.42,
        source="arXiv:2403.20230, abstract: 780.2 GOPS at 105.1 GOPS/W",
        macs_per_s=390.1e9,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A published design beside the fit.

    Attributes:
        published: What is printed.
        chip_w: On chip, before `times`.
        dram_w: Of DRAM.
        power_w: The fit's power.
    """

    published: Published
    chip_w: float
    dram_w: float
    power_w: float

    @property
    def error(self) -> float:
        """Of the fit, over what is printed."""
        return self.power_w / self.published.power_w - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The two numbers and what they say of every row."""

    static_w: float
    times: float
    rows: tuple[Row, ...]


def fit(published: tuple[Published, ...] = PUBLISHED) -> Fit:
    """Solve for the two numbers by the two rows that are to be fitted."""
    drawn = [_drawn(one) for one in published]
    (low, high) = [
        (one.power_w - dram_w, chip_w)
        for one, (chip_w, dram_w) in zip(published, drawn, strict=True)
        if one.fitted
    ]
    times = (high[0] - low[0]) / (high[1] - low[1])
    static_w = low[0] - times * low[1]
    rows = [
        Row(
            published=one,
            chip_w=chip_w,
            dram_w=dram_w,
            power_w=static_w + times * chip_w + dram_w,
        )
        for one, (chip_w, dram_w) in zip(published, drawn, strict=True)
    ]
    return Fit(static_w=static_w, times=times, rows=tuple(rows))


def _drawn(one: Published) -> tuple[float, float]:
    """Watts on chip, before `times`, and of DRAM."""
    # HeatViT's machine has no 4-bit products; the other one differs in its array only.
    machine = tw.machine(MACHINE if one.format == "int8" else "zcu102-systolic")
    assert isinstance(machine, Accelerator)
    bare = machine.replace(energy=energy_table("horowitz-45nm", 16), static_w=0.0)
    if one.width:
        model = vit(depth=12, embed=one.width, heads=one.width // 64, selectors=(4, 7, 10))
        result = tw.simulate(model, bare, bind=KEPT, format=one.format)
    else:
        result = tw.simulate(vit(depth=12, embed=384, heads=6), bare, format=one.format)
    seconds = result.macs / one.macs_per_s if one.macs_per_s else result.latency_s
    dram_j = result.energy_by_component_j["dram"]
    return (result.energy_j - dram_j) / seconds, dram_j / seconds


def lines(found: Fit) -> Iterator[str]:
    """The fit as a table."""
    yield f"static_w {found.static_w:.2f}  times {found.times:.2f}"
    yield f"{'':22}{'printed':>9}{'fit':>9}{'error':>9}{'on chip':>9}{'DRAM':>7}"
    for row in found.rows:
        error = "fitted" if row.published.fitted else f"{row.error:+.1%}"
        yield (
            f"{row.published.name:22}{row.published.power_w:7.3f} W{row.power_w:7.3f} W{error:>9}"
            f"{found.times * row.chip_w:7.2f} W{row.dram_w:5.2f} W  {row.published.source}"
        )


if __name__ == "__main__":
    print("\n".join(lines(fit())))
