"""A UNet of four convolutions, small enough to be counted by hand."""

from __future__ import annotations

from tilewise.workloads.extent import symbol
from tilewise.workloads.graph import Symbol, Workload
from tilewise.workloads.operator import Convolution, Movement, Operand

WIDTH = 16  # channels of everything inside
SIDE = 32  # of the image


def convolution(
    name: str, sources: tuple[str, ...], channels: tuple[int, int], sides: tuple[int, int]
) -> Convolution:
    """3 x 3, from a number of channels and a side of the image to others."""
    batch, (into, out), (wide, made) = symbol("batch"), channels, sides
    return Convolution(
        name=name,
        operands=(Operand(sources=sources, elements=batch * into * wide * wide),),
        shape=(batch, out, made, made),
        batch=batch,
        in_channels=into,
        out_channels=out,
        kernel=(3, 3),
        stride=(wide // made,) * 2,
        dilation=(1, 1),
        padding=(2, 2),
        in_size=(wide, wide),
        out_size=(made, made),
    )


def tiny_unet(side: int = SIDE) -> Workload:
    """One step down and up, so that there are two skip connections.

    The second joins what is made below with what was made on the way there.
    """
    half, batch = side // 2, symbol("batch")
    up = Movement(
        name="up",
        operands=(Operand(sources=("below",), elements=batch * WIDTH * half * half),),
        shape=(batch, WIDTH, side, side),
        function="resize",
    )
    return Workload(
        name="tiny-unet",
        operators=(
            convolution("in", ("image",), (4, WIDTH), (side, side)),
            convolution("down", ("in",), (WIDTH, WIDTH), (side, half)),
            convolution("middle", ("down",), (WIDTH, WIDTH), (half, half)),
            convolution("below", ("middle", "down"), (2 * WIDTH, WIDTH), (half, half)),
            up,
            convolution("out", ("up", "in"), (2 * WIDTH, 4), (side, side)),
        ),
        inputs=(("image", (batch, 4, side, side)),),
        outputs=("out",),
        symbols=(Symbol(name="batch", default=1),),
        images=batch,
        parameters=9 * (4 * WIDTH + 2 * WIDTH**2 + 2 * WIDTH**2 + 2 * WIDTH * 4),
    )


def macs(channels: tuple[int, int], side: int) -> int:
    """Of a 3 x 3 convolution that makes an image of that side."""
    return 9 * channels[0] * channels[1] * side**2
