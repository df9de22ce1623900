"""DeepCache: the MACs of its average step, from cutting the zoo's UNets at their skip connections.

Ma, Fang and Wang, "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024,
arXiv:2312.00858.  No machine is needed, and nothing is chosen here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from ...workloads import zoo
from ...workloads.deepcache import average, partial_step
from .rows import Claim, Reproduction, Sensitivity, published, rows_of

__all__ = ["reproduction", "sensitivities"]


class Run(NamedTuple):
    """What the paper runs: steps of a UNet, cut at a connection that it counts from 1."""

    network: str
    steps: int
    branch: int


RUNS: Final = {
    "ldm4": Run("ldm4-unet", 250, 1),
    "cifar": Run("ddpm-cifar10-unet", 100, 3),
    "lsun": Run("ddpm-lsun-unet", 100, 3),
    "sd15": Run("sd15-unet", 50, 2),
}
"""By the first part of a key; the second is `n` and the interval, or `b` and the branch."""

_BRANCH_INTERVAL: Final = 5
"""Of the table that varies the branch."""

_NOTES: Final = {
    "sd15-n5": (
        "13 full steps of 50 give 130.41, and ceil(50/4) is 13: the number printed for N = 5 is "
        "that of N = 4. With N = 5 there are 10, as the paper's own rule and code have it."
    ),
    "cifar-b7": (
        "Each partial step has 0.15 GMACs more than the printed number leaves it: as much as the "
        "convolution behind the step from 8 x 8 to 16 x 16 takes, 9 x 256 x 256 x 16 x 16. It has "
        "to run, and at connection 9 it is in the printed number."
    ),
}
_NOTES["cifar-b8"] = _NOTES["cifar-b7"]


def reproduction() -> Reproduction:
    """Every average that the paper prints of a network that the zoo has."""
    return Reproduction(
        paper="deepcache",
        title="DeepCache (Ma et al., CVPR 2024, arXiv:2312.00858): GMACs of an average step",
        assumptions=(
            "MACs without attention's two products: the paper's counter hooks modules, which do "
            "not have them",
            "its counter adds 2 for each element that a norm reads and 1 for each that a "
            "convolution makes, 0.1 to 0.2 % in all: Stable Diffusion 1.5 would have its 338.83",
            "full steps: ceil(T/N) of T; the partial step is what the output needs besides what "
            "comes up to the connection, read off the graph",
            "connections are counted from 1, as its tables do; its code for Stable Diffusion calls "
            "the second one layer 0, block 0",
        ),
        rows=rows_of("deepcache", dict(_claims())),
    )


def sensitivities() -> tuple[Sensitivity, ...]:
    """Other connections: where the paper's tables do not name the one that they cut at."""
    printed = {line.key: line.published for line in published("deepcache")}
    keys = ("sd15-n1", "sd15-n4", "sd15-n5")
    run = RUNS["sd15"]
    variants = tuple(
        (
            f"connection {branch}",
            tuple(_average(run._replace(branch=branch), interval) for interval in (1, 4, 5)),
        )
        for branch in (run.branch, 1, 3, 4)
    )
    return (
        Sensitivity(
            title="where Stable Diffusion 1.5 is cut, GMACs of a step",
            readings=("every step full", "N = 4", "N = 5"),
            published=tuple(printed.get(key) for key in keys),
            variants=variants,
        ),
    )


def _claims() -> Iterator[tuple[str, Claim]]:
    for line in published("deepcache"):
        key, _, which = line.key.partition("-")
        run, number = RUNS[key], int(which[1:])
        if which.startswith("b"):
            found = _average(run._replace(branch=number), _BRANCH_INTERVAL)
        else:
            found = _average(run, number)
        yield line.key, Claim(found, _NOTES.get(line.key, ""), "counted")


def _average(run: Run, interval: int) -> float:
    full = _gmacs(run.network, 0)
    return average(full, _gmacs(run.network, run.branch), run.steps, interval)


@cache
def _gmacs(network: str, branch: int) -> float:
    """Of a partial step, or with branch 0 of the whole network."""
    workload = zoo.load(network)
    macs = (partial_step(workload, branch) if branch else workload).bind().macs_without_attention
    assert isinstance(macs, int)
    return macs / 1e9
