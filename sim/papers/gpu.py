"""Whole networks on GPUs: printed times of images, UNet steps and ViTs beside both GPU models.

Nothing of a machine, an engine or a kernel was chosen or fitted by any of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Final

from ...arch import Gpu, load_machine
from ...workloads import zoo
from ...workloads.bit_widths import precision
from ...workloads.deepcache import full_step, full_steps, partial_step
from ...workloads.fused_projections import fused_projections
from ...workloads.graph import Workload
from ...workloads.operator import MatMul
from ...workloads.pipeline import Call, Pipeline
from ...workloads.quantization import BitRules, quantized
from ...workloads.unet_merging import merged
from ...workloads.zoo.pipelines import pipeline
from ..pipeline import Runs, run_pipeline
from .rows import Claim, Reproduction, Sensitivity, published, rows_of

__all__ = ["reproduction", "sensitivities"]

_STEPS: Final = 50

_TOME_BATCH: Final = 4
"""Images that ToMe made at once, which its table does not say: up to 7 of 3.41 GB fit."""

# Linear layers that the blog leaves in bf16, by columns in and out: its filter function.
_NOT_INT8: Final = frozenset(
    {(1280, 640), (1920, 1280), (1920, 640), (2048, 1280), (2048, 2560), (2560, 1280), (256, 128),
     (2816, 1280), (320, 640), (512, 1536), (512, 256), (512, 512), (640, 1280), (640, 1920),
     (640, 320), (640, 5120), (640, 640), (960, 320), (960, 640)}
)  # fmt: skip

_TF32: Final = (
    "Stored in fp32 and multiplied in TF32, which only the time itself tells: 405 TFLOP in 7.36 s "
    "are 55 TFLOP/s, and the A100 has 19.5 in fp32. TF32 was not measured: bf16 was."
)
_EAGER: Final = (
    "Missing of eager: divisions by a scale of 1, which its modules have and a graph has not; "
    "group norms by one block a group, fewer than the SMs; convolutions chosen without a "
    "benchmark. Norms and pointwise kernels are timed by those that were measured in fp32."
)
_NOTES: Final = {
    "baseline": f"{_TF32} {_EAGER}",
    "bf16": _EAGER,
    "sdpa": _EAGER,
    "compiled": "",
    "qkv": "",
    "int8": (
        "A kernel quantizes what each product reads. The blog's products are Triton's, which write "
        "what int32 becomes; they are timed as the libraries' that were measured."
    ),
}
_A5000: Final = (
    "The document is of December 2023 (diffusers' pull request 6390), so that attention is PyTorch "
    "2.1's. An RTX A5000 was not measured: products and attention take the constants of an L40S, "
    "norms and pointwise kernels those of an A100. The host's work between steps is missing."
)
_TOME: Final = (
    f"Of {_TOME_BATCH} images at once, which is assumed, with attention written out, and fp16 by "
    "autocast: the only 16 bits of the scripts that have PLMS, and what 3.41 GB an image need. An "
    "RTX 4090 was not measured and takes the constants of an L40S. Missing: the scores' "
    "multiplication by a scale, in a kernel of its own; too much: weights cast in each step."
)
_SNAPFUSION: Final = (
    "TF32, as the 31 TFLOP/s that follow are more than 19.5; two inputs. Attention in 32 bits is "
    "written out. What TF32 takes is bf16's constants at half the peak: it was not measured."
)
_TIMM: Final = (
    "A GeForce was not measured: products and attention take the constants of an L40S, norms and "
    "pointwise kernels those of an A100. Its clock is the data sheet's boost, above which boards "
    "run where their power allows it."
)
_VIT: Final = (
    "fp32 was not measured: products take bf16's constants at fp32's peak. Which A100 and which "
    "host is not said; of one image most is the host's time, here 10 us an operator, assumed, and "
    "modules of Python take more. A T4 in fp32 is at its 70 W, which is not modelled."
)


def reproduction() -> Reproduction:
    """Every number, by kernels under the engine that was used, and by the plain roofline."""
    return Reproduction(
        paper="gpu",
        title="Networks on GPUs: printed times, the kernels' model and the plain roofline",
        assumptions=(
            "without the scheduler, safety checker and image conversion, which nobody's graph has",
            "eager is NCHW, one kernel an operator; compiled is Inductor with CUDA graphs and "
            "channels last, as max-autotune is",
            "the roofline knows no engine, so its rungs differ by format and attention alone",
            "guided: every UNet step takes two inputs an image",
        ),
        rows=rows_of("gpu", dict(_claims())),
    )


def sensitivities() -> tuple[Sensitivity, ...]:
    """Other choices of what the tables leave open: how many images ToMe's were made at once."""
    variants = tuple(
        (
            f"batch {batch}",
            tuple(_tome(ratio, "kernels", batch) for ratio in (0, 50)),
        )
        for batch in (_TOME_BATCH, 1, 6)
    )
    printed = {line.key: line.published for line in published("gpu")}
    return (
        Sensitivity(
            title="ToMe on RTX 4090: images made at once, s an image",
            readings=("ratio 0 %", "ratio 50 %"),
            published=(printed["tome-0"], printed["tome-50"]),
            variants=variants,
        ),
    )


def _claims() -> Iterator[tuple[str, Claim]]:
    for line in published("gpu"):
        family, *rest = line.key.split("-")
        match family:
            case "sdxl":
                kernels, roofline = (_sdxl(rest[0], model) for model in ("kernels", "roofline"))
                note = _NOTES[rest[0]]
            case "a5000":
                kernels, roofline = (_cached(*rest, model) for model in ("kernels", "roofline"))
                note = _A5000
            case "tome":
                kernels, roofline = (_tome(int(rest[0]), m) for m in ("kernels", "roofline"))
                note = _TOME
            case "timm":
                kernels, roofline = (_timm(*rest, model) for model in ("kernels", "roofline"))
                note = _TIMM
            case "vit":
                kernels, roofline = (_vit(*rest, model) for model in ("kernels", "roofline"))
                note = _VIT
            case _:
                kernels, roofline = (_step(rest[0], model) for model in ("kernels", "roofline"))
                note = _SNAPFUSION
        yield line.key, Claim(kernels, note, roofline=roofline)


