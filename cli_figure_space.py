"""Those figures of `tilewise figure` that are of a space, a sweep or a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .cli_inputs import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from .reports.figures import Drawn, Width

__all__ = ["OF_SPACES", "OfSpace", "objective_names", "of_space"]

_POINTS = 200


class OfSpace(NamedTuple):
    """A figure of a space or of a folder.

    Attributes:
        given: What it is drawn from, in words.
        options: Which options are its own.
        objectives: How many it shows.
        table: Whether TeX and JSON are written too.
    """

    given: str
    options: tuple[str, ...]
    objectives: int = 0
    table: bool = False


OF_SPACES: Mapping[str, OfSpace] = {
    "pareto": OfSpace("the folder of a sweep or a search", ("--objectives",), objectives=2),
    "parallel": OfSpace("the folder of a sweep or a search", ("--objectives",), objectives=1),
    "fidelity": OfSpace("the YAML file of a space", ("--points", "--seed"), table=True),
}


class _Rows(NamedTuple):
    """What a folder holds."""

    frame: pd.DataFrame
    parameters: list[str]
    objectives: list[str]


def of_space(
    what: str,
    path: Path,
    *,
    objectives: str | None = None,
    points: int | None = None,
    seed: int | None = None,
    width: Width = "column",
) -> tuple[str, Drawn]:
    """The figure and what its files are called.

    Raises:
        UserError: An objective is no column, or they are too many or too few.
        SpaceError, SweepError: The path leads to nothing that can be drawn.
    """
    if what == "fidelity":
        return _fidelity(path, points or _POINTS, seed or 0, width)
    return _of_folder(what, path, objectives, width)


def _of_folder(what: str, path: Path, given: str | None, width: Width) -> tuple[str, Drawn]:
    from .reports.figures import Drawn

    rows = _rows(path)
    wanted = OF_SPACES[what].objectives
    names = objective_names(given, wanted, rows.objectives[:wanted], _numbers(rows.frame))
    title = path.resolve().name
    file = "-".join((what, title, *(names if given else ())))
    if what == "pareto":
        from .reports.pareto import pareto, pareto_figure, pareto_notes, pareto_rows

        found = pareto(rows.frame, (names[0], names[1]), title)
        drawn = pareto_figure(found, width=width)
        return file, Drawn(drawn, pareto_rows(found), pareto_notes(found))
    from .reports.parallel import parallel, parallel_figure, parallel_notes, parallel_rows

    lines = parallel(rows.frame, rows.parameters, names[0], title)
    picture = parallel_figure(lines, width=width)
    return file, Drawn(picture, parallel_rows(lines), parallel_notes(lines))


def _fidelity(path: Path, points: int, seed: int, width: Width) -> tuple[str, Drawn]:
    from .reports.fidelity import (
        fidelity_figure,
        fidelity_notes,
        fidelity_rows,
        fidelity_tex,
        fidelity_values,
    )
    from .reports.figures import Drawn
    from .sim.fidelity import fidelity
    from .sim.search.designs import study_of

    found = fidelity(study_of(path), points, seed)
    drawn = Drawn(
        fidelity_figure(found, width=width, title=path.stem),
        fidelity_rows(found),
        [*fidelity_notes(found), f"{points} points drawn with seed {seed} from {path.name}"],
        fidelity_tex(found),
        fidelity_values(found),
    )
    return f"fidelity-{path.stem}", drawn


def objective_names(
    given: str | None, wanted: int, default: Sequence[str], known: Sequence[str]
) -> list[str]:
    """The objectives that `--objectives` names.

    Raises:
        UserError: One is unknown or twice there, or they are not as many as are wanted.
    """
    names = list(default) if given is None else [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise UserError(
                f"--objectives {name}: no such number"
                f"{nearest(name, known) or '; there are ' + ', '.join(known)}"
            )
    if len(names) != wanted or len(set(names)) != wanted:
        example = "latency_s,energy_j" if wanted == 2 else "latency_s"
        raise UserError(
            f"--objectives {','.join(names)}: wanted {wanted}, as {example}; got {len(names)}"
        )
    return names


def _rows(path: Path) -> _Rows:
    """The rows of a sweep or of a search."""
    from .reports.search import is_search, kept
    from .sim.sweep import rows
    from .sim.sweep.store import Store

    if is_search(path):
        found = kept(path)
        problem = found.summary["problem"]
        objectives = [name for name in problem["objectives"] if name != "accuracy"]
        return _Rows(found.points, list(problem["space"]["axes"]), objectives)
    frame = rows(path)
    space = Store.open(path).manifest.space
    sampled: Any = space["sample"]
    listed: list[str] = [] if isinstance(sampled, str) or "method" in sampled else [*sampled[0]]
    return _Rows(frame, [*space["axes"], *listed], ["latency_s", "energy_j"])


def _numbers(frame: pd.DataFrame) -> list[str]:
    """The columns that an objective can be: numbers that a run comes to."""
    from .arch.component import RESOURCES
    from .sim.spaces.evaluate import METRICS, POLICY_METRICS

    known = (*METRICS, *POLICY_METRICS, *RESOURCES)
    more = {"utilization", "images_per_s"}  # of which one wants much
    return [name for name in known if name in frame and name not in more]
