"""Images of different sizes: how many patches, or latents, models make of each before they run.

`naflex` and `native` are traces over `patches` of a ViT, `latents` one over `height` and `width` of
a diffusion UNet.  All is known ahead of a run: nothing waits for a selector.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from .token_trace import TokenTrace
from .trace_rows import TraceError

__all__ = [
    "Sizes",
    "latent_size",
    "latents",
    "naflex",
    "naflex_grid",
    "native",
    "native_grid",
    "parse_sizes",
    "read_sizes",
]

Sizes: TypeAlias = Sequence[tuple[int, int]]
"""Height and width of each image in pixels."""

_EPSILON = 1e-5  # where the search for a scale ends, as published


def naflex(sizes: Sizes, patch: int = 16, max_patches: int = 256) -> TokenTrace:
    """What SigLIP 2's NaFlex makes of images: a trace over `patches`, with `max_patches` the most.

    >>> naflex([(480, 640), (640, 480), (512, 512)]).counts
    ((252,), (252,), (256,))

    Raises:
        TraceError: There is no image, or a number is less than 1.
    """
    name = f"naflex-{max_patches}"
    rows = _rows(sizes, lambda h, w: (math.prod(naflex_grid(h, w, patch, max_patches)),))
    source = f"SigLIP 2 NaFlex's resizing to at most {max_patches} patches of {patch} x {patch}"
    return TokenTrace.of(name, max_patches, rows, source, over=("patches",))


def naflex_grid(height: int, width: int, patch: int, max_patches: int) -> tuple[int, int]:
    """Rows and columns of patches, at most `max_patches`, as near to the image's shape as can be.

    The scale is searched by halving from 1e-6 to 100 until it is known to 1e-5; at each scale sides
    are rounded up to whole patches.  So a small image is enlarged, and nearly all patches are used.
    Tschannen et al., "SigLIP 2: Multilingual Vision-Language Encoders with Improved Semantic
    Understanding, Localization, and Dense Features", 2025 (arXiv:2502.14786), section 2.4.2, as
    `get_image_size_for_max_num_patches` of Hugging Face transformers computes it.

    >>> naflex_grid(480, 640, 16, 256), naflex_grid(100, 1000, 16, 256)
    ((14, 18), (5, 50))

    Raises:
        TraceError: A number is less than 1.
    """
    _check(height=height, width=width, patch=patch, max_patches=max_patches)

    def grid(scale: float) -> tuple[int, int]:
        return max(1, math.ceil(height * scale / patch)), max(1, math.ceil(width * scale / patch))

    low, high = _EPSILON / 10, 100.0
    while high - low >= _EPSILON:
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(grid(middle)) <= max_patches else (low, middle)
    return grid(low)


def native(
    sizes: Sizes, patch: int = 14, merge: int = 2, least: int = 16, most: int = 5120
) -> TokenTrace:
    """What Qwen2-VL makes of images, their own resolution: a trace over `patches`.

    Its defaults are 56 x 56 pixels at least and 1280 patches after merging 2 x 2 at most.

    >>> native([(480, 640), (1411, 1411)]).counts
    ((1564,), (4900,))

    Raises:
        TraceError: There is no image, or a number is less than 1.
    """
    rows = _rows(sizes, lambda h, w: (math.prod(native_grid(h, w, patch, merge, least, most)),))
    source = (
        f"Qwen2-VL's rounding to {patch * merge} pixels, {least} to {most} patches of "
        f"{patch} x {patch}"
    )
    return TokenTrace.of(f"native-{most}", most, rows, source, over=("patches",))


def native_grid(
    height: int, width: int, patch: int = 14, merge: int = 2, least: int = 16, most: int = 5120
) -> tuple[int, int]:
    """Rows and columns of patches of an image that keeps its resolution.

    Sides are rounded to multiples of `merge` patches; only where that gives more than `most` or
    less than `least` is the image scaled.  Wang et al., "Qwen2-VL: Enhancing Vision-Language
    Model's Perception of the World at Any Resolution", 2024 (arXiv:2409.12191), section 2.1, as
    `smart_resize` of Hugging Face transformers computes it.

    >>> native_grid(480, 640), native_grid(30, 30)
    ((34, 46), (4, 4))

    Raises:
        TraceError: A number is less than 1.
    """
    _check(height=height, width=width, patch=patch, merge=merge, least=least, most=most)
    unit = patch * merge
    rows, columns = round(height / unit), round(width / unit)
    patches = rows * columns * merge**2
    if patches > most:
        scale = math.sqrt(height * width / (most * patch**2))
        rows = max(1, math.floor(height / scale / unit))
        columns = max(1, math.floor(width / scale / unit))
    elif patches < least:
        scale = math.sqrt(least * patch**2 / (height * width))
        rows, columns = math.ceil(height * scale / unit), math.ceil(width * scale / unit)
    return rows * merge, columns * merge


def latents(sizes: Sizes, side: int = 512, multiple: int = 64) -> TokenTrace:
    """Latents of a diffusion UNet for images of these shapes: a trace over `height` and `width`.

    >>> latents([(512, 512), (427, 640), (640, 427)]).counts
    ((64, 64), (56, 80), (80, 56))

    Raises:
        TraceError: There is no image, or a number is less than 1.
    """
    rows = _rows(sizes, lambda h, w: latent_size(h, w, side, multiple))
    source = f"about {side} x {side} pixels at the image's shape, sides multiples of {multiple}"
    most = max(max(row) for row in rows)
    return TokenTrace.of(f"latents-{side}", most, rows, source, over=("height", "width"))


def latent_size(height: int, width: int, side: int = 512, multiple: int = 64) -> tuple[int, int]:
    """Height and width in latents, of 8 x 8 pixels, at about `side * side` pixels.

    Sides are rounded to a multiple of 64 pixels, as the sizes are that SDXL is trained on: Podell
    et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis", ICLR
    2024, appendix I.  That a side is rounded to the nearest multiple is assumed.

    Raises:
        TraceError: A number is less than 1, or `multiple` is none of 8.
    """
    _check(height=height, width=width, side=side, multiple=multiple)
    if multiple % 8:
        raise TraceError(f"multiple={multiple}: wanted a multiple of 8 pixels, which are a latent")
    scale = side / math.sqrt(height * width)
    rows, columns = (max(1, round(length * scale / multiple)) for length in (height, width))
    return rows * multiple // 8, columns * multiple // 8


def read_sizes(path: str | Path) -> tuple[tuple[str, ...], Sizes]:
    """Names and sizes from a CSV with the columns `height` and `width`, and perhaps `image`.

    Raises:
        TraceError: There is no such file, or a line is wrong; the message names it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from None
    return parse_sizes(text, str(path))


def parse_sizes(text: str, where: str) -> tuple[tuple[str, ...], Sizes]:
    """As `read_sizes`, from text; `where` is what a message calls it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    table = csv.DictReader(lines)
    if not {"height", "width"} <= set(table.fieldnames or ()):
        raise TraceError(f"{where}: wanted a header with the columns height and width")
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    for number, row in enumerate(table, start=1):
        texts = row["height"], row["width"]
        if not all(text and text.strip().isdecimal() and int(text) for text in texts):
            raise TraceError(
                f"{where}, image {number}: wanted a height and a width in pixels, got "
                f"{' and '.join(str(text) for text in texts)}"
            )
        sizes.append((int(texts[0]), int(texts[1])))
        names.append(row.get("image") or str(number))
    if not sizes:
        raise TraceError(f"{where} has no line below its header: wanted one for each image")
    return tuple(names), tuple(sizes)


def _rows(sizes: Sizes, rule: Callable[[int, int], tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    if not sizes:
        raise TraceError("wanted the height and width of at least one image, got none")
    return tuple(rule(height, width) for height, width in sizes)


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise TraceError(f"{name}={number}: wanted 1 or more")
