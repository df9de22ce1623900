"""What is computed: one frozen value for each kind of work that a machine can be given.

An operator is named by its path in the model, reads operands and makes one output.  Sizes are
`Size` values, so the same operator stands for every token count; `Operator.bound` makes them ints.

MACs count multiply-accumulates of matrix products only, as the literature on ViTs and diffusion
models does; softmax, norms and elementwise work has its own measure (`elements`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

from .extent import Extent, Number, Size, evaluate, product, substituted

__all__ = [
    "Attention",
    "Convolution",
    "Elementwise",
    "MatMul",
    "Movement",
    "Normalization",
    "Operand",
    "Operator",
    "Reduction",
    "Softmax",
    "TokenSelection",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """Activations that an operator reads.

    Attributes:
        sources: Names of the operators or graph inputs that made them; several where the operand is
            a concatenation, which costs nothing because its parts are written side by side.
        elements: How many of their elements are read.
        format: Number format in which they are stored; None for that of the run.
    """

    sources: tuple[str, ...]
    elements: Size
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The base of every kind of work.

    Attributes:
        name: Path in the model and operation, as `blocks.0.attn.qkv/MatMul`; unique in a workload.
        operands: What it reads besides parameters, in the order of its formula.
        shape: Shape of its output.
        selector: True if it belongs to a token selector, whose work is overhead of pruning.
        images: Where images run side by side, what each has of what was added up: rows of a
            product, heads of attention, inputs of a convolution; empty in a graph of its own.
        format: Number format of its output; None for that of the run.
        weight_formats: Number formats of its trained numbers, each with how many rows of the output
            (columns of a product, channels of a convolution) have it; empty for that of the run.
    """

    name: str
    operands: tuple[Operand, ...]
    shape: tuple[Size, ...]
    selector: bool = False
    images: tuple[int, ...] = ()
    format: str | None = None
    weight_formats: tuple[tuple[str, int], ...] = ()

    kind: ClassVar[str] = ""

    @property
    def elements(self) -> Size:
        """Elements of the output."""
        return product(self.shape)

    @property
    def macs(self) -> Size:
        """Multiply-accumulates, attention's included."""
        return 0

    @property
    def parameters(self) -> int:
        """Trained numbers that the operator owns, its bias included."""
        return 0

    def bound(self, binding: Mapping[str, Number]) -> Self:
        """The same operator with every size a number.

        Raises:
            UnboundSymbolError: A symbol has no value in `binding`.
        """
        return self._with_sizes(lambda size: evaluate(size, binding))

    def substituted(self, by: Mapping[str, Size]) -> Self:
        """The same operator with some symbols replaced by other sizes."""
        return self._with_sizes(lambda size: substituted(size, by))

    def _with_sizes(self, change: Callable[[Size], Any]) -> Self:
        changed: dict[str, Any] = {
            field.name: _changed(getattr(self, field.name), change) for field in fields(self)
        }
        return replace(self, **changed)


