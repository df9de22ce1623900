"""Arrays of processing elements: systolic in rows and columns, or unrolled from loops."""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeAlias, cast

from pydantic import model_validator

from .formats import PerProduct, bits
from .value import Count, Value

Dataflow = Literal["ws", "os", "is"]
Overlap = Literal[
    "single", "shadow-broadcast", "shadow-gated", "global-drain", "pe-drain", "scale-sim"
]
Split = Literal["tile", "head", "image"]

_STATIONARY: Final[tuple[Overlap, ...]] = (
    "shadow-gated", "shadow-broadcast", "single", "scale-sim"
)  # fmt: skip
OVERLAPS: Final = MappingProxyType[Dataflow, tuple[Overlap, ...]](
    {"ws": _STATIONARY, "is": _STATIONARY, "os": ("pe-drain", "global-drain", "scale-sim")}
)
"""The overlaps each dataflow knows, its default first."""


class SystolicArray(Value, frozen=True):
    """`count` equal arrays of `rows` x `cols` processing elements (PEs).

    `dataflow` is what stays in the PE: weights (`ws`), outputs (`os`) or inputs (`is`).
    `overlap` is what lets the next fold start before the last has left the array:

    - `ws`, `is`: `single` (one stationary register per PE), `shadow-broadcast` (a second one,
      filled by a shift that all rows take part in), `shadow-gated` (the shift stops row by row;
      the default), `scale-sim` (no overlap, as SCALE-Sim 3 counts);
    - `os`: `global-drain` (the whole array drains before it starts again), `pe-drain` (a drain
      register per PE; the default), `scale-sim`.

    `split` is what several arrays, which share all buffers, get of the work:

    - `tile` (the default): column blocks of a tile in turn, whoever they belong to;
    - `head`: products with operands of their own, such as the heads of attention, go whole to one
      array each; all other products are split as by `tile`;
    - `image`: each image of a batch belongs to one array, and weights go to all arrays at once.

    `macs_per_pe_cycle` is how many multiply-accumulates one PE does in a cycle, by formats; a
    rational, because packings such as 7 int4 products in 4 cycles exist.

    >>> rates = PerProduct(int8=Fraction(1), fp16=Fraction(1, 2))
    >>> array = SystolicArray(rows=32, cols=32, macs_per_pe_cycle=rates)
    >>> array.overlap, array.pes, array.macs_per_cycle("fp16")
    ('shadow-gated', 1024, Fraction(512, 1))

    Raises:
        pydantic.ValidationError: e.g. for an `overlap` that the dataflow does not know.
    """

    rows: Count
    cols: Count
    count: Count = 1
    split: Split = "tile"
    dataflow: Dataflow = "ws"
    overlap: Overlap = "shadow-gated"
    macs_per_pe_cycle: PerProduct = PerProduct(int8=Fraction(1))

    @model_validator(mode="before")
    @classmethod
    def _overlap_of_the_dataflow(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        given = cast("dict[str, Any]", fields)
        return {"overlap": "pe-drain"} | given if given.get("dataflow") == "os" else given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap not in (known := OVERLAPS[self.dataflow]):
            raise ValueError(
                f"overlap: wanted one of {', '.join(known)} for dataflow {self.dataflow}, "
                f"got {self.overlap!r}"
            )
        _check_formats(self.macs_per_pe_cycle)
        return self

    @property
    def pes(self) -> int:
        """Processing elements in all arrays together."""
        return self.rows * self.cols * self.count

    def macs_per_cycle(self, format: str) -> Fraction:
        """Return the multiply-accumulates all arrays together do per cycle at most.

        Raises:
            FormatError: if the array does not compute in `format`.
        """
        return self.pes * self.macs_per_pe_cycle.most(format, format)


class UnrolledArray(Value, frozen=True):
    """Loops unrolled into multipliers and adder trees, as FPGA engines for transformers are.

    `th` heads x `tm` output channels x `tn` input channels are multiplied at once, for one token
    after another. Tiles of inputs and weights come, and outputs go, through `input_ports`,
    `weight_ports` and `output_ports` of `word_bits` each, one word a cycle and port, double-
    buffered; `tilewise.sim.unrolled` says how long that takes. `pes_per_slice` multipliers share a
    DSP slice of an FPGA, which changes what the array takes of it and no time. It is the engine of
    VAQF (Sun et al., arXiv:2201.06618, 2022), HeatViT (Dong et al., HPCA 2023) and Quasar-ViT (Li
    et al., arXiv:2407.18175, 2024), recalled from these papers and not verified against them.

    `macs_per_pe_cycle` is how many multiply-accumulates one multiplier does in a cycle, by format:
    so many tokens pass at once, with one weight in common.

    >>> array = UnrolledArray(tm=8, tn=16, th=2, word_bits=128,
    ...                       input_ports=2, weight_ports=1, output_ports=1)
    >>> array.pes, array.macs_per_cycle("int8"), array.per_word(8)
    (256, Fraction(256, 1), 16)

    Raises:
        pydantic.ValidationError: e.g. for a word that cannot hold one operand.
    """

    tm: Count
    tn: Count
    th: Count
    word_bits: Count
    input_ports: Count
    weight_ports: Count
    output_ports: Count
    pes_per_slice: Count = 1
    macs_per_pe_cycle: PerProduct = PerProduct(int8=Fraction(1))

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_formats(self.macs_per_pe_cycle)
        widest = max(bits(name) for pair in self.macs_per_pe_cycle.pairs for name in pair)
        if self.word_bits < widest:
            raise ValueError(
                f"word_bits: wanted at least {widest}, one operand of the widest format, "
                f"got {self.word_bits}"
            )
        return self

    @property
    def pes(self) -> int:
        """Multipliers."""
        return self.tm * self.tn * self.th

    def macs_per_cycle(self, format: str) -> Fraction:
        """Return the multiply-accumulates the array does per cycle at most.

        Raises:
            FormatError: if the array does not compute in `format`.
        """
        return self.pes * self.macs_per_pe_cycle.most(format, format)

    def per_word(self, operand_bits: int) -> int:
        """Return how many operands of so many bits one word of a port holds, G."""
        return self.word_bits // operand_bits


ComputeArray: TypeAlias = SystolicArray | UnrolledArray


def _check_formats(rates: PerProduct) -> None:
    if not rates.names:
        raise ValueError("macs_per_pe_cycle: wanted at least one format, got none")
