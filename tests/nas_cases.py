"""Small search spaces for tests: a table that is built in a second, and one that nobody built."""

from functools import cache
from typing import cast

import numpy as np

from tilewise.arch import Accelerator, load_machine
from tilewise.sim.nas import Recipe, SearchSpace, search_space
from tilewise.sim.nas.heatvit import HeatVit
from tilewise.sim.nas.quasar import QuasarVit
from tilewise.sim.nas.tables import LookupTable
from tilewise.sim.nas.windows import Cost


@cache
def engine(name: str = "zcu102-quasar") -> Accelerator:
    machine = load_machine(name)
    assert isinstance(machine, Accelerator)
    return machine


@cache
def quasar() -> SearchSpace:
    """Quasar-ViT's space, priced by the engine: once for this code, whoever of the tests asks."""
    return search_space("quasar-vit", engine())


@cache
def blocks() -> SearchSpace:
    """A small grid of blocks."""
    return search_space(
        "vit-blocks",
        engine(),
        cache=False,
        depth=(1, 2, 5),
        embed=(48, 96),
        heads=(2, 3),
        tokens=(10, 20, 50),
        bits=(4, 8),
    )


@cache
def invented() -> SearchSpace:
    """HeatViT's space over a table of made-up numbers: no count was simulated."""
    return search_space("heatvit-deit-small", engine(), table=made_up("heatvit-deit-small"))


def made_up(name: str, seed: int = 0) -> LookupTable:
    """A table with every key of a space, its numbers at random."""
    quasar_vit, heatvit = QuasarVit(machine=engine()), HeatVit(machine=engine(), embed=384)
    recipes: dict[str, Recipe] = {"quasar-vit": quasar_vit, "heatvit-deit-small": heatvit}
    asked = _Asked(np.random.default_rng(seed))
    recipes[name].terms(cast(LookupTable, asked))
    return LookupTable(
        space=name, machine="made up", machine_hash="0", version="0", entries=asked.entries
    )


class _Asked:
    """A table that has whatever it is asked for."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.entries: dict[str, Cost] = {}

    def __getitem__(self, key: str) -> Cost:
        cost = Cost(*(float(number) for number in self.random.uniform(1e-6, 1e-4, 2)))
        return self.entries.setdefault(key, cost)
