"""Pages are true: what a page tells its reader to type is done, and has to print what the page shows.

Tests import no other test, so `tests/conftest.py` loads this module and hands it out as the fixture `shown`.
A page's fenced blocks are gone through from top to bottom, in one folder that holds a copy of `configs/`:

* `console`: a line `$ nbarec ...` or `$ python FILE` is a command, the lines below it are its output. `pip install` of
  a folder that the page made goes into a folder of the test's own; nbarec's own installation and tests are left to
  `.ci/run`.
* `python`: a script, and a `text` block right below it its output.
* any block right below a line that ends in "Save this as `FILE`:" is written to that file.
* other `yaml`: part of a config that is there, line by line.
* no language: a picture.

In an output

* a line `...` stands for any number of lines, and `...` within a line for any text,
* a bare number with three decimals is a number of seconds and may be another one,
* other decimals may differ in their fourth significant digit, and white space in its width.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FENCED = re.compile(
    r"(?:Save\s+this\s+as\s+`([^`\n]+)`:\n\n)?"  # the file, if any
    r"^```(\w*)\n(.*?)^```$"  # language and text
    r"(?:\n\n```text\n(.*?)^```$)?",  # the output, if any
    re.DOTALL | re.MULTILINE,
)
PART = re.compile(r"(\.\.\.|(?<=\s)\d+\.\d{3}(?!\d)|\d+\.\d+|\s+)")
SECONDS = re.compile(r"\d+\.\d{3}")
DECIMAL = re.compile(r"\d+\.\d+")
NBAREC = "from nbarec.cli import main; main()"
INSTALLED = "installed"
LEFT_TO_CI = (
    ["python", "-m", "pip", "install", "-e", "."],
    ["python", "-m", "pip", "install", "-e", ".[test]"],
    ["python", "-m", "pytest"],
)


class Block(NamedTuple):
    """A fenced block of a page, the file that the reader is told to save it as, and the output right below it; both may
    be empty."""

    file: str
    language: str
    text: str
    output: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page's text, in order."""
    return [
        Block(file or "", language, text, output or "", page.count("\n", 0, found.start(3)))
        for found in FENCED.finditer(page)
        for file, language, text, output in [found.groups()]
    ]


def line_pattern(line: str) -> re.Pattern[str]:
    """What a shown line allows; its decimals are groups."""
    pattern, before = "", " "
    for part in PART.split(line.strip()):
        if part == "...":
            pattern += ".*"
        elif part.isspace():
            pattern += r"\s+"
        elif SECONDS.fullmatch(part) and before.isspace():
            pattern += SECONDS.pattern
        else:
            pattern += f"({DECIMAL.pattern})" if DECIMAL.fullmatch(part) else re.escape(part)
        before = part or before
    return re.compile(pattern)


def decimals(line: str) -> list[float]:
    """The decimals of a shown line that are compared."""
    matched = line_pattern(line).fullmatch(line.strip())
    return [float(group) for group in matched.groups()] if matched else []


def same_line(shown: str, printed: str) -> bool:
    """Whether a printed line is the one shown."""
    matched = line_pattern(shown).fullmatch(printed.strip())
    if not matched:
        return False
    pairs = zip(decimals(shown), map(float, matched.groups()), strict=True)
    return all(math.isclose(one, other, rel_tol=1e-3) for one, other in pairs)


def agree(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the printed lines are those shown, where `...` stands for any number of lines."""
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(agree(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and same_line(shown[0], printed[0]) and agree(shown[1:], printed[1:])


def commands_of(block: str) -> list[tuple[str, list[str]]]:
    """(command, shown output) of a console block."""
    assert block.startswith("$ "), "a console block begins with a command"
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2].splitlines()) for part in parts]


def arguments_of(command: str, folder: Path) -> Iterator[list[str]]:
    """What Python is called with for each part of a command line, `a && b`, that is not left to `.ci/run`."""
    for words in (shlex.split(part) for part in command.split("&&")):
        if words in LEFT_TO_CI:
            continue
        if words[0] == "nbarec":
            yield ["-c", NBAREC, *words[1:]]
        elif words[:4] == ["python", "-m", "pip", "install"]:
            made = [str(folder / word) for word in words[4:] if (folder / word).is_dir()]
            assert made, f"the test does not know how to run {words}"
            yield [*words[1:4], "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-t", INSTALLED, *made]
        else:
            assert words[0] == "python", f"the test does not know how to run {words}"
            yield words[1:]


def run(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and output of a Python that finds what this one finds, and what was installed for the folder."""
    paths = [str(folder / INSTALLED), *filter(None, sys.path)]
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def follow(page: Path, folder: Path) -> list[Block]:
    """Do what a page says, and compare what it shows; returns its blocks.

    Raises AssertionError with the block's place where something else comes out, or where a block of a kind stands
    there that nobody would check.
    """
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    text = page.read_text("utf-8")
    found = blocks(text)
    fences = 2 * len(found) + 2 * sum(bool(block.output) for block in found)
    assert text.count("```") == fences, f"{page.name} has a block that is indented or not closed"
    for block in found:
        try:
            _check(block, folder)
        except AssertionError as error:
            raise AssertionError(f"{page.name}:{block.line}: {error}") from None
    return found


def _check(block: Block, folder: Path) -> None:
    script = block.language == "python" and not block.file
    assert script or not block.output, (
        f"a text below {block.file or block.language or 'a picture'} is no script's output"
    )
    if block.file:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
    elif script:
        code, printed = run(folder, "-c", block.text)
        said = "\n".join(["the script prints:", *printed])
        assert code == 0, said
        assert agree(block.output.splitlines(), printed), said
    elif block.language == "console":
        _check_commands(block.text, folder)
    elif block.language == "yaml":
        _check_part_of_a_config(block.text, folder)
    else:
        assert not block.language, f"nobody checks a block of {block.language}"


def _check_commands(text: str, folder: Path) -> None:
    for command, shown in commands_of(text):
        code, printed = 0, list[str]()
        for arguments in arguments_of(command, folder):
            assert code == 0, "\n".join([command, "prints:", *printed])
            code, more = run(folder, *arguments)
            printed += more
        said = "\n".join([command, "prints:", *printed])
        assert code == int(any(line.startswith("Error:") for line in shown)), said
        assert agree(shown, printed), said


def _check_part_of_a_config(text: str, folder: Path) -> None:
    configs = [path.read_text("utf-8").splitlines() for path in folder.rglob("*.yaml")]
    lines = text.splitlines()
    assert any(all(line in config for line in lines) for config in configs), f"no config has these lines:\n{text}"
