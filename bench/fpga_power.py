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
from typing import NamedTuple

import tilewise as tw
from tilewise.arch import Accelerator, energy_table
from tilewise.sim.papers import PAPERS, Published, published
from tilewise.sim.papers.heatvit import CHOSEN, MACHINE, SELECTORS, WIDTHS, kept
from tilewise.workloads.zoo.vit import vit

KEPT = {f"kept_{number}": count for number, count in enumerate(kept(CHOSEN), start=1)}
"""Patches left by HeatViT's selectors: as `reproduce heatvit` has them for the same designs."""


class Design(NamedTuple):
    """A design on the board whose power is published.

    Attributes:
        key: Of its power in `published.csv`.
        width: Of the DeiT model; 0 for another one.
        macs_per_s: Half the printed GOPS, of other models.
        format: Of the operands.
        fitted: Whether it fixes the two numbers.
    """

    key: str
    width: int = 0
    macs_per_s: float = 0.0
    format: str = "int8"
    fitted: bool = False


DESIGNS = (
    Design("s-pruned-power", width=WIDTHS["s"], fitted=True),
    Design("b-pruned-power", width=WIDTHS["b"], fitted=True),
    Design("t-pruned-power", width=WIDTHS["t"]),
    Design("film-resnet-18-power", macs_per_s=389.45e9, format="int4"),
    Design("film-resnet-50-power", macs_per_s=445.7e9, format="int4"),
    Design("efficientvit-power", macs_per_s=390.1e9),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A published design beside the fit.

    Attributes:
        design: Which.
        line: What is printed.
        chip_w: On chip, before `times`.
        dram_w: Of DRAM.
        power_w: The fit's power.
    """

    design: Design
    line: Published
    chip_w: float
    dram_w: float
    power_w: float

    @property
    def error(self) -> float:
        """Of the fit, over what is printed."""
        return self.power_w / self.line.published - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The two numbers and what they say of every row."""

    static_w: float
    times: float
    rows: tuple[Row, ...]


def fit() -> Fit:
    """Solve for the two numbers by the two rows that are to be fitted."""
    lines = {line.key: line for paper in PAPERS for line in published(paper)}
    drawn = [(one, lines[one.key], *_drawn(one)) for one in DESIGNS]
    low, high = [
        (line.published - dram_w, chip_w) for one, line, chip_w, dram_w in drawn if one.fitted
    ]
    times = (high[0] - low[0]) / (high[1] - low[1])
    static_w = low[0] - times * low[1]
    rows = [
        Row(
            design=one,
            line=line,
            chip_w=chip_w,
            dram_w=dram_w,
            power_w=static_w + times * chip_w + dram_w,
        )
        for one, line, chip_w, dram_w in drawn
    ]
    return Fit(static_w=static_w, times=times, rows=tuple(rows))


def _drawn(one: Design) -> tuple[float, float]:
    """Watts on chip, before `times`, and of DRAM."""
    # HeatViT's machine has no 4-bit products; the other one differs in its array only.
    machine = tw.machine(MACHINE if one.format == "int8" else "zcu102-systolic")
    assert isinstance(machine, Accelerator)
    bare = machine.replace(energy=energy_table("horowitz-45nm", 16), static_w=0.0)
    if one.width:
        model = vit(depth=12, embed=one.width, heads=one.width // 64, selectors=SELECTORS)
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
        line, error = row.line, "fitted" if row.design.fitted else f"{row.error:+.1%}"
        yield (
            f"{line.model:22}{line.published:7.3f} W{row.power_w:7.3f} W{error:>9}"
            f"{found.times * row.chip_w:7.2f} W{row.dram_w:5.2f} W  {line.source}"
        )


if __name__ == "__main__":
    print("\n".join(lines(fit())))
