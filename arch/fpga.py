"""What an accelerator takes of an FPGA, part by part, and whether a device holds it.

>>> from tilewise.arch import fpga, load_machine
>>> found = fpga.fit(load_machine("zcu102-systolic"), fpga.device("zcu102"))
>>> found.fits, found.resources.total.dsp
(True, 2496)

LUTs and flip-flops are estimates (see `fpga_array`, which states their error), block RAMs follow
from the buffers' port shapes (`fpga_buffers`), and what has no Verilog is assumed (`fpga_parts`).
Nothing is placed or routed: a design near a limit may not meet its clock, or not be routable.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import chain
from typing import Final

from .accelerator import Accelerator
from .array import SystolicArray, UnrolledArray
from .component import RESOURCES, Component, total
from .device import Device
from .explain import nearest
from .formats import FormatError, bits
from .fpga_array import MACS, Design, FitError, Kind, Mac, errors, estimate, luts_per_mac
from .fpga_buffers import SUM_BITS, buffers
from .fpga_parts import SELECTORS, Selector, dma, head_adders, host, sequencers, vector
from .fpga_parts import selector as token_selector
from .gpu import Gpu
from .load import device_names
from .load import load_device as device
from .value import Count, Value

__all__ = [
    "MACS",
    "RESOURCES",
    "SELECTORS",
    "Component",
    "Device",
    "Excess",
    "Fit",
    "FpgaError",
    "Mac",
    "Resources",
    "Selector",
    "device",
    "device_names",
    "fit",
    "resources",
]

_INTEGERS: Final = ("int4", "int8")
_SLICE_BITS: Final = 18  # the narrower operand of DSP48E2's 27 x 18 multiplier (AMD UG579)


class FpgaError(ValueError):
    """A design that cannot be estimated, or does not fit where it must; one line says why."""


class Resources(Value, frozen=True):
    """What a machine takes, part by part, if built for operands of `format` with MACs by `mac`.

    But for `lut_pes` PEs, whose MACs are of LUTs.
    """

    machine: str
    format: str
    mac: Mac
    lut_pes: int
    components: tuple[Component, ...]
    errors: tuple[FitError, ...]

    @property
    def total(self) -> Component:
        """The sum of all parts."""
        return total(self.components)


class Excess(Value, frozen=True):
    """A resource of which a design needs more than there is."""

    resource: str
    need: Count
    limit: int

    @property
    def excess(self) -> int:
        """How many are missing."""
        return self.need - self.limit

    def __str__(self) -> str:
        return f"{self.resource} {self.need:,} of {self.limit:,}, {self.excess:,} too many"


class Fit(Value, frozen=True):
    """A design on a device; that it does not fit is a result, not an error."""

    resources: Resources
    device: Device

    @property
    def excesses(self) -> tuple[Excess, ...]:
        """Every resource that is exceeded, in the order of `RESOURCES`."""
        need, limits = self.resources.total, self.device.resources
        return tuple(
            Excess(resource=name, need=need.count(name), limit=limits.limit(name))
            for name in RESOURCES
            if need.count(name) > limits.limit(name)
        )

    @property
    def fits(self) -> bool:
        """Whether no resource is exceeded."""
        return not self.excesses

    def share(self, resource: str) -> float:
        """The part of a resource that is taken; 0 where none is wanted."""
        need = self.resources.total.count(resource)
        limit = self.device.resources.limit(resource)
        return need / limit if limit else math.inf if need else 0.0

    def require(self) -> None:
        """Raise `FpgaError`, naming the resources and their excess, if the design does not fit."""
        if not self.fits:
            over = "; ".join(map(str, self.excesses))
            raise FpgaError(f"{self.resources.machine} does not fit {self.device.name}: {over}")


def fit(
    machine: Accelerator | Gpu,
    device: Device,
    *,
    format: str | None = None,
    mac: Mac = "dsp",
    macs_per_dsp: Fraction | None = None,
    lut_pes: int = 0,
    selector: Selector | None = None,
) -> Fit:
    """Return what `machine` takes of `device`; buffers go to its UltraRAM where that is apt.

    Raises:
        FpgaError: as `resources`.
    """
    uram = device.resources.uram
    found = resources(
        machine, format=format, mac=mac, macs_per_dsp=macs_per_dsp, lut_pes=lut_pes,
        selector=selector, uram=uram,
    )  # fmt: skip
    return Fit(resources=found, device=device)


def resources(
    machine: Accelerator | Gpu,
    *,
    format: str | None = None,
    mac: Mac = "dsp",
    macs_per_dsp: Fraction | None = None,
    lut_pes: int = 0,
    selector: Selector | None = None,
    uram: int = 0,
) -> Resources:
    """Return what a machine takes of an FPGA, part by part.

    Args:
        machine: An accelerator.
        format: Of the operands that it is built for; the widest of its array's by default.
        mac: How a MAC is made, one of `MACS`.
        macs_per_dsp: MACs that one slice does in a cycle. By default a PE is one slice, whatever
            `macs_per_pe_cycle` says: it is taken to be packed. Logic that a packing needs beside
            the slice is not counted.
        lut_pes: PEs of the array whose MACs are made of LUTs, beside those in slices.
        selector: Add a token selector, `shared` or `dedicated`.
        uram: UltraRAMs there are.

    Raises:
        FpgaError: for a GPU, for an unknown `mac` or `selector`, for more `lut_pes` than PEs, and
            for a format that is not an integer's: nothing is known here about floating-point PEs.
        FormatError: if the array does not compute in `format`.
    """
    if isinstance(machine, Gpu):
        raise FpgaError(f"{machine.name}: wanted an accelerator, got a GPU")
    _check("mac", mac, MACS)
    if selector is not None:
        _check("selector", selector, SELECTORS)
    format = format or max(chain.from_iterable(machine.array.macs_per_pe_cycle.pairs), key=bits)
    try:
        machine.array.macs_per_pe_cycle.most(format, format)
    except FormatError as error:
        raise FormatError(
            f"{machine.name} does not compute in {format} (--format): {error}"
        ) from None
    if format not in _INTEGERS:
        raise FpgaError(
            f"{machine.name}: wanted a PE for {' or '.join(_INTEGERS)}, got {format}; name one to "
            "build for (--format)"
        )
    components = (
        _array(machine, format, mac, macs_per_dsp, lut_pes),
        *head_adders(machine),
        sequencers(machine),
        *buffers(machine, format, uram),
        vector(machine),
        dma(machine),
        host(),
        *((token_selector(machine, format, selector),) if selector else ()),
    )
    design = _design(machine, format, mac)
    return Resources(
        machine=machine.name, format=format, mac=mac, lut_pes=lut_pes, components=components,
        errors=errors(design.kind, "lut" if lut_pes else mac),
    )  # fmt: skip


def _design(machine: Accelerator, format: str, mac: Mac) -> Design:
    array = machine.array
    if not isinstance(array, SystolicArray):
        return Design(
            kind="unrolled", mac=mac, rows=array.tm, cols=array.tn, heads=array.th,
            bits=bits(format), sum_bits=SUM_BITS,
        )  # fmt: skip
    # Without overlap, as SCALE-Sim counts, the least hardware does.
    plain: Kind = "global-drain" if array.dataflow == "os" else "single"
    kind: Kind = plain if array.overlap == "scale-sim" else array.overlap
    # An input-stationary array is the weight-stationary one with its operands exchanged.
    return Design(
        kind=kind, mac=mac, rows=array.rows, cols=array.cols, bits=bits(format), sum_bits=SUM_BITS
    )


def _array(
    machine: Accelerator, format: str, mac: Mac, macs_per_dsp: Fraction | None, lut_pes: int
) -> Component:
    array = machine.array
    if lut_pes and mac == "lut":
        raise FpgaError("lut_pes: wanted MACs in slices beside them, got all of LUTs (mac: lut)")
    if not 0 <= lut_pes <= array.pes:
        raise FpgaError(f"lut_pes: wanted at most the array's {array.pes:,} PEs, got {lut_pes:,}")
    design = _design(machine, format, mac)
    cells = estimate(design)
    count = array.count if isinstance(array, SystolicArray) else 1
    slices = slices_per_pe(bits(format), array.macs_per_pe_cycle.most(format, format), macs_per_dsp)
    of_luts = array.pes if mac == "lut" else lut_pes
    together = array.pes_per_slice if isinstance(array, UnrolledArray) else 1
    extra = 0 if mac == "lut" else math.ceil(lut_pes * luts_per_mac(bits(format), design.kind))
    beside = f", {of_luts:,} of LUTs" if of_luts else ""
    return Component(
        name="array",
        dsp=slices * -(-(array.pes - of_luts) // together),
        lut=count * cells["lut"] + extra,
        ff=count * cells["ff"],
        basis="fitted",
        note=f"{array.pes:,} PEs, {design.kind}{beside}",
    )


def slices_per_pe(operand_bits: int, rate: Fraction, macs_per_dsp: Fraction | None = None) -> int:
    """Return the DSP slices of a PE that does `rate` MACs a cycle, `macs_per_dsp` in each slice.

    One slice multiplies 27 by 18 bits and adds 48 (DSP48E2, AMD UG579), so that operands of up to
    18 bits take one. This is the place for a table of MACs per slice by format.

    Raises:
        FpgaError: for wider operands.
    """
    if operand_bits > _SLICE_BITS:
        raise FpgaError(f"operands: wanted at most {_SLICE_BITS} bits, got {operand_bits}")
    return 1 if macs_per_dsp is None else math.ceil(rate / macs_per_dsp)


def _check(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise FpgaError(
            f"{name}: wanted one of {', '.join(known)}; got {given!r}{nearest(given, known)}"
        )
