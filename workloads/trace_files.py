"""Token traces in files: CSV that is written by hand, by pandas or a spreadsheet, and NPZ.

A CSV has a header with the columns `kept_1` to `kept_K` and one line for each image. `image` may
name the images, `patches` may say, the same in each line, how many patches an image has, and
`survived` which of them are kept: a digit for each patch, after how many selectors it is still
there. Lines that begin with `#` are comments; `# patches: 196` says it too, `# source: ...` how the
trace was made. An unnamed first column, such as the index that pandas writes, is left aside.

    # patches: 196
    kept_1,kept_2,kept_3
    137,69,48
    98,41,30

A line `# symbols: height, width` names columns that say how large images are instead; `patches` is
then the most that one of them may be, and where it is not stated, the most that one is.

An NPZ holds `counts` `(images, selectors)` and `patches`, and may hold `source`, `labels`,
`symbols` and `masks` `(images, selectors, patches)`, true where a patch is kept.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .token_trace import TokenTrace
from .trace_rows import TraceError, checked_row, checked_survived

__all__ = ["parse_csv", "read_trace", "write_trace"]

_KEPT = re.compile(r"kept_([1-9]\d{0,2})")
_COMMENT = re.compile(r"#\s*(patches|source|note|symbols)\s*[:=]\s*(.*)")
_PATCHES = "a first line `# patches: 196`, or a column `patches`, would"


def read_trace(path: str | Path, patches: int | None = None) -> TokenTrace:
    """The token trace in a CSV or NPZ file, named after the file.

    Args:
        path: A file that ends in `.csv` or `.npz`: see the module's docstring.
        patches: Patches of an image, if the file does not say.

    Raises:
        TraceError: There is no such file, or it holds no token trace; the message names the file
            and, if a row is wrong, its line.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".npz"):
        raise TraceError(f"{path}: wanted a token trace as .csv or .npz")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise TraceError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}") from None
    if path.suffix == ".npz":
        return _parse_npz(content, str(path), path.stem, patches)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TraceError(f"{path} is no CSV: it is not text in UTF-8") from None
    return parse_csv(text, str(path), path.stem, patches)


