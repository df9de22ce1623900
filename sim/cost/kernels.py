"""A workload's kernels for many designs and token counts at once, in groups that are tiled alike.

The structure of a workload (what is fused with what) is the same for all of them; sizes are
columns.  What depends on a size or a buffer in yes or no, such as whether an operand stays on chip,
tells the groups (`Group`) apart; inside a group it is the same for every row.
"""

# Columns are numbers or arrays of them, which only `Any` says.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...workloads.extent import known
from ...workloads.graph import Workload
from ...workloads.operator import Attention, Convolution, MatMul, Operand, Operator
from ...workloads.quantization import in_format
from ..formats import formats_of
from ..fusion import Kernel, fuse
from ..lowering import Lowering
from ..residency import Residency, places
from ..rows import by_width
from .designs import Designs

__all__ = ["Group", "Placed", "groups", "kernels_of"]


def kernels_of(workload: Workload, binding: Mapping[str, Any], format: str) -> tuple[Kernel, ...]:
    """The kernels of a workload whose symbols are bound to columns, every number in a format.

    Args:
        workload: With its symbols.
        binding: A number, or a column of them, for each.
        format: Of what has none.
    """
    formatted = in_format(workload, format)
    example = {name: int(np.ravel(value)[0]) for name, value in binding.items()}
    structure = fuse(tuple(o.bound(example) for o in formatted.operators), formatted.outputs)
    sized = {o.name: o.bound(binding) for o in formatted.operators}
    return by_width(_sized(kernel, sized) for kernel in structure)


def _sized(kernel: Kernel, sized: Mapping[str, Any]) -> Kernel:
    """The same kernel of operators with columns for sizes."""
    epilogue = tuple(sized[operator.name] for operator in kernel.epilogue)
    extra: list[Operand] = []
    before = kernel.lead.name
    for operator in epilogue:
        extra += [operand for operand in operator.operands if operand.sources != (before,)]
        before = operator.name
    return Kernel(lead=sized[kernel.lead.name], epilogue=epilogue, extra=tuple(extra))


@dataclass(frozen=True, eq=False)
class Placed:
    """Kernels, and where their activations live on each design.

    Attributes:
        kernels: In program order.
        resident: By name, whether an output stays on chip, `(designs,)`.
        live_bytes: `(kernels, designs)`.
        images: That the workload is for.
    """

    kernels: tuple[Kernel, ...]
    resident: Mapping[str, NDArray[np.bool_]]
    live_bytes: NDArray[np.int64]
    images: int

    @classmethod
    def of(
        cls, kernels: tuple[Kernel, ...], outputs: tuple[str, ...], designs: Designs, count: int,
        images: int,
    ) -> Placed:  # fmt: skip
        """Decided as `residency` does it."""
        room = np.broadcast_to(np.asarray(designs.buffers.input_bytes) // 2, (count,))
        resident, live = places(kernels, outputs, room)
        return cls(kernels, resident, live, images)

    def sizes_of(self, index: int) -> object:
        """Equal for kernels of the same operators and sizes, whatever their names."""
        kernel, names = self.kernels[index], self._names(index)
        sizes = _nameless((kernel.lead, kernel.epilogue, kernel.extra, kernel.rows))
        return sizes, tuple(map(names.index, names))  # what has the same name is the same

    def _names(self, index: int) -> list[str]:
        """Of all that a kernel reads and writes."""
        kernel = self.kernels[index]
        operands = (*kernel.lead.operands, *kernel.extra)
        return [*(source for operand in operands for source in operand.sources), kernel.tail.name]

    def places(self, index: int) -> list[NDArray[Any]]:
        """What stays on chip of all that a kernel reads and writes, and room, `(designs,)` each."""
        nowhere = np.zeros(self.live_bytes.shape[1], dtype=bool)
        stays = (self.resident.get(name, nowhere) for name in self._names(index))
        return [self.live_bytes[index], *stays]

    def signature(self, index: int) -> object:
        """Equal for kernels that are alike on every design, whatever their names."""
        return self.sizes_of(index), *(column.tobytes() for column in self.places(index))

    def columns(self, index: int) -> list[NDArray[Any]]:
        """The sizes of a kernel that are columns, `(designs,)` each."""
        kernel, count = self.kernels[index], self.live_bytes.shape[1]
        return _sizes(kernel, count)

    def alone(self, index: int, designs: NDArray[np.int64]) -> Placed:
        """One kernel, on some designs."""
        kernel, count = self.kernels[index], self.live_bytes.shape[1]
        names = {*kernel.sources, kernel.tail.name} & self.resident.keys()
        return Placed(
            kernels=(_rows_of(kernel, designs, count),),
            resident={name: self.resident[name][designs] for name in names},
            live_bytes=self.live_bytes[index : index + 1, designs],
            images=self.images,
        )


@dataclass(frozen=True, eq=False)
class Group:
    """Rows of one kernel that are tiled alike, and the kernel as the mapping sees it."""

    rows: NDArray[np.int64]
    designs: Designs
    lowering: Lowering

    def sizes(self) -> list[NDArray[Any]]:
        """The sizes of the kernel that are columns, `(rows,)` each."""
        return _sizes(self.lowering.kernel, len(self.rows))

    def part(self, which: Any) -> Group:
        """Some of its rows, by an index array, a mask or a slice."""
        rows, designs = self.rows[which], self.designs.at(which)
        here = np.arange(len(self.rows))[which]
        room: Any = self.lowering.room
        changes: dict[str, Any] = {"machine": designs, "room": room[which]}
        kernel = _rows_of(self.lowering.kernel, here, len(self.rows))
        lowering = replace(self.lowering, kernel=kernel, **changes)
        return Group(rows, designs, lowering)


def groups(placed: Placed, index: int, designs: Designs, rate: Fraction) -> Iterator[Group]:
    """One kernel, its rows told apart by what is a question of yes or no; none that is empty."""
    kernel = placed.kernels[index]
    count = placed.live_bytes.shape[1]
    names = sorted({*kernel.sources, kernel.tail.name})
    stays = [placed.resident.get(name, np.zeros(count, dtype=bool)) for name in names]
    something = [known(operand.elements) for operand in kernel.lead.operands]
    is_empty = np.broadcast_to(
        np.any([np.broadcast_to(np.asarray(s) == 0, (count,)) for s in
                (*something, known(kernel.tail.elements))], axis=0), (count,)
    )  # fmt: skip
    for rows, flags in _alike(stays, np.flatnonzero(~is_empty)):
        resident = frozenset(name for name, flag in zip(names, flags, strict=True) if flag)
        lowering = _lowering(placed, kernel, index, rows, resident, designs, rate)
        questions = lowering.passing()
        if not isinstance(kernel.lead, MatMul | Convolution | Attention):
            questions.append(lowering.loads_ahead(kernel.lead))
        columns = [np.broadcast_to(np.asarray(q), (len(rows),)) for q in questions]
        for which, _ in _alike(columns, np.arange(len(rows))):
            chosen = rows[which]
            yield Group(
                chosen,
                designs.at(chosen),
                _lowering(placed, kernel, index, chosen, resident, designs, rate)
                if len(chosen) < len(rows)
                else lowering,
            )


def _alike(
    columns: Sequence[NDArray[np.bool_]], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], tuple[bool, ...]]]:
    """Rows with the same answers, and the answers."""
    codes = np.zeros(len(rows), dtype=np.int64)
    for column in columns:
        codes = 2 * codes + column[rows]
    for code in np.unique(codes).tolist():
        flags = tuple(bool(code >> bit & 1) for bit in reversed(range(len(columns))))
        yield rows[codes == code], flags


