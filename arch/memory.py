"""Memories: the double-buffered SRAMs beside the array, and the DRAM behind them."""

from __future__ import annotations

from typing import Literal

from .value import Count, NotNegative, Positive, Rate, Value, Whole

DramKind = Literal[
    "ddr3", "ddr4", "lpddr4", "lpddr5", "gddr6", "gddr6x", "gddr7", "hbm2", "hbm2e", "hbm3", "hbm3e"
]

DramOrder = Literal["program", "fifo", "priority"]


class Buffers(Value, frozen=True):
    """On-chip SRAMs, in bytes, each double-buffered: a tile uses at most half of one.

    The accumulator buffer holds partial sums as 32-bit words, whatever the operands' format.
    `im2col_bytes_per_cycle` caps the rate at which the patches of an implicit-GEMM convolution
    are read from the input buffer; None is no cap.

    >>> Buffers(input_bytes=1024, weight_bytes=1024, output_bytes=512,
    ...         accumulator_bytes=4096).accumulator_tile_words
    512
    """

    input_bytes: Count
    weight_bytes: Count
    output_bytes: Count
    accumulator_bytes: Count
    im2col_bytes_per_cycle: Rate | None = None

    @property
    def input_tile_bytes(self) -> int:
        """The largest input tile, in bytes."""
        return self.input_bytes // 2

    @property
    def weight_tile_bytes(self) -> int:
        """The largest weight tile, in bytes."""
        return self.weight_bytes // 2

    @property
    def output_tile_bytes(self) -> int:
        """The largest output tile, in bytes."""
        return self.output_bytes // 2

    @property
    def accumulator_tile_words(self) -> int:
        """The largest tile of partial sums, in 32-bit words."""
        return self.accumulator_bytes // 8

    @property
    def total_bytes(self) -> int:
        """All on-chip bytes."""
        return self.input_bytes + self.weight_bytes + self.output_bytes + self.accumulator_bytes


class Dram(Value, frozen=True):
    """The off-chip memory as one DMA queue sees it.

    `bytes_per_s` is the rate of a long transfer; `latency_s` passes between a request and its
    first byte, is pipelined and does not hold the bus; `setup_cycles` (of the machine's clock)
    are spent on each DMA descriptor. `kind` names the entry of the energy table. `order` is who is
    served next: what stands next in the program, who asked first (`fifo`), or inputs before weights
    before stores (`priority`). Only in the first is a faster machine never slower.
    """

    bytes_per_s: Positive
    latency_s: NotNegative
    setup_cycles: Whole
    kind: DramKind
    order: DramOrder = "program"
