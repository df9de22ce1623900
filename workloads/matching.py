"""Bipartite soft matching: which tokens of a first set merge into which of a second.

Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, section 3.  Left out: sorting the
tokens that stay back into their order.
"""

from __future__ import annotations

from dataclasses import dataclass

from .extent import Size
from .operator import MatMul, Movement
from .zoo.building import Builder, Value

__all__ = ["Matching", "gathered", "matched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What was found.

    Attributes:
        order: Tokens of the first set, those that merge best first, `(images, first)`.
        partner: With which of the second set each that merges does, `(images, merged)`.
        first, second, merged: Tokens of the two sets, and how many of the first merge.
    """

    order: Value
    partner: Value
    first: Size
    second: Size
    merged: Size

    def into(self, build: Builder, path: str, x: Value) -> tuple[Value, Value]:
        """The tokens `x` merged: the first set's that stay, and the second with all that merge.

        The second set holds sums; what they are divided by is the caller's matter.
        """
        stay = gathered(build, f"{path}/Gather", x, self.order, self.first - self.merged)
        move = gathered(build, f"{path}/Gather_2", x, self.order, self.merged)
        target = x.part(x.shape[0], self.second, x.shape[-1])
        summed = build.append(
            Movement(
                name=f"{path}/ScatterElements",
                operands=tuple(v.operand for v in (target, move, self.partner) if v.sources),
                shape=target.shape,
                function="scatterelements",
            )
        )
        return stay, summed


def matched(
    build: Builder, path: str, metric: Value, first: Size, second: Size, merged: Size
) -> Matching:
    """Matches tokens by the cosine of `metric` `(images, first + second, width)`.

    MACs: `first * second * width` for each image.
    """
    images, tokens, width = metric.shape
    length = build.reduce(f"{path}/ReduceL2", "reducel2", metric, images, tokens, 1)
    unit = build.elementwise(f"{path}/Div", "div", metric, length)
    scores = build.append(
        MatMul(
            name=f"{path}/MatMul",
            operands=(
                unit.part(images, first, width).operand,
                unit.part(images, second, width).operand,
            ),
            shape=(images, first, second),
            copies=images,
            m=first,
            k=width,
            n=second,
            weights=0,
        )
    )
    best = build.reduce(f"{path}/Max", "max", scores, images, first, 2)  # which, and how much
    order = build.top_k(f"{path}/TopK", best.part(images, first), first - merged, first)
    partner = build.append(
        Movement(
            name=f"{path}/Gather_3",
            operands=(best.part(images, merged).operand, order.part(images, merged).operand),
            shape=(images, merged),
            function="gather",
        )
    )
    return Matching(order=order, partner=partner, first=first, second=second, merged=merged)


def gathered(build: Builder, name: str, x: Value, which: Value, count: Size) -> Value:
    """`count` of the tokens `x` `(images, tokens, width)`; nothing where nobody made them."""
    images, _, width = x.shape
    rows = x.part(images, count, width)
    if not x.sources:
        return Value((), rows.shape, 0)
    return build.append(
        Movement(
            name=name,
            operands=(rows.operand, which.part(images, count).operand),
            shape=(images, count, width),
            function="gather",
        )
    )
