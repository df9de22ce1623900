"""How many memory blocks of an FPGA a memory of some width and depth takes."""

from __future__ import annotations

from typing import Final

__all__ = ["PORT_SHAPES", "URAM_SHAPE", "bram18s", "urams"]

PORT_SHAPES: Final = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Bits x words of a block RAM of 18 Kibit with one port to write and one to read (AMD UG573, as
recalled); at 36, 18 and 9 bits the parity bits hold data, narrower ports have none."""

URAM_SHAPE: Final = (72, 4096)
"""Bits x words of an UltraRAM of 288 Kibit (AMD UG573, as recalled)."""


def bram18s(width: int, depth: int) -> int:
    """Return the block RAMs of 18 Kibit behind `depth` words of `width` bits, all of one shape.

    The fewest that any of `PORT_SHAPES` needs; a mix of shapes may need fewer still.

    >>> bram18s(36, 512), bram18s(72, 1024), bram18s(1, 16384), bram18s(384, 10923)
    (1, 4, 1, 242)

    Raises:
        ValueError: if a size is not positive.
    """
    return min(_blocks(width, depth, shape) for shape in PORT_SHAPES)


def urams(width: int, depth: int) -> int:
    """Return the UltraRAMs behind `depth` words of `width` bits.

    >>> urams(72, 4096), urams(73, 4096), urams(384, 10923)
    (1, 2, 18)

    Raises:
        ValueError: if a size is not positive.
    """
    return _blocks(width, depth, URAM_SHAPE)


def _blocks(width: int, depth: int, shape: tuple[int, int]) -> int:
    if width < 1 or depth < 1:
        raise ValueError(f"memory: wanted at least 1 bit and 1 word, got {width} x {depth}")
    return -(-width // shape[0]) * -(-depth // shape[1])
