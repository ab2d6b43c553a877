"""README.md is true: its commands run, and print what it shows; see `tests/shown.py` for how they are compared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

from nbarec.cli import COMMANDS
from nbarec.plugins import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_all_that_it_shows_comes_out(shown: ModuleType, tmp_path: Path) -> None:
    found = shown.follow(ROOT / "README.md", tmp_path)
    languages = [block.language for block in found]
    assert all(languages.count(language) > 1 for language in ("console", "python", "yaml"))
    assert all(block.output for block in found if block.language == "python")


def test_both_commands_stand_there() -> None:
    assert "$ python -m pip install -e . && nbarec run configs/music.yaml\n" in README
    assert "$ python -m pip install -e '.[test]' && python -m pytest\n" in README


def test_the_minimal_config_is_explained_line_by_line() -> None:
    table = README.partition("| line | says |\n|---|---|\n")[2].partition("\n\n")[0]
    explained = [re.fullmatch(r"\| `(.+)` \| .+ \|", line) for line in table.splitlines()]
    lines = [match[1] for match in explained if match]
    assert len(lines) == len(explained)
    config = (ROOT / "configs" / "minimal.yaml").read_text("utf-8").splitlines()
    assert lines == [line for line in config if not line.startswith("#")]


def test_what_is_shown_of_configs_stands_in_the_music_config(shown: ModuleType) -> None:
    config = (ROOT / "configs" / "music.yaml").read_text("utf-8").splitlines()
    fragments = [block.text.splitlines() for block in shown.blocks(README) if block.language == "yaml"]
    assert fragments
    assert [line for lines in fragments for line in lines if line not in config] == []


def test_every_command_and_component_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for command in [*COMMANDS, *project["entry-points"]["nbarec.commands"]]:
        assert f"| `nbarec {command}" in README
    for item in registry().components():
        if item.provider.is_from("nbarec"):
            assert re.search(rf"\[{item.name}\]\(docs/components\.md#{item.name}(-\w+)?\)", README), item.name
