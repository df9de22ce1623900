"""What is searched for: objectives over the designs of a space, and what a design must satisfy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...arch import Gpu
from ...arch.component import RESOURCES
from ...arch.device import Device
from ...arch.explain import nearest
from ..errors import SweepError
from ..spaces.device import Builder
from ..spaces.evaluate import evaluate, metrics_of
from ..spaces.study import Study
from .designs import Shares, broken, columns_of, frame_of
from .front import Values

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OBJECTIVES", "Accuracy", "Evaluate", "Priced", "Problem", "SearchError"]

OBJECTIVES: tuple[str, ...] = (
    "latency_s",
    "energy_j",
    "edp_js",
    "dram_bytes",
    *RESOURCES,
    "accuracy",
)
"""What a search can want little of; of accuracy, much."""

Accuracy: TypeAlias = "Callable[[pd.DataFrame], Sequence[float] | NDArray[np.float64]]"
"""From designs, a column for each axis, to what each is worth `(designs,)`, more being better."""


Evaluate: TypeAlias = "Callable[[Study, pd.DataFrame], pd.DataFrame]"
"""From a study and designs to a row for each, as `spaces.evaluate.evaluate` gives them."""


class SearchError(SweepError):
    """A search that cannot be; one line: wanted, got, nearest."""


@dataclass(frozen=True, eq=False)
class Priced:
    """Designs and what they come to.

    Attributes:
        rows: A row for each: axes, metrics, resources, accuracy; `infeasible` and `error`, why it
            cannot be, or empty; and `feasible`.
        values: `(designs, objectives)`, less being better; NaN where there is none.
        violation: `(designs,)`, 0 where a design is feasible, and the more the less it is.
    """

    rows: pd.DataFrame
    values: Values
    violation: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Objectives over a space: what an optimiser is given, whichever it is.

    Attributes:
        study: The space, with what it names; without its device, as what does not fit is priced
            too, so that a search sees by how much it fails and what for.
        objectives: Two or more of `OBJECTIVES`.
        device: An FPGA that must hold every design; None if nothing must.
        accuracy: What designs are worth to the caller; needed if it is an objective.
        evaluate: What prices designs: a study's metrics, as `spaces.evaluate.evaluate`.
    """

    study: Study
    objectives: tuple[str, ...]
    device: Device | None = None
    accuracy: Accuracy | None = field(default=None, repr=False)
    evaluate: Evaluate = field(default_factory=lambda: evaluate, repr=False)

    @classmethod
    def of(
        cls,
        study: Study,
        objectives: Sequence[str],
        device: Device | None = None,
        accuracy: Accuracy | None = None,
    ) -> Self:
        """A problem that makes sense.

        Args:
            study: The space, with what it names.
            objectives: Two or more of `OBJECTIVES`.
            device: An FPGA instead of the one that the space names, if any.
            accuracy: As the attribute.

        Raises:
            SearchError: An objective is unknown, there twice, alone, or nobody can say it; or the
                space lists its points; or a GPU is to be built on an FPGA.
        """
        objectives = tuple(objectives)
        _check_names(objectives)
        if "accuracy" in objectives and accuracy is None:
            raise SearchError(
                "objectives: accuracy is a function of yours: from Python, "
                "search(..., accuracy=function)"
            )
        if "accuracy" not in objectives and accuracy is not None:
            raise SearchError("accuracy: a function was given; name accuracy among the objectives")
        if study.traces and "dram_bytes" in objectives:
            raise SearchError("objectives: dram_bytes is not known of a whole token trace")
        if study.space.sample.listed:
            raise SearchError("sample: a search chooses its points; write axes instead of a list")
        device = device or study.device
        wants_fpga = device is not None or any(name in RESOURCES for name in objectives)
        if wants_fpga and isinstance(study.machine, Gpu):
            raise SearchError(f"{study.machine.name} is a GPU, which no FPGA can be; leave it out")
        free = replace(study, device=None)
        return cls(study=free, objectives=objectives, device=device, accuracy=accuracy)

    @property
    def signs(self) -> Values:
        """What an objective is multiplied with to be minimised, `(objectives,)`."""
        return np.array([-1.0 if name == "accuracy" else 1.0 for name in self.objectives])

    @cached_property
    def builder(self) -> Builder | None:
        """What estimates resources; None if nobody asks for them."""
        asked = self.device is not None or any(name in RESOURCES for name in self.objectives)
        return Builder.of(self.study, self.device) if asked else None

    def designs(self, shares: Shares) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        """The designs at some shares, and how many constraints of the space each breaks."""
        columns = columns_of(self.study, shares)
        return frame_of(self.study, columns), broken(self.study, columns)

    def priced(self, designs: pd.DataFrame) -> Priced:
        """What designs come to, all of them at once."""
        import pandas as pd

        metrics = self.evaluate(self.study, designs)
        infeasible = [text if isinstance(text, str) else "" for text in metrics["infeasible"]]
        error = [text if isinstance(text, str) else "" for text in metrics["error"]]
        wrong = np.array([float(bool(a or b)) for a, b in zip(infeasible, error, strict=True)])
        rows = [designs, metrics[list(metrics_of(self.study))]]
        if self.builder is not None:
            built = self.builder.built(designs)
            small = built["too_small"].tolist()
            infeasible = [", ".join(filter(None, both)) for both in zip(infeasible, small)]  # noqa: B905
            wrong = wrong + built["excess"].to_numpy(dtype=np.float64)
            rows.append(built[list(RESOURCES)])
        found: pd.DataFrame = pd.concat(rows, axis=1)
        if self.accuracy is not None:
            found["accuracy"] = _worth(self.accuracy, designs)
        chosen = found[list(self.objectives)]
        values = chosen.to_numpy(dtype=np.float64, na_value=np.nan) * self.signs
        # A metric that nobody can say, whatever the reason, is no design to recommend.
        wrong = np.where((wrong == 0) & ~np.isfinite(values).all(axis=1), 1.0, wrong)
        found["infeasible"], found["error"], found["feasible"] = infeasible, error, wrong == 0
        return Priced(found, values, wrong)

    def as_dict(self) -> dict[str, Any]:
        """What is searched for, ready for JSON."""
        return {
            "space": replace(self.study.space, device="").as_dict(),
            "inputs": self.study.inputs,
            "objectives": list(self.objectives),
            "device": self.device.name if self.device else None,
        }


def _check_names(objectives: tuple[str, ...]) -> None:
    for at, name in enumerate(objectives):
        if name not in OBJECTIVES:
            hint = nearest(name, OBJECTIVES) or f"; there are {', '.join(OBJECTIVES)}"
            raise SearchError(f"objectives: no objective is called {name or 'nothing'}{hint}")
        if name in objectives[:at]:
            raise SearchError(f"objectives: {name} is there twice; name each once")
    if len(objectives) < 2:
        said = objectives[0] if objectives else "none"
        raise SearchError(
            f"objectives: wanted two or more, as latency_s,energy_j; got {said} (for the least of "
            "one: tilewise sweep run, and sweep show --sort)"
        )


def _worth(accuracy: Accuracy, designs: pd.DataFrame) -> NDArray[np.float64]:
    found = np.asarray(accuracy(designs.copy()), dtype=np.float64)
    if found.shape != (len(designs),):
        raise SearchError(
            f"accuracy: wanted a number for each of {len(designs)} designs, "
            f"got an array of shape {found.shape}"
        )
    return found
