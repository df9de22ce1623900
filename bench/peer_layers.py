"""The layers that Tilewise and its peers are both given: products and convolutions of real models.

They are read off the workloads that Tilewise simulates; each distinct one is listed once.  DeiT-T
and DeiT-B are written in Python with the sizes of Touvron et al., "Training data-efficient image
transformers", ICML 2021, Table 1; DeiT-S and the UNet are the graphs that are shipped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import tilewise
from tilewise.arch import SystolicArray
from tilewise.sim.systolic import gemm_cycles
from tilewise.workloads import Attention, Convolution, MatMul, Operand, Workload, vit
from tilewise.workloads.extent import known, product
from tilewise.workloads.operator import Operator

ARRAY = SystolicArray(rows=32, cols=32, dataflow="ws", overlap="scale-sim")
KEPT = {"kept_1": 137, "kept_2": 69, "kept_3": 48}  # the defaults of the shipped graph
DEIT = (("tiny", 192, 3, 60_000), ("small", 384, 6, 60_000), ("base", 768, 12, 25_000))
"""Size, width, heads, and the cycles of a product up to which it is asked without `--full`."""


class Product(NamedTuple):
    """`(m, k) @ (k, n)`."""

    m: int
    k: int
    n: int

    @property
    def cycles(self) -> int:
        """By the closed form, on `ARRAY`."""
        return gemm_cycles(ARRAY, *self)


class Layer(NamedTuple):
    """One layer, in three ways.

    Attributes:
        operator: As Tilewise's engine is told of it.
        shape: As its closed form is; of a convolution the implicit product.
        sizes: As SCALE-Sim is: `m, k, n`, or height, width, kernel height, kernel width, channels,
            filters, stride, where padding is part of height and width.
        cropped: True if `sizes` is only the part of the padded input that is read.
    """

    operator: MatMul | Convolution
    shape: Product
    sizes: tuple[int, ...]
    cropped: bool = False


class Model(NamedTuple):
    """The distinct layers of a model.

    Attributes:
        title: The model and its binding.
        quick_cycles: Layers that take more are left to `--full`.
        layers: In the order of their cycles.
    """

    title: str
    quick_cycles: int
    layers: tuple[Layer, ...]


def models() -> Iterator[Model]:
    """DeiT-T, S and B, dense and pruned, and a UNet's convolutions at two sizes."""
    for size, embed, heads, quick in DEIT:
        dense = vit(depth=12, embed=embed, heads=heads)
        pruned = vit(depth=12, embed=embed, heads=heads, selectors=(4, 7, 10))
        if size == "small":
            dense, pruned = (tilewise.workload(n) for n in ("deit-small", "heatvit-deit-small"))
        yield _model(f"deit-{size}, 197 tokens", quick, dense.bind({"batch": 1}))
        kept = ", ".join(str(tokens) for tokens in KEPT.values())
        yield _model(f"deit-{size} pruned, {kept} kept", quick, pruned.bind(KEPT))
    unet = tilewise.workload("sd15-unet")
    for side, quick in ((8, 150_000), (64, 100_000)):
        bound = unet.bind({"height": side, "width": side})
        only = [operator for operator in bound.operators if isinstance(operator, Convolution)]
        yield _model(f"sd15-unet, {side}x{side} latents, convolutions", quick, bound, only)


def _model(
    title: str, quick_cycles: int, bound: Workload, only: Sequence[Operator] | None = None
) -> Model:
    found: dict[Layer, None] = {}
    for operator in bound.operators if only is None else only:
        if isinstance(operator, Convolution):
            found |= dict.fromkeys(_convolution(operator))
        found |= dict.fromkeys(Layer(matmul(s), s, tuple(s)) for s in products(operator))
    return Model(title, quick_cycles, tuple(sorted(found, key=lambda layer: layer.shape.cycles)))


def products(operator: Operator) -> Counter[Product]:
    """The matrix products of an operator, with their copies; attention is two for each head."""
    if isinstance(operator, MatMul):
        shape = Product(known(operator.m), known(operator.k), known(operator.n))
        return Counter({shape: known(operator.copies)})
    if isinstance(operator, Attention):
        queries, keys, copies = (
            known(size) for size in (operator.queries, operator.keys, operator.copies)
        )
        scores = Product(queries, known(operator.head_dim), keys)
        values = Product(queries, keys, known(operator.value_dim))
        return Counter({scores: copies}) + Counter({values: copies})
    return Counter()


def _convolution(operator: Convolution) -> Iterator[Layer]:
    """With its padding in its input and, if that leaves pixels unread, without those.

    `floor((input - kernel) / stride) + 1` outputs leave up to `stride - 1` rows and columns unread.
    """
    read = replace(operator.operands[0], sources=("input",))
    operator = replace(operator, name="", operands=(read,), bias=False)
    taps, positions = known(product(operator.kernel)), known(product(operator.out_size))
    shape = Product(
        known(operator.batch) * positions, taps * operator.in_channels, operator.out_channels
    )
    stride, *_ = operator.stride
    behind = (*operator.kernel, operator.in_channels, operator.out_channels, stride)
    axes = zip(operator.in_size, operator.padding, operator.out_size, operator.kernel, strict=True)
    padded: list[int] = []
    needed: list[int] = []
    for size, padding, outputs, kernel in axes:
        padded.append(known(size) + padding)
        needed.append((known(outputs) - 1) * stride + kernel)
    yield Layer(operator, shape, (*padded, *behind))
    if needed != padded:
        yield Layer(operator, shape, (*needed, *behind), cropped=True)


def block(tokens: int) -> Counter[Product]:
    """The products of one block of DeiT-S, its six heads as copies."""
    kept = {"kept_1": tokens - 2}  # and the CLS and the package token
    model = vit(depth=1, embed=384, heads=6, selectors=(1,)).bind(kept)
    inside = [operator for operator in model.operators if operator.name.startswith("blocks.0")]
    return sum((products(operator) for operator in inside), Counter[Product]())


def matmul(shape: Product, copies: int = 1) -> MatMul:
    """A product as an operator; copies have weights of their own."""
    return MatMul(
        name="",
        operands=(Operand(sources=("input",), elements=copies * shape.m * shape.k),),
        shape=(copies, shape.m, shape.n),
        copies=copies,
        m=shape.m,
        k=shape.k,
        n=shape.n,
        weights=copies,
    )


def independent(operators: Sequence[MatMul | Convolution]) -> Workload:
    """Operators as one workload in which none reads another."""
    named = [replace(operator, name=f"layer{n}") for n, operator in enumerate(operators)]
    largest = max(known(operator.operands[0].elements) for operator in named)
    return Workload(
        name="layers",
        operators=tuple(named),
        inputs=(("input", (largest,)),),
        outputs=tuple(operator.name for operator in named),
    )
