"""The zoo's pipelines: whole images and videos, by the names of the networks that they call.

A diffusion pipeline has a number of steps, written behind its name where it is not its own, and may
take deep features from earlier steps: `sd15`, `sd15-25`, `sd15-deepcache-5`, `sd15-25-deepcache-5`.
Its steps run with classifier-free guidance where people run it so: two inputs side by side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Final

from ..deepcache import full_step, full_steps, partial_step
from ..graph import Workload
from ..pipeline import Call, Pipeline
from .hart import HART_1024, head_call, transformer_calls

__all__ = ["is_pipeline", "pipeline", "pipeline_names"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Diffusion:
    """Pipelines that differ in their steps.

    Attributes:
        what: Of which model, and what it makes.
        steps: How many, if the name does not say.
        step: One of them.
        before: What is called before the steps.
        after: What is called behind them.
        branch: The skip connection at which DeepCache's authors cut it, from 1; 0 if they do not.
        listed: Endings of names that are listed, and what to say of them.
        missing: What a real run has besides.
    """

    what: str
    steps: int
    step: Call
    before: tuple[Call, ...] = ()
    after: tuple[Call, ...] = ()
    branch: int = 0
    listed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    missing: str = ""


_CLIP = Call(label="text encoder", workload="clip-l-text", inputs=2)
_SDXL_TEXT = (
    Call(label="text encoder 1", workload="clip-l-text", inputs=2),
    Call(label="text encoder 2", workload="openclip-bigg-text", inputs=2),
)


def _unet(name: str) -> Call:
    """A guided step of a UNet."""
    return Call(label="UNet", workload=name, inputs=2)


def _decoder(latents: int, name: str = "sd-vae-decoder") -> Call:
    """The decoder of latents that are so wide and high."""
    return Call(label="decoder", workload=name, bind={"height": latents, "width": latents})


_CACHED: Final = MappingProxyType({"-deepcache-5": ""})

# Steps: DeepCache's tables 1 to 3 and the logs of its README, but of SnapFusion its table 5 (8
# steps of two inputs each), of SDXL-Turbo 1 to 4 without guidance and of CogVideoX 50 (recalled).
# That both video models are guided, the decoder taking all frames at once, is recalled too.
# Branches: DeepCache's tables 1, 2 and 14; of SDXL its script, whose layer 0 and block 0 are the
# second connection; of SD 2.1 what the documentation of diffusers measures, which counts from 0.
_DIFFUSION: Mapping[str, _Diffusion] = MappingProxyType(
    {
        "sd15": _Diffusion(
            what="Stable Diffusion 1.5, a 512 x 512 image",
            steps=50,
            step=_unet("sd15-unet"),
            before=(_CLIP,),
            after=(_decoder(64),),
            branch=2,
            listed={"-25": "", "-8": "as after SnapFusion's step distillation", **_CACHED},
        ),
        "snapfusion": _Diffusion(
            what="SnapFusion's UNet and decoder after step distillation, a 512 x 512 image",
            steps=8,
            step=_unet("snapfusion-unet"),
            before=(_CLIP,),
            after=(_decoder(64, "snapfusion-vae-decoder"),),
        ),
        "sd21-base": _Diffusion(
            what="Stable Diffusion 2.1, a 512 x 512 image",
            steps=50,
            step=_unet("sd21-base-unet"),
            before=(Call(label="text encoder", workload="openclip-h-text", inputs=2),),
            after=(_decoder(64),),
            branch=1,
        ),
        "sd21": _Diffusion(
            what="Stable Diffusion 2.1, a 768 x 768 image",
            steps=50,
            step=_unet("sd21-unet"),
            before=(Call(label="text encoder", workload="openclip-h-text", inputs=2),),
            after=(_decoder(96),),
            branch=1,
        ),
        "sdxl-turbo": _Diffusion(
            what="SDXL-Turbo without guidance, a 512 x 512 image",
            steps=1,
            step=replace(_unet("sdxl-turbo-unet"), inputs=1),
            before=tuple(replace(call, inputs=1) for call in _SDXL_TEXT),
            after=(_decoder(64),),
            listed={"-4": ""},
        ),
        "sdxl": _Diffusion(
            what="SDXL base, a 1024 x 1024 image",
            steps=50,
            step=_unet("sdxl-unet"),
            before=_SDXL_TEXT,
            after=(_decoder(128),),
            branch=2,
            listed={"-30": "", **_CACHED},
        ),
        "ldm4": _Diffusion(
            what="LDM-4-G, class-conditional, a 256 x 256 image, DDIM",
            steps=250,
            step=_unet("ldm4-unet"),
            branch=1,
            listed=_CACHED,
            missing="the decoder of its first stage",
        ),
        **{
            name: _Diffusion(
                what=f"DDPM on {what}, DDIM",
                steps=100,
                step=Call(label="UNet", workload=f"{name}-unet"),
                branch=3,
                listed=_CACHED,
            )
            for name, what in {
                "ddpm-cifar10": "CIFAR-10, a 32 x 32 image",
                "ddpm-lsun": "LSUN, a 256 x 256 image",
            }.items()
        },
        "ddpm-celeba": _Diffusion(
            what="DDPM on CelebA, a 64 x 64 image, DDIM",
            steps=100,
            step=Call(label="UNet", workload="ddpm-celeba-unet"),
        ),
        **{
            name: _Diffusion(
                what=f"Stable Video Diffusion, {frames} frames of 1024 x 576",
                steps=25,
                step=_unet(f"{name}-unet"),
                before=(Call(label="image encoder", workload="openclip-h-image"),),
                after=(Call(label="decoder", workload="svd-vae-decoder", bind={"frames": frames}),),
                missing="the VAE's encoder of the first frame",
            )
            for name, frames in {"svd": 14, "svd-xt": 25}.items()
        },
        **{
            f"{name}-video": _Diffusion(
                what=f"{title}, 49 frames of 720 x 480",
                steps=50,
                step=replace(_unet(name), label="transformer"),
                before=(Call(label="text encoder", workload="t5-xxl-text", inputs=2),),
                after=(Call(label="decoder", workload="cogvideox-vae-decoder"),),
            )
            for name, title in {
                "cogvideox-2b": "CogVideoX-2B",
                "cogvideox-5b": "CogVideoX-5B",
            }.items()
        },
    }
)
"""By name, without steps and interval."""


def _hart() -> Pipeline:
    """Scale after scale, each with the keys and values of those before; then the residual."""
    scales = tuple(
        Call(
            label=f"scale {number}",
            workload="hart-1024-transformer",
            inputs=binding["batch"],
            bind={name: size for name, size in binding.items() if name != "batch"},
        )
        for number, binding in enumerate(transformer_calls(), start=1)
    )
    head = Call(
        label="residual step",
        workload="hart-1024-head",
        count=HART_1024.diffusion_steps,
        inputs=head_call()["batch"],
        bind={"tokens": head_call()["tokens"]},
    )
    return Pipeline(
        name="hart-1024",
        description=f"HART-0.7B, a 1024 x 1024 image, {len(scales)} scales, guided; sizes recalled",
        calls=(*scales, head),
        missing="its text encoder and its image decoder",
    )


_OTHER: Mapping[str, Callable[[], Pipeline]] = MappingProxyType({"hart-1024": _hart})
"""Pipelines whose steps are not to be chosen, by name."""

_NAME: Final = re.compile(
    r"(?P<base>.+?)(-(?P<steps>\d{1,5}))?(-deepcache(-(?P<interval>\d{0,5}))?)?"
)


def pipeline_names() -> tuple[str, ...]:
    """The pipelines that are listed; other steps and intervals are understood too."""
    families = _DIFFUSION.items()
    names = (name + ending for name, family in families for ending in ("", *family.listed))
    return (*names, *_OTHER)


def is_pipeline(name: str) -> bool:
    """Whether a name is meant to be that of a pipeline.

    >>> is_pipeline("sd15"), is_pipeline("sd15-deepcache-7"), is_pipeline("sd15-unet")
    (True, True, False)
    """
    return name in _OTHER or _parts(name) is not None


def pipeline(name: str) -> Pipeline:
    """A pipeline of the zoo; its networks are loaded when they are needed.

    >>> [(call.label, call.count) for call in pipeline("sd15-deepcache-5").calls[1:3]]
    [('UNet, full', 10), ('UNet, partial', 40)]

    Raises:
        UnknownModelError: There is no such pipeline; the message says what there is.
    """
    from . import UnknownModelError

    if name in _OTHER:
        return _OTHER[name]()
    parts = _parts(name)
    if parts is None:
        raise UnknownModelError(
            f"no pipeline is called {name}. There are {', '.join(pipeline_names())}"
        )
    base, steps, interval = parts
    family = _DIFFUSION[base]
    if interval is not None and not family.branch:
        raise UnknownModelError(
            f"no pipeline is called {name}: where DeepCache would cut {base} is not known"
        )
    if steps < 1 or (interval is not None and not 1 <= interval <= steps):
        wanted = f"1 step at least, as in {base}-{family.steps}"
        if family.branch:
            wanted += f", and an interval of 1 to the steps, as in {base}-deepcache-5"
        raise UnknownModelError(f"no pipeline is called {name}: wanted {wanted}")
    return Pipeline(
        name=name,
        description=_described(family, steps, interval, name.removeprefix(base)),
        calls=(*family.before, *_steps(family, steps, interval), *family.after),
        missing=family.missing,
    )


def _parts(name: str) -> tuple[str, int, int | None] | None:
    """The family, the steps and DeepCache's interval of a name: None if it has none, 0 if wrong."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    base, steps = found["base"], found["steps"]
    if base not in _DIFFUSION:
        return None
    interval = int(found["interval"] or 0) if "-deepcache" in name else None
    return base, _DIFFUSION[base].steps if steps is None else int(steps), interval


def _described(family: _Diffusion, steps: int, interval: int | None, ending: str) -> str:
    parts = [family.what, f"{steps} step{'s' if steps > 1 else ''}"]
    if interval is not None:
        parts[-1] += f", {len(full_steps(steps, interval))} of them full (DeepCache)"
    parts += ["guided"] if family.step.inputs == 2 else []
    return ", ".join(part for part in (*parts, family.listed.get(ending, "")) if part)


def _steps(family: _Diffusion, steps: int, interval: int | None) -> Iterator[Call]:
    if interval is None:
        yield replace(family.step, count=steps)
        return
    full = len(full_steps(steps, interval))
    cuts: dict[str, tuple[int, partial[Workload]]] = {
        "full": (full, partial(full_step, branch=family.branch)),
        "partial": (steps - full, partial(partial_step, branch=family.branch)),
    }
    for which, (count, change) in cuts.items():
        if count:
            label = f"{family.step.label}, {which}"
            yield replace(family.step, label=label, count=count, change=change)
