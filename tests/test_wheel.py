"""What users install: the wheel holds the whole package and nothing else, and works by itself."""

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PARTS = ("arch", "workloads", "sim", "reports")
WORKLOAD = re.compile(r"^  ([\w-]+)  ", re.MULTILINE)  # a name's line in `tilewise list`
pytestmark = pytest.mark.wheel


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints, run in `folder` and without traces of this environment."""
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, REPOSITORY, folder=folder)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment, outside the repository, with the wheel installed."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    run(*pip, "install", "--no-compile", distributions[1], folder=folder)
    return folder / "bin"


def shipped() -> set[str]:
    """Every module and every file of data, as named in the wheel."""
    files = [path for part in PARTS for path in (REPOSITORY / part).rglob("*") if path.is_file()]
    files += [*REPOSITORY.glob("*.py"), REPOSITORY / "py.typed"]
    return {
        f"tilewise/{path.relative_to(REPOSITORY).as_posix()}"
        for path in files
        if path.suffix != ".pyc"
    }


def test_what_users_install_is_whole_and_works_by_itself(
    distributions: tuple[Path, Path], installed: Path, tmp_path: Path
) -> None:
    """One test, as each process that runs a part would build and install anew."""
    source, wheel = distributions
    the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel)
    the_source_distribution_holds_what_its_tests_need(source)
    shipped_workloads_run_outside_the_repository(installed, tmp_path)
    a_number_is_explained_where_there_is_no_verilog(installed, tmp_path)


def the_wheel_holds_every_file_of_the_package_and_nothing_else(file: Path) -> None:
    with zipfile.ZipFile(file) as wheel:
        names = set(wheel.namelist())
    metadata = {name for name in names if re.match(r"tilewise-[\d.]+\.dist-info/", name)}
    assert names - metadata == shipped()
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


def the_source_distribution_holds_what_its_tests_need(file: Path) -> None:
    with tarfile.open(file) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    tests = [path for path in (REPOSITORY / "tests").rglob("*") if path.suffix != ".pyc"]
    wanted = {path.relative_to(REPOSITORY).as_posix() for path in tests if path.is_file()}
    assert wanted | {"LICENSE", "README.md", "Makefile", "pyproject.toml"} <= names


def shipped_workloads_run_outside_the_repository(installed: Path, folder: Path) -> None:
    package = run(
        installed / "python", "-c", "import tilewise; print(tilewise.__file__)", folder=folder
    )
    assert Path(package).is_relative_to(installed.parent)
    names = WORKLOAD.findall(run(installed / "tilewise", "list", "workloads", folder=folder))
    graphs = {path.name for path in (REPOSITORY / "workloads/zoo/graphs").iterdir()}
    assert graphs <= {f"{name}.onnx.gz" for name in names}
    for name in ("heatvit-deit-small", "sdxl-turbo-unet"):  # the second has another's graph
        command = ("run", name, "--on", "edge-32x32", "--json", "-")
        result = json.loads(run(installed / "tilewise", *command, folder=folder))
        assert result["workload"] == name
        assert result["cycles"] > 0
        assert result["macs"] == sum(operator["macs"] for operator in result["operators"])


def a_number_is_explained_where_there_is_no_verilog(installed: Path, folder: Path) -> None:
    shown = run(installed / "tilewise", "explain", "gemm", "5", "3", "6", folder=folder)
    assert "not run: needs a source checkout" in shown
    assert "equal in the 4 ways that were run: 73 cycles" in shown
