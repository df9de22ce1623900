"""Token traces: recorded, given in a file, sampled, published, and computed from image sizes.

Everywhere, what a user calls a token trace is a name of `trace_names()` or the path of a CSV or NPZ
file (`trace_files` says what is in one). Recording needs onnxruntime: see `recording`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from importlib import resources
from math import ceil
from pathlib import Path

import numpy as np

from .image_sizes import Sizes, latents, naflex, native, parse_sizes, read_sizes
from .token_trace import TokenTrace
from .trace_files import parse_csv, read_trace, write_trace
from .trace_rows import TraceError

__all__ = [
    "TokenTrace",
    "TraceError",
    "latents",
    "naflex",
    "native",
    "published",
    "published_names",
    "read_sizes",
    "read_trace",
    "sampled",
    "trace",
    "trace_names",
    "write_trace",
]

_MEASURED = ("digits16", "dinov2-crops")
_SIZED: dict[str, Callable[[Sizes], TokenTrace]] = {
    "naflex-photos": naflex,
    "native-photos": native,
    "latents-photos": latents,
}
_TRACES = resources.files(__name__.rpartition(".")[0]).joinpath("traces")


def trace(name_or_path: str | Path, patches: int | None = None) -> TokenTrace:
    """The token trace of that name or in that file.

    >>> trace("spvit-deit-small").counts
    ((140, 88, 42),)

    Args:
        name_or_path: A name of `trace_names()`, or the path of a `.csv` or `.npz` file.
        patches: Patches of an image, if a file does not say.

    Raises:
        TraceError: It is neither, naming the nearest trace; or the file holds no token trace.
    """
    text = str(name_or_path)
    if text in _MEASURED:
        return _measured(text)
    if text in _SIZED:
        return _sized(text)
    if text in published_names():
        return published(text)
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.exists() or path.suffix in (".csv", ".npz"):
        return read_trace(path, patches)
    raise _unknown(text, trace_names())


def trace_names() -> tuple[str, ...]:
    """The shipped traces: those that were measured, then those of image sizes, then published."""
    return (*_MEASURED, *_SIZED, *published_names())


def sampled(
    patches: int,
    keep: Sequence[float],
    *,
    images: int = 1000,
    seed: int = 0,
    spread: float = 0.2,
    name: str | None = None,
) -> TokenTrace:
    """A trace drawn at random, with given mean keep ratios.

    Selector k keeps a share `X_k` of what it is given. The shares are independent and beta
    distributed with mean `r_k = keep_k / keep_(k-1)` (`keep_0` is 1) and variance
    `spread^2 r_k (1 - r_k)`, so that the kept fraction `X_1 ... X_k` has the mean `keep_k` and an
    image that keeps much at one selector starts the next with much. An image's counts are
    `floor(fraction * patches + u)` with one `u`, uniform in [0, 1), for all selectors: they never
    grow, and their means are exactly `keep_k * patches`.

    Assumed: the shape. It is no fit to measured counts.

    >>> [round(kept) for kept in sampled(196, [0.7, 0.35, 0.25], images=10_000).mean()]
    [137, 69, 49]

    Args:
        patches: Patches of an image.
        keep: Mean fraction of the patches that is left after each selector, never growing.
        images: How many images.
        seed: Of NumPy's default generator; the same seed draws the same counts.
        spread: From 0, all images alike but for rounding, to below 1, each all or nothing.
        name: The trace's name; by default it says what was drawn.

    Raises:
        TraceError: A ratio is not in [0, 1] or larger than the one before, or another number is out
            of range.
    """
    before = 1.0
    for number, ratio in enumerate(keep, start=1):
        if not 0 <= ratio <= before:
            raise TraceError(
                f"keep ratio {number}: wanted 0 to {before:g}, what the selector before it keeps, "
                f"got {ratio:g}"
            )
        before = ratio
    if not keep:
        raise TraceError("keep ratios: wanted one for each selector, got none")
    if images < 1 or patches < 1:
        raise TraceError(f"wanted at least one image and one patch, got {images} and {patches}")
    if not 0 <= spread < 1:
        raise TraceError(f"spread: wanted 0 to below 1, got {spread:g}")
    generator = np.random.default_rng(seed)
    shares = np.array(
        [_share(now, before) for before, now in zip((1.0, *keep), keep, strict=False)]
    )
    drawn = np.broadcast_to(shares, (images, len(keep)))
    if spread > 1e-6:  # a beta distribution this narrow, or this near 0 or 1, is its mean
        varying = (shares > 1e-9) & (shares < 1 - 1e-9)
        concentration = 1 / spread**2 - 1
        safe = np.where(varying, shares, 0.5)
        beta = generator.beta(safe * concentration, (1 - safe) * concentration, drawn.shape)
        drawn = np.where(varying, beta, drawn)
    fractions = np.cumprod(drawn, axis=1)
    rounding = generator.random((images, 1))
    counts = np.floor(fractions * patches + rounding).astype(np.int64)
    ratios = ", ".join(f"{ratio:g}" for ratio in keep)
    source = (
        f"sampled: {images} images, beta-distributed shares, mean keep ratios {ratios}, spread "
        f"{spread:g}, seed {seed}, NumPy's default generator"
    )
    # Rounding in floating point may push a fraction of 1 over the patches by one.
    limit = np.minimum(counts, patches)
    return TokenTrace.of(name or f"sampled({ratios})", patches, limit, source)


def published(name: str) -> TokenTrace:
    """What a publication states: the mean number of patches kept, rounded up, as one image.

    How images differ is not published, so that such a trace has no spread.

    Raises:
        TraceError: There is no such publication; the message names the nearest.
    """
    for row in _publications():
        if row["name"] == name:
            patches = int(row["patches"])
            kept = [ceil(Fraction(mean) * patches) for mean in _ratios(row)]
            source = f"published mean keep ratios ({row['provenance']}): {row['source']}"
            return TokenTrace.of(name, patches, [kept], source)
    raise _unknown(name, published_names())


def published_names() -> tuple[str, ...]:
    """What `published` knows."""
    return tuple(row["name"] for row in _publications())


def _share(now: float, before: float) -> float:
    return now / before if before else 0.0


def _ratios(row: dict[str, str]) -> Iterator[str]:
    return (row[key] for key in ("keep_1", "keep_2", "keep_3"))


@cache
def _measured(name: str) -> TokenTrace:
    text = _TRACES.joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return parse_csv(text, f"{name}.csv", name)


@cache
def _sized(name: str) -> TokenTrace:
    where = "image-sizes.csv"
    labels, sizes = parse_sizes(_TRACES.joinpath(where).read_text(encoding="utf-8"), where)
    made = _SIZED[name](sizes)
    return replace(made, name=name, labels=labels, source=f"{made.source}; sizes of {where}")


@cache
def _publications() -> tuple[dict[str, str], ...]:
    text = _TRACES.joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _unknown(name: str, known: Sequence[str]) -> TraceError:
    near = get_close_matches(name, known, n=1, cutoff=0.3)
    return TraceError(
        f"no token trace is called {name}"
        + (f"; did you mean {near[0]}?" if near else ".")
        + f" There are {', '.join(known)}; or give the path of a .csv or .npz file"
    )
