"""The UNet of SnapFusion (Li et al., NeurIPS 2023), which evolved from Stable Diffusion 1.5's.

The paper gives the number of cross-attention and ResNet blocks at each side length of the latents,
Stable Diffusion 1.5's -> its own, for latents of 64 x 64:

    stage   side   cross-attention   ResNet
    Down-1  64     2 -> 0            2 -> 2
    Down-2  32     2 -> 2            2 -> 2
    Down-3  16     2 -> 2            2 -> 1
    Mid     8      1 -> 1            7 -> 4
    Up-1    16     3 -> 6            3 -> 2
    Up-2    32     3 -> 3            3 -> 3
    Up-3    64     3 -> 0            3 -> 3

The seven of Mid are two of the way down, two of the middle and three of the way up.  That each skip
connection is read once by a ResNet block of the way up, as in Stable Diffusion, leaves of the four
one down, one in the middle and two up.  This is assumed, and so is that a level's cross-attention
blocks beyond one for each ResNet block share its projections (`transformer_layers_per_block`): the
paper prints no more.

Parameters are then 742.9 M where it prints 848 M.  No reading of the table gives that: the four
ResNet blocks that have most parameters, with projections for each cross-attention block, give
774 M; all seven kept, 854 M or, with the projections, 867 M.
"""

# torch is optional, so its classes, and what derives from them, have no types here.
# pyright: basic

from collections.abc import Mapping
from typing import Any

from ..extras import require
from . import torch_unet


def build(config: Mapping[str, Any]) -> Any:
    """A randomly initialised UNet of those blocks, ready for inference.

    Its forward is that of `diffusers.UNet2DConditionModel`.
    """
    blocks = require("diffusers.models.unets.unet_2d_blocks", "export")

    class Middle(blocks.UNetMidBlock2DCrossAttn):  # type: ignore[misc, name-defined]
        def forward(
            self,
            hidden_states: Any,
            temb: Any = None,
            encoder_hidden_states: Any = None,
            **_: Any,
        ) -> Any:
            hidden_states = self.resnets[0](hidden_states, temb)
            attended = self.attentions[0](
                hidden_states, encoder_hidden_states=encoder_hidden_states, return_dict=False
            )
            return attended[0]

    unet = torch_unet.build(config)
    del unet.mid_block.resnets[1]
    unet.mid_block.__class__ = Middle
    return unet.eval()
