"""Cycles of an unrolled FPGA engine: a closed form over a loop nest, for ints or NumPy arrays.

The engine of VAQF (Sun et al., arXiv:2201.06618, 2022), HeatViT (Dong et al., HPCA 2023) and
Quasar-ViT (Li et al., arXiv:2407.18175, 2024) multiplies Tm output channels x Tn input channels x
Th heads at once, one token a cycle.  H heads of F tokens, N input and M output channels take

    J     = ceil(H / Th) ceil(M / Tm) max(ceil(N / Tn) max(J_in, J_wgt, F) + F, J_out) + J_out
    J_in  = Th ceil(Tn / G) F  / A_in       G values in a word of a port, A ports;
    J_wgt = Th ceil(Tn / G) Tm / A_wgt      every division by ports is rounded up
    J_out = Th ceil(Tm / G) F  / A_out

cycles.  *The form is recalled from that family's papers and was not verified against them.*

**What it counts.**  Two levels of double buffering whose halves run in lockstep.  An output tile is
ceil(N / Tn) phases, in each of which the next tile of inputs and weights is loaded while the last
one is multiplied, and one more for the last tile's F tokens; around it, each output tile is stored
while the next one is made, and the last one after it.  Nothing is loaded across output tiles, which
is why each pays its `+ F`.  In the first phase of an output tile there is nothing to multiply yet,
and beside the first output tile nothing to store, but both are charged as if there were.  An engine
that skips them takes max(J_in, J_wgt) for the first phase and only as long as the first tile needs:
`Nest.self_timed_cycles`, never more than J.  The two differ by max(0, F - max(J_in, J_wgt)) a round
wherever J_out holds nobody up.  `tilewise.sim.unrolled_model` counts both, word by word; Tilewise
runs by J.

**Saturation.**  J_wgt does not fall with F.  Once F < J_wgt a phase takes J_wgt however few tokens
are left, and only the `+ F` and J_out still shrink.

**What is mapped how** (decided here; the papers' ways are not recalled well enough):

- Products with operands of their own (the heads of attention, the groups of a convolution) are the
  heads.  For Q K^T, M is keys and N the head's width; for A V, M is the width and N keys.  F is
  queries in both, and the right operand (K or V) comes through the weight ports.
- A product that stands alone, such as a linear layer, has no heads.  Its input channels are dealt
  to Th groups, ceil(N / Th) each, whose sums an adder tree joins; one head's outputs are stored, so
  that J_out has no Th.  This is `summed`.
- A convolution is implicit GEMM: F is output positions, N kernel taps x input channels.
- Of a format with several MACs per multiplier and cycle, so many tokens pass at once: F becomes
  ceil(F / rate) wherever it is time, and stays F where it is words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Generic

from ..arch import UnrolledArray
from .formats import Widths
from .systolic import Int, ceil_div, larger

__all__ = ["Nest", "nest", "summed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest(Generic[Int]):
    """The loops of a product on the engine; all in cycles but for the counts.

    `cycles = streamed + waiting + filling + store`, and each is at least 0.

    Attributes:
        rounds: Output tiles, ceil(H / Th) ceil(M / Tm).
        steps: Phases of an output tile, ceil(N / Tn).
        stream: In which the tokens pass the multipliers once, F.
        load_inputs, load_weights: Of a phase's tiles, J_in and J_wgt.
        store: Of an output tile, J_out; 0 if its sums stay for another product to add to.
    """

    rounds: Int
    steps: Int
    stream: Int
    load_inputs: Int
    load_weights: Int
    store: Int

    @property
    def load(self) -> Int:
        """A phase's loads, through ports of their own."""
        return larger(self.load_inputs, self.load_weights)

    @property
    def phase(self) -> Int:
        """Load of one tile beside the multiplication of another."""
        return larger(self.load, self.stream)

    @property
    def round(self) -> Int:
        """An output tile beside the store of another."""
        return larger(self.steps * self.phase + self.stream, self.store)

    @property
    def streamed(self) -> Int:
        """While the multipliers have tokens, counted where their weights come in."""
        return self.rounds * self.steps * self.stream

    @property
    def filling(self) -> Int:
        """The `+ F` of each round, for which nothing is loaded."""
        return self.rounds * self.stream

    @property
    def waiting(self) -> Int:
        """While the multipliers wait for ports: to load, or to store."""
        return self.rounds * self.round - self.streamed - self.filling

    @property
    def cycles(self) -> Int:
        """J."""
        return self.rounds * self.round + self.store

    @property
    def self_timed_cycles(self) -> Int:
        """J of an engine that skips the phase and the round in which half of it has no work."""
        alone = self.load + (self.steps - 1) * self.phase + self.stream
        return alone + (self.rounds - 1) * larger(alone, self.store) + self.store


def nest(
    array: UnrolledArray,
    heads: Int,
    tokens: Int,
    inputs: Int,
    outputs: Int,
    *,
    bits: Widths,
    rate: Fraction = Fraction(1),
) -> Nest[Int]:
    """The loops of `heads` products `(tokens, inputs) @ (inputs, outputs)` side by side.

    Args:
        array: The engine.
        heads: Products, H.
        tokens: Rows of a left operand, F.
        inputs: Channels summed over, N.
        outputs: Columns of a right operand, M.
        bits: Of an element of inputs, weights and outputs.
        rate: MACs of this format per multiplier and cycle.

    >>> array = UnrolledArray(
    ...     tm=8, tn=16, th=2, word_bits=128, input_ports=2, weight_ports=1, output_ports=1
    ... )
    >>> qk = nest(array, 6, 197, 64, 197, bits=Widths(8, 8, 8))
    >>> qk.rounds, qk.steps, qk.load_inputs, qk.load_weights, qk.store, qk.cycles
    (75, 4, 197, 16, 394, 74269)
    """
    inputs_each = array.th * ceil_div(array.tn, array.per_word(bits.left))
    weights_each = array.th * ceil_div(array.tn, array.per_word(bits.right))
    stored = array.th * ceil_div(array.tm, array.per_word(bits.out))
    return Nest(
        rounds=ceil_div(heads, array.th) * ceil_div(outputs, array.tm),
        steps=ceil_div(inputs, array.tn),
        stream=ceil_div(tokens * rate.denominator, rate.numerator),
        load_inputs=ceil_div(inputs_each * tokens, array.input_ports),
        load_weights=ceil_div(weights_each * array.tm, array.weight_ports) + 0 * tokens,
        store=ceil_div(stored * tokens, array.output_ports),
    )


def summed(
    array: UnrolledArray,
    tokens: Int,
    inputs: Int,
    outputs: Int,
    *,
    bits: Widths,
    rate: Fraction = Fraction(1),
) -> Nest[Int]:
    """The loops of one product whose input channels are dealt to Th groups; arguments as `nest`'s.

    >>> array = UnrolledArray(
    ...     tm=8, tn=16, th=2, word_bits=128, input_ports=2, weight_ports=1, output_ports=1
    ... )
    >>> summed(array, 197, 384, 1152, bits=Widths(8, 8, 8)).cycles  # 144 rounds of 12 phases
    368981
    """
    dealt = ceil_div(inputs, array.th)
    apart = nest(array, 0 * tokens + 1, tokens, dealt, outputs, bits=bits, rate=rate)
    stored = ceil_div(array.tm, array.per_word(bits.out))
    return replace(apart, store=ceil_div(stored * tokens, array.output_ports))
