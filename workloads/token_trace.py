"""A token trace: how many patches each image keeps after each selector, or how large it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .keep_masks import masks_of, refitted, survived_of
from .trace_rows import TraceError, checked_row, checked_survived

__all__ = ["TokenTrace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTrace:
    """How many patches each image keeps after each selector.

    `kept_k` counts kept patches, without CLS and package token, so that a row is a binding of a
    pruned workload's symbols `kept_1`, `kept_2`...

    >>> two = TokenTrace.of("two", 196, [[137, 69, 48], [98, 41, 30]], "by hand")
    >>> two.images, two.selectors, two.mean()
    (2, 3, (117.5, 55.0, 39.0))
    >>> two.bindings()[1]
    {'kept_1': 98, 'kept_2': 41, 'kept_3': 30}

    Or, with `over`, how large each image is: a row is then a binding of those symbols.

    >>> TokenTrace.of("sizes", 96, [[64, 96]], "by hand", over=("height", "width")).bindings()
    ({'height': 64, 'width': 96},)

    Attributes:
        name: For people.
        patches: Patches that every image has before the first selector; with `over`, the most that
            a symbol may be.
        counts: One row for each image, one count for each selector or symbol.
        source: How it was made.
        labels: What the images are called, if they are called anything.
        note: What was done to the counts since, such as fitting them to another patch count.
        over: The symbols that the columns stand for, where they are not `kept_1`, `kept_2`...
        survived: For each image a digit for each patch, after how many selectors it is still there
            (`keep_masks.py`); empty if only the counts are known.

    Raises:
        TraceError: There is no image or no selector, or a row is longer than another or does not
            hold `0 <= kept_k <= kept_(k-1)`, where `kept_0` is `patches`; with `over`,
            `1 <= symbol <= patches`; or what survived is not what was counted.
    """

    name: str
    patches: int
    counts: tuple[tuple[int, ...], ...]
    source: str
    labels: tuple[str, ...] = ()
    note: str = ""
    over: tuple[str, ...] = ()
    survived: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"token trace {self.name}"
        if self.patches < 1:
            raise TraceError(f"{where}: wanted at least one patch an image, got {self.patches}")
        if not self.counts:
            raise TraceError(f"{where} is empty: wanted a row of kept counts for each image")
        if self.labels and len(self.labels) != len(self.counts):
            raise TraceError(
                f"{where}: wanted a label for each of its {len(self.counts)} images or none, "
                f"got {len(self.labels)}"
            )
        for number, row in enumerate(self.counts):
            here = f"{where}, image {number + 1}"
            checked_row(row, self.patches, len(self.counts[0]), here, self.over)
        if self.survived and len(self.survived) != self.images:
            raise TraceError(
                f"{where}: wanted masks of its {self.images} images or none, got those of "
                f"{len(self.survived)}"
            )
        for number, (digits, row) in enumerate(zip(self.survived, self.counts, strict=False), 1):
            checked_survived(digits, row, self.patches, f"{where}, image {number}")

    @classmethod
    def of(
        cls,
        name: str,
        patches: int,
        counts: ArrayLike | Sequence[Sequence[int]],
        source: str,
        labels: Sequence[str] = (),
        over: Sequence[str] = (),
        *,
        masks: ArrayLike | None = None,
    ) -> TokenTrace:
        """A trace from an array or from lists of kept counts `(images, selectors)`.

        `masks` `(images, selectors, patches)` are true where a patch is kept, if that is known.

        Raises:
            TraceError: It is no table of whole numbers, or not a trace; or a mask does not keep
                as many as are counted, or what an earlier one has dropped.
        """
        where = f"token trace {name}"
        try:
            array = np.asarray(counts)
        except ValueError:  # rows of different lengths
            raise TraceError(f"{where}: its rows are not all of one length") from None
        if array.size == 0:
            raise TraceError(f"{where} is empty: wanted a row of kept counts for each image")
        if array.ndim != 2:
            raise TraceError(
                f"{where}: wanted a table (images, selectors), got an array of shape {array.shape}"
            )
        if array.dtype.kind not in "iuf":
            raise TraceError(f"{where}: wanted whole numbers, got values of type {array.dtype}")
        if array.dtype.kind == "f":
            bad = np.argwhere(~np.isfinite(array) | (array != np.floor(array)))
            if len(bad):
                row, column = bad[0]
                raise TraceError(
                    f"{where}, image {row + 1}: wanted kept_{column + 1} as a whole number of "
                    f"patches, got {array[row, column]}"
                )
        rows = tuple(tuple(int(kept) for kept in row) for row in array.tolist())
        lines = tuple(" ".join(label.split()) for label in labels)
        try:
            survived = () if masks is None else survived_of(masks)
        except ValueError as error:
            raise TraceError(f"{where}: {error}") from None
        return cls(
            name=name,
            patches=int(patches),
            counts=rows,
            source=source,
            labels=lines,
            over=tuple(over),
            survived=survived,
        )

    @property
    def images(self) -> int:
        """Images, rows of the table."""
        return len(self.counts)

    @property
    def selectors(self) -> int:
        """Selectors, columns of the table."""
        return len(self.counts[0])

    @property
    def content_hash(self) -> str:
        """SHA-256 of patch count, kept counts and masks, which is all that a result depends on."""
        content = (self.patches, self.counts, *self.survived)
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def array(self) -> NDArray[np.int64]:
        """Kept counts `(images, selectors)`, int64; read-only, and the same array every time."""
        return _array(self.counts)

    def masks(self) -> NDArray[np.bool_] | None:
        """Which patches are kept, `(images, selectors, patches)`, read-only; None if unknown.

        >>> cross = [[[False, True, True, False]]]
        >>> TokenTrace.of("one", 4, [[2]], "by hand", masks=cross).masks().tolist() == cross
        True
        """
        return masks_of(self.survived, self.selectors) if self.survived else None

    def symbols(self) -> tuple[str, ...]:
        """The columns' names: `over`, or `kept_1`, `kept_2`..."""
        return self.over or tuple(f"kept_{number + 1}" for number in range(self.selectors))

    def bindings(self) -> tuple[dict[str, int], ...]:
        """A binding for each image, in order."""
        symbols = self.symbols()
        return tuple(dict(zip(symbols, row, strict=True)) for row in self.counts)

    def binding(self) -> dict[str, NDArray[np.int64]]:
        """One binding for all images: for each symbol its counts `(images,)`."""
        return dict(zip(self.symbols(), self.array().T, strict=True))

    def mean(self) -> tuple[float, ...]:
        """Patches kept after each selector, on average over the images."""
        return tuple(float(kept) for kept in self.array().mean(axis=0))

    def mean_binding(self) -> dict[str, int]:
        """The mean counts, rounded up: what a machine with one fixed shape would be built for."""
        totals = self.array().sum(axis=0).tolist()
        rounded = (-(-total // self.images) for total in totals)
        return dict(zip(self.symbols(), rounded, strict=True))

    def keep_ratios(self) -> tuple[float, ...]:
        """The mean counts as fractions of the patches."""
        return tuple(kept / self.patches for kept in self.mean())

    def percentile(self, percent: float) -> tuple[int, ...]:
        """The least counts that at least `percent` of the images do not exceed, by selector."""
        ranks = np.percentile(self.array(), percent, axis=0, method="inverted_cdf")
        return tuple(int(kept) for kept in ranks)

    def fitted(self, patches: int) -> TokenTrace:
        """The trace for a model with another patch count: the same kept fractions, rounded up.

        Masks keep as many patches as are then counted, those of whose area most was kept before;
        there are none if one of the two patch counts is no square.

        >>> TokenTrace.of("one", 256, [[180, 77]], "by hand").fitted(196).counts
        ((138, 59),)

        Raises:
            TraceError: `patches` is less than one, or the counts are sizes of images.
        """
        if self.over:
            raise TraceError(
                f"token trace {self.name} says how large images are ({', '.join(self.over)}), not "
                "how many patches they keep; tilewise ragged and figure take it"
            )
        if patches == self.patches:
            return self
        counts = tuple(tuple(-(-kept * patches // self.patches) for kept in r) for r in self.counts)
        said = (
            f"kept fractions of {self.patches} patches applied to {patches}, rounded up to patches"
        )
        note = f"{self.note}; then {said}" if self.note else said
        survived = refitted(self.survived, counts, patches) if self.survived else ()
        return replace(self, patches=patches, counts=counts, note=note, survived=survived)

    def describe(self) -> str:
        """One line: how many images and selectors, and what is kept."""
        means = ", ".join(f"{kept:.1f}" for kept in self.mean())
        if self.over:
            line = (
                f"{self.images} image{'s' * (self.images > 1)}; mean {', '.join(self.over)} {means}"
            )
            return f"{line}, at most {self.patches}" + f"; {self.note}" * bool(self.note)
        ratios = ", ".join(f"{ratio:.3f}" for ratio in self.keep_ratios())
        line = (
            f"{self.images} image{'s' * (self.images > 1)} of {self.patches} patches; "
            f"mean kept {means} ({ratios})"
        )
        return f"{line}; {self.note}" if self.note else line


@lru_cache(maxsize=64)
def _array(counts: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    array = np.array(counts, dtype=np.int64)
    array.flags.writeable = False
    return array
