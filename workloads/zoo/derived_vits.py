"""The zoo's vision transformers that are made of another one's graph: pruned, and in training.

Blocks and kept counts, and who says so:

- HeatViT (Dong et al., HPCA 2023): before blocks 4, 7, 10 of DeiT, 5, 9, 13 of LV-ViT-S and 6, 11,
  16 of LV-ViT-M, counted from 1.  Images keep what they keep; the counts that are taken if nobody
  binds them are means that others measured where there are some, and assumed otherwise:
  DeiT-T's are those of the trace `heatvit-rtl-deit-tiny`, LV-ViT-S's of `spvit-lvvit-small`;
  DeiT-S's 137, 69, 48 have no source (they come to 2.65 GMACs, where 2.64 are recalled of the
  paper at other counts) and DeiT-B is given the same; LV-ViT-M is given LV-ViT-S's.
- SPViT's code (`spvit`) at the same blocks; DeiT-S's counts are those of the trace
  `spvit-deit-small`, LV-ViT-S's of `spvit-lvvit-small`; the others are given these (assumed).
- DynamicViT (Rao et al., NeurIPS 2021): its code keeps `int(196 r)` patches, r 0.7, 0.49, 0.343.
- ToMe (Bolya et al., ICLR 2023): 13 tokens fewer in each block.
- Tri-Level (Kong et al., AAAI 2023): one step of its training, at the target 0.7; see `trilevel`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from .model import Model

if TYPE_CHECKING:
    from ..graph import Workload

__all__ = ["MODELS"]

_BLOCKS: Final[Mapping[str, tuple[str, tuple[int, ...]]]] = MappingProxyType(
    {
        "deit-tiny": ("DeiT-T", (4, 7, 10)),
        "deit-small": ("DeiT-S", (4, 7, 10)),
        "deit-base": ("DeiT-B", (4, 7, 10)),
        "lv-vit-small": ("LV-ViT-S", (5, 9, 13)),
        "lv-vit-medium": ("LV-ViT-M", (6, 11, 16)),
    }
)
_PATCHES: Final = 196


def _pruned(base: str, method: str, blocks: Sequence[int], kept: Sequence[int]) -> Workload:
    from ..pruning import pruned  # which reads graphs of the zoo

    return pruned(base, method, blocks, [count / _PATCHES for count in kept])


def _trained(base: str) -> Workload:
    from ..training import training_step
    from . import load

    return training_step(load(base))


def _trilevel(base: str) -> Workload:
    from .trilevel import step

    return step(base)


def _model(
    base: str, method: str, description: str, blocks: Sequence[int], kept: Sequence[int]
) -> Model:
    counts = {f"kept_{place}": count for place, count in enumerate(kept, start=1)}
    one_image = method in ("heatvit", "spvit")  # as images keep different numbers
    return Model(
        description=description,
        defaults=MappingProxyType(counts if one_image else {"batch": 1, **counts}),
        graph=base,
        derive=partial(_pruned, base, method, blocks, kept),
    )


def _selecting(
    method: str, what: str, counts: Mapping[str, tuple[tuple[int, ...], str]]
) -> dict[str, Model]:
    """The models of a family whose images keep what they keep."""
    models: dict[str, Model] = {}
    for base, (kept, said) in counts.items():
        name, blocks = _BLOCKS[base]
        places = ", ".join(map(str, blocks))
        description = f"{name}, {what} before blocks {places}; default counts {said}"
        models[f"{method}-{base}"] = _model(base, method, description, blocks, kept)
    return models


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        **_selecting(
            "heatvit",
            "HeatViT selectors",
            {
                "deit-tiny": ((101, 49, 41), "measured by others"),
                "deit-base": ((137, 69, 48), "assumed"),
                "lv-vit-small": ((140, 96, 63), "those of SPViT"),
                "lv-vit-medium": ((140, 96, 63), "assumed"),
            },
        ),
        **_selecting(
            "spvit",
            "selectors as in SPViT's code",
            {
                "deit-tiny": ((140, 88, 42), "assumed"),
                "deit-small": ((140, 88, 42), "measured there"),
                "deit-base": ((140, 88, 42), "assumed"),
                "lv-vit-small": ((140, 96, 63), "measured there"),
                "lv-vit-medium": ((140, 96, 63), "assumed"),
            },
        ),
        "dynamicvit-deit-small": _model(
            "deit-small",
            "dynamicvit",
            "DeiT-S, DynamicViT predictors before blocks 4, 7, 10: 0.7, 0.49, 0.343 are kept",
            (4, 7, 10),
            (137, 96, 67),
        ),
        "tome-deit-small": _model(
            "deit-small",
            "tome",
            "DeiT-S with token merging: 13 tokens fewer in each of 12 blocks",
            range(1, 13),
            [_PATCHES - 13 * block for block in range(1, 13)],
        ),
        "train-deit-small": Model(
            description="one training step of DeiT-S: forward, backward, AdamW",
            graph="deit-small",
            derive=partial(_trained, "deit-small"),
        ),
        "train-trilevel-deit-small": Model(
            description="one training step of DeiT-S with Tri-Level's tokens at its target of 0.7",
            defaults=MappingProxyType({"batch": 1, "kept_1": 138, "kept_2": 97, "kept_3": 68}),
            graph="deit-small",
            derive=partial(_trilevel, "deit-small"),
        ),
    }
)
"""By name."""