def _lowering(
    placed: Placed,
    kernel: Kernel,
    index: int,
    rows: NDArray[np.int64],
    resident: frozenset[str],
    designs: Designs,
    rate: Fraction,
) -> Lowering:
    own = designs.at(rows)
    return Lowering(
        kernel=_rows_of(kernel, rows, placed.live_bytes.shape[1]),
        machine=own,  # type: ignore[arg-type]
        formats=formats_of(kernel.lead, kernel.tail),
        rate=rate,
        places=Residency(resident=resident, live_bytes=()),
        room=own.buffers.input_bytes - placed.live_bytes[index][rows],
        planned=None,
        images=placed.images,
    )


def _rows_of(kernel: Kernel, rows: NDArray[np.int64], count: int) -> Kernel:
    """A kernel of some rows of its sizes' columns."""

    def some(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[rows] if value.shape == (count,) else value
        if isinstance(value, tuple):
            return tuple(some(item) for item in value)
        if isinstance(value, Operand | Operator):
            changed = {f.name: some(getattr(value, f.name)) for f in fields(value)}
            return replace(value, **changed)
        return value

    return Kernel(
        lead=some(kernel.lead),
        epilogue=some(kernel.epilogue),
        extra=some(kernel.extra),
        rows=kernel.rows,
    )


def _nameless(value: Any) -> object:
    """What a kernel is but for names, as something that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, tuple):
        return tuple(_nameless(item) for item in value)
    if isinstance(value, Operand | Operator):
        names = {"name", "sources", "selector"}
        kept = (_nameless(getattr(value, f.name)) for f in fields(value) if f.name not in names)
        return (type(value).__name__, *kept)
    return value


def _sizes(kernel: Kernel, count: int) -> list[NDArray[Any]]:
    """The different columns of a kernel's sizes."""
    found = {id(column): column for column in _columns(kernel.operators, count)}
    found |= {id(column): column for column in _columns(kernel.extra, count)}
    return list(found.values())


def _columns(value: Any, count: int) -> Iterator[NDArray[Any]]:
    """The columns in a kernel's operators."""
    if isinstance(value, np.ndarray):
        if value.shape == (count,):
            yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _columns(item, count)
    elif isinstance(value, Operand | Operator):
        for field in fields(value):
            yield from _columns(getattr(value, field.name), count)
