"""A pipeline: the calls of networks that make one image, or one video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .extent import known
from .graph import Workload

__all__ = ["Call", "Counts", "Pipeline"]


class Counts(NamedTuple):
    """MACs of a call, or of a whole pipeline, for one image.

    Attributes:
        macs: Multiply-accumulates.
        macs_without_attention: Without attention's two products.
    """

    macs: int
    macs_without_attention: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One network as a pipeline calls it.

    Attributes:
        label: What it is there for, as `text encoder`.
        workload: The network, or its name in the zoo; it is loaded when it is needed.
        count: How often it is called for an image, one call after another.
        inputs: Inputs that one call takes for an image: 2 with classifier-free guidance.
        bind: Values for its symbols, where they are not its defaults; not the batch.
        change: What is done to the network first, as cutting it at a skip connection.
    """

    label: str
    workload: Workload | str
    count: int = 1
    inputs: int = 1
    bind: Mapping[str, int] = field(default_factory=dict[str, int])
    change: Callable[[Workload], Workload] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.inputs < 1:
            raise ValueError(
                f"call {self.label}: wanted a count and inputs of 1 at least, got {self.count} and "
                f"{self.inputs}"
            )

    @property
    def network(self) -> str:
        """The name of the network, before anything is done to it."""
        return self.workload if isinstance(self.workload, str) else self.workload.name

    def load(self) -> Workload:
        """The network as it is called.

        Raises:
            UnknownModelError: There is no such network in the zoo.
            CutError: It is to be cut where it cannot be.
        """
        from . import zoo  # which has pipelines too

        if isinstance(self.workload, Workload):
            found = self.workload
        elif self.workload in zoo.names():
            found = zoo.load(self.workload)
        else:
            raise zoo.UnknownModelError(
                f"the {self.label} is {self.workload}, which the zoo does not have"
            )
        return found if self.change is None else self.change(found)

    def changed(self, change: Callable[[Workload], Workload]) -> Call:
        """The call with something more done to its network."""
        before = self.change

        def both(workload: Workload) -> Workload:
            return change(workload if before is None else before(workload))

        return replace(self, change=both)

    def binding(self, images: int, given: Mapping[str, int] | None = None) -> dict[str, int]:
        """A value for every symbol of the network; raises as `Workload.binding` and `load` do.

        Args:
            images: How many are made together.
            given: What a user bound, of which the network's own symbols count.
        """
        workload = self.load()
        own = {symbol.name for symbol in workload.symbols}
        said = {**(given or {}), "batch": images * self.inputs}
        wanted = dict(self.bind) | {name: value for name, value in said.items() if name in own}
        values = workload.binding(wanted)
        return {name: int(value) for name, value in values.items()}

    def counts(self, given: Mapping[str, int] | None = None) -> Counts:
        """What one call computes for one image; raises as `binding` does."""
        workload = self.load()
        bound = workload.bind(self.binding(1, given))
        runs = self.inputs // known(bound.images)  # a graph without a batch runs for each input
        return Counts(known(bound.macs) * runs, known(bound.macs_without_attention) * runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What is called to make one image.

    Attributes:
        name: For people.
        description: One line.
        calls: In the order in which each is first called.
        missing: What a real run has besides and is not counted; empty if there is nothing.
    """

    name: str
    description: str
    calls: tuple[Call, ...]
    missing: str = ""

    def __post_init__(self) -> None:
        labels = [call.label for call in self.calls]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(
                f"pipeline {self.name}: wanted calls of different labels, got {labels}"
            )

    def changed(self, change: Callable[[Workload], Workload]) -> Pipeline:
        """The pipeline with something more done to each of its networks."""
        return replace(self, calls=tuple(call.changed(change) for call in self.calls))

    def counts(self, given: Mapping[str, int] | None = None) -> Counts:
        """What one image takes; raises as `Call.binding` does."""
        each = [(call.count, call.counts(given)) for call in self.calls]
        return Counts(*(sum(count * one[at] for count, one in each) for at in range(2)))

    def parameters(self) -> int:
        """Trained numbers of its networks, each once however often it is called.

        Raises:
            UnknownModelError: The zoo lacks one of its networks.
        """
        found: dict[str, int] = {}
        for call in self.calls:
            found[call.network] = max(found.get(call.network, 0), call.load().parameters)
        return sum(found.values())