@cache
def _sdxl(rung: str, model: str) -> float:
    """Seconds of an image on a rung of the PyTorch blog's ladder."""
    found = pipeline("sdxl-30")
    if rung in ("qkv", "int8"):
        calls = tuple(
            replace(call, workload=_changed(str(call.workload), int8=rung == "int8"))
            for call in found.calls
        )
        found = replace(found, calls=calls)
    return _seconds(
        found,
        _gpu("a100-80gb", fused_attention=rung not in ("baseline", "bf16")),
        format="tf32" if rung == "baseline" else "bf16",
        engine="eager" if rung in ("baseline", "bf16", "sdpa") else "compiled",
        model=model,
    )


@cache
def _cached(size: str, batch: str, run: str, model: str) -> float:
    """Seconds of a batch of SD 2.1 under DeepCache; its branches count from 0, ours from 1."""
    latents = int(size) // 8
    sizes = {"height": latents, "width": latents}
    step = Call(label="UNet", workload="sd21-unet", inputs=2, bind=sizes)
    steps: tuple[Call, ...] = (replace(step, count=_STEPS),)
    if run != "full":
        interval, branch = int(run[1]), int(run[3]) + 1
        full = len(full_steps(_STEPS, interval))
        steps = (
            replace(step, count=full, change=partial(full_step, branch=branch)),
            replace(
                step,
                label="UNet, cached",
                count=_STEPS - full,
                change=partial(partial_step, branch=branch),
            ),
        )
    calls = (
        Call(label="text encoder", workload="openclip-h-text", inputs=2),
        *steps,
        Call(label="decoder", workload="sd-vae-decoder", bind=sizes),
    )
    found = Pipeline(name=f"sd21-{size}-{run}", description="", calls=calls)
    return _seconds(
        found, _gpu("a5000"), int(batch), format="fp16", engine="eager-torch-2.1", model=model
    )


@cache
def _tome(ratio: int, model: str, batch: int = _TOME_BATCH) -> float:
    """Seconds of an image of SD 1.5 with merged tokens, attention written out."""
    unet = merged("sd15-unet", 1 - ratio / 100) if ratio else zoo.load("sd15-unet")
    base = pipeline("sd15-50")
    calls = tuple(
        replace(call, workload=unet) if call.label == "UNet" else call for call in base.calls
    )
    return (
        _seconds(
            replace(base, calls=calls),
            _gpu("rtx-4090", fused_attention=False),
            batch,
            format="fp16",
            engine="eager-autocast",
            model=model,
        )
        / batch
    )


@cache
def _step(network: str, model: str) -> float:
    """Milliseconds of one guided step of a UNet under TensorRT."""
    name = {"sd15": "sd15-unet", "unet": "snapfusion-unet"}[network]
    found = Pipeline(name=name, description="", calls=(Call(label=name, workload=name, inputs=2),))
    gpu = _gpu("a100-40gb")
    return 1e3 * _seconds(found, gpu, format="tf32", engine="tensorrt", model=model)


@cache
def _timm(gpu: str, size: str, model: str) -> float:
    """Milliseconds of a DeiT as timm's benchmark runs it."""
    engine = "eager-autocast" if gpu == "3090" else "compiled-autocast"
    found = _network(f"deit-{size}")
    machine = _gpu(f"rtx-{gpu}")
    return 1e3 * _seconds(found, machine, 1024, format="fp16", engine=engine, model=model)


@cache
def _vit(gpu: str, batch: str, how: str, model: str) -> float:
    """Milliseconds of ViT-B/16, which is DeiT-B, with attention written out."""
    machine = _gpu({"a100": "a100-40gb"}.get(gpu, gpu), fused_attention=False)
    engine = {"eager": "eager", "compiled": "compiled-no-graphs"}[how]
    found = _network("deit-base")
    return 1e3 * _seconds(found, machine, int(batch), format="fp32", engine=engine, model=model)


def _network(name: str) -> Pipeline:
    return Pipeline(name=name, description="", calls=(Call(label=name, workload=name),))


_RUNS: Runs = {}


def _seconds(
    found: Pipeline, gpu: Gpu, batch: int = 1, *, format: str, engine: str, model: str
) -> float:
    return run_pipeline(
        found,
        gpu,
        batch=batch,
        format=format,
        engine=engine if model == "kernels" else None,
        model=model,
        runs=_RUNS,
    ).total.latency_s


@cache
def _gpu(name: str, *, fused_attention: bool = True) -> Gpu:
    machine = load_machine(name)
    assert isinstance(machine, Gpu)
    return machine.replace(fused_attention=fused_attention)


@cache
def _changed(name: str, *, int8: bool) -> Workload:
    """A network with projections side by side, and some of its linear layers in int8."""
    fused = fused_projections(zoo.load(name))
    return _with_int8(fused) if int8 else fused


def _with_int8(workload: Workload) -> Workload:
    """Weights and activations of 8 bits where the blog's filter takes them."""
    layers = {
        o.name: precision("W8A8")
        for o in workload.operators
        if isinstance(o, MatMul)
        and o.weights
        and (o.k, o.n) not in _NOT_INT8
        and isinstance(o.k, int)
        and o.k > 16
    }
    return quantized(workload, BitRules(layers=layers)) if layers else workload
