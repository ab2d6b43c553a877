"""README.md is true: its commands run, and print what it shows.

In a `console` block a line `$ nbarec ...` is a command and the lines below it are its output; what belongs to pip or
pytest is left to `.ci/run`. A `python` block is a script, and a `text` block right below it its output. In an output

* a line `...` stands for any number of lines, and `...` within a line for any text,
* a bare number with three decimals is a number of seconds and may be another one,
* other decimals may differ in their fourth significant digit, and white space in its width.

All commands and scripts run one after the other in one folder that holds a copy of `configs/`.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from nbarec.plugins import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PART = re.compile(r"(\.\.\.|(?<=\s)\d+\.\d{3}(?!\d)|\d+\.\d+|\s+)")
SECONDS = re.compile(r"\d+\.\d{3}")
DECIMAL = re.compile(r"\d+\.\d+")
NBAREC = "from nbarec.cli import main; main()"


def blocks(language: str) -> list[str]:
    return [text for named, text in FENCED.findall(README) if named == language]


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
    assert block.startswith("$ ")
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.partition("\n")[2].splitlines()) for part in parts]


def our_part(command: str) -> list[str]:
    """The arguments of `nbarec` in a command line, or nothing where it only installs and tests."""
    words = [shlex.split(part) for part in command.split("&&")]
    ours = [part[1:] for part in words if part[0] == "nbarec"]
    rest = [part for part in words if part[:2] != ["python", "-m"] and part[0] != "nbarec"]
    assert not rest, f"the test does not know how to run {rest}"
    return ours[0] if ours else []


def run(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and output of a Python that finds what this one finds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's configs."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", made / "configs")
    return made


def test_the_commands_print_what_is_shown(folder: Path) -> None:
    found = [pair for block in blocks("console") for pair in commands_of(block)]
    ours = [(our_part(command), shown) for command, shown in found if our_part(command)]
    assert len(ours) > 4
    for arguments, shown in ours:
        code, printed = run(folder, "-c", NBAREC, *arguments)
        assert code == int(any(line.startswith("Error:") for line in shown)), printed
        assert agree(shown, printed), "\n".join(["nbarec " + " ".join(arguments), "prints:", *printed])


def test_the_scripts_print_what_is_shown(folder: Path) -> None:
    scripts = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(scripts) == len(blocks("python")) == len(blocks("text")) > 1
    for script, shown in scripts:
        code, printed = run(folder, "-c", script)
        assert code == 0, "\n".join(printed)
        assert agree(shown.splitlines(), printed), "\n".join([script, "prints:", *printed])


def test_both_commands_stand_there() -> None:
    assert "$ python -m pip install -e . && nbarec run configs/music.yaml\n" in README
    assert "$ python -m pip install -e '.[test]' && python -m pytest\n" in README


def test_the_minimal_config_is_explained_line_by_line() -> None:
    table = README.partition("| line | says |\n|---|---|\n")[2].partition("\n\n")[0]
    explained = [re.fullmatch(r"\| `(.+)` \| .+ \|", line) for line in table.splitlines()]
    lines = [match[1] for match in explained if match]
    assert len(lines) == len(explained)
    assert lines == (ROOT / "configs" / "minimal.yaml").read_text("utf-8").splitlines()


def test_what_is_shown_of_the_music_config_stands_in_it() -> None:
    config = (ROOT / "configs" / "music.yaml").read_text("utf-8")
    assert blocks("yaml")
    for text in blocks("yaml"):
        assert all(line in config.splitlines() for line in text.splitlines()), textwrap.indent(text, "  ")


def test_every_command_and_component_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    from nbarec.cli import COMMANDS

    for command in [*COMMANDS, *project["entry-points"]["nbarec.commands"]]:
        assert f"| `nbarec {command}" in README
    for item in registry().components():
        if item.provider.is_from("nbarec"):
            assert re.search(rf"\[{item.name}\]\(docs/components\.md#{item.name}(-\w+)?\)", README), item.name


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["fit  0.017"], ["fit 1.250"], True),
        (["fit  0.017"], ["fit 1.25"], False),
        (["ndcg 0.1974 ±0.015"], ["ndcg  0.1974 ±0.015"], True),
        (["ndcg 0.1974 ±0.015"], ["ndcg  0.1974 ±0.025"], False),
        (["ndcg 0.1974"], ["ndcg  0.1994"], False),
        (["S1 0.0976284"], ["S1 0.0976285"], True),
        (["1,000 users"], ["1,001 users"], False),
        (["liked: a, ..."], ["liked: a, b, c"], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "d"], True),
        (["a", "...", "d"], ["a", "d", "e"], False),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
    ],
)
def test_outputs_are_compared(shown: list[str], printed: list[str], same: bool) -> None:
    assert agree(shown, printed) is same
