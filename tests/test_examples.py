"""Every example is a test: those in docstrings, and every block of code in the documents.

The blocks of a document run from top to bottom in an empty folder: Python in one namespace, and of
the shell blocks each line that starts with `tilewise`.  In `console` and `pycon` blocks the output
stands below, and must be what comes out.
"""

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tilewise import cli

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]
PACKAGES = ("tilewise.arch", "tilewise.workloads", "tilewise.sim", "tilewise.reports")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def modules() -> list[str]:
    found = ["tilewise", *sorted(f"tilewise.{path.stem}" for path in REPOSITORY.glob("[!_]*.py"))]
    for name in PACKAGES:
        package = importlib.import_module(name)
        found += [name, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{name}."))]
    return found


class Block(NamedTuple):
    """A block of code: its language, the line before its first, and its text."""

    language: str
    line: int
    text: str

    @property
    def commands(self) -> Iterator[str]:
        """The `tilewise` lines of a shell block, continuations joined, prompts taken off."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ")
            if command.startswith("tilewise "):
                yield command


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document that have a language."""
    return [
        Block(match[1], document.count("\n", 0, match.start(2)), match[2])
        for match in BLOCK.finditer(document)
    ]


def expected(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a `console` block, each with the lines that it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output.rstrip().splitlines()


def same_with_or_without_verilog(lines: list[str]) -> list[str]:
    """Lines as they would be where there is no Icarus Verilog."""
    if shutil.which("iverilog"):
        return lines
    return [
        line for line in lines if not re.match(r"  (RTL|all (folds in the RTL|equal)|equal)", line)
    ]


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a `tilewise` line prints.

    It runs in this process: tests/test_cli.py and tests/test_wheel.py start the command as a
    shell does, and a start takes as long as most of these lines do.
    """
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        cli.main(shlex.split(command, comments=True)[1:])
    captured = capsys.readouterr()
    assert exit_.value.code == 0, f"{command}: {captured.err}"
    return [line.rstrip() for line in captured.out.rstrip().splitlines()]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_say_what_it_does(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


LONG = ("search.md", "how-a-number-is-made.md")
"""Documents whose commands take longer than all others'; tests of their own run the same."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=pytest.mark.slow if path.name in LONG else ())
        for path in DOCUMENTS
    ],
)
def test_the_blocks_of_a_document_run_from_top_to_bottom(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for language, line, text in blocks(path.read_text()):
        match language:
            case "python":  # shifted down, so that a traceback shows the document's lines
                exec(compile("\n" * line + text, path, "exec"), namespace)
            case "pycon":
                test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), line)
                test.globs = namespace  # what a block defines, those below may use
                assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
            case "console":
                for command, output in expected(text):
                    wanted = same_with_or_without_verilog(output)
                    assert same_with_or_without_verilog(printed(command, capsys)) == wanted
            case "sh":
                for command in Block(language, line, text).commands:
                    printed(command, capsys)
            case _:
                pass


def test_blocks_are_found_with_their_lines_and_commands_without_prompts() -> None:
    document = "x\n```python\na = 1\n```\n```sh\n$ tilewise run a \\\n  --on b\nmake test\n```\n"
    python, shell = blocks(document)
    assert python == Block("python", 2, "a = 1\n")
    assert list(shell.commands) == ["tilewise run a    --on b"]


def test_the_output_below_a_command_is_its_own() -> None:
    block = "$ tilewise a\n  1\n\n  2\n\n$ tilewise b\n"
    assert list(expected(block)) == [("tilewise a", ["  1", "", "  2"]), ("tilewise b", [])]
