"""The layout keeps its promises: lazy, light at the front, complete without the extras."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import tilewise

REPOSITORY = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PARTS = ("arch", "workloads", "sim", "reports")


def packages(requirements: list[str]) -> set[str]:
    """The import names of requirements: `dask-jobqueue>=0.9,<1` is `dask_jobqueue`."""
    names = {re.match(r"[\w.-]+", requirement) for requirement in requirements}
    return {name[0].replace("-", "_").lower() for name in names if name}


EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
BASE = packages(PROJECT["project"]["dependencies"])
OPTIONAL = packages([r for extra, wanted in EXTRAS.items() if extra != "test" for r in wanted])
HEAVY = BASE - {"typer", "rich", "pyyaml"} | {"yaml"}  # all but what draws the command line


def modules() -> list[str]:
    """Every module that is shipped."""
    names = ["tilewise", *sorted(f"tilewise.{path.stem}" for path in REPOSITORY.glob("[!_]*.py"))]
    for part in PARTS:
        package = importlib.import_module(f"tilewise.{part}")
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [package.__name__, *(module.name for module in found)]
    return names


def loaded_by(code: str, folder: Path) -> set[str]:
    """What `code` loads in a Python of its own, outside the repository: names of modules."""
    script = f"import sys; before = set(sys.modules)\n{code}\nreport = set(sys.modules) - before\n"
    done = subprocess.run(
        [sys.executable, "-c", script + "import json; print(json.dumps(sorted(report)))"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def top_level(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_every_module_imports_where_no_extra_is_installed(tmp_path: Path) -> None:
    assert {"torch", "onnxruntime", "diffusers"} <= OPTIONAL
    code = f"""
import importlib
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
for name in {modules()}:
    importlib.import_module(name)
"""
    loaded = loaded_by(code, tmp_path)
    assert set(modules()) <= loaded
    assert not top_level(loaded) & {*PARTS, "cli", "cli_inputs"}, "a name without `tilewise.`"


def test_importing_the_package_loads_nothing_else(tmp_path: Path) -> None:
    loaded = loaded_by("import tilewise", tmp_path)
    assert top_level(loaded) - sys.stdlib_module_names == {"tilewise"}
    assert {name for name in loaded if name.startswith("tilewise.")} == set()


def test_the_help_loads_only_what_draws_it(tmp_path: Path) -> None:
    code = """
from tilewise.cli import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
"""
    assert top_level(loaded_by(code, tmp_path)) & (HEAVY | OPTIONAL) == set()


@pytest.mark.parametrize("name", modules())
def test_every_public_name_of_a_module_is_there(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [each for each in public if not hasattr(module, each)] == []
    assert len(set(public)) == len(public)


def test_the_packages_public_names_are_listed_and_no_other_is_found() -> None:
    assert set(tilewise.__all__) == set(dir(tilewise))
    with pytest.raises(AttributeError, match="no attribute 'tile'"):
        _ = tilewise.tile
    assert tilewise.__version__ == PROJECT["project"]["version"]


@pytest.mark.parametrize("part", PARTS)
def test_no_part_is_importable_under_a_name_of_its_own(part: str, tmp_path: Path) -> None:
    code = f"import importlib.util; spec = importlib.util.find_spec({part!r})\n"
    ours = f"assert spec is None or not str(spec.origin).startswith({str(REPOSITORY)!r}), spec"
    loaded_by(code + ours, tmp_path)


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_dependency_is_bounded_on_both_sides(extra: str) -> None:
    wanted: list[str] = EXTRAS[extra] if extra else PROJECT["project"]["dependencies"]
    bounded = re.compile(r"[\w-]+(\[\w+\])?>=[\d.]+,<[\d.]+")
    assert [each for each in wanted if not bounded.fullmatch(each)] == []


def test_no_public_name_hides_a_module() -> None:
    """A module, once imported, is an attribute of its package: over a name that is given lazily."""
    public = set(importlib.import_module("tilewise.workloads").__all__)
    assert not public & {path.stem for path in (REPOSITORY / "workloads").glob("*.py")}