def write_trace(trace: TokenTrace, path: str | Path) -> None:
    """Writes a trace as CSV or NPZ, whole or not at all; the same trace is always the same bytes.

    Raises:
        TraceError: The path ends in neither.
        OSError: It cannot be written. What was there before is then still there.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".npz"):
        raise TraceError(f"{path}: wanted a file that ends in .csv or .npz")
    content = _csv(trace).encode() if path.suffix == ".csv" else _npz(trace)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def parse_csv(text: str, where: str, name: str, patches: int | None = None) -> TokenTrace:
    """The token trace that `text` holds as CSV; `where` is what a message calls it.

    Raises:
        TraceError: It holds none.
    """
    lines = text.splitlines()
    said = _comments(lines)
    table = [(number, line) for number, line in enumerate(lines, 1) if _is_data(line)]
    if not table:
        raise TraceError(f"{where} is empty: wanted a header kept_1,kept_2,... and a line an image")
    header, *rows = [(number, _fields(line, f"{where}, line {number}")) for number, line in table]
    names = header[1]
    over = tuple(said.get("symbols", "").replace(",", " ").split())
    columns = _columns(names, f"{where}, line {header[0]}", over)
    if not rows:
        raise TraceError(f"{where} has a header and no line below it: wanted a line for each image")
    stated = {} if "patches" not in said else {said["patches"]: f"{where}, # patches"}
    counts: list[tuple[int, ...]] = []
    labels: list[str] = []
    survived: list[str] = []
    for number, row in rows:
        here = f"{where}, line {number}"
        if len(row) != len(names):
            raise TraceError(f"{here}: wanted {len(names)} values as in the header, got {len(row)}")
        counts.append(tuple(_whole(row[i], names[i], here) for i in columns["kept"]))
        labels += [row[i] for i in columns["image"]]
        survived += [row[i] for i in columns["survived"]]
        for i in columns["patches"]:
            stated.setdefault(row[i], here)
    if over and not stated:
        stated = {str(max(max(row) for row in counts)): where}
    agreed = _agreed(stated, where, None if over else patches)
    for (number, row), kept in zip(rows, counts, strict=True):
        checked_row(kept, agreed, len(columns["kept"]), f"{where}, line {number}", over)
        for i in columns["survived"]:
            checked_survived(row[i], kept, agreed, f"{where}, line {number}")
    return TokenTrace(
        name=name,
        patches=agreed,
        counts=tuple(counts),
        source=said.get("source") or f"given as {Path(where).name}",
        labels=tuple(labels),
        note=said.get("note") or _assumed(stated, agreed),
        over=over,
        survived=tuple(survived),
    )


def _is_data(line: str) -> bool:
    return bool(line.strip(" \t,;")) and not line.lstrip().startswith("#")


def _comments(lines: Iterable[str]) -> dict[str, str]:
    found = (_COMMENT.match(line.strip()) for line in lines)
    return {match[1]: match[2].strip(" ,;") for match in found if match}


def _fields(line: str, where: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line]))]
    except csv.Error as error:
        raise TraceError(f"{where} is no CSV: {error}") from None


def _columns(names: list[str], where: str, over: tuple[str, ...]) -> dict[str, list[int]]:
    """Which columns hold the counts, by selector or symbol, and which all else."""
    columns: dict[str, list[int]] = {"kept": [], "image": [], "patches": [], "survived": []}
    wanted = ", ".join(over) or "kept_1, kept_2, ..."
    kept: dict[int, int] = {}
    for index, name in enumerate(names):
        match = _KEPT.fullmatch(name)
        if name in over:
            kept[over.index(name) + 1] = index
        elif match and not over:
            kept[int(match[1])] = index
        elif name in columns.keys() - {"kept"}:
            columns[name].append(index)
        elif name or index:
            raise TraceError(
                f"{where}: wanted a header of {wanted}, and perhaps image, patches and survived, "
                f"got the column {name[:40]!r}"
            )
    for name in names:
        if name and names.count(name) > 1:
            raise TraceError(f"{where}: wanted each column once, got {name} twice")
    if not kept:
        raise TraceError(f"{where}: wanted a header with the columns {wanted}, got none")
    missing = set(range(1, (len(over) or len(kept)) + 1)) - kept.keys()
    if missing and over:
        raise TraceError(f"{where}: wanted a column for {over[min(missing) - 1]}, got none")
    if missing:
        raise TraceError(
            f"{where}: wanted the columns kept_1 to kept_{max(kept)}, got none for "
            f"kept_{min(missing)}"
        )
    columns["kept"] = [kept[number] for number in sorted(kept)]
    return columns


def _whole(text: str, name: str, where: str) -> int:
    """A count; pandas writes whole numbers as 137.0 where a column once held a NaN."""
    match = re.fullmatch(r"\s*([+-]?\d{1,12})(?:\.0*)?\s*", text)
    if not match:
        got = text.strip()[:40] or "nothing"
        raise TraceError(f"{where}: wanted {name} as a whole number of patches, got {got}")
    return int(match[1])


def _agreed(stated: dict[str, str], where: str, given: int | None) -> int:
    """The one patch count that a file states, or its reader if it does not."""
    if len(stated) > 1:
        first, other = list(stated)[:2]
        raise TraceError(f"{stated[other]}: wanted patches of {first} as before, got {other}")
    for text, here in stated.items():
        patches = _whole(text, "patches", here)
        if patches < 1:
            raise TraceError(f"{here}: wanted patches of at least 1, got {patches}")
        return patches
    if given is None:
        raise TraceError(f"{where} does not say how many patches an image has; {_PATCHES}")
    if given < 1:
        raise TraceError(f"{where}: wanted patches of at least 1, got {given}")
    return given


def _assumed(stated: dict[str, str], patches: int) -> str:
    return "" if stated else f"{patches} patches an image assumed, as the file does not say"


def _parse_npz(content: bytes, where: str, name: str, patches: int | None) -> TokenTrace:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, AttributeError):
        raise TraceError(f"{where} is no NPZ file that can be read, or is cut off") from None
    if "counts" not in arrays:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise TraceError(f"{where}: wanted an array called counts (images, selectors), got {found}")
    texts = {key: str(arrays[key]) for key in ("patches", "source", "note") if key in arrays}
    stated = {texts["patches"]: f"{where}, patches"} if "patches" in texts else {}
    agreed = _agreed(stated, where, patches)
    try:
        trace = TokenTrace.of(
            name,
            agreed,
            arrays["counts"],
            texts.get("source") or f"given as {Path(where).name}",
            [str(label) for label in arrays.get("labels", np.empty(0)).ravel()],
            [str(name) for name in arrays.get("symbols", np.empty(0)).ravel()],
            masks=arrays.get("masks"),
        )
    except TraceError as error:
        raise TraceError(f"{where}: {error}") from None
    return replace(trace, note=texts.get("note") or _assumed(stated, agreed))


def _csv(trace: TokenTrace) -> str:
    buffer = io.StringIO()
    buffer.write(f"# patches: {trace.patches}\n")
    stated = {"symbols": ", ".join(trace.over), "source": trace.source, "note": trace.note}
    for key, text in stated.items():
        if text:
            buffer.write(f"# {key}: {' '.join(text.split())}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    if any(label.startswith("#") for label in trace.labels):  # or the line would be a comment
        writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    names = ("image",) if trace.labels else ()
    masks = ("survived",) if trace.survived else ()
    writer.writerow((*names, *trace.symbols(), *masks))
    for number, row in enumerate(trace.counts):
        label, mask = trace.labels[number : number + 1], trace.survived[number : number + 1]
        writer.writerow((*label, *row, *mask))
    return buffer.getvalue()


def _npz(trace: TokenTrace) -> bytes:
    buffer = io.BytesIO()
    masks = trace.masks()
    known: dict[str, Any] = {} if masks is None else {"masks": masks}
    np.savez_compressed(
        buffer,
        counts=trace.array(),
        patches=np.int64(trace.patches),
        source=np.str_(trace.source),
        note=np.str_(trace.note),
        labels=np.array(trace.labels, dtype=np.str_),
        symbols=np.array(trace.over, dtype=np.str_),
        **known,
    )
    return buffer.getvalue()
