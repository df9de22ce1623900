"""Any vision transformer over any number of patches, as NaFlex and NaViT run them.

An image keeps its shape, so that the number of its patches varies from image to image, and is known
before the run.  What the blocks do is what the graph says, over another number of tokens.  Cutting
the image into patches is one product, `(patches, channels * patch * patch)` by the width, and each
image resizes the table of positions to its own grid (Tschannen et al., "SigLIP 2", 2025, section
2.4.2; Dehghani et al., "Patch n' Pack: NaViT", NeurIPS 2023, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .extent import product, symbol
from .find import workload
from .graph import Symbol, Workload
from .onnx_tokens import Cut
from .operator import Convolution, Elementwise, MatMul, Movement, Operator
from .pruning import check_cut, content
from .pruning_blocks import PruningError, Stream, stream_of
from .pruning_insertion import with_sources
from .zoo.building import Builder, Value

__all__ = ["PATCHES", "flexible"]

PATCHES = "patches"
"""The symbol for the patches of an image."""

_CUT = "tokens of any size"


def flexible(source: str | Path) -> Workload:
    """A vision transformer whose symbol `patches` is how many an image has.

    By default an image has as many as the file fixed, and then the MACs are the file's.

    >>> str(flexible("deit-small").bind({"patches": 196}).macs)
    '4598882304'

    Args:
        source: A name of `zoo.names()`, or the path of an `.onnx` or `.onnx.gz` file.

    Raises:
        PruningError: The model is no vision transformer, prunes its tokens, or makes tokens of an
            image otherwise than by a convolution and tables added to it; the message is one line.
        OnnxError: The file cannot be read, or one of its nodes works at one number of tokens only.
        UnknownModelError: `source` is neither a name nor a path.
    """
    base = workload(source)
    if base.dynamic:
        raise PruningError(f"{base.name} prunes its tokens, and takes images of one size only")
    from .onnx_reader import read_cut, read_unfused  # onnx takes long to import

    graph = content(source)
    stream = stream_of(read_unfused(graph, base.name))
    before = stream.blocks[0].before
    if before is None or not isinstance(stream.patches, int):
        raise PruningError(
            f"{base.name} puts the tokens of its first block together just before it, so that "
            "their number cannot vary"
        )
    place = Cut(
        after=before.maker,
        axis=before.axis,
        symbol=_CUT,
        fixed=stream.tokens,
        least=stream.spared,
    )
    cut = read_cut(graph, [place], base.name)
    check_cut(base, cut, {_CUT: stream.tokens})
    names = [operator.name for operator in cut.operators]
    front = cut.operators[: names.index(_CUT)]
    tokens = symbol(PATCHES) + stream.spared
    build = Builder()
    made = {_CUT: _embedded(build, base, front, stream).sources}
    for operator in cut.operators[len(front) + 1 :]:
        build.operators.append(with_sources(operator.substituted({_CUT: tokens}), made))
    read = build.operators[0].operands[0]
    pixels = (stream.images, symbol(PATCHES), read.elements // (stream.images * symbol(PATCHES)))
    return replace(
        base,
        operators=tuple(build.operators),
        inputs=tuple((n, pixels if n in read.sources else shape) for n, shape in base.inputs),
        outputs=tuple(name for output in base.outputs for name in made.get(output, (output,))),
        symbols=(*base.symbols, Symbol(name=PATCHES, default=stream.patches)),
        free=cut.free,
    )


def _embedded(build: Builder, base: Workload, front: Sequence[Operator], stream: Stream) -> Value:
    """The tokens of an image: its patches, multiplied, and positions and CLS added to them."""
    images, patches = stream.images, symbol(PATCHES)
    shape = (images, patches + stream.spared, stream.width)
    x: Value | None = None
    for operator in front:
        match operator:
            case Convolution() if x is None and _cuts_patches(operator):
                channels = operator.in_channels * product(operator.kernel)
                x = build.append(
                    MatMul(
                        name=operator.name,
                        operands=(
                            replace(operator.operands[0], elements=images * patches * channels),
                        ),
                        shape=(images, patches, operator.out_channels),
                        m=images * patches,
                        k=channels,
                        n=operator.out_channels,
                        weights=1,
                        bias=operator.bias,
                    )
                )
            case Elementwise(function="add") if x is not None and len(operator.operands) == 1:
                path = operator.name.rpartition("/")[0]
                table = build.append(
                    Movement(
                        name=f"{path}/Resize".lstrip("/"),
                        operands=(),
                        shape=shape,
                        function="resize",
                        table=operator.affine,
                    )
                )
                x = build.elementwise(operator.name, "add", x, table, shape=shape)
            case _:
                raise PruningError(
                    f"{base.name}: {operator.name} makes tokens otherwise than by a convolution "
                    "into patches and a table added to them, so that their number cannot vary"
                )
    if x is None:
        raise PruningError(f"{base.name} makes its tokens of no image")
    return x


def _cuts_patches(operator: Convolution) -> bool:
    return (
        operator.kernel == operator.stride
        and operator.groups == 1
        and not operator.transposed
        and not any(operator.padding)
    )