def _changed(value: Any, change: Callable[[Size], Any]) -> Any:
    match value:
        case Operand():
            if isinstance(value.elements, int):  # as of most models
                return value
            return replace(value, elements=change(value.elements))
        case tuple():
            items: tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
            return tuple(_changed(item, change) for item in items)
        case Extent():
            return change(value)
        case _:
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul(Operator):
    """`copies` products of `(m, k) @ (k, n)`.

    Attributes:
        weights: Distinct right operands that are parameters: 0 if it is an activation, 1 if all
            copies share one, otherwise consecutive copies share each.
        bias: True if a bias is added on the way out, `n` numbers for each distinct weight.
    """

    copies: Size = 1
    m: Size
    k: Size
    n: Size
    weights: int
    bias: bool = False

    kind: ClassVar[str] = "matmul"

    @property
    def macs(self) -> Size:
        """Multiply-accumulates."""
        return self.copies * self.m * self.k * self.n

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        if not self.weights:
            return 0
        return self.weights * _static(self.k * self.n + (self.n if self.bias else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(Operator):
    """A grouped convolution over one, two or three spatial dimensions, or its transpose.

    Attributes:
        batch: Images.
        in_channels, out_channels: Of all groups together.
        kernel, stride, dilation: One number for each spatial dimension.
        padding: Zeros added before and after, summed, for each spatial dimension.
        in_size, out_size: Spatial sizes of input and output.
        transposed: True for a transposed convolution, whose kernel spreads each input.
    """

    batch: Size
    in_channels: int
    out_channels: int
    groups: int = 1
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    in_size: tuple[Size, ...]
    out_size: tuple[Size, ...]
    transposed: bool = False
    bias: bool = False

    kind: ClassVar[str] = "convolution"

    @property
    def macs(self) -> Size:
        """Multiply-accumulates."""
        # A transposed convolution multiplies each *input* position with the whole kernel.
        places = product(self.in_size if self.transposed else self.out_size)
        return self.batch * places * _static(self._weights())

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return self._weights() + (self.out_channels if self.bias else 0)

    def _weights(self) -> int:
        return _static(product(self.kernel)) * self.in_channels * self.out_channels // self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Operator):
    """Scaled dot-product attention: `softmax(Q K^T) V`, `copies` times.

    Operands are Q, K, V and, if there is one, the mask.

    Attributes:
        copies: Batch times query heads.
        kv_copies: Batch times key heads; fewer than `copies` in grouped-query attention.
        queries, keys: Rows of Q and of K and V.
        head_dim, value_dim: Columns of Q and K, and of V.
        affine: Trained numbers added to the scores, such as a relative position bias.
    """

    copies: Size
    kv_copies: Size
    queries: Size
    keys: Size
    head_dim: Size
    value_dim: Size
    affine: int = 0

    kind: ClassVar[str] = "attention"

    @property
    def parameters(self) -> int:
        """Its trained mask."""
        return self.affine

    @property
    def macs(self) -> Size:
        """Multiply-accumulates."""
        return self.copies * self.queries * self.keys * (self.head_dim + self.value_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Operator):
    """Softmax over `rows` rows of `row_length` elements."""

    rows: Size
    row_length: Size

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization(Operator):
    """Layer, group, instance, RMS or Lp norm: `rows` rows of `row_length` elements.

    Attributes:
        form: Which of them.
        affine: How many trained scales and shifts it has.
    """

    form: Literal["layer", "group", "instance", "rms", "batch", "lp"]
    rows: Size
    row_length: Size
    affine: int = 0

    kind: ClassVar[str] = "normalization"

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return self.affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise(Operator):
    """One result for each position: arithmetic, comparisons and activation functions.

    Attributes:
        function: The ONNX operation in lower case, as `add` or `gelu`.
        transcendental: True for functions a lane evaluates by table or polynomial (exp, erf...).
        affine: Trained numbers among its inputs, such as a position embedding.
    """

    function: str
    transcendental: bool = False
    affine: int = 0

    kind: ClassVar[str] = "elementwise"

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return self.affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction(Operator):
    """Fewer results than operands: sums, means, maxima, pooling, running sums.

    Attributes:
        function: The ONNX operation in lower case.
        reads: Elements combined, a pooled element counted once for each window it is in.
    """

    function: str
    reads: Size

    kind: ClassVar[str] = "reduction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement(Operator):
    """Data that is only moved: gather, scatter, resize, pad, and what the reader does not know.

    Attributes:
        function: The ONNX operation in lower case.
        table: Numbers in a trained table that rows are gathered from (an embedding).
        unknown: True if the operation is unknown and this is all that can be said of it.
    """

    function: str
    table: int = 0
    unknown: bool = False

    kind: ClassVar[str] = "movement"

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return self.table


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSelection(Operator):
    """The decision which tokens stay: after it, and not before, their number is known.

    Attributes:
        function: `nonzero`, `topk`, `compress` or `unique`.
        candidates: Elements looked at.
        kept: Elements that stay; a symbol of its own where it depends on the data.
        data_dependent: True if `kept` is known only at run time, so that what follows must wait.
    """

    function: str
    candidates: Size
    kept: Size
    data_dependent: bool

    kind: ClassVar[str] = "selection"


def _static(size: Size) -> int:
    if not isinstance(size, int):
        raise ValueError(f"a parameter's size must be known, got {size}")
    return size
